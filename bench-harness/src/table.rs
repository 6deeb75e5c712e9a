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
use crate::result::{Metrics, Outcome};
use crate::run::{Bench, Plan, outcome_of};

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
    /// What is measured
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// A column: metric, head, decimals, divisor.
type Column = (&'static str, &'static str, usize, f64);

/// The measured columns; one that no row has a value for is left out.
const COLUMNS: [Column; 10] = [
    ("cpu_s_per_million", "CPU-s per million", 3, 1.0),
    ("kafka_cpu_s_per_million", "Kafka's", 2, 1.0),
    ("generator_cpu_s_per_million", "generator's", 3, 1.0),
    ("messages_per_second", "messages/s", 0, 1.0),
    ("ack_p50_us", "ack p50, ms", 2, 1_000.0),
    ("ack_p99_us", "ack p99, ms", 2, 1_000.0),
    ("rss_peak_bytes", "peak RSS, MiB", 0, 1_048_576.0),
    ("rss_bytes_per_connection", "RSS bytes per connection", 0, 1.0),
    ("idle_cpu_percent", "idle CPU, % of a core", 3, 1.0),
    ("delivered", "delivered", 0, 1.0),
];

/// What must be 0 in every repeat, in the order of the last column, which shows the most of any repeat.
const FAULTS: [&str; 4] = ["lost", "duplicated", "reordered", "corrupt"];

/// One row: what was measured, and how.
struct Row {
    system: String,
    outcome: Outcome,
}

/// Measures and prints. False if a run lost, doubled or reordered something.
pub fn run(args: &TableArgs) -> Result<bool> {
    let machine = Machine::here();
    let mut bench = Bench::open(&args.system_args)?;
    let mut clean = true;
    let mut tables = Vec::new();
    for workload in &args.workloads {
        let rows = measure(workload, args, &machine, &mut bench).wrap_err_with(|| format!("workload {workload}"))?;
        clean &= rows.iter().all(|row| row.outcome.is_clean());
        if args.system_args.json {
            rows.iter().for_each(|row| println!("{}", row.outcome.to_json()));
        }
        tables.push(rows);
    }
    if !args.system_args.json {
        // What idles and what is loaded have no column in common.
        let (idle, loaded): (Vec<_>, Vec<_>) = tables.iter().partition(|rows| rows[0].outcome.messages == 0);
        for tables in [loaded, idle].iter().filter(|tables| !tables.is_empty()) {
            println!("{}\n", to_markdown(tables));
        }
        println!("{}", origin(args, &tables, &machine));
    }
    Ok(clean)
}

fn measure(workload: &str, args: &TableArgs, machine: &Machine, bench: &mut Bench) -> Result<Vec<Row>> {
    let plan = |system: &String| -> Result<Plan> {
        let workload = args.system_args.workload(workload)?;
        let setup = setup_of(system, &args.system_args)?;
        Ok(Plan { workload, setup, syscalls: false, repeats: args.repeat as usize })
    };
    let plans: Vec<Plan> = args.systems.iter().map(plan).collect::<Result<_>>()?;
    let mut samples: Vec<Vec<Metrics>> = vec![Vec::new(); plans.len()];
    for repeat in 0..args.repeat {
        for turn in 0..plans.len() {
            let at = if repeat % 2 == 0 { turn } else { plans.len() - 1 - turn };
            samples[at].push(bench.measure(&plans[at].workload, &plans[at].setup, false)?);
        }
    }
    let row = |((system, plan), samples): ((&String, &Plan), &Vec<Metrics>)| {
        let mut outcome = outcome_of(plan, machine.clone());
        outcome.condense(samples);
        Row { system: system.clone(), outcome }
    };
    Ok(args.systems.iter().zip(&plans).zip(&samples).map(row).collect())
}

/// Rows by workload, the first of each being the one to compare to.
fn to_markdown(tables: &[&Vec<Row>]) -> String {
    let outcomes = || tables.iter().copied().flatten().map(|row| &row.outcome);
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|(metric, ..)| outcomes().any(|outcome| outcome.median.contains_key(metric))).collect();
    let faults: Vec<&str> =
        FAULTS.into_iter().filter(|fault| outcomes().any(|outcome| outcome.spread.contains_key(fault))).collect();
    let mut heads = vec!["workload".to_owned(), "system".to_owned(), "ratio".to_owned()];
    heads.extend(columns.iter().map(|(_, head, ..)| (*head).to_owned()));
    if !faults.is_empty() {
        heads.push(faults.join("/"));
    }
    let mut lines = vec![line(&heads), format!("|---|---|{}", "--:|".repeat(heads.len() - 2))];
    for rows in tables {
        for row in *rows {
            let mut cells = vec![row.outcome.workload.clone(), row.system.clone(), ratio(row, &rows[0])];
            cells.extend(columns.iter().map(|column| cell(&row.outcome, column)));
            if !faults.is_empty() {
                cells.push(faults.iter().map(|fault| most(&row.outcome, fault)).collect::<Vec<_>>().join("/"));
            }
            lines.push(line(&cells));
        }
    }
    lines.join("\n")
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// CPU of a row over that of the first row.
fn ratio(row: &Row, first: &Row) -> String {
    let cpu = |row: &Row| row.outcome.median.get("cpu_s_per_million").copied();
    match (cpu(row), cpu(first)) {
        (Some(ours), Some(base)) => format!("{:.2}", ours / base),
        _ => "–".to_owned(),
    }
}

/// `median (least–greatest)`.
fn cell(outcome: &Outcome, (metric, _, decimals, divisor): &Column) -> String {
    let (Some(median), Some([least, most])) = (outcome.median.get(metric), outcome.spread.get(metric)) else {
        return "–".to_owned();
    };
    let show = |value: &f64| format!("{:.decimals$}", value / divisor);
    if show(least) == show(most) {
        show(median)
    } else {
        format!("{} ({}–{})", show(median), show(least), show(most))
    }
}

fn most(outcome: &Outcome, fault: &str) -> String {
    outcome.spread.get(fault).map_or("–".to_owned(), |[_, most]| format!("{most:.0}"))
}

/// Where the figures come from: machine, commit, command.
fn origin(args: &TableArgs, tables: &[Vec<Row>], machine: &Machine) -> String {
    let Machine { cpu, cores, kernel, load_before, .. } = machine;
    let mut commits: Vec<&str> = tables.iter().flatten().map(|row| row.outcome.commit.as_str()).collect();
    commits.sort_unstable();
    commits.dedup();
    let command: Vec<String> = std::env::args().skip(1).collect();
    let gib = machine.memory_bytes / (1 << 30);
    let repeat = args.repeat;
    format!(
        "Median of {repeat} (least–greatest), systems in turn; the ratio is of CPU to that of {}. Commit {}; {cores} cores of \
         {cpu}, {gib} GiB, kernel {kernel}, load {load_before} before.\nMade by `aqueduct-bench {}`.",
        args.systems[0],
        commits.join(", "),
        command.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn row(system: &str, cpu: [f64; 3], lost: f64) -> Row {
        let Command::Table(args) = Cli::parse_from(["aqueduct-bench", "table"]).command else { unreachable!() };
        let workload = args.system_args.workload(&args.workloads[0]).unwrap();
        let setup = setup_of(&args.systems[0], &args.system_args).unwrap();
        let plan = Plan { workload, setup, syscalls: false, repeats: 3 };
        let mut outcome = outcome_of(&plan, Machine::here());
        outcome.condense(&cpu.map(|cpu| Metrics::from([("cpu_s_per_million", cpu), ("lost", lost)])));
        Row { system: system.to_owned(), outcome }
    }

    #[test]
    fn a_row_shows_median_spread_ratio_and_faults() {
        let rows = vec![row("ceiling", [0.1, 0.1, 0.1], 0.0), row("ours", [0.2, 0.4, 0.25], 3.0)];
        assert_eq!(
            to_markdown(&[&rows]),
            "| workload | system | ratio | CPU-s per million | lost |\n\
             |---|---|--:|--:|--:|\n\
             | a | ceiling | 1.00 | 0.100 | 0 |\n\
             | a | ours | 2.50 | 0.250 (0.200–0.400) | 3 |"
        );
    }
}
