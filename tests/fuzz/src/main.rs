//! `aqueduct-fuzz TARGET`: runs a target for as long as one likes, on the stable toolchain.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use aqueduct_fuzz::drive::{self, Failure, Run};
use aqueduct_fuzz::target::{self, TARGETS, Target};
use clap::Parser;

/// Runs fuzz targets over their corpus and mutations of it.
#[derive(Debug, Parser)]
struct Cli {
    /// Targets, or `decoders`, or `all`
    #[arg(required = true)]
    targets: Vec<String>,
    /// Inputs to execute for each target
    #[arg(long, default_value_t = 1_000_000)]
    executions: u64,
    /// Decides every input
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Execute this one file and nothing else
    #[arg(long)]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut chosen: Vec<&Target> = Vec::new();
    for name in &cli.targets {
        match (&**name, target::find(name)) {
            (_, Some(target)) => chosen.push(target),
            ("all", _) => chosen.extend(TARGETS),
            ("decoders", _) => chosen.extend(TARGETS.iter().filter(|target| target.is_decoder)),
            _ => {
                let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                eprintln!("{name} is none of {}, decoders, all", names.join(", "));
                return ExitCode::from(2);
            }
        }
    }
    if let Some(path) = &cli.input {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        chosen.iter().for_each(|target| (target.run)(&bytes));
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    drive::keep_inputs_before_abort();
    for target in chosen {
        match drive::run(target, cli.seed, cli.executions) {
            Ok(run) => println!("{}", sentence(target, &run)),
            Err(failure) => {
                println!("{}", report(target, &failure));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn sentence(target: &Target, run: &Run) -> String {
    let seconds = run.elapsed.as_secs_f64();
    format!(
        "{}: executions={} seconds={seconds:.1} executions_per_s={:.0} slowest_ms={:.1} pool={} failures=0",
        target.name,
        run.executions,
        run.executions as f64 / seconds,
        run.slowest.as_secs_f64() * 1e3,
        run.pool,
    )
}

fn report(target: &Target, failure: &Failure) -> String {
    let saved = failure.save(target).map_or_else(|error| error.to_string(), |path| path.display().to_string());
    format!("{}: FAILED after {} executions: {}\ninput: {saved}", target.name, failure.after, failure.message)
}
