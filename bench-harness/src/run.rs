//! `aqueduct-bench run`: one workload against one system, repeated.
//!
//! A repeat: create the topic, start the system, connect, warm up, sample the CPU clocks, send the measured phase, wait
//! until all of it is drained, sample again, read Kafka back, stop. The topic goes with the repeat and Kafka's data with
//! the invocation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use miette::{IntoDiagnostic, Result, WrapErr};

use crate::cli::SystemArgs;
use crate::generator::truth::Truth;
use crate::generator::{Gauge, Generator, PhaseReport};
use crate::machine::{self, Machine};
use crate::measure::CpuSample;
use crate::progress::Progress;
use crate::reaper::{self, Duty};
use crate::result::{Metrics, Outcome};
use crate::scrape::Scrape;
use crate::syscalls::SyscallTrace;
use crate::system::aqueduct::unmatched_topic;
use crate::system::kafka::Cluster;
use crate::system::{Connector, Running, Setup, System};
use crate::verify::{Reader, Topic};
use crate::workload::Workload;

/// Idle connections settle for so long before they are measured.
const SETTLE: Duration = Duration::from_secs(2);

/// Quantiles of the time to an acknowledgement, enough to draw its distribution.
pub const ACK_QUANTILES: [(&str, f64); 9] = [
    ("ack_p10_us", 0.1),
    ("ack_p25_us", 0.25),
    ("ack_p50_us", 0.5),
    ("ack_p75_us", 0.75),
    ("ack_p90_us", 0.9),
    ("ack_p95_us", 0.95),
    ("ack_p99_us", 0.99),
    ("ack_p999_us", 0.999),
    ("ack_p9999_us", 0.9999),
];

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is sent.
    pub workload: Workload,
    /// What is measured; `dir`, `bootstrap` and `topic` are filled in by the run.
    pub setup: Setup,
    /// Whether the calls into the kernel are counted.
    pub syscalls: bool,
    /// How often.
    pub repeats: usize,
}

/// A place for one invocation: its directory, and Kafka if the connector needs one.
pub struct Bench {
    dir: PathBuf,
    cluster: Option<Cluster>,
    progress: Progress,
    gauge: Arc<Gauge>,
    runs: usize,
    /// Topics that were made for sinks that match nothing.
    unmatched: u32,
    keep: bool,
}

impl Bench {
    /// Makes the directory and starts Kafka if the connector needs it.
    pub fn open(args: &SystemArgs) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("aqueduct-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).into_diagnostic().wrap_err_with(|| dir.display().to_string())?;
        if args.keep {
            eprintln!("aqueduct-bench: the files stay in {}", dir.display());
        } else {
            reaper::enrol(Duty::Directory(dir.clone()));
        }
        let progress = Progress::new(!args.json);
        let mut bench =
            Self { dir, cluster: None, progress, gauge: Arc::default(), runs: 0, unmatched: 0, keep: args.keep };
        if args.connector == Connector::Kafka {
            bench.progress.step("starting Kafka");
            let kafka_dir = args.kafka_dir.clone().unwrap_or_else(|| bench.dir.join("kafka"));
            bench.cluster = Some(Cluster::start(&kafka_dir, args.secure)?);
        }
        Ok(bench)
    }

    /// Where this invocation keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kafka's bootstrap address, if there is one.
    pub fn bootstrap(&self) -> Option<String> {
        self.cluster.as_ref().map(|cluster| cluster.bootstrap.clone())
    }

    /// Says what is being done.
    pub fn step(&self, text: impl Into<String>) {
        self.progress.step(text);
    }

    /// One repeat, with the calls into the kernel counted if asked for.
    pub fn measure(&mut self, workload: &Workload, setup: &Setup, syscalls: bool) -> Result<Metrics> {
        self.runs += 1;
        let run = self.runs;
        let mut setup = setup.clone();
        setup.bootstrap = self.bootstrap();
        setup.tls = self.cluster.as_ref().and_then(|cluster| cluster.tls.clone());
        setup.topic = format!("bench-{run}");
        setup.partitions = workload.partitions;
        setup.dir = self.dir.join(format!("run-{run}"));
        let admin = setup.bootstrap.as_deref().map(Reader::connect).transpose()?;
        if let Some(admin) = &admin {
            admin.create_topic(&setup.topic, workload.partitions)?;
            self.create_unmatched(admin, setup.unmatched_sinks)?;
        }
        self.step("starting the system");
        let mut running = setup.start()?;
        let metrics = self.measure_running(workload, &setup, &mut running, syscalls);
        let metrics = metrics.wrap_err_with(|| format!("the system said last:\n{}", running.process.tail()))?;
        running.process.stop()?;
        if let Some(admin) = &admin {
            admin.delete_topic(&setup.topic)?;
        }
        if !self.keep {
            let _ = std::fs::remove_dir_all(&setup.dir);
        }
        Ok(metrics)
    }

    /// Topics of sinks that match nothing, once for all repeats.
    fn create_unmatched(&mut self, admin: &Reader, sinks: u32) -> Result<()> {
        for number in self.unmatched + 1..=sinks {
            admin.create_topic(&unmatched_topic(number), 1)?;
            self.unmatched = number;
        }
        Ok(())
    }

    fn measure_running(
        &self,
        workload: &Workload,
        setup: &Setup,
        running: &mut Running,
        syscalls: bool,
    ) -> Result<Metrics> {
        if workload.messages == 0 {
            return self.measure_idle(workload, running);
        }
        let reader = running.kafka.as_deref().map(Reader::connect).transpose()?;
        self.step("connecting");
        let mut generator = Generator::connect(running.mqtt, workload, 0, Arc::clone(&self.gauge))?;
        let warmup = self.phase(&mut generator, "warming up", workload.warmup_messages)?;
        let topic = match &reader {
            Some(reader) => Some(reader.topic(&setup.topic, workload.partitions)?),
            None => None,
        };
        self.drain(topic.as_ref(), warmup.sent)?;
        let trace = syscalls.then(|| SyscallTrace::start(running.process.id(), &setup.dir)).transpose()?;
        // A build without that page is measured all the same.
        let said_before = running.http.and_then(|http| Scrape::of(http).ok());
        let before = self.sample(running)?;
        let report = self.phase(&mut generator, "load", workload.messages)?;
        self.drain(topic.as_ref(), warmup.sent + report.sent)?;
        let after = self.sample(running)?;
        let mut metrics = load_metrics(&report, workload);
        if let (Some(http), Some(earlier)) = (running.http, said_before) {
            Scrape::of(http)?.put(&earlier, &mut metrics, report.asked, report.elapsed.as_secs_f64());
        }
        if let Some(trace) = trace {
            trace.end(&mut metrics, report.asked)?;
        }
        put_cpu(&mut metrics, &before, &after, report.asked);
        metrics.insert("rss_peak_bytes", running.memory()?.peak as f64);
        let truth = Truth::complete(workload.payload_bytes, generator.sent_by_client());
        generator.disconnect();
        match topic {
            Some(topic) => self.put_verdict(&mut metrics, &topic, &truth, warmup.sent)?,
            None => put_acknowledged(&mut metrics, &report, workload.qos),
        }
        Ok(metrics)
    }

    fn measure_idle(&self, workload: &Workload, running: &Running) -> Result<Metrics> {
        std::thread::sleep(SETTLE);
        let empty = running.memory()?;
        self.step(format!("opening {} connections", workload.connections));
        let connect_before = running.cpu()?;
        let generator = Generator::connect(running.mqtt, workload, 0, Arc::clone(&self.gauge))?;
        let connect_cpu = running.cpu()?.since(&connect_before);
        self.step(format!("holding {} idle connections for {:?}", workload.connections, workload.hold()));
        std::thread::sleep(SETTLE);
        let before = running.cpu()?;
        std::thread::sleep(workload.hold());
        let used = running.cpu()?.since(&before);
        let held = running.memory()?;
        generator.disconnect();
        let connections = f64::from(workload.connections);
        Ok(Metrics::from([
            ("rss_bytes_per_connection", held.resident.saturating_sub(empty.resident) as f64 / connections),
            ("rss_peak_bytes", held.peak as f64),
            ("idle_cpu_percent", used.as_secs_f64() / workload.hold().as_secs_f64() * 100.0),
            ("connect_cpu_us", connect_cpu.as_secs_f64() * 1e6 / connections),
        ]))
    }

    fn phase(&self, generator: &mut Generator, text: &str, messages: u64) -> Result<PhaseReport> {
        let _watch = self.progress.watch(text, messages, &self.gauge);
        generator.phase(messages)
    }

    /// Waits until Kafka holds all that was sent. At QoS 1 it does as soon as all is acknowledged; what is missing then is
    /// for the verdict to name.
    fn drain(&self, topic: Option<&Topic<'_>>, records: u64) -> Result<()> {
        if let Some(topic) = topic {
            topic.await_records(records)?;
        }
        Ok(())
    }

    fn sample(&self, running: &Running) -> Result<Samples> {
        let kafka = self.cluster.as_ref().map(|cluster| CpuSample::of(cluster.broker)).transpose()?;
        Ok(Samples { system: running.cpu()?, kafka })
    }

    fn put_verdict(&self, metrics: &mut Metrics, topic: &Topic<'_>, truth: &Truth, warmup: u64) -> Result<()> {
        self.step("reading Kafka back");
        let reading = topic.judge(truth)?;
        let verdict = reading.verdict;
        // The warm-up is judged along with the rest, so a message of it that is lost shows; it is not counted twice.
        metrics.insert("delivered", verdict.delivered.saturating_sub(warmup) as f64);
        metrics.insert("lost", verdict.lost as f64);
        metrics.insert("duplicated", verdict.duplicated as f64);
        metrics.insert("reordered", verdict.reordered as f64);
        metrics.insert("corrupt", verdict.corrupt as f64);
        metrics.insert("verify_records_per_second", reading.records as f64 / reading.read_seconds);
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cluster = None;
        if !self.keep {
            reaper::end(&Duty::Directory(self.dir.clone()));
            reaper::discharge(&Duty::Directory(self.dir.clone()));
        }
    }
}

/// Runs the plan to its end.
pub fn run(plan: &Plan, args: &SystemArgs) -> Result<Outcome> {
    let machine = Machine::here();
    let mut bench = Bench::open(args)?;
    let mut samples = Vec::new();
    for _ in 0..plan.repeats {
        samples.push(bench.measure(&plan.workload, &plan.setup, plan.syscalls)?);
    }
    let mut outcome = outcome_of(plan, machine);
    outcome.condense(&samples);
    Ok(outcome)
}

/// The frame of an outcome, without its metrics.
pub(crate) fn outcome_of(plan: &Plan, machine: Machine) -> Outcome {
    let Plan { workload, setup, .. } = plan;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Outcome {
        workload: workload.name.clone(),
        system: setup.system,
        connector: setup.connector,
        profile: setup.profile.clone(),
        shards: if setup.system == System::Ceiling { 1 } else { setup.shards },
        set: setup.set.clone(),
        verified_by: if setup.connector == Connector::Discard { "acknowledgements" } else { "reading back" },
        messages: workload.messages,
        repeats: plan.repeats,
        median: Metrics::new(),
        spread: Default::default(),
        machine,
        commit: machine::commit_of(&setup.binary),
        finished_at: now.as_secs(),
        parameters: workload.clone(),
    }
}

/// CPU clocks at one instant.
struct Samples {
    system: CpuSample,
    kafka: Option<CpuSample>,
}

fn put_cpu(metrics: &mut Metrics, before: &Samples, after: &Samples, messages: u64) {
    let per_million = |used: Duration| used.as_secs_f64() * 1e6 / messages as f64;
    metrics.insert("cpu_s_per_million", per_million(after.system.since(&before.system)));
    if let (Some(after), Some(before)) = (&after.kafka, &before.kafka) {
        metrics.insert("kafka_cpu_s_per_million", per_million(after.since(before)));
    }
}

fn load_metrics(report: &PhaseReport, workload: &Workload) -> Metrics {
    let seconds = report.elapsed.as_secs_f64();
    let mut metrics = Metrics::from([
        ("sent", report.sent as f64),
        ("acknowledged", report.acknowledged as f64),
        ("disconnected", report.disconnected as f64),
        ("stalled", f64::from(u8::from(report.stalled))),
        ("stray_acks", report.stray_acks as f64),
        ("acks_out_of_order", report.acks_out_of_order as f64),
        ("load_seconds", seconds),
        ("messages_per_second", report.sent as f64 / seconds),
        ("generator_cpu_s_per_million", report.cpu.as_secs_f64() * 1e6 / report.asked as f64),
    ]);
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1_000.0;
    if workload.qos > 0 {
        for (metric, quantile) in ACK_QUANTILES {
            metrics.insert(metric, microseconds(report.latency.value_at_quantile(quantile)));
        }
        metrics.insert("ack_max_us", microseconds(report.latency.max()));
    }
    if workload.pace.is_some() {
        metrics.insert("send_late_p99_us", microseconds(report.lateness.value_at_quantile(0.99)));
    }
    metrics
}

/// Without a topic to read back the acknowledgements are all there is; at QoS 0 not even those.
fn put_acknowledged(metrics: &mut Metrics, report: &PhaseReport, qos: u8) {
    let delivered = if qos == 0 { report.sent } else { report.acknowledged };
    metrics.insert("delivered", delivered as f64);
    metrics.insert("lost", report.asked.saturating_sub(delivered) as f64);
}
