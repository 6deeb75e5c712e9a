//! `aqueduct-bench disk`: what a buffer on disk acknowledges in async, beside what the disk under it can take.
//!
//! ```text
//! the disk     256 KiB appended to a file and fdatasync, one after the other, for some seconds
//! the product  the workload into a sink that discards, every PUBACK after the sync of the group it is in
//! ```
//!
//! Both in turn, so that a disk that is busy with something else is busy for both. The disk's rate is told in messages too: its
//! bytes over the payload bytes of one, so what the product writes beside payloads counts against it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use miette::{IntoDiagnostic, Result, WrapErr};

use crate::cli::SystemArgs;
use crate::machine::Machine;
use crate::random::Random;
use crate::report::markdown;
use crate::result::{Metrics, Outcome};
use crate::results::{self, Row, Section};
use crate::run::{Bench, Plan, outcome_of};
use crate::system::peer::Puback;
use crate::system::{Connector, System};

/// One write of the disk's own rate.
const WRITE_BYTES: usize = 256 << 10;
/// Another file is begun at this length, as the product does it.
const FILE_BYTES: u64 = 100 << 20;
/// The sink of the harness's configuration, told to be durable by itself.
const DURABLE: [&str; 2] = ["sinks.s.query_mode=async", "sinks.s.buffer.mode=disk"];
/// What is asked of the product: the lesser of these, messages a second and a share of the disk's own rate.
const GOAL: (f64, f64) = (200_000.0, 0.7);

/// Arguments of `disk`.
#[derive(Debug, Args)]
pub struct DiskArgs {
    /// A canonical workload at QoS 1 or the path of a file like theirs
    #[arg(default_value = "a")]
    pub workload: String,
    /// Runs of each, in turn
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// How long the disk is written to by itself
    #[arg(long, default_value_t = 3, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Keep the results as this section of results.json, from which `report` makes the pages
    #[arg(long, value_name = "SECTION")]
    pub save: Option<String>,
    /// What is measured; files lie in the temporary directory (TMPDIR), the connector is the discarding one
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// Measures and prints. False if something was not acknowledged.
pub fn run(args: &DiskArgs) -> Result<bool> {
    let mut system_args = args.system_args.clone();
    system_args.connector = Connector::Discard;
    system_args.set.extend(DURABLE.map(str::to_owned));
    let machine = Machine::here();
    let plan = Plan {
        workload: system_args.workload(&args.workload)?,
        setup: system_args.setup(System::Aqueduct)?,
        syscalls: false,
        repeats: args.repeat as usize,
    };
    let mut bench = Bench::open(&system_args)?;
    let (mut of_disk, mut of_product) = (Vec::new(), Vec::new());
    for _ in 0..plan.repeats {
        bench.step("writing to the disk");
        let disk = write_and_sync(bench.dir(), Duration::from_secs(args.seconds), plan.workload.payload_bytes)?;
        let mut product = bench.measure(&plan.workload, &plan.setup, false)?;
        let share = product["messages_per_second"] / disk["messages_per_second"];
        product.insert("of_disk_percent", 100.0 * share);
        of_disk.push(disk);
        of_product.push(product);
    }
    drop(bench);
    let outcome = |samples: &[Metrics]| {
        let mut outcome = outcome_of(&plan, machine.clone());
        outcome.condense(samples);
        outcome
    };
    let (disk, product) = (outcome(&of_disk), outcome(&of_product));
    let section = section(args, &disk, &product);
    if args.system_args.json {
        println!("{}", product.to_json());
    } else {
        println!("{}\n\n{}", markdown::section(&section), goal(&disk, &product));
    }
    if let Some(name) = &args.save {
        results::save(name, section)?;
    }
    Ok(product.is_clean())
}

fn section(args: &DiskArgs, disk: &Outcome, product: &Outcome) -> Section {
    let rows = vec![
        Row::of("the disk", None, Puback::OnDisk, disk),
        Row::of("async, buffer.mode=disk", None, Puback::OnDisk, product),
    ];
    Section {
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        machine: product.machine.clone(),
        commits: vec![product.commit.clone()],
        repeats: args.repeat as usize,
        rows,
    }
}

/// Whether the goal is reached, in a sentence.
fn goal(disk: &Outcome, product: &Outcome) -> String {
    let rate = |of: &Outcome| of.median["messages_per_second"];
    let (absolute, share) = GOAL;
    let goal = absolute.min(share * rate(disk));
    let reached = if rate(product) >= goal { "reached" } else { "missed" };
    format!(
        "The goal, the lesser of {absolute:.0} messages/s and {:.0} % of the disk's own rate, is {goal:.0} messages/s: {reached} with {:.0}.",
        100.0 * share,
        rate(product)
    )
}

/// The disk's own rate in `dir`.
fn write_and_sync(dir: &Path, lasts: Duration, payload_bytes: usize) -> Result<Metrics> {
    // Bytes that no disk makes smaller.
    let mut random = Random::new(0xd15c);
    let bytes: Vec<u8> = (0..WRITE_BYTES).map(|_| random.below(256) as u8).collect();
    let path = dir.join("written");
    let context = || path.display().to_string();
    let mut file = File::create(&path).into_diagnostic().wrap_err_with(context)?;
    let (mut writes, mut length) = (0_u64, 0);
    let start = Instant::now();
    while start.elapsed() < lasts {
        if length >= FILE_BYTES {
            file = File::create(&path).into_diagnostic().wrap_err_with(context)?;
            length = 0;
        }
        file.write_all(&bytes).and_then(|()| file.sync_data()).into_diagnostic().wrap_err_with(context)?;
        length += WRITE_BYTES as u64;
        writes += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(file);
    fs::remove_file(&path).into_diagnostic()?;
    let per_second = writes as f64 / seconds;
    Ok(Metrics::from([
        ("syncs_per_second", per_second),
        ("messages_per_second", per_second * WRITE_BYTES as f64 / payload_bytes as f64),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_measured_and_left_as_it_was() {
        let dir = std::env::temp_dir().join(format!("aqueduct-bench-disk-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let rate = write_and_sync(&dir, Duration::from_millis(50), 256).expect("a disk that takes files");
        assert!(rate["syncs_per_second"] > 0.0);
        let messages = rate["syncs_per_second"] * 1024.0;
        assert!((rate["messages_per_second"] - messages).abs() < 1e-6 * messages, "{rate:?}");
        assert_eq!(fs::read_dir(&dir).expect("a folder").count(), 0);
        fs::remove_dir(&dir).expect("an empty folder");
    }
}
