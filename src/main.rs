//! Parses the arguments, calls one function, turns the result into an exit code.

fn main() {}
