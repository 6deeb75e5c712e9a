//! `cargo sim`: replays one seed with a trace, or runs many.

mod progress;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aqueduct_simulation::plan::Plan;
use aqueduct_simulation::{Mix, Report, run};
use clap::Parser;
use progress::Progress;
use rustix::time::ClockId;

/// As the node has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates nodes with their clients and Kafka, from seeds.
#[derive(Debug, Parser)]
#[command(name = "cargo sim")]
struct Arguments {
    /// Replays this seed and prints what happens.
    #[arg(required_unless_present = "seeds", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs the seeds from A to B, B excluded.
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    seeds: Option<(u64, u64)>,
    /// Inputs of the shards of one seed, before its world heals.
    #[arg(long, default_value_t = 40_000)]
    steps: u64,
    /// Plants a bug in the engine: the run is to end red.
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// Threads; as many as there are processors if 0.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Ends after the first violation.
    #[arg(long)]
    first: bool,
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("two numbers with .. between them, as in 0..1000")?;
    let number = |text: &str| text.replace('_', "").parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err(format!("there is no seed from {from} to {to}")) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = aqueduct::plants::plant(arguments.plant.as_deref()) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    if arguments.plant.is_some() && !cfg!(debug_assertions) {
        eprintln!("--plant needs a build with debug assertions, which a release build has not");
        return ExitCode::from(2);
    }
    match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => replay(seed, &arguments),
        (None, Some(seeds)) => many(seeds, &arguments),
        (None, None) => ExitCode::from(2),
    }
}

fn replay(seed: u64, arguments: &Arguments) -> ExitCode {
    let plan = Plan::draw(seed);
    println!("{plan:#?}\n{}", plan.config);
    let report = run(seed, arguments.steps, true);
    println!("{:?}, {} acknowledged, {} stored", report.mix, report.acked, report.stored);
    match &report.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

/// What all seeds came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    mix: Mix,
    power_cuts: u64,
    copies: u64,
    lost: u64,
    told: u64,
    topics_renewed: u64,
    violations: u64,
    /// Of all reports, in any order.
    digest: u64,
}

fn many((from, to): (u64, u64), arguments: &Arguments) -> ExitCode {
    aqueduct_simulation::sweep();
    // What a violation says is printed with the command that replays it.
    std::panic::set_hook(Box::new(|_| {}));
    let jobs = match arguments.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    let progress = Progress::new(to - from, jobs);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|job| {
                let (next, sum, progress) = (&next, &sum, &progress);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= to {
                            return progress.ends(job);
                        }
                        progress.begins(job, seed);
                        let report = run(seed, arguments.steps, false);
                        if count(&report, sum, arguments) && arguments.first {
                            next.store(to, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            progress.tell(&sum);
            if let Some(seed) = progress.endless(arguments.steps) {
                let violation = Some("VIOLATION it does not come to an end".to_owned());
                count(&Report { seed, violation, ..Report::default() }, &sum, arguments);
                close(&sum, &progress, jobs);
                std::process::exit(1);
            }
        }
    });
    close(&sum, &progress, jobs)
}

/// The last line, and what it means.
fn close(sum: &Mutex<Sum>, progress: &Progress, jobs: usize) -> ExitCode {
    let sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} jobs={jobs} {}", progress.line(&sum), details(&sum));
    if sum.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The mix of inputs, and what else one may want to know of a run.
fn details(sum: &Sum) -> String {
    let steps = sum.mix.steps();
    let share = |n: u64| 100.0 * n as f64 / steps.max(1) as f64;
    let cpu = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    format!(
        "packets={:.1}% responses={:.1}% mesh={:.1}% others={:.1}% power_cuts={} copies={} lost={} told={} topics_renewed={} steps_per_cpu_s={:.0} digest={:016x}",
        share(sum.mix.packets),
        share(sum.mix.responses),
        share(sum.mix.mesh),
        share(sum.mix.others),
        sum.power_cuts,
        sum.copies,
        sum.lost,
        sum.told,
        sum.topics_renewed,
        steps as f64 / cpu_s,
        sum.digest
    )
}

/// Adds a report to the sum; whether it was a violation.
fn count(report: &Report, sum: &Mutex<Sum>, arguments: &Arguments) -> bool {
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    sum.seeds += 1;
    sum.digest = sum.digest.wrapping_add(report.digest);
    sum.mix.add(&report.mix);
    sum.power_cuts += report.power_cuts;
    sum.copies += report.copies;
    (sum.lost, sum.told) = (sum.lost + report.losses.0, sum.told + report.losses.1);
    sum.topics_renewed += report.topics_renewed;
    let Some(violation) = &report.violation else { return false };
    sum.violations += 1;
    let plant = arguments.plant.as_ref().map_or(String::new(), |name| format!(" --plant {name}"));
    println!(
        "seed {}: {violation}\n  replay: cargo sim {} --steps {}{plant}",
        report.seed, report.seed, arguments.steps
    );
    true
}
