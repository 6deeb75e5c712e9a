//! `aqueduct-bench compare A B`: two builds, profiles or settings in turn, so that both see the same machine. Either may be the
//! ceiling: `compare ceiling balanced` says how far from it the product is.
//!
//! Each pair runs A and B back to back, every second pair B first. The answer per metric is the ratio of medians (B over
//! A), the least and greatest ratio within a pair, an interval from resampling the pairs, and how many pairs agree.
//!
//! With `--systems` it is not two but any number, systems of others among them: see `systems`.

mod statistics;
mod systems;

use std::path::Path;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use miette::Result;
use serde::Serialize;

use self::statistics::Ratio;
use crate::cli::SystemArgs;
use crate::machine::Machine;
use crate::result::Metrics;
use crate::run::Bench;
use crate::system::{Setup, System};

/// What is compared, with its name for people.
const METRICS: [(&str, &str); 8] = [
    ("cpu_s_per_million", "CPU-s per million"),
    ("kafka_cpu_s_per_million", "Kafka's CPU-s per million"),
    ("messages_per_second", "messages per second"),
    ("ack_p50_us", "ack p50, µs"),
    ("ack_p99_us", "ack p99, µs"),
    ("rss_peak_bytes", "peak RSS, bytes"),
    ("rss_bytes_per_connection", "RSS bytes per connection"),
    ("idle_cpu_percent", "idle CPU, % of a core"),
];

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A binary (a path), a profile, a setting (key=value), or the word `ceiling`
    #[arg(required_unless_present = "systems")]
    pub a: Option<String>,
    /// Another
    #[arg(required_unless_present = "systems")]
    pub b: Option<String>,
    /// Instead of two: `ours`, `ceiling`, profiles, builds, and systems of others, each with settings behind a colon if need be
    /// (mochi:linger=1ms), the first being what the others are compared to
    #[arg(long, value_delimiter = ',', value_name = "SYSTEM,...", conflicts_with_all = ["a", "b"])]
    pub systems: Vec<String>,
    /// The loads for `--systems`; under the first of them they are killed
    #[arg(long, value_delimiter = ',', default_value = "a,d", value_name = "WORKLOAD,...", requires = "systems")]
    pub workloads: Vec<String>,
    /// How often each of `--systems` is killed with signal 9 under load
    #[arg(long, default_value_t = 5, value_name = "N", requires = "systems")]
    pub kills: u32,
    /// Keep what `--systems` gave as this section of results.json, from which `report` makes the pages
    #[arg(long, value_name = "SECTION", requires = "systems")]
    pub save: Option<String>,
    /// The load
    #[arg(long, default_value = "a")]
    pub workload: String,
    /// Pairs of runs
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// What is measured
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// The line for programs.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    a: &'a str,
    b: &'a str,
    workload: &'a str,
    pairs: u32,
    ratios: Vec<Ratio>,
    machine: Machine,
}

/// Runs the pairs and prints the ratios. False if a run lost, doubled or reordered something.
pub fn run(args: &CompareArgs) -> Result<bool> {
    let (Some(a), Some(b)) = (&args.a, &args.b) else { return systems::run(args) };
    let machine = Machine::here();
    let workload = args.system_args.workload(&args.workload)?;
    let (setup_a, setup_b) = (setup_of(a, &args.system_args)?, setup_of(b, &args.system_args)?);
    let mut bench = Bench::open(&args.system_args)?;
    let mut pairs = Vec::new();
    for pair in 0..args.pairs {
        let first_is_a = pair % 2 == 0;
        let first = bench.measure(&workload, if first_is_a { &setup_a } else { &setup_b }, false)?;
        let second = bench.measure(&workload, if first_is_a { &setup_b } else { &setup_a }, false)?;
        pairs.push(if first_is_a { (first, second) } else { (second, first) });
    }
    drop(bench);
    let ratios: Vec<Ratio> = METRICS.iter().filter_map(|(metric, label)| ratio_of(metric, label, &pairs)).collect();
    let clean = pairs.iter().all(|(a, b)| is_clean(a) && is_clean(b));
    if !args.system_args.json {
        println!("{}", to_table(a, b, &args.workload, &ratios));
    }
    let line = Comparison { a, b, workload: &args.workload, pairs: args.pairs, ratios, machine };
    println!("{}", serde_json::to_string(&line).unwrap_or_default());
    Ok(clean)
}

/// `ours` is the product as it comes, the names of other systems are theirs, with their settings behind a colon; a text with `=` is a
/// setting of ours, a path a build, anything else a profile.
pub(crate) fn setup_of(what: &str, args: &SystemArgs) -> Result<Setup> {
    let (name, settings) = what.split_once(':').unwrap_or((what, ""));
    let other = System::from_str(name, false).ok().filter(|system| *system != System::Aqueduct);
    if let Some(system) = other {
        let mut setup = args.setup(system)?;
        setup.set = settings.split_terminator('+').map(str::to_owned).collect();
        return Ok(setup);
    }
    let mut setup = args.setup(System::Aqueduct)?;
    if what == "ours" {
        return Ok(setup);
    }
    if what.contains('=') {
        setup.set.push(what.to_owned());
    } else if what.contains('/') || Path::new(what).is_file() {
        setup.binary = what.into();
    } else {
        setup.profile = Some(what.to_owned());
    }
    Ok(setup)
}

fn ratio_of(metric: &str, label: &str, pairs: &[(Metrics, Metrics)]) -> Option<Ratio> {
    let values: Option<Vec<(f64, f64)>> = pairs.iter().map(|(a, b)| Some((*a.get(metric)?, *b.get(metric)?))).collect();
    values.map(|values| Ratio::of(metric, label, &values))
}

fn is_clean(metrics: &Metrics) -> bool {
    ["lost", "duplicated", "reordered", "corrupt"].iter().all(|fault| metrics.get(fault).is_none_or(|n| *n == 0.0))
}

fn to_table(a: &str, b: &str, workload: &str, ratios: &[Ratio]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        workload,
        "median A",
        "median B",
        "B / A",
        "least..most",
        "95 % of resamples",
        "pairs with B lower",
    ]);
    for ratio in ratios {
        table.add_row([
            ratio.label.clone(),
            format!("{:.3}", ratio.median_a),
            format!("{:.3}", ratio.median_b),
            format!("{:.3}", ratio.ratio),
            format!("{:.3}..{:.3}", ratio.least, ratio.most),
            ratio.interval.map_or("-".to_owned(), |[low, high]| format!("{low:.3}..{high:.3}")),
            format!("{} of {}", ratio.b_lower, ratio.pairs),
        ]);
    }
    format!("A = {a}, B = {b}\n{table}")
}
