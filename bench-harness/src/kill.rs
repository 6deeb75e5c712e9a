//! `aqueduct-bench kill`: a system is killed with signal 9 under load, restarted on its data, and read back.
//!
//! The load and the truth live in a process of their own (`aqueduct-bench drive`), which also sends the signal: it alone
//! knows, at one instant, how many PUBLISHes are open. The instant is drawn from a seed and falls into whatever both
//! sides are doing; only where fewer than `min_open` are open, the kill waits. What the clients had been told by then must
//! be in Kafka, whatever else is.
//!
//! "Open" is as the clients see it: sent and not acknowledged. Some of it may still lie in a socket buffer.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::cli::SystemArgs;
use crate::generator::truth::{Truth, TruthLog};
use crate::generator::{Gauge, Generator, KillAt};
use crate::random::Random;
use crate::results::Kills;
use crate::run::Bench;
use crate::system::process::Process;
use crate::system::{Connector, Setup, System};
use crate::verify::{Reader, Verdict};
use crate::workload::Workload;

/// The kill falls between these, after the load's start.
const KILL_AFTER_US: std::ops::Range<u64> = 200_000..2_500_000;
/// More than can be sent before the latest kill.
const MESSAGES: u64 = 100_000_000;

/// Arguments of `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Kills, each with its own load, restart and verdict
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub cycles: u32,
    /// Decides the instants of the kills
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The load
    #[arg(long, default_value = "a")]
    pub workload: String,
    /// Kill only when so many PUBLISHes are open
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub min_open: u64,
    /// The control run: succeed only if something acknowledged is lost
    #[arg(long)]
    pub expect_loss: bool,
    /// What to kill
    #[arg(long, value_enum, default_value_t = System::Aqueduct)]
    pub system: System,
    /// How it is started
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// Arguments of `drive`.
#[derive(Debug, Args)]
pub struct DriveArgs {
    /// A canonical workload or the path of a file like theirs; its warm-up is left out
    pub workload: String,
    /// The MQTT server
    #[arg(long, value_name = "HOST:PORT")]
    pub to: SocketAddr,
    /// Where to write what was sent and acknowledged
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
    /// Send so many messages instead of the workload's number
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// Send SIGKILL to this process during the load
    #[arg(long, value_name = "PID")]
    pub kill_pid: Option<i32>,
    /// Not before so long after the load's start
    #[arg(long, default_value_t = 0, value_name = "US")]
    pub kill_after_us: u64,
    /// Not before so many PUBLISHes are open
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub kill_min_open: u64,
}

/// What `drive` prints as its one line.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Driven {
    sent: u64,
    acknowledged: u64,
    disconnected: u64,
    stalled: bool,
    /// When the kill was sent, and what was open then; absent if none was.
    killed_after_ms: Option<u64>,
    open_at_kill: Option<u64>,
}

/// One cycle's line.
#[derive(Debug, Clone, Serialize)]
struct Cycle {
    cycle: u32,
    killed_after_ms: u64,
    open_at_kill: u64,
    /// From the start of the new process to its first accepted connection.
    restart_ms: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Runs the cycles. True if nothing was lost, doubled, reordered or corrupt; with `--expect-loss`, if something was lost.
pub fn run(args: &KillArgs) -> Result<bool> {
    if args.system_args.connector == Connector::Discard {
        bail!("a discarded message cannot be read back: use the connector kafka or embedded");
    }
    let workload = args.system_args.workload(&args.workload)?;
    let mut setup = args.system_args.setup(args.system)?;
    let quiet = args.system_args.json;
    let bench = Bench::open(&args.system_args)?;
    setup.bootstrap = bench.bootstrap();
    setup.partitions = workload.partitions;
    setup.dir = bench.dir().join("node");
    let mut random = Random::new(args.seed);
    let mut lost = 0;
    let mut clean = true;
    for cycle in 1..=args.cycles {
        let kill_after = KILL_AFTER_US.start + random.below(KILL_AFTER_US.end - KILL_AFTER_US.start);
        setup.topic = format!("kill-{cycle}");
        bench.step(format!("cycle {cycle} of {}", args.cycles));
        let done = one_cycle(cycle, kill_after, args, &workload, &setup).wrap_err_with(|| format!("cycle {cycle}"))?;
        println!("{}", if quiet { serde_json::to_string(&done).into_diagnostic()? } else { sentence(&done, args) });
        lost += done.verdict.lost;
        clean &= done.verdict.is_clean();
    }
    Ok(if args.expect_loss { lost > 0 } else { clean })
}

/// Runs the cycles on a system of the caller's and adds up what they found.
pub fn count(args: &KillArgs, mut setup: Setup) -> Result<Kills> {
    let workload = args.system_args.workload(&args.workload)?;
    let bench = Bench::open(&args.system_args)?;
    setup.bootstrap = bench.bootstrap();
    setup.partitions = workload.partitions;
    let mut random = Random::new(args.seed);
    let mut sum = Kills::default();
    for cycle in 1..=args.cycles {
        let kill_after = KILL_AFTER_US.start + random.below(KILL_AFTER_US.end - KILL_AFTER_US.start);
        setup.topic = format!("kill-{cycle}");
        setup.dir = bench.dir().join(format!("node-{cycle}"));
        bench.step(format!("cycle {cycle} of {}", args.cycles));
        let done = one_cycle(cycle, kill_after, args, &workload, &setup).wrap_err_with(|| format!("cycle {cycle}"))?;
        let Verdict { acknowledged, lost, duplicated, reordered, .. } = done.verdict;
        sum.cycles += 1;
        sum.acknowledged += acknowledged;
        sum.lost += lost;
        sum.duplicated += duplicated;
        sum.reordered += reordered;
    }
    Ok(sum)
}

/// `aqueduct-bench drive`. True if everything was sent and acknowledged, or the kill that was asked for was sent.
pub fn drive(args: &DriveArgs) -> Result<bool> {
    let workload = Workload::load(&args.workload)?;
    let messages = args.messages.unwrap_or(workload.messages);
    let log = TruthLog::create(&args.truth, workload.payload_bytes)?;
    let mut generator = Generator::connect(args.to, &workload, 0, Arc::<Gauge>::default())?;
    generator.log_truth(log);
    if let Some(pid) = args.kill_pid {
        let pid = Pid::from_raw(pid).ok_or_else(|| miette!("{pid} is no process id"))?;
        let after = Duration::from_micros(args.kill_after_us);
        generator.kill_during_phase(KillAt { pid, after, open_min: args.kill_min_open });
    }
    let report = generator.phase(messages)?;
    generator.disconnect();
    let driven = Driven {
        sent: report.sent,
        acknowledged: report.acknowledged,
        disconnected: report.disconnected,
        stalled: report.stalled,
        killed_after_ms: report.killed.map(|killed| killed.after.as_millis() as u64),
        open_at_kill: report.killed.map(|killed| killed.open),
    };
    println!("{}", serde_json::to_string(&driven).into_diagnostic()?);
    let complete = report.sent == messages && (workload.qos == 0 || report.acknowledged == messages);
    Ok(if args.kill_pid.is_some() { report.killed.is_some() } else { complete })
}

fn one_cycle(cycle: u32, kill_after_us: u64, args: &KillArgs, workload: &Workload, setup: &Setup) -> Result<Cycle> {
    if let Some(bootstrap) = &setup.bootstrap {
        Reader::connect(bootstrap)?.create_topic(&setup.topic, setup.partitions)?;
    }
    std::fs::create_dir_all(&setup.dir).into_diagnostic()?;
    let truth_path = setup.dir.join("truth");
    let mut running = setup.start()?;
    let driven = drive_until_killed(kill_after_us, args, running.mqtt, &running.process, &truth_path, &setup.dir)
        .wrap_err_with(|| format!("the system said last:\n{}", running.process.tail()))?;
    let ended = running.process.wait()?;
    let (Some(killed_after_ms), Some(open_at_kill)) = (driven.killed_after_ms, driven.open_at_kill) else {
        bail!("the load ended before the kill: {driven:?}");
    };
    if ended.signal() != Some(Signal::KILL.as_raw()) {
        bail!("the system ended by itself, before the kill: {ended}\n{}", running.process.tail());
    }
    drop(running);

    let restart = Instant::now();
    let running = setup.start().wrap_err("restarting on the same data")?;
    let restart_ms = restart.elapsed().as_millis() as u64;
    let truth = Truth::read(&truth_path)?;
    let kafka = running.kafka.as_deref().ok_or_else(|| miette!("nowhere to read back from"))?;
    let verdict = Reader::connect(kafka)?.topic(&setup.topic, workload.partitions)?.judge(&truth)?.verdict;
    running.process.stop()?;
    Ok(Cycle { cycle, killed_after_ms, open_at_kill, restart_ms, verdict })
}

/// Runs `drive` as a process of its own and takes its line.
fn drive_until_killed(
    kill_after_us: u64,
    args: &KillArgs,
    mqtt: SocketAddr,
    target: &Process,
    truth: &Path,
    dir: &Path,
) -> Result<Driven> {
    let errors = File::create(dir.join("drive.log")).into_diagnostic()?;
    let output = Command::new(std::env::current_exe().into_diagnostic()?)
        .arg("drive")
        .arg(&args.workload)
        .args(["--to", &mqtt.to_string()])
        .arg("--truth")
        .arg(truth)
        .args(["--messages", &MESSAGES.to_string()])
        .args(["--kill-pid", &target.id().to_string()])
        .args(["--kill-after-us", &kill_after_us.to_string()])
        .args(["--kill-min-open", &args.min_open.to_string()])
        .stdin(Stdio::null())
        .stderr(errors)
        .output()
        .into_diagnostic()?;
    serde_json::from_slice(&output.stdout).into_diagnostic().wrap_err_with(|| {
        let errors = std::fs::read_to_string(dir.join("drive.log")).unwrap_or_default();
        format!("the load did not end with its line: {}\n{errors}", output.status)
    })
}

fn sentence(cycle: &Cycle, args: &KillArgs) -> String {
    let Verdict { sent, acknowledged, delivered, lost, duplicated, reordered, corrupt } = cycle.verdict;
    format!(
        "cycle {} of {}, seed {}: killed after {} ms with {} open; sent {sent}, acknowledged {acknowledged}, in Kafka \
         {delivered}; back after {} ms: {} (lost {lost}, duplicated {duplicated}, reordered {reordered}, corrupt {corrupt})",
        cycle.cycle,
        args.cycles,
        args.seed,
        cycle.killed_after_ms,
        cycle.open_at_kill,
        cycle.restart_ms,
        if cycle.verdict.is_clean() { "good" } else { "BAD" },
    )
}
