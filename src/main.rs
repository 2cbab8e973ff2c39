//! Parses the arguments, calls one function, turns the result into an exit code.

use std::process::ExitCode;

/// Memory of a load that is over goes back to the system, which glibc's allocator does not do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main()
}
