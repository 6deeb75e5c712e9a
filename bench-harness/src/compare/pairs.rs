//! `aqueduct-bench compare A B…`: each B against A, in pairs.
//!
//! A pair is A and B back to back, every second pair B first. Where there are several, each has pairs of its own, and they take turns.

use miette::Result;
use serde::Serialize;

use super::statistics::{Ratio, difference_of, ratio_of};
use super::{CompareArgs, METRICS, setup_of, to_table};
use crate::machine::Machine;
use crate::report::markdown;
use crate::result::Metrics;
use crate::results::{self, Paired, Row, Section};
use crate::run::{Bench, Plan};
use crate::system::Setup;
use crate::table::{row_of, section_of};
use crate::workload::Workload;

/// What the limits of a comparison are told of.
const CPU: &str = "cpu_s_per_million";

/// The line for programs.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    a: &'a str,
    b: &'a str,
    workload: &'a str,
    pairs: u32,
    ratios: &'a [Ratio],
    machine: &'a Machine,
}

/// One B, and its pairs with A.
struct Opponent<'a> {
    name: &'a str,
    setup: Setup,
    pairs: Vec<(Metrics, Metrics)>,
}

/// Runs the pairs and prints the ratios. False if a run lost, doubled or reordered something, or a B takes more than it may.
pub(super) fn run(a: &str, args: &CompareArgs) -> Result<bool> {
    let machine = Machine::here();
    let workload = args.system_args.workload(&args.workload)?;
    let setup_a = setup_of(a, &args.system_args)?;
    let opponent = |name| Ok(Opponent { name, setup: setup_of(name, &args.system_args)?, pairs: Vec::new() });
    let mut opponents: Vec<Opponent<'_>> = args.b.iter().map(|b| opponent(b.as_str())).collect::<Result<_>>()?;
    let mut bench = Bench::open(&args.system_args)?;
    for pair in 0..args.pairs {
        for opponent in &mut opponents {
            let measured = measure(&mut bench, &workload, [&setup_a, &opponent.setup], pair % 2 == 0)?;
            opponent.pairs.push(measured);
        }
    }
    drop(bench);
    let mut good = true;
    for opponent in &opponents {
        good &= tell(a, opponent, args, &machine);
    }
    if opponents.len() > 1 || args.save.is_some() {
        let section = section(a, &setup_a, &opponents, &workload, machine)?;
        if !args.system_args.json {
            println!("{}", markdown::section(&section));
        }
        if let Some(name) = &args.save {
            results::save(name, section)?;
        }
    }
    Ok(good)
}

fn measure(
    bench: &mut Bench,
    workload: &Workload,
    [a, b]: [&Setup; 2],
    first_is_a: bool,
) -> Result<(Metrics, Metrics)> {
    let first = bench.measure(workload, if first_is_a { a } else { b }, false)?;
    let second = bench.measure(workload, if first_is_a { b } else { a }, false)?;
    Ok(if first_is_a { (first, second) } else { (second, first) })
}

/// Prints what became of one B; whether that is good.
fn tell(a: &str, opponent: &Opponent<'_>, args: &CompareArgs, machine: &Machine) -> bool {
    let Opponent { name: b, pairs, .. } = opponent;
    let ratio = |(metric, label): &(&str, &str)| Some(Ratio::of(metric, label, &both(metric, pairs)?));
    let ratios: Vec<Ratio> = METRICS.iter().filter_map(ratio).collect();
    if !args.system_args.json {
        println!("{}", to_table(a, b, &args.workload, &ratios));
    }
    let line = Comparison { a, b, workload: &args.workload, pairs: args.pairs, ratios: &ratios, machine };
    println!("{}", serde_json::to_string(&line).unwrap_or_default());
    let clean = pairs.iter().all(|(a, b)| is_clean(a) && is_clean(b));
    clean && args.at_most.is_none_or(|limit| is_within(limit, &ratios))
}

/// Whether CPU is no more than so many times that of A, which is said.
fn is_within(limit: f64, ratios: &[Ratio]) -> bool {
    let Some(cpu) = ratios.iter().find(|ratio| ratio.metric == CPU) else { return false };
    let within = cpu.ratio <= limit;
    let word = if within { "is within" } else { "exceeds" };
    eprintln!("aqueduct-bench: a ratio of CPU of {:.3} {word} the limit of {limit}", cpu.ratio);
    within
}

/// What both sides of each pair say, if both of all pairs do.
fn both(metric: &str, pairs: &[(Metrics, Metrics)]) -> Option<Vec<(f64, f64)>> {
    pairs.iter().map(|(a, b)| Some((*a.get(metric)?, *b.get(metric)?))).collect()
}

fn is_clean(metrics: &Metrics) -> bool {
    ["lost", "duplicated", "reordered", "corrupt"].iter().all(|fault| metrics.get(fault).is_none_or(|n| *n == 0.0))
}

/// A row of all runs of A, and one of each B.
fn section(
    a: &str,
    setup_a: &Setup,
    opponents: &[Opponent<'_>],
    workload: &Workload,
    machine: Machine,
) -> Result<Section> {
    let plan = |setup: &Setup| Plan { workload: workload.clone(), setup: setup.clone(), syscalls: false, repeats: 0 };
    let of_a = opponents.iter().flat_map(|opponent| opponent.pairs.iter().map(|(a, _)| a.clone()));
    let mut measured = vec![row_of(a, &plan(setup_a), &of_a.collect::<Vec<_>>(), &machine)?];
    for Opponent { name, setup, pairs } in opponents {
        let of_b: Vec<Metrics> = pairs.iter().map(|(_, b)| b.clone()).collect();
        let (row, outcome) = row_of(name, &plan(setup), &of_b, &machine)?;
        measured.push((Row { paired: paired(pairs), ..row }, outcome));
    }
    let repeats = opponents.first().map_or(0, |opponent| opponent.pairs.len());
    let (rows, outcomes): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    Ok(section_of(rows, &outcomes, machine, repeats))
}

fn paired(pairs: &[(Metrics, Metrics)]) -> Option<Paired> {
    let cpu = both(CPU, pairs)?;
    Some(Paired { ratio: ratio_of(&cpu).rounded(), more: difference_of(&cpu).rounded() })
}
