//! The program `aqueduct` with Kerberos, for tests: a build with the feature would take the place of the one without.

use std::process::ExitCode;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    aqueduct::cli::main()
}
