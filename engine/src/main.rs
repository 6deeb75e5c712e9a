//! The program `aqueduct`.

// One function of mimalloc's that its crate has no safe word for.
#![allow(unsafe_code)]

use std::process::ExitCode;

/// Thread-per-core suits per-thread heaps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    fn mi_collect(force: bool);
}

fn main() -> ExitCode {
    // SAFETY: any thread may call it at any time; it looks after its own heap.
    aqueduct::driver::allocator::set_give_back(|| unsafe { mi_collect(true) });
    aqueduct::cli::main()
}
