//! The binary: arguments in, exit code out. See `lib.rs`.

use std::process::ExitCode;

use aqueduct_bench::chaos::Lacking;
use aqueduct_bench::cli::Cli;
use aqueduct_bench::reaper;
use aqueduct_bench::system::kafka::KafkaMissing;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_descriptor_limit();
    let code = match reaper::watch_signals().and_then(|()| cli.command.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("aqueduct-bench: {error:?}");
            let missing = error.downcast_ref::<KafkaMissing>().is_some() || error.downcast_ref::<Lacking>().is_some();
            ExitCode::from(if missing { 77 } else { 1 })
        }
    };
    reaper::end_all();
    code
}

/// Thousands of connections need as many descriptors, here and in the processes we start, which inherit the limit.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
