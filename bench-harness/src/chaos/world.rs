//! What the faults strike: the product, its disk and clock, the brokers, the way between them. Each fault is begun and ended
//! here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use rustix::process::Signal;

use super::admin::{Admin, NewTopic, until};
use super::certificates::{Certificates, Ended};
use super::clock;
use super::disk::Disk;
use super::fault::{Fault, Who};
use super::healer::Healer;
use super::load::Wheel;
use super::logins;
use super::memory::MemoryGroup;
use super::poison::{self, Poison, Poisoner};
use super::proxy::{FaultProxy, Mode};
use super::rack::{Alarm, Disks, Gone};
use super::rot::{Damage, Rot};
use super::slow_disk::SlowDisk;
use super::tracer::{self, FailedSyncs, FailingSyncs};
use crate::ledger::book::{Book, BookWriter};
use crate::ledger::fetch::KafkaReader;
use crate::ledger::judge::GONE_GRACE_NS;
use crate::measure::mono_ns;
use crate::scrape::Scrape;
use crate::system::kafka::Cluster;
use crate::system::{Running, Setup};

/// How long the leader stands alone before it is killed: long enough to acknowledge much, too short to be noticed.
const ALONE: Duration = Duration::from_millis(2_500);
/// A slow link: 1 Mbit/s.
const SLOW_BYTES_PER_SECOND: u32 = 125_000;
/// What a slow disk takes.
const SLOW_DISK_BYTES_PER_SECOND: u64 = 1 << 20;
/// The topic that is struck.
const STRUCK_ROUTE: u8 = 0;
/// Who the product is where it may be denied something.
const PRINCIPAL: &str = "User:alice";
/// How long all replicas may take to be in sync again.
const SYNC_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two brokers of a roll, once all replicas are in sync. Producers ask who leads a partition every three seconds at most
/// (`min_metadata_refresh_interval`); a broker that is killed before they know keeps waiting who waited for the one before it.
const BETWEEN_BROKERS: Duration = Duration::from_secs(5);

/// A process that was ended by SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Farewell {
    /// How long it took.
    pub drain_ms: u64,
    /// Its exit code; -1 if a signal ended it.
    pub exit_code: i32,
}

/// A fault that has begun.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun {
    /// The broker that is struck, if it is one.
    pub(super) broker: Option<u32>,
    /// By route and partition, who led them then; only where one broker is struck.
    pub(super) leaders: BTreeMap<(u8, i32), i32>,
    /// The route whose topic is struck, if it is one.
    pub(super) route: Option<u8>,
    /// When the topic was gone from every broker, if it is.
    gone_ns: u64,
    /// What the disks have of it, where the rest will be gone.
    disks: Option<Disks>,
}

/// Everything that can be struck.
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) node: Option<Running>,
    pub(super) cluster: Option<Cluster>,
    pub(super) proxy: Option<FaultProxy>,
    pub(super) disk: Option<Disk>,
    /// Of each broker, the disk that its data lie on, if they lie on disks of their own.
    pub(super) slow_disks: Vec<SlowDisk>,
    pub(super) wheel: Option<Arc<Wheel>>,
    pub(super) clock_file: Option<PathBuf>,
    pub(super) farewells: Vec<Farewell>,
    /// Ends of the product that nobody asked for.
    pub(super) crashes: Vec<String>,
    /// Starts of the product after the first.
    pub(super) restarts: u32,
    /// Records that those had found in their buffers.
    pub(super) replayed: u64,
    pub(super) failing_syncs: Option<FailingSyncs>,
    /// What was synced in vain.
    pub(super) failed_syncs: Option<FailedSyncs>,
    pub(super) group: Option<MemoryGroup>,
    /// Copies of each partition.
    pub(super) replicas: i16,
    /// What topics are made with.
    pub(super) topic_settings: Vec<(&'static str, &'static str)>,
    /// Where the ledger's book is kept.
    pub(super) book: PathBuf,
    /// What the brokers lost.
    pub(super) gone: Option<Gone>,
    /// What was damaged in the product's buffers.
    pub(super) rot: Option<Rot>,
    pub(super) poisoner: Option<Poisoner>,
    /// Acknowledged records that Kafka never takes.
    pub(super) poisoned: Option<u64>,
    pub(super) certificates: Option<Certificates>,
    /// Those who add partitions.
    pub(super) administrators: Vec<JoinHandle<Result<()>>>,
}

impl World {
    /// Begins a fault.
    pub(super) fn begin(&mut self, fault: Fault, lasts: Duration) -> Result<Begun> {
        let mut begun = Begun::default();
        if let Fault::BrokerKill(who)
        | Fault::BrokerPause(who)
        | Fault::Blackhole(who)
        | Fault::Reset(who)
        | Fault::SlowLink(who)
        | Fault::SlowDisk(who)
        | Fault::CertificateEnds(who) = fault
        {
            begun.leaders = self.leaders()?;
            let broker = self.broker(who, &begun)?;
            begun.broker = Some(broker);
            self.strike_broker(fault, broker)?;
            return Ok(begun);
        }
        match fault {
            Fault::Kill => self.node = None,
            Fault::ShardEnd => {
                let node = self.node.as_mut().ok_or_else(|| miette!("the product does not run"))?;
                tracer::end_shard(node, &self.setup.dir.join("strace.log"))?;
                self.node = None;
            }
            Fault::Term => self.terminate()?,
            Fault::Idle | Fault::Oblivion => self.rest(true),
            Fault::Storm => {
                let wheel = self.wheel()?;
                until(|| wheel.are_all_in(), "all clients to be in")?;
                wheel.storm();
            }
            Fault::BrokerRoll => self.roll(lasts)?,
            Fault::BrokerKillAll => self.all_brokers(|cluster, broker| cluster.kill(broker))?,
            Fault::LeaderAlone => begun.broker = Some(self.leave_leader_alone()?),
            Fault::ProduceError(code) => self.set_modes(Mode::ProduceError(code)),
            Fault::DiskFull => self.disk()?.fill()?,
            Fault::BitRot => {
                self.node = None;
                self.rot = Some(Rot::spread(&self.setup.dir.join("data/buffer"))?);
            }
            Fault::PowerCut => {
                // A machine without power computes nothing, so the product stands still first: see [`Disk::cut`].
                if let Some(node) = &self.node {
                    node.process.freeze()?;
                }
                self.disk()?.cut()?;
                self.node = None;
            }
            Fault::SyncError => self.trace()?,
            Fault::Memory(mebibytes) => {
                let node = self.node.as_ref().ok_or_else(|| miette!("the product does not run"))?;
                self.group = Some(MemoryGroup::confine(node.process.id(), mebibytes)?);
            }
            Fault::Clock(seconds) => self.set_clock(seconds)?,
            Fault::Poison => {
                begun.route = Some(STRUCK_ROUTE);
                let node = self.node.as_ref().ok_or_else(|| miette!("the product does not run"))?;
                self.poisoner = Some(Poisoner::start(node.mqtt, format!("chaos/{STRUCK_ROUTE}/poison")));
            }
            Fault::Certificates => self.change_certificates(Certificates::spoil)?,
            Fault::RackPowerCut => {
                begun.disks = Some(Disks::note(&self.cluster()?.folders(), &self.struck_topic()?)?);
            }
            Fault::AddPartitions(_) | Fault::DeleteTopic | Fault::DenyTopic | Fault::ShutOut => {
                begun.route = Some(STRUCK_ROUTE);
                self.change_topic(fault, &mut begun)?;
            }
            _ => {}
        }
        Ok(begun)
    }

    /// When the product dialled a broker anew that nothing passes to, if it did.
    pub(super) fn redialled_ns(&self, fault: Fault, begun: &Begun) -> Option<u64> {
        let Fault::Blackhole(_) = fault else { return None };
        self.proxy.as_ref()?.redialled_ns(begun.broker?)
    }

    /// Heals a fault. It is healed when all who are answered have ended well.
    pub(super) fn end(&mut self, fault: Fault, begun: &Begun) -> Result<Vec<Healer>> {
        let broker = begun.broker.unwrap_or(1);
        match fault {
            Fault::BrokerKill(_) | Fault::LeaderAlone => return self.restart(&[broker]),
            Fault::CertificateEnds(_) => {
                self.cluster()?.kill(broker)?;
                return self.restart(&[broker]);
            }
            Fault::BrokerKillAll => return self.restart_all(),
            Fault::RackPowerCut => {
                self.all_brokers(|cluster, broker| cluster.signal(broker, Signal::KILL))?;
                // The script takes the dead for dead.
                self.all_brokers(|cluster, broker| cluster.kill(broker))?;
                self.gone = begun.disks.as_ref().map(Disks::cut).transpose()?;
                return self.restart_all();
            }
            Fault::Kill | Fault::ShardEnd | Fault::Term | Fault::BitRot => self.start_product()?,
            Fault::PowerCut => {
                self.disk()?.remount()?;
                self.start_product()?;
            }
            Fault::Idle => self.rest(false),
            Fault::Oblivion => {
                let (admin, partitions) = (self.admin()?, self.setup.partitions);
                self.topics().iter().try_for_each(|topic| admin.await_oblivion(topic, partitions))?;
                self.rest(false);
            }
            Fault::Storm => return Ok(vec![Healer::Crowd(Arc::clone(self.wheel()?))]),
            // It may have been killed meanwhile; then there is nothing to wake.
            Fault::BrokerPause(_) => drop(self.cluster()?.signal(broker, Signal::CONT)),
            Fault::Blackhole(_) | Fault::Reset(_) | Fault::SlowLink(_) => self.set_mode(broker, Mode::Pass),
            Fault::SlowDisk(_) => self.slow_disk(broker)?.limit(None)?,
            Fault::ProduceError(_) => self.set_modes(Mode::Pass),
            Fault::DiskFull => self.disk()?.clear()?,
            Fault::SyncError => self.failed_syncs = self.failing_syncs.take().map(FailingSyncs::end).transpose()?,
            Fault::Memory(_) => self.group = None,
            Fault::Clock(_) => self.set_clock(0)?,
            Fault::DeleteTopic => {
                // The judge takes what is answered within the grace for an answer of the old topic's.
                let until_ns = begun.gone_ns + GONE_GRACE_NS;
                std::thread::sleep(Duration::from_nanos(until_ns.saturating_sub(mono_ns())));
                self.create_topic(&self.struck_topic()?)?;
            }
            Fault::Poison => self.poisoned = self.poisoner.take().map(Poisoner::end).transpose()?,
            Fault::Certificates => self.change_certificates(Certificates::renew)?,
            Fault::DenyTopic => self.admin()?.allow(&self.struck_topic()?)?,
            Fault::ShutOut => self.admin()?.let_in(logins::USERS[usize::from(STRUCK_ROUTE)])?,
            Fault::AddPartitions(_) => {
                let all = self.administrators.drain(..).map(|worker| Healer::Administrator(Some(worker)));
                return Ok(all.collect());
            }
            Fault::BrokerRoll => {}
        }
        Ok(Vec::new())
    }

    /// Starts the product, for the first time or again, and leads the clients to it.
    pub(super) fn start_product(&mut self) -> Result<()> {
        if self.node.is_some() {
            return Ok(());
        }
        self.setup.group = self.group.as_ref().map(MemoryGroup::processes);
        let node = self.setup.start().wrap_err("starting the product")?;
        if let Some(wheel) = &self.wheel {
            wheel.moved_to(node.mqtt);
            self.restarts += 1;
            let scrape = node.http.map(Scrape::of).transpose()?;
            self.replayed += scrape.map_or(0, |scrape| scrape.sum("aqueduct_sink_buffer_replayed_total"));
        }
        self.node = Some(node);
        Ok(())
    }

    /// Notes if the product has ended by itself, and starts it again, so that the run can go on.
    pub(super) fn watch_product(&mut self) -> Result<()> {
        let Some(node) = &mut self.node else { return Ok(()) };
        if node.process.is_running() {
            return Ok(());
        }
        let status = node.process.wait()?;
        self.crashes.push(format!("{status}: {}", node.process.tail()));
        self.node = None;
        self.start_product()
    }

    /// Waits until every partition has all its replicas in sync.
    pub(super) fn await_sync(&self) -> Result<()> {
        let reader = KafkaReader::connect(&self.cluster()?.bootstrap)?;
        let start = Instant::now();
        for topic in self.topics() {
            let whole = |reader: &KafkaReader| {
                let partitions = reader.partitions(&topic).ok()?;
                partitions.iter().all(|info| info.leader >= 0 && info.in_sync == info.replicas).then_some(())
            };
            while whole(&reader).is_none() {
                if start.elapsed() > SYNC_TIMEOUT {
                    return Err(miette!("topic {topic} is not in sync after {SYNC_TIMEOUT:?}"));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// Waits until the product has handed over all that it has taken: with a buffer of its own it acknowledges before.
    pub(super) fn await_empty(&self, patience: Duration) -> Result<()> {
        let Some(http) = self.node.as_ref().and_then(|node| node.http) else { return Ok(()) };
        let start = Instant::now();
        loop {
            let scrape = Scrape::of(http)?;
            let left = scrape.sum("aqueduct_sink_queuing") + scrape.sum("aqueduct_sink_inflight");
            if left == 0 || start.elapsed() > patience {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Makes a topic of the ledger's.
    pub(super) fn create_topic(&self, name: &str) -> Result<()> {
        self.create_topic_with(name, &self.topic_settings)
    }

    /// Makes a topic with these settings.
    pub(super) fn create_topic_with(&self, name: &str, settings: &[(&'static str, &'static str)]) -> Result<()> {
        let (partitions, replicas) = (self.setup.partitions, self.replicas);
        self.admin()?.create_topic(&NewTopic { name, partitions, replicas, settings })
    }

    /// What an administrator does to the first topic. The book hears of it.
    fn change_topic(&mut self, fault: Fault, begun: &mut Begun) -> Result<()> {
        let (admin, topic) = (self.admin()?, self.struck_topic()?);
        match fault {
            Fault::AddPartitions(more) => {
                BookWriter::join(&self.book)?.grows(STRUCK_ROUTE, mono_ns())?;
                // A broker that stands still may hold it up, and is woken from here.
                let adding = move || admin.add_partitions(&topic, more as i32).map(drop);
                self.administrators.push(std::thread::spawn(adding));
            }
            Fault::DeleteTopic => {
                admin.delete_topic(&topic)?;
                begun.gone_ns = mono_ns();
                BookWriter::join(&self.book)?.gone(STRUCK_ROUTE, begun.gone_ns)?;
            }
            Fault::ShutOut => {
                admin.shut_out(logins::USERS[usize::from(STRUCK_ROUTE)])?;
                std::thread::sleep(logins::LASTS);
            }
            _ => admin.deny_writes(&topic, PRINCIPAL)?,
        }
        Ok(())
    }

    fn change_certificates(&mut self, change: impl Fn(&mut Certificates, u32, &[u16]) -> Result<()>) -> Result<()> {
        let hosts = self.cluster()?.mtls.clone().unwrap_or_default();
        let ports: Vec<u16> = hosts.split(',').filter_map(|host| host.rsplit(':').next()?.parse().ok()).collect();
        let product = self.node.as_ref().ok_or_else(|| miette!("the product does not run"))?.process.id();
        let certificates = self.certificates.as_mut().ok_or_else(|| miette!("the product does not use TLS"))?;
        change(certificates, product, &ports)
    }

    fn admin(&self) -> Result<Admin> {
        Admin::connect(&self.cluster()?.bootstrap)
    }

    /// The topic that is struck where it is one.
    pub(super) fn struck_topic(&self) -> Result<String> {
        self.topics().into_iter().nth(usize::from(STRUCK_ROUTE)).ok_or_else(|| miette!("there is no topic"))
    }

    /// What the product said of the loss there was, beside what the judge found lost.
    pub(super) fn alarm(&self, counted: u64, lost: &[(u32, u32)], book: &Book) -> Result<Option<Alarm>> {
        let Some((gone, node)) = self.gone.as_ref().zip(self.node.as_ref()) else { return Ok(None) };
        gone.compare(node.process.output(), &self.struck_topic()?, counted, lost, book).map(Some)
    }

    /// What the damage to buffers cost that there was, where the judge found so much lost.
    pub(super) fn damage(&self, lost: &[(u32, u32)]) -> Result<Option<Damage>> {
        let http = self.node.as_ref().and_then(|node| node.http);
        let Some((rot, http)) = self.rot.as_ref().zip(http) else { return Ok(None) };
        Ok(Some(rot.compare(Scrape::of(http)?.sum("aqueduct_sink_buffer_damaged_total"), lost)))
    }

    /// What became of the poison there was.
    pub(super) fn poison(&self) -> Result<Option<Poison>> {
        self.poisoned.map(|acked| poison::find(&self.bootstrap()?, acked)).transpose()
    }

    fn strike_broker(&mut self, fault: Fault, broker: u32) -> Result<()> {
        match fault {
            Fault::BrokerKill(_) => self.cluster()?.kill(broker)?,
            Fault::CertificateEnds(_) => {
                let cluster = self.cluster()?;
                cluster.kill(broker)?;
                let _ended = Ended::put(cluster)?;
                for mut start in cluster.restart(&[broker])? {
                    start.wait().into_diagnostic()?;
                }
            }
            Fault::BrokerPause(_) => self.cluster()?.signal(broker, Signal::STOP)?,
            Fault::Blackhole(_) => self.set_mode(broker, Mode::Hold),
            Fault::Reset(_) => self.set_mode(broker, Mode::Reset),
            Fault::SlowDisk(_) => {
                let disk = self.slow_disk(broker)?;
                // It may have been started anew since the first.
                disk.slows(self.cluster()?.pid(broker)?)?;
                disk.limit(Some(SLOW_DISK_BYTES_PER_SECOND))?;
            }
            _ => self.set_mode(broker, Mode::Slow(SLOW_BYTES_PER_SECOND)),
        }
        Ok(())
    }

    fn terminate(&mut self) -> Result<()> {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let start = Instant::now();
        let status = node.process.terminate()?;
        let drain_ms = start.elapsed().as_millis() as u64;
        self.farewells.push(Farewell { drain_ms, exit_code: status.code().unwrap_or(-1) });
        Ok(())
    }

    fn roll(&mut self, down: Duration) -> Result<()> {
        let cluster = self.cluster()?;
        for broker in 1..=cluster.brokers {
            if broker > 1 {
                std::thread::sleep(BETWEEN_BROKERS);
            }
            cluster.kill(broker)?;
            std::thread::sleep(down);
            for mut start in cluster.restart(&[broker])? {
                start.wait().into_diagnostic()?;
            }
            self.await_sync()?;
        }
        Ok(())
    }

    fn leave_leader_alone(&mut self) -> Result<u32> {
        let leaders = self.leaders()?;
        let leader = *leaders.get(&(0, 0)).ok_or_else(|| miette!("the first partition has no leader"))? as u32;
        let others = |signal| {
            self.all_brokers(|cluster, broker| if broker == leader { Ok(()) } else { cluster.signal(broker, signal) })
        };
        others(Signal::STOP)?;
        std::thread::sleep(ALONE);
        let killed = self.cluster()?.signal(leader, Signal::KILL);
        others(Signal::CONT)?;
        // The script takes the dead for dead.
        killed.and_then(|()| self.cluster()?.kill(leader)).map(|()| leader)
    }

    fn restart_all(&self) -> Result<Vec<Healer>> {
        self.restart(&(1..=self.cluster()?.brokers).collect::<Vec<_>>())
    }

    fn restart(&self, brokers: &[u32]) -> Result<Vec<Healer>> {
        Ok(self.cluster()?.restart(brokers)?.into_iter().map(Healer::Broker).collect())
    }

    fn all_brokers(&self, each: impl Fn(&Cluster, u32) -> Result<()>) -> Result<()> {
        let cluster = self.cluster()?;
        (1..=cluster.brokers).try_for_each(|broker| each(cluster, broker))
    }

    fn broker(&self, who: Who, begun: &Begun) -> Result<u32> {
        match who {
            Who::Broker(id) if id <= self.cluster()?.brokers => Ok(id),
            Who::Broker(id) => Err(miette!("there is no broker {id}")),
            Who::Leader => begun
                .leaders
                .get(&(0, 0))
                .and_then(|id| u32::try_from(*id).ok())
                .ok_or_else(|| miette!("the first partition has no leader")),
        }
    }

    /// By route and partition; of those that nobody answers for, nothing.
    fn leaders(&self) -> Result<BTreeMap<(u8, i32), i32>> {
        let cluster = self.cluster()?;
        let mut leaders = BTreeMap::new();
        if cluster.brokers == 1 {
            // It need not be asked, and it may be in no state to answer.
            return Ok(BTreeMap::from([((0, 0), 1)]));
        }
        let reader = KafkaReader::connect(&cluster.bootstrap)?;
        for (route, topic) in (0..).zip(self.topics()) {
            for info in reader.partitions(&topic).unwrap_or_default() {
                leaders.insert((route, info.partition), info.leader);
            }
        }
        Ok(leaders)
    }

    fn topics(&self) -> Vec<String> {
        self.setup.routes.iter().map(|(_, topic)| topic.clone()).collect()
    }

    /// Every sync of the product's fails from here on.
    fn trace(&mut self) -> Result<()> {
        let node = self.node.as_ref().ok_or_else(|| miette!("the product does not run"))?;
        self.failing_syncs = Some(FailingSyncs::begin(node.process.id(), &self.setup.dir.join("strace.log"))?);
        Ok(())
    }

    fn set_clock(&self, seconds: i64) -> Result<()> {
        clock::set(self.clock_file.as_deref().ok_or_else(|| miette!("the product has a true clock"))?, seconds)
    }

    fn rest(&self, idle: bool) {
        if let Some(wheel) = &self.wheel {
            wheel.rest(idle);
        }
    }

    fn set_mode(&self, broker: u32, mode: Mode) {
        if let Some(proxy) = &self.proxy {
            proxy.set(broker, mode);
        }
    }

    fn set_modes(&self, mode: Mode) {
        let brokers = self.cluster.as_ref().map_or(0, |cluster| cluster.brokers);
        (1..=brokers).for_each(|broker| self.set_mode(broker, mode));
    }

    fn wheel(&self) -> Result<&Arc<Wheel>> {
        self.wheel.as_ref().ok_or_else(|| miette!("there is no load"))
    }

    fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().ok_or_else(|| miette!("there is no Kafka here"))
    }

    fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().ok_or_else(|| miette!("the product has no disk of its own"))
    }

    fn slow_disk(&self, broker: u32) -> Result<&SlowDisk> {
        let disk = self.slow_disks.get((broker as usize).wrapping_sub(1));
        disk.ok_or_else(|| miette!("broker {broker} has no disk of its own"))
    }
}

impl World {
    /// Where the records are read back: past the proxy.
    pub(super) fn bootstrap(&self) -> Result<String> {
        let of_node = || self.node.as_ref().and_then(|node| node.kafka.clone());
        let known = self.cluster.as_ref().map(|cluster| cluster.bootstrap.clone()).or_else(of_node);
        known.ok_or_else(|| miette!("nowhere to read back from"))
    }

    /// Peak of the product's resident memory in bytes, and its open descriptors.
    pub(super) fn footprint(&self) -> Result<(u64, usize)> {
        let node = self.node.as_ref().ok_or_else(|| miette!("the product does not run"))?;
        let pid = node.process.id();
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_diagnostic()?.count();
        Ok((crate::measure::Memory::of(pid)?.peak, descriptors))
    }
}
