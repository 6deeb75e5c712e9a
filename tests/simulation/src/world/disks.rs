//! The disk under the embedded log, and the writers of a shard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use aqueduct::clock::{Mono, Now};
use aqueduct::config::{Config, Connector, ConnectorKind};
use aqueduct::log::journal::{
    JournalDone, JournalId, JournalSpec, JournalStart, ReadBack, open_journals, remove_passed,
};
use aqueduct::log::{DiskDone, LogId, LogLimits, LogReader, Opened, TopicSpec};
use aqueduct::shard::ShardId;
use aqueduct::sink::Writer;
use aqueduct::sink::embedded::Embedded;
use aqueduct::sink::kafka::Produce;

use super::agenda::Sleeper;
use super::rounds::Service;
use super::{World, trace};
use crate::copies::Stamp;
use crate::disk::{Crash, Disk, DiskFaults, DiskPlan, open_logs};
use crate::kafka::{Place, Records, plain, with_header};
use crate::ledger::Disorder;
use crate::message::MessageId;
use crate::plan::{Destination, Plan};
use crate::random::Random;

const MS: u64 = 1_000_000;

/// The files of a node, across its lives.
#[derive(Debug)]
pub(super) struct Disks {
    /// Where they lie while the node is down.
    dir: PathBuf,
    topics: Vec<TopicSpec>,
    buffers: Vec<JournalSpec>,
    starts: Vec<Vec<JournalStart>>,
    /// Journals that a start of this node's life writes to.
    own: BTreeSet<JournalId>,
    /// Entries of earlier starts that were read since this one.
    replayed: BTreeSet<(JournalId, u64)>,
    faults: DiskFaults,
    random: Random,
    opened: Option<Opened>,
    disk: Option<Disk>,
}

/// What the names of directories of worlds begin with; the process and a number follow.
const DIR_NAME: &str = "aqueduct-sim-";

/// Where directories of worlds lie: in memory, if it can be had.
fn base_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { env::temp_dir() }
}

/// Removes what the worlds of processes have left that were killed.
pub fn sweep() {
    for entry in fs::read_dir(base_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix(DIR_NAME)?.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Disks {
    /// An empty disk.
    pub(super) fn new(plan: &Plan, random: &mut Random) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = base_dir().join(format!("{DIR_NAME}{}-{count}", process::id()));
        let limits = LogLimits { segment_bytes: 64 << 10, retention_bytes: 1 << 30, retention_ms: 7 * 86_400_000 };
        let topic = |sink| TopicSpec { name: format!("t{sink}"), partitions: plan.partitions, limits };
        let is_log = plan.destination == Destination::Embedded;
        let buffer = |sink| JournalSpec { sink: sink as u16, dir: dir.join("buffer").join(format!("s{sink}")) };
        Self {
            topics: if is_log { (0..plan.sinks).map(topic).collect() } else { Vec::new() },
            buffers: if is_log { Vec::new() } else { (0..plan.sinks).map(buffer).collect() },
            starts: Vec::new(),
            own: BTreeSet::new(),
            replayed: BTreeSet::new(),
            faults: faults(plan.disk_trouble, random),
            random: random.split(),
            dir,
            opened: None,
            disk: None,
        }
    }

    /// Opens what is there, as a node does at its start.
    pub(super) fn open(&mut self, now: Now, shards: u16) {
        let opened = (!self.topics.is_empty()).then(|| {
            let opened = open_logs(&self.dir, &self.topics, now.wall_ms, &mut self.random);
            opened.unwrap_or_else(|error| panic!("VIOLATION the logs cannot be opened: {error}"))
        });
        let random = &mut self.random;
        let buffers = open_journals(&self.buffers, shards, JournalId(0), || random.next_u64() as u32)
            .unwrap_or_else(|error| panic!("VIOLATION the buffers cannot be opened: {error}"));
        self.starts = buffers.starts;
        self.replayed.clear();
        self.own = self.starts.iter().flatten().map(|start| start.own).collect();
        let catalogue = opened.as_ref().map(|opened| opened.catalogue.clone());
        let random = self.random.split();
        let disk = Disk::read(DiskPlan::default(), usize::from(shards), catalogue, buffers.journals, random);
        let mut disk = disk.expect("a tmpfs reads");
        disk.set_faults(self.faults);
        (self.opened, self.disk) = (opened, Some(disk));
    }

    /// Opens the buffer of a sink that comes: what each shard begins with.
    pub(super) fn open_one(&mut self, sink: u16, shards: u16) -> Vec<JournalStart> {
        let (Some(spec), Some(disk)) = (self.buffers.get(usize::from(sink)), &mut self.disk) else { return Vec::new() };
        let random = &mut self.random;
        let first = disk.next_journal();
        let opened = open_journals(std::slice::from_ref(spec), shards, first, || random.next_u64() as u32);
        let opened = opened.unwrap_or_else(|error| panic!("VIOLATION the buffer cannot be opened: {error}"));
        disk.add(opened.journals);
        let starts: Vec<JournalStart> = opened.starts.into_iter().flatten().collect();
        self.own.extend(starts.iter().map(|start| start.own));
        starts
    }

    /// The sink does not come after all, or `is_gone`.
    pub(super) fn close_one(&mut self, sink: u16, is_gone: bool) {
        let (Some(spec), Some(disk)) = (self.buffers.get(usize::from(sink)), &mut self.disk) else { return };
        disk.remove(sink);
        if is_gone {
            remove_passed(spec).unwrap_or_else(|error| panic!("VIOLATION the buffer cannot be tidied up: {error}"));
            let left = open_journals(std::slice::from_ref(spec), 1, disk.next_journal(), || 0);
            let left = left.map_or(0, |left| left.starts.iter().flatten().map(JournalStart::entries).sum());
            assert!(left == 0, "VIOLATION {left} entries lie in the buffer of a sink that is gone");
        }
    }

    /// What a shard begins with.
    pub(super) fn starts(&mut self, shard: ShardId) -> Vec<JournalStart> {
        self.starts.get_mut(usize::from(shard.0)).map(std::mem::take).unwrap_or_default()
    }

    /// The node is gone, and perhaps the power. Whether it was cut under a buffer.
    pub(super) fn crash(&mut self, random: &mut Random) -> bool {
        let crash = if random.below(2) == 0 { Crash::Process } else { Crash::Power { rotten_bits: 0 } };
        if let Some(disk) = self.disk.take() {
            disk.crash(crash).expect("a tmpfs writes");
        }
        self.opened = None;
        crash != Crash::Process && !self.buffers.is_empty()
    }

    /// Records of entries that could not be read so often that they may be given up.
    pub(super) fn unread_records(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::unread_records)
    }

    /// Slices copied forward since the node was started.
    pub(super) fn copies(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.counts().copies)
    }

    /// Nothing fails any more.
    pub(super) fn heal(&mut self) {
        self.faults = DiskFaults::default();
        if let Some(disk) = &mut self.disk {
            disk.set_faults(self.faults);
        }
    }

    /// Charges of a shard's batches that are with the writers.
    pub(super) fn charged_bytes(&self, home: ShardId) -> usize {
        let batches = self.disk.iter().flat_map(Disk::batches);
        batches.filter(|batch| batch.home == home).map(|batch| batch.charge_bytes).sum()
    }

    /// Bits of what was durable flip while the node is down: it opens all the same, and what it shows is whole.
    pub(super) fn rot(&mut self, now: Now) {
        let rotten_bits = self.random.between(1, 6) as u32;
        if let Some(disk) = self.disk.take() {
            disk.crash(Crash::Power { rotten_bits }).expect("a tmpfs writes");
        }
        self.faults = DiskFaults::default();
        self.open(now, 1);
        self.count(|_, _| {});
    }

    /// Every message that readers of the log are shown.
    pub(super) fn count(&self, mut found: impl FnMut(usize, MessageId)) {
        self.for_each_record(|sink, partition, _, value| match MessageId::read(value) {
            Ok(id) => found(sink, id),
            Err(why) => panic!("VIOLATION t{sink}-{partition}: {why}"),
        });
    }

    /// Every record that readers of the log are shown, partition by partition: sink, partition, key and value.
    pub(super) fn for_each_record(&self, mut show: impl FnMut(usize, u32, Option<&[u8]>, &[u8])) {
        let (Some(disk), Some(opened)) = (&self.disk, &self.opened) else { return };
        disk.show_durable().expect("a tmpfs writes");
        for (sink, topic) in self.topics.iter().enumerate() {
            for partition in 0..topic.partitions {
                let log = opened.catalogue.topic(&topic.name).and_then(|logs| logs.log(partition));
                let log = log.expect("a topic has its partitions");
                read_log(opened, log, |key, value| show(sink, partition, key, value));
            }
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Shows key and value of a log's records, as its readers get them.
///
/// # Panics
/// If the log cannot be read, or its offsets go back.
pub fn read_log(opened: &Opened, log: LogId, mut show: impl FnMut(Option<&[u8]>, &[u8])) {
    let mut reader = LogReader::new(opened.catalogue.clone(), log);
    let ends = &opened.catalogue.place(log).ends;
    let mut offset = ends.log_start();
    check_times(&mut reader, offset);
    loop {
        let mut bytes = Vec::new();
        reader.read(offset, 1 << 20, true, &mut bytes).unwrap_or_else(|error| panic!("VIOLATION {log:?}: {error:?}"));
        if bytes.is_empty() {
            return;
        }
        let mut rest = &bytes[..];
        while let Some(length) = rest.get(8..12) {
            let (batch, after) = rest.split_at(12 + u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize);
            let base = i64::from_be_bytes(batch[..8].try_into().expect("8 bytes"));
            assert!(base >= offset, "VIOLATION {log:?} goes back to offset {base} from {offset}");
            for record in Records::of(&plain(batch)) {
                offset = base + i64::from(record.index) + 1;
                show(record.key, record.value.unwrap_or_default());
            }
            rest = after;
        }
    }
}

/// What is found by its time lies in the log, and is not older.
fn check_times(reader: &mut LogReader, start: i64) {
    let first = reader.find_time(0).unwrap_or_else(|error| panic!("VIOLATION {error:?}"));
    if let Some((offset, timestamp_ms)) = first {
        assert!(offset >= start, "VIOLATION the oldest record by time is {offset}, the log begins at {start}");
        let later = reader.find_time(timestamp_ms + 1).unwrap_or_else(|error| panic!("VIOLATION {error:?}"));
        assert!(later.is_none_or(|(_, later_ms)| later_ms > timestamp_ms), "VIOLATION {later:?} after {timestamp_ms}");
    }
}

fn faults(strength: u32, r: &mut Random) -> DiskFaults {
    let mut of = |per_million: u32| if strength > 0 && r.below(2) == 0 { per_million * strength * strength } else { 0 };
    let faults = DiskFaults {
        write_fails: of(2_000),
        cut_fails: of(200_000).min(1_000_000),
        create_fails: of(20_000),
        sync_fails: of(2_000),
        delete_fails: of(20_000),
        stall: of(2_000),
        stall_ns_max: 300 * MS,
        bytes_max: (of(1) > 0).then_some(300_000),
        ..DiskFaults::default()
    };
    DiskFaults { read_fails: faults.sync_fails, ..faults }
}

/// The writers of a shard, one for each connector.
pub(super) fn writers(config: &Config, shard: ShardId, shards: u16, disks: Option<&Disks>) -> Vec<Writer> {
    let opened = disks.and_then(|disks| disks.opened.as_ref());
    let writer = |(index, connector): (usize, &Connector)| match (&connector.kind, opened) {
        (ConnectorKind::Kafka(_), _) => {
            Writer::Kafka(Box::new(Produce::new(shard, shards, index, config, [0; 32]).expect("a Kafka connector")))
        }
        (_, Some(opened)) => {
            let topics = config.sinks.iter().map(|sink| opened.catalogue.topic(&sink.topic).cloned()).collect();
            Writer::Embedded(Embedded::new(shard, shards, topics, &opened.logs))
        }
        (kind, None) => panic!("no world has {kind:?}"),
    };
    config.connectors.iter().enumerate().map(writer).collect()
}

impl World {
    /// Gives the disk what a shard asks for.
    pub(super) fn carry_out_disk(&mut self, shard: usize) {
        let Some(disk) = self.disks.as_mut().and_then(|disks| disks.disk.as_mut()) else { return };
        for op in self.nodes[shard].ports.disk.drain(..) {
            disk.submit(Mono(self.now), shard, op);
        }
        self.look_at_disks();
    }

    fn look_at_disks(&mut self) {
        let disk = self.disks.as_ref().and_then(|disks| disks.disk.as_ref());
        if let Some(Mono(next)) = disk.and_then(Disk::next_event) {
            self.agenda.wake(Sleeper::Disks, next.max(self.now));
        }
    }

    /// The disk does what is due.
    pub(super) fn on_disks(&mut self) {
        let now = self.clock();
        for shard in 0..self.nodes.len() {
            let Some(disk) = self.disks.as_mut().and_then(|disks| disks.disk.as_mut()) else { return };
            if shard == 0 {
                disk.tick(now);
            }
            let done: Vec<DiskDone> = disk.done(shard).collect();
            for done in done {
                self.take_written(&done);
                self.serve(shard, Service::Disk(done));
            }
        }
        self.look_at_disks();
    }

    /// Tells the ledger what is durable.
    fn take_written(&mut self, done: &DiskDone) {
        if let DiskDone::Journal(done) = done {
            return self.take_from_journal(done);
        }
        let DiskDone::Appended { batches, result, .. } = done else { return };
        if let Err(error) = result {
            for batch in batches {
                for record in Records::of(&plain(&batch.bytes)) {
                    self.ledger.refused(usize::from(batch.part.sink), record.value.unwrap_or_default());
                }
            }
            return trace!(self, "an append failed: {}", error.text);
        }
        for batch in batches {
            let place = Place { topic: batch.part.sink, life: 0, partition: batch.part.partition };
            let stored = self.ledger.copies.begin(Stamp { place, producer: (-1, -1), first: -1 });
            for record in Records::of(&plain(&batch.bytes)) {
                self.ledger.stored(&self.plan, stored, &record);
            }
        }
        if let Some(Disorder { text, .. }) = self.ledger.disorder.pop() {
            panic!("VIOLATION {text}");
        }
    }

    /// Tells the ledger what is durable in a buffer, and what an earlier start had left there, and is sent again.
    fn take_from_journal(&mut self, done: &JournalDone) {
        let Some(disks) = &mut self.disks else { return };
        if let (JournalDone::Appended { batches, result: Ok(()), .. }, true) = (done, self.ledger.minds_buffers()) {
            for (batch, plain) in batches.iter().map(|batch| (batch, with_header(batch))) {
                for record in Records::of(&crate::kafka::plain(&plain)) {
                    self.ledger.durable(usize::from(batch.part.sink), record.value.unwrap_or_default());
                }
            }
        }
        let JournalDone::Read { segment, entries, .. } = done else { return };
        if disks.unread_records() > 0 {
            self.ledger.disk_has_lost();
        }
        if disks.own.contains(&segment.journal) {
            return;
        }
        for (number, entry) in entries {
            let ReadBack::Whole(batch, _) = entry else { continue };
            if !disks.replayed.insert((segment.journal, *number)) {
                continue;
            }
            for record in Records::of(&plain(&with_header(batch))) {
                self.ledger.replayed(usize::from(batch.part.sink), record.value.unwrap_or_default());
            }
        }
    }
}
