//! `aqueduct-bench table`: several systems under several workloads in turn, as the Markdown of `docs/performance.md`.
//!
//! What a page claims is what one command prints: systems alternate within each repeat, and every second repeat goes the
//! other way round, so that a machine that slows down charges all of them. A figure is the median of the repeats with the
//! least and the greatest behind it.

use clap::Args;
use miette::{Result, WrapErr};

use crate::cli::SystemArgs;
use crate::compare::setup_of;
use crate::machine::Machine;
use crate::report::markdown;
use crate::result::{Metrics, Outcome};
use crate::results::{self, Row, Section};
use crate::run::{Bench, Plan, outcome_of};
use crate::system::peer::Peer;

/// Arguments of `table`.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// Canonical workloads or paths of files like theirs
    #[arg(default_values = ["a", "b", "c", "d", "d2"])]
    pub workloads: Vec<String>,
    /// What to measure, the first being what the others are compared to: as in `compare`
    #[arg(long, value_delimiter = ',', default_value = "ceiling,balanced", value_name = "SYSTEM,...")]
    pub systems: Vec<String>,
    /// Runs of each system under each workload
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Keep the results as this section of results.json, from which `report` makes the pages
    #[arg(long, value_name = "SECTION")]
    pub save: Option<String>,
    /// What is measured
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// Measures and prints. False if a run lost, doubled or reordered something.
pub fn run(args: &TableArgs) -> Result<bool> {
    let mut bench = Bench::open(&args.system_args)?;
    let measured = measure_all(&args.workloads, &args.systems, args.repeat, &args.system_args, &mut bench)?;
    drop(bench);
    if args.system_args.json {
        measured.outcomes.iter().for_each(|outcome| println!("{}", outcome.to_json()));
    } else {
        println!("{}", markdown::section(&measured.section));
    }
    let clean = measured.outcomes.iter().all(Outcome::is_clean);
    if let Some(name) = &args.save {
        results::save(name, measured.section)?;
    }
    Ok(clean)
}

/// What was measured, in the order of the rows.
pub(crate) struct Measured {
    pub(crate) section: Section,
    pub(crate) outcomes: Vec<Outcome>,
}

/// Measures every system under every workload.
pub(crate) fn measure_all(
    workloads: &[String],
    systems: &[String],
    repeat: u32,
    args: &SystemArgs,
    bench: &mut Bench,
) -> Result<Measured> {
    let machine = Machine::here();
    let (mut rows, mut outcomes) = (Vec::new(), Vec::new());
    for workload in workloads {
        let plan = |system: &String| -> Result<Plan> {
            let (workload, setup) = (args.workload(workload)?, setup_of(system, args)?);
            Ok(Plan { workload, setup, syscalls: false, repeats: repeat as usize })
        };
        let plans: Vec<Plan> = systems.iter().map(plan).collect::<Result<_>>()?;
        let samples = alternate(&plans, bench).wrap_err_with(|| format!("workload {workload}"))?;
        for ((system, plan), samples) in systems.iter().zip(&plans).zip(&samples) {
            let (row, outcome) = row_of(system, plan, samples, &machine)?;
            rows.push(row);
            outcomes.push(outcome);
        }
    }
    Ok(Measured { section: section_of(rows, &outcomes, machine, repeat as usize), outcomes })
}

/// The row of what was measured, and its outcome.
pub(crate) fn row_of(system: &str, plan: &Plan, samples: &[Metrics], machine: &Machine) -> Result<(Row, Outcome)> {
    let mut outcome = outcome_of(plan, machine.clone());
    outcome.condense(samples);
    let about = plan.setup.system.peer().map(|name| Peer::load(name).map(|peer| peer.about)).transpose()?;
    Ok((Row::of(system, about, plan.setup.system.puback()?, &outcome), outcome))
}

/// The section of rows, as this process's command line made them.
pub(crate) fn section_of(rows: Vec<Row>, outcomes: &[Outcome], machine: Machine, repeats: usize) -> Section {
    let mut commits: Vec<String> = outcomes.iter().map(|outcome| outcome.commit.clone()).collect();
    commits.sort_unstable();
    commits.dedup();
    commits.retain(|commit| commit != "unknown");
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    Section { command, machine, commits, repeats, rows }
}

/// Each plan in turn, every second time the other way round.
fn alternate(plans: &[Plan], bench: &mut Bench) -> Result<Vec<Vec<Metrics>>> {
    let mut samples: Vec<Vec<Metrics>> = vec![Vec::new(); plans.len()];
    for repeat in 0..plans.first().map_or(0, |plan| plan.repeats) {
        for turn in 0..plans.len() {
            let at = if repeat % 2 == 0 { turn } else { plans.len() - 1 - turn };
            samples[at].push(bench.measure(&plans[at].workload, &plans[at].setup, false)?);
        }
    }
    Ok(samples)
}
