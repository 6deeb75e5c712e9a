//! What the disk promises to the log, and the log to its clients: what was acknowledged is there after a crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::kafka::record_batch::{self, Header};
use aqueduct::buffer::{Batch, PartKey};
use aqueduct::clock::{Mono, Now};
use aqueduct::log::{Catalogue, DiskDone, LogId, LogLimits, LogReader, PartitionLog, TopicSpec};
use aqueduct::shard::ShardId;

use super::*;

/// 2025-11-21.
const WALL_MS: i64 = 1_763_700_000_000;

/// The start of one machine after the other on the same directory.
struct Rig {
    dir: PathBuf,
    partitions: u32,
    limits: LogLimits,
    random: Random,
    now: Mono,
    next_value: u64,
    /// What was acknowledged, by log and offset.
    acked: BTreeMap<(u32, i64), u64>,
    refused: u64,
}

/// One machine's life.
struct Life {
    disk: Disk,
    logs: Vec<PartitionLog>,
    catalogue: Arc<Catalogue>,
}

impl Rig {
    fn new(name: &str, seed: u64, limits: LogLimits) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = parent.join(format!("aqueduct-disk-{name}-{seed}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (random, now) = (Random::new(seed), Mono(1_000_000_000));
        Self { dir, partitions: 2, limits, random, now, next_value: 0, acked: BTreeMap::new(), refused: 0 }
    }

    fn time(&self) -> Now {
        Now { mono: self.now, wall_ms: WALL_MS + self.now.as_ms() as i64 }
    }

    fn start(&mut self) -> Life {
        let topic = TopicSpec { name: "t".to_owned(), partitions: self.partitions, limits: self.limits };
        let opened = open_logs(&self.dir, &[topic], self.time().wall_ms, &mut self.random).expect("the logs open");
        let logs = opened.logs.into_iter().map(PartitionLog::new).collect();
        let disk = Disk::read(
            DiskPlan::default(),
            1,
            Some(Arc::clone(&opened.catalogue)),
            Journals::default(),
            self.random.split(),
        );
        Life { disk: disk.expect("the files are read"), logs, catalogue: opened.catalogue }
    }

    /// A batch of a few records; the values count on.
    fn batch(&mut self) -> Box<Batch> {
        let records = self.random.between(1, 5) as u32;
        let mut bytes = Vec::new();
        record_batch::begin(&mut bytes);
        for at in 0..records {
            let mut value = self.next_value.to_be_bytes().to_vec();
            value.resize(8 + self.random.below(400) as usize, 0xee);
            record_batch::append(&mut bytes, at, 0, Some(b"key"), Some(&value), record_batch::RawHeaders::NONE);
            self.next_value += 1;
        }
        Box::new(Batch {
            queued_bytes: bytes.len(),
            told_when_durable: false,
            journal: 0,
            bytes,
            runs: Vec::new(),
            records,
            refused: Vec::new(),
            too_large: false,
            packed: None,
            part: PartKey { sink: 0, partition: 0 },
            slot: 0,
            live: 0,
            topic_name: String::new(),
            topic: 0,
            epoch: 0,
            home: ShardId(0),
            charge_bytes: 0,
            base_timestamp_ms: WALL_MS,
            max_timestamp_ms: WALL_MS,
            opened: self.now,
        })
    }

    /// Pushes, writes, hears, for so many steps.
    fn run(&mut self, life: &mut Life, steps: u32) {
        for _ in 0..steps {
            let log = self.random.below(u64::from(self.partitions)) as usize;
            if self.random.chance(500_000) {
                life.logs[log].push(self.batch());
            }
            for log in &mut life.logs {
                for op in [log.poll_append(self.time()), log.poll_delete(self.time())].into_iter().flatten() {
                    life.disk.submit(self.now, 0, op);
                }
            }
            self.now = self.now + self.random.below(4_000_000);
            life.disk.tick(self.time());
            let done: Vec<DiskDone> = life.disk.done(0).collect();
            done.into_iter().for_each(|done| self.hear(life, done));
        }
    }

    fn hear(&mut self, life: &mut Life, done: DiskDone) {
        match done {
            DiskDone::Appended { log, segment, batches, result, .. } => {
                let first = life.logs[log.0 as usize].on_appended(self.time(), segment, &result);
                let Some(mut offset) = first else {
                    self.refused += 1;
                    return;
                };
                for batch in &batches {
                    for value in values(&batch.bytes) {
                        self.acked.insert((log.0, offset), value);
                        offset += 1;
                    }
                }
            }
            DiskDone::Deleted { log, segment, result } => {
                life.logs[log.0 as usize].on_deleted(self.time(), segment, &result);
            }
            DiskDone::Journal(done) => panic!("no buffer is there: {done:?}"),
        }
    }

    /// What was acknowledged and is not where it was said to be, below the start of the log excepted.
    fn missing(&self, life: &Life) -> Vec<((u32, i64), u64)> {
        let mut found = BTreeMap::new();
        for log in 0..self.partitions {
            found.extend(read_all(&life.catalogue, log));
        }
        let kept = |log: u32| life.catalogue.place(LogId(log)).ends.log_start();
        let missing = self.acked.iter().filter(|&(at, value)| at.1 >= kept(at.0) && found.get(at) != Some(value));
        missing.map(|(&at, &value)| (at, value)).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn values(batch: &[u8]) -> Vec<u64> {
    let records = record_batch::records(batch).expect("a batch");
    records.map(|record| value_of(record.expect("a record").value.expect("a value"))).collect()
}

fn value_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(*bytes.first_chunk().expect("eight bytes"))
}

fn read_all(catalogue: &Arc<Catalogue>, log: u32) -> BTreeMap<(u32, i64), u64> {
    let mut reader = LogReader::new(Arc::clone(catalogue), LogId(log));
    let mut found = BTreeMap::new();
    let mut offset = catalogue.place(LogId(log)).ends.log_start();
    loop {
        let mut bytes = Vec::new();
        reader.read(offset, 1 << 20, true, &mut bytes).expect("the log is read");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = Header::parse(rest).expect("a batch");
            let (batch, behind) = rest.split_at(header.batch_bytes);
            let offsets = header.base_offset..;
            found.extend(offsets.zip(values(batch)).map(|(offset, value)| ((log, offset), value)));
            (rest, offset) = (behind, header.next_offset());
        }
        if bytes.is_empty() {
            return found;
        }
    }
}

const KEEP: LogLimits = LogLimits { segment_bytes: 6_000, retention_bytes: u64::MAX, retention_ms: u64::MAX };

fn swarm(random: &mut Random) -> DiskFaults {
    let mut some = |most: u64| if random.chance(500_000) { random.below(most) as u32 } else { 0 };
    DiskFaults {
        write_fails: some(50_000),
        cut_fails: some(1_000_000),
        create_fails: some(100_000),
        sync_fails: some(50_000),
        delete_fails: some(200_000),
        stall: some(100_000),
        stall_ns_max: 50_000_000,
        ..DiskFaults::default()
    }
}

/// Lives on one directory, each ended by a crash; what is missing at the first start that misses something.
fn lives(name: &str, seed: u64, limits: LogLimits, with: DiskFaults) -> (usize, u64) {
    let mut rig = Rig::new(name, seed, limits);
    let mut torn = 0;
    for _ in 0..3 {
        let mut life = rig.start();
        let missing = rig.missing(&life).len();
        if missing > 0 {
            return (missing, torn);
        }
        let faults = swarm(&mut rig.random);
        let bytes_max = rig.random.chance(200_000).then_some(20_000);
        life.disk.set_faults(DiskFaults {
            bytes_max,
            forgets_sync: with.forgets_sync,
            forgets_directory_sync: with.forgets_directory_sync,
            ..faults
        });
        let steps = rig.random.between(1, 120) as u32;
        rig.run(&mut life, steps);
        let power = rig.random.chance(800_000);
        let crash = if power { Crash::Power { rotten_bits: 0 } } else { Crash::Process };
        torn += life.disk.crash(crash).expect("the files are written");
    }
    let life = rig.start();
    (rig.missing(&life).len(), torn)
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let mut torn = 0;
    for seed in 0..400 {
        let (missing, sectors) = lives("survives", seed, KEEP, DiskFaults::default());
        assert_eq!(missing, 0, "seed {seed}");
        torn += sectors;
    }
    assert!(torn > 300, "{torn} sectors were lost that nobody was promised");
}

#[test]
fn what_retention_left_survives_every_crash() {
    let limits = LogLimits { segment_bytes: 2_000, retention_bytes: 6_000, ..KEEP };
    for seed in 1000..1200 {
        assert_eq!(lives("retention", seed, limits, DiskFaults::default()).0, 0, "seed {seed}");
    }
}

#[test]
fn a_forgotten_sync_is_found() {
    let forgets = DiskFaults { forgets_sync: true, ..DiskFaults::default() };
    assert!((0..50).any(|seed| lives("forgets", seed, KEEP, forgets).0 > 0));
    let forgets = DiskFaults { forgets_directory_sync: true, ..DiskFaults::default() };
    assert!((0..50).any(|seed| lives("forgets-dir", seed, KEEP, forgets).0 > 0));
}

#[test]
fn readers_find_what_was_published_on_the_media() {
    for seed in 0..30 {
        let mut rig = Rig::new("published", seed, KEEP);
        let mut life = rig.start();
        let faults = swarm(&mut rig.random);
        life.disk.set_faults(faults);
        for _ in 0..5 {
            rig.run(&mut life, 20);
            life.disk.show_durable().expect("the files are written");
            assert_eq!(rig.missing(&life), [], "seed {seed}");
        }
        assert!(!rig.acked.is_empty());
    }
}

#[test]
fn a_batch_is_with_the_disk_until_it_is_fetched() {
    let mut rig = Rig::new("held", 1, KEEP);
    let mut life = rig.start();
    for given in 1..=3 {
        life.logs[0].push(rig.batch());
        let op = life.logs[0].poll_append(rig.time());
        op.into_iter().for_each(|op| life.disk.submit(rig.now, 0, op));
        assert_eq!(life.disk.batches().count(), 1, "{given} given, and one append of a log at a time");
    }
    for expected in [1, 2] {
        while life.disk.writers[0].done.is_empty() {
            rig.now = life.disk.next_event().expect("it is busy");
            assert_eq!(life.disk.batches().count(), expected);
            life.disk.tick(rig.time());
        }
        let done: Vec<DiskDone> = life.disk.done(0).collect();
        assert_eq!(life.disk.batches().count(), 0);
        done.into_iter().for_each(|done| rig.hear(&mut life, done));
        let op = life.logs[0].poll_append(rig.time());
        op.into_iter().for_each(|op| life.disk.submit(rig.now, 0, op));
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_it_has_space_again() {
    let mut rig = Rig::new("full", 1, KEEP);
    let mut life = rig.start();
    life.disk.set_faults(DiskFaults { bytes_max: Some(10_000), ..DiskFaults::default() });
    rig.run(&mut life, 400);
    let (refused, acked) = (rig.refused, rig.acked.len());
    assert!(refused > 0 && life.disk.used_bytes() <= 10_000);
    life.disk.set_faults(DiskFaults::default());
    rig.run(&mut life, 400);
    assert!(rig.acked.len() > acked + 100);
    life.disk.crash(Crash::Power { rotten_bits: 0 }).expect("the files are written");
    let life = rig.start();
    assert_eq!(rig.missing(&life), []);
}

#[test]
fn a_failed_sync_kills_the_segment() {
    let mut rig = Rig::new("dead", 1, KEEP);
    let mut life = rig.start();
    rig.run(&mut life, 40);
    let before: Vec<i64> = life.catalogue.place(LogId(0)).ends.segments();
    life.disk.set_faults(DiskFaults { sync_fails: 1_000_000, ..DiskFaults::default() });
    rig.run(&mut life, 40);
    assert!(rig.refused > 0 && life.disk.counts().failed_syncs > 0);
    life.disk.set_faults(DiskFaults::default());
    rig.run(&mut life, 400);
    let after = life.catalogue.place(LogId(0)).ends.segments();
    assert!(after.len() > before.len(), "{before:?}, {after:?}: it goes on in another file");
    life.disk.crash(Crash::Power { rotten_bits: 0 }).expect("the files are written");
    let life = rig.start();
    assert_eq!(rig.missing(&life), []);
}

#[test]
fn rot_costs_the_batch_it_hits() {
    let mut rig = Rig::new("rot", 1, LogLimits { segment_bytes: 1 << 20, ..KEEP });
    let mut life = rig.start();
    rig.run(&mut life, 400);
    life.disk.crash(Crash::Power { rotten_bits: 1 }).expect("the files are written");
    let life = rig.start();
    let missing = rig.missing(&life).len();
    assert!((1..=5).contains(&missing), "{missing} records of {}", rig.acked.len());
}

#[test]
fn a_seed_replays() {
    let mut ran = (0..2).map(|_| {
        let mut rig = Rig::new("replays", 7, KEEP);
        let mut life = rig.start();
        let faults = swarm(&mut rig.random);
        life.disk.set_faults(faults);
        rig.run(&mut life, 200);
        (rig.acked.clone(), rig.refused, life.disk.counts())
    });
    assert_eq!(ran.next(), ran.next());
}
