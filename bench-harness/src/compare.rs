//! `aqueduct-bench compare A B`: two builds, profiles or settings in turn, so that both see the same machine. Either may be the
//! ceiling: `compare ceiling balanced` says how far from it the product is.
//!
//! Each pair runs A and B back to back, every second pair B first. The answer per metric is the ratio of medians (B over
//! A), the least and greatest ratio within a pair, an interval from resampling the pairs, and how many pairs agree. Of several B each
//! has pairs of its own with A: what each of some features costs is one command.
//!
//! With `--systems` it is not pairs but rows, of any number of systems, those of others among them: see `systems`.

mod pairs;
mod statistics;
mod systems;

use std::path::Path;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use miette::{IntoDiagnostic, Result, WrapErr};

use self::statistics::Ratio;
use crate::cli::SystemArgs;
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

/// In the place of a setting of the product: so many sinks more.
const UNMATCHED_SINKS: &str = "unmatched_sinks=";

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A binary (a path), a profile, a setting (key=value), or the word `ceiling`
    #[arg(required_unless_present = "systems")]
    pub a: Option<String>,
    /// Another, or several, each of them in pairs with the first; `unmatched_sinks=N` has N sinks more, which match no message
    #[arg(required_unless_present = "systems")]
    pub b: Vec<String>,
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
    /// Keep the results as this section of results.json, from which `report` makes the pages
    #[arg(long, value_name = "SECTION")]
    pub save: Option<String>,
    /// The load
    #[arg(long, default_value = "a")]
    pub workload: String,
    /// Pairs of runs
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Fail if a B takes more than so many times the CPU of A
    #[arg(long, value_name = "RATIO", conflicts_with = "systems")]
    pub at_most: Option<f64>,
    /// What is measured
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// Compares, and prints what is found. False if that is not good.
pub fn run(args: &CompareArgs) -> Result<bool> {
    match &args.a {
        Some(a) => pairs::run(a, args),
        None => systems::run(args),
    }
}

/// `ours` is the product as it comes, the names of other systems are theirs, with their settings behind a colon; a text with `=` is a
/// setting of ours, or of the harness's configuration of ours, a path a build, anything else a profile.
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
    if let Some(sinks) = what.strip_prefix(UNMATCHED_SINKS) {
        setup.unmatched_sinks = sinks.parse().into_diagnostic().wrap_err_with(|| what.to_owned())?;
    } else if what.contains('=') {
        setup.set.push(what.to_owned());
    } else if what.contains('/') || Path::new(what).is_file() {
        setup.binary = what.into();
    } else {
        setup.profile = Some(what.to_owned());
    }
    Ok(setup)
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(line: &[&str]) -> Box<CompareArgs> {
        match Cli::try_parse_from(["aqueduct-bench", "compare"].iter().chain(line)).map(|cli| cli.command) {
            Ok(Command::Compare(args)) => Box::new(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sinks_that_match_nothing_are_no_setting_of_the_product() {
        let args = arguments(&["balanced", "unmatched_sinks=49", "sinks.s.compression=lz4"]);
        assert_eq!(args.b, ["unmatched_sinks=49", "sinks.s.compression=lz4"]);
        let [more, compressed] = [0, 1].map(|b| setup_of(&args.b[b], &args.system_args).unwrap());
        assert_eq!((more.unmatched_sinks, more.set), (49, Vec::new()));
        assert_eq!((compressed.unmatched_sinks, compressed.set), (0, vec!["sinks.s.compression=lz4".to_owned()]));
        assert!(setup_of("unmatched_sinks=many", &args.system_args).is_err());
    }
}
