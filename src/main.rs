//! Parses the arguments, calls one function, turns the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate::cli::main()
}
