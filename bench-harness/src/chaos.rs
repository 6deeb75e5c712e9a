//! `aqueduct-bench chaos`: the product under load while something goes wrong, and the ledger's verdict.
//!
//! `load` sends and writes down, `schedule` says what goes wrong when, `nemesis` does it to the `world`, and `crate::ledger`
//! judges what Kafka holds in the end. The clients live in this process, which no fault touches, and reach the product over
//! the loopback; the product reaches Kafka through `proxy`, the ledger past it.

mod admin;
pub mod certificates;
mod client;
mod clock;
pub mod counts;
mod disk;
pub mod fault;
mod group;
mod healer;
mod left;
pub mod load;
mod logins;
mod memory;
mod nemesis;
pub mod poison;
mod producers;
pub mod proxy;
pub mod rack;
pub mod report;
pub mod rot;
pub mod schedule;
mod slow_disk;
pub mod tracer;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use self::admin::Admin;
use self::certificates::Certificates;
use self::disk::Disk;
use self::fault::{Fault, KINDS, Obstacle};
use self::load::{Load, LoadPlan, LoadReport};
use self::nemesis::Strike;
use self::proxy::FaultProxy;
use self::report::{Evidence, Report};
use self::schedule::Schedule;
use self::slow_disk::SlowDisk;
use self::world::World;
use crate::cli::SystemArgs;
use crate::ledger::book::Book;
use crate::ledger::message::{PAYLOAD_BYTES_MIN, Routes};
use crate::ledger::{self, judge::Window, verdict::Findings};
use crate::reaper::{self, Duty};
use crate::scrape::Scrape;
use crate::system::kafka::{Cluster, ClusterPlan};
use crate::system::{Connector, System};

/// Brokers are given up sooner than by default, so that a run of a minute sees it happen.
const BROKER_SETTINGS: &str =
    "broker.session.timeout.ms=6000;broker.heartbeat.interval.ms=1000;log.cleaner.enable=false";
/// The product notices a dead connection sooner than by default.
const PRODUCT_SETTINGS: [&str; 4] = [
    "connectors.k.request_timeout=3s",
    "connectors.k.reconnect_delay=500ms",
    "sinks.s1.ack_timeout=2s",
    "sinks.s2.ack_timeout=2s",
];
/// As above, where partitions are added: their number is asked for in time.
const GROWTH_SETTINGS: [&str; 2] =
    ["sinks.s1.partition_count_refresh_interval=1s", "connectors.k.min_metadata_refresh_interval=500ms"];
/// Where partitions are added, the ledger judges by the time at which records came whether those of a client stay in order.
const GROWTH_TOPIC_SETTINGS: [(&str, &str); 1] = [("message.timestamp.type", "LogAppendTime")];
/// Where something may be denied: the brokers among themselves may do everything, the product has to say who it is.
const DENIAL_BROKER_SETTINGS: &str = concat!(
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer;",
    "allow.everyone.if.no.acl.found=true;super.users=User:ANONYMOUS;",
    "listener.security.protocol.map=CLIENT:PLAINTEXT,FRONT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT;",
    "listener.name.front.sasl.enabled.mechanisms=PLAIN;",
    "listener.name.front.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required ",
    // A semicolon would end the setting.
    "user_alice=\"alice-secret\"\\u003b"
);
const DENIAL_SETTINGS: [&str; 3] = [
    "connectors.k.authentication.mechanism=plain",
    "connectors.k.authentication.username=alice",
    "connectors.k.authentication.password=alice-secret",
];
/// Failure where something would be skipped for want of root.
const REQUIRE_ROOT: &str = "AQUEDUCT_REQUIRE_ROOT";
/// Two, so that a record in the wrong one is seen.
const KAFKA_TOPICS: [&str; 2] = ["chaos-a", "chaos-b"];

/// Arguments of `chaos`.
#[derive(Debug, Args)]
#[command(after_help = faults_help())]
pub struct ChaosArgs {
    /// Decides faults, times and targets; without it, and without a plan, the clock does, and the seed is printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Brokers of the cluster
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub brokers: u32,
    /// Kinds of faults to draw from [default: all that fit, but for those that are a matter of their own]
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    pub faults: Vec<String>,
    /// Draw faults for so long
    #[arg(long, default_value_t = 60, value_name = "S")]
    pub seconds: u64,
    /// Do this instead of drawing: FAULT@START+LENGTH,... in seconds; a run prints what it drew in this form
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<String>,
    /// Load goes on so long after the last fault
    #[arg(long, default_value_t = 5, value_name = "S")]
    pub calm: u64,
    /// After that, everything has to be answered within so long
    #[arg(long, default_value_t = 60, value_name = "S")]
    pub drain: u64,
    /// What a client has sent again may come behind what it sent later: with a hybrid buffer in sync after a kill
    #[arg(long)]
    pub late_resends: bool,
    /// MQTT clients, of all kinds in turn
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..100_000))]
    pub clients: u32,
    /// Messages a second of all clients together
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub rate: u64,
    /// Messages a client may have unanswered
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub window: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub payload_bytes: usize,
    /// QoS of the clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2], value_name = "QOS", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub qos: Vec<u8>,
    /// Copies of each partition [default: three, or as many as there are brokers]
    #[arg(long, value_name = "N")]
    pub replicas: Option<i16>,
    /// A broker setting; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub broker_set: Vec<String>,
    /// The control run: succeed only if the verdict is bad
    #[arg(long)]
    pub expect_bad: bool,
    /// How the product is started
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// Runs it. True if the verdict is good; with `--expect-bad`, if it is not.
pub fn run(args: &ChaosArgs) -> Result<bool> {
    if args.system_args.connector == Connector::Discard {
        bail!("a discarded message cannot be read back: use the connector kafka or embedded");
    }
    if args.payload_bytes < PAYLOAD_BYTES_MIN {
        bail!("a payload takes at least {PAYLOAD_BYTES_MIN} bytes");
    }
    let (seed, schedule) = scheduled(args)?;
    let place = Place::open(&args.system_args)?;
    let mut stage = Stage::set(args, &schedule, &place.dir)?;
    let report = stage.play(args, seed, &schedule)?;
    println!("{}", report.to_json());
    if !args.system_args.json {
        println!("{}", report.to_table());
    }
    Ok(report.clean != args.expect_bad)
}

fn faults_help() -> String {
    let names = KINDS.map(|(name, _)| name).join(", ");
    format!("Faults: {names}. What each is stands in bench-harness/README.md.")
}

impl ChaosArgs {
    /// Whether the product keeps what Kafka does not take in files.
    fn has_buffer_on_disk(&self) -> bool {
        self.system_args.set.iter().any(|set| set.ends_with("buffer.mode=disk"))
    }
}

/// What is to happen: the plan, or what the seed draws of the kinds that can be done here.
fn scheduled(args: &ChaosArgs) -> Result<(Option<u64>, Schedule)> {
    let connector = args.system_args.connector;
    if let Some(plan) = &args.plan {
        let schedule: Schedule = plan.parse()?;
        for action in &schedule.actions {
            let in_buffer = action.fault.strikes_disk() && args.has_buffer_on_disk();
            if !action.fault.fits(connector, args.brokers) && !in_buffer {
                bail!("{} makes no sense here", action.fault);
            }
            if let Some(obstacle) = action.fault.obstacle() {
                return Err(Lacking { fault: action.fault.to_string(), obstacle: obstacle.to_string() }.into());
            }
        }
        return Ok((None, schedule));
    }
    let kinds = if args.faults.is_empty() {
        let fits = |fault: &Fault| fault.is_drawn_unasked() && fault.fits(connector, args.brokers);
        KINDS.iter().map(|(_, fault)| *fault).filter(fits).collect()
    } else {
        args.faults.iter().map(|name| name.parse()).collect::<Result<Vec<Fault>>>()?
    };
    let required = std::env::var_os(REQUIRE_ROOT).is_some_and(|value| value == "1");
    let mut possible = Vec::new();
    for fault in kinds {
        if !fault.fits(connector, args.brokers) {
            bail!("{} makes no sense here", fault.name());
        }
        match fault.obstacle() {
            Some(Obstacle::Root) if required => bail!("{} needs root, and {REQUIRE_ROOT}=1", fault.name()),
            Some(obstacle) => eprintln!("SKIPPED: {} needs {obstacle}", fault.name()),
            None => possible.push(fault),
        }
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(since_1970.as_millis() as u64);
    Ok((Some(seed), Schedule::draw(seed, &possible, args.brokers, args.seconds)))
}

/// A planned fault that this machine cannot do: nothing was judged.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("SKIPPED: {fault} needs {obstacle}")]
pub struct Lacking {
    fault: String,
    obstacle: String,
}

/// The directory of a run, removed at its end.
struct Place {
    dir: PathBuf,
    keep: bool,
}

impl Place {
    fn open(args: &SystemArgs) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("aqueduct-chaos-{}", std::process::id()));
        std::fs::create_dir_all(&dir).into_diagnostic().wrap_err_with(|| dir.display().to_string())?;
        if args.keep {
            eprintln!("aqueduct-bench: the files stay in {}", dir.display());
        } else {
            reaper::enrol(Duty::Directory(dir.clone()));
        }
        Ok(Self { dir, keep: args.keep })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            let duty = Duty::Directory(self.dir.clone());
            reaper::end(&duty);
            reaper::discharge(&duty);
        }
    }
}

/// Everything that runs.
struct Stage {
    world: World,
    routes: Routes,
    book: PathBuf,
}

impl Stage {
    fn set(args: &ChaosArgs, schedule: &Schedule, dir: &Path) -> Result<Self> {
        let routes = Routes::to(KAFKA_TOPICS.map(str::to_owned).to_vec());
        let faults: Vec<Fault> = schedule.actions.iter().map(|action| action.fault).collect();
        let mut setup = args.system_args.setup(System::Aqueduct)?;
        setup.routes = routes.filters();
        setup.partitions = 4;
        setup.eager = true;
        let disk = match faults.iter().find(|fault| fault.needs_disk()) {
            Some(fault) => Some(Disk::create(dir).map_err(|error| {
                // Root in a container may not mount.
                let obstacle = format!("root, and a disk on a loop device: {error:#}");
                Lacking { fault: fault.name().to_owned(), obstacle }
            })?),
            None => None,
        };
        setup.dir = dir.join("node");
        std::fs::create_dir_all(&setup.dir).into_diagnostic()?;
        if let Some(disk) = &disk {
            setup.set.insert(0, format!("node.data_dir={}", disk.path().join("data").display()));
        }
        let mut clock_file = None;
        if faults.iter().any(|fault| matches!(fault, Fault::Clock(_))) {
            let file = dir.join("clock");
            clock::set(&file, 0)?;
            setup.variables = clock::variables(&file);
            clock_file = Some(file);
        }
        let mut world = World {
            setup,
            node: None,
            cluster: None,
            proxy: None,
            disk,
            slow_disks: Vec::new(),
            wheel: None,
            clock_file,
            farewells: Vec::new(),
            crashes: Vec::new(),
            restarts: 0,
            failing_syncs: None,
            failed_syncs: None,
            group: None,
            replayed: 0,
            replicas: args.replicas.unwrap_or(args.brokers.min(3) as i16),
            topic_settings: Vec::new(),
            book: dir.join("book"),
            gone: None,
            rot: None,
            poisoner: None,
            poisoned: None,
            certificates: None,
            administrators: Vec::new(),
        };
        if args.system_args.connector == Connector::Kafka {
            start_kafka(args, &faults, &mut world, dir)?;
        }
        world.setup.set.insert(0, "node.pin=false".to_owned());
        world.start_product()?;
        let book = world.book.clone();
        Ok(Self { world, routes, book })
    }

    /// Load, faults, drain, read-back.
    fn play(&mut self, args: &ChaosArgs, seed: Option<u64>, schedule: &Schedule) -> Result<Report> {
        let (load, strikes) = self.disturb(args, schedule)?;
        self.world.await_empty(Duration::from_secs(args.drain))?;
        let node = self.world.node.as_ref().ok_or_else(|| miette!("the product does not run"))?;
        let untouched = self.world.restarts == 0 && self.world.crashes.is_empty();
        let scrape = node.http.filter(|_| untouched).map(Scrape::of).transpose()?;
        let (rss_peak_bytes, descriptors) = self.world.footprint()?;
        let book = Book::read(&self.book)?;
        let windows: Vec<Window> = strikes.iter().map(|strike| strike.window.clone()).collect();
        let findings = ledger::audit(&self.world.bootstrap()?, &self.routes, &book, &windows)?;
        let counted = scrape.as_ref().map_or(0, |scrape| scrape.sum("aqueduct_sink_kafka_acked_loss_total"));
        let alarm = self.world.alarm(counted, &findings.lost, &book)?;
        let damage = self.world.damage(&findings.lost)?;
        let mut report = self.blank(args, seed, schedule, findings);
        (report.alarm, report.poison, report.damage) = (alarm, self.world.poison()?, damage);
        let certificates = self.world.certificates.as_ref().zip(scrape.as_ref());
        report.renewal = certificates.map(|(certificates, scrape)| certificates.renewal(scrape));
        (report.rss_peak_bytes, report.descriptors, report.replayed) =
            (rss_peak_bytes, descriptors, self.world.replayed);
        report.weigh(&Evidence { load: &load, strikes: &strikes, book: &book, scrape });
        Ok(report)
    }

    fn disturb(&mut self, args: &ChaosArgs, schedule: &Schedule) -> Result<(LoadReport, Vec<Strike>)> {
        let node = self.world.node.as_ref().ok_or_else(|| miette!("the product does not run"))?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let plan = LoadPlan {
            run: since_1970.as_nanos() as u64 ^ u64::from(std::process::id()),
            clients: args.clients,
            rate: args.rate,
            window: args.window,
            payload_bytes: args.payload_bytes,
            qos: args.qos.clone(),
            sessions_at_qos2: schedule.actions.iter().any(|action| action.fault == Fault::Storm),
            routes: self.routes.count(),
            book: self.book.clone(),
        };
        let load = Load::start(plan, node.mqtt);
        self.world.wheel = Some(load.wheel().clone());
        let say = |text: &str| eprintln!("{text}");
        let strikes = nemesis::run(schedule, &mut self.world, &load, &say);
        let strikes = strikes.wrap_err_with(|| match &self.world.node {
            Some(node) => format!("the product said last:\n{}", node.process.tail()),
            None => "the product does not run".to_owned(),
        })?;
        let calm = Duration::from_secs(args.calm);
        say(&format!("all is healed; {calm:?} of calm"));
        std::thread::sleep(calm);
        self.world.watch_product()?;
        let load = load.end(Duration::from_secs(args.drain))?;
        self.world.watch_product()?;
        Ok((load, strikes))
    }

    fn blank(&self, args: &ChaosArgs, seed: Option<u64>, schedule: &Schedule, findings: Findings) -> Report {
        Report {
            seed,
            plan: schedule.to_string(),
            connector: args.system_args.connector,
            brokers: if self.world.cluster.is_some() { args.brokers } else { 0 },
            findings,
            ack_p50_ms: 0.0,
            ack_p99_ms: 0.0,
            ack_p999_ms: 0.0,
            ack_max_ms: 0.0,
            rate_before: None,
            drained: false,
            drain_ms: 0,
            disconnects: 0,
            disconnects_unprovoked: 0,
            farewells: Default::default(),
            nacks: Default::default(),
            stray_acks: 0,
            strange_packets: 0,
            restarts: self.world.restarts,
            late_resends: args.late_resends,
            crashes: self.world.crashes.clone(),
            terminations: self.world.farewells.clone(),
            rss_peak_bytes: 0,
            descriptors: 0,
            replayed: 0,
            own: None,
            alarm: None,
            damage: None,
            failed_syncs: self.world.failed_syncs,
            poison: None,
            renewal: None,
            faults: Vec::new(),
            clean: false,
        }
    }
}

/// Kafka with the proxy in front of it, and its topics, as the faults need them.
fn start_kafka(args: &ChaosArgs, faults: &[Fault], world: &mut World, dir: &Path) -> Result<()> {
    let (mut of_brokers, mut of_product) = (vec![BROKER_SETTINGS.to_owned()], PRODUCT_SETTINGS.to_vec());
    if faults.iter().any(|fault| matches!(fault, Fault::AddPartitions(_))) {
        of_product.extend(GROWTH_SETTINGS);
        world.topic_settings.extend(GROWTH_TOPIC_SETTINGS);
    }
    if faults.contains(&Fault::DenyTopic) {
        of_brokers.push(DENIAL_BROKER_SETTINGS.to_owned());
        of_product.extend(DENIAL_SETTINGS);
    }
    let wants_logins = faults.contains(&Fault::ShutOut);
    if wants_logins {
        of_brokers.push(logins::BROKER_SETTINGS.to_owned());
    }
    if faults.contains(&Fault::Oblivion) {
        of_brokers.push(producers::BROKER_SETTINGS.to_owned());
    }
    let poisoned = faults.contains(&Fault::Poison);
    if poisoned {
        of_product.extend(poison::SETTINGS);
        world.topic_settings.extend(poison::TOPIC_SETTINGS);
    }
    of_brokers.extend(args.broker_set.iter().cloned());
    let slow_disk = faults.iter().find(|fault| matches!(fault, Fault::SlowDisk(_)));
    let disks = dir.join("disks");
    if let Some(fault) = slow_disk {
        let made = (1..=args.brokers).map(|broker| SlowDisk::create(&disks, broker)).collect::<Result<_>>();
        world.slow_disks = made.map_err(|error| {
            let obstacle = format!("root, a disk on a loop device, and a control group that limits it: {error:#}");
            Lacking { fault: fault.name().to_owned(), obstacle }
        })?;
    }
    let proxy = FaultProxy::start(args.brokers)?;
    let plan = ClusterPlan {
        brokers: args.brokers,
        settings: of_brokers.join(";"),
        front: Some(proxy.first_port()),
        disks: slow_disk.map(|_| disks),
        secure: faults.iter().any(|fault| fault.needs_tls()),
    };
    let kafka_dir = args.system_args.kafka_dir.clone().unwrap_or_else(|| dir.join("kafka"));
    let cluster = Cluster::start_as(&kafka_dir, &plan)?;
    for (broker, disk) in (1..).zip(&world.slow_disks) {
        disk.slows(cluster.pid(broker)?)?;
    }
    proxy.stand_before(cluster.back.clone());
    world.setup.bootstrap = Some(proxy.bootstrap());
    let mut own: Vec<String> = of_product.into_iter().map(str::to_owned).collect();
    if let Some(hosts) = &cluster.mtls {
        // The proxy knows Kafka's frames, not those of TLS.
        world.setup.bootstrap = Some(hosts.clone());
        let certificates = Certificates::create(dir.join("certificates"), &cluster)?;
        own.extend(certificates.settings());
        world.certificates = Some(certificates);
    }
    if wants_logins {
        own.extend(logins::settings(&proxy.bootstrap()));
        let admin = Admin::connect(&cluster.bootstrap)?;
        logins::USERS.into_iter().try_for_each(|user| admin.let_in(user))?;
    }
    own.append(&mut world.setup.set);
    world.setup.set = own;
    (world.cluster, world.proxy) = (Some(cluster), Some(proxy));
    if poisoned {
        // It takes what the ledger's do not.
        world.create_topic_with(poison::DEAD_LETTERS, &[])?;
    }
    KAFKA_TOPICS.into_iter().try_for_each(|topic| world.create_topic(topic))
}
