//! The program `aqueduct`.

use std::process::ExitCode;

/// Thread-per-core suits per-thread heaps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    aqueduct::cli::main()
}
