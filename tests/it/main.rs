//! The integration suite: the real binary, over real sockets, against a scripted upstream.

fn main() {}
