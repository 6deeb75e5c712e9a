//! Readers on real files that a partition machine laid out.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::clock::{Mono, Now};
use crate::log::{DiskOp, LogLimits, PartitionLog, TopicSpec, open};
use crate::shard::ShardId;

/// A log in a directory that goes with the test.
struct Rig {
    dir: PathBuf,
    catalogue: Arc<Catalogue>,
    log: PartitionLog,
    reader: LogReader,
}

impl Rig {
    fn new(name: &str, segment_bytes: u64) -> Self {
        let dir = std::env::temp_dir().join(format!("aqueduct-reader-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let limits = LogLimits { segment_bytes, retention_bytes: u64::MAX, retention_ms: u64::MAX };
        let mut opened = open(&dir, &[TopicSpec { name: "t".into(), partitions: 1, limits }]).unwrap();
        let log = PartitionLog::new(opened.logs.remove(0));
        let reader = LogReader::new(Arc::clone(&opened.catalogue), LogId(0));
        Self { dir, catalogue: opened.catalogue, log, reader }
    }

    /// Appends a batch whose records have these timestamps, and publishes it.
    fn append(&mut self, timestamps: &[i64], value: &[u8]) {
        self.log.push(batch(timestamps, value));
        let (segment, end) = self.write();
        self.log.on_appended(now(), segment, &Ok(())).unwrap();
        self.catalogue.place(LogId(0)).ends.appended(segment, end);
    }

    /// Writes what waits, publishes nothing.
    fn write(&mut self) -> (i64, i64) {
        let Some(DiskOp::Append { segment, at, end_offset, batches, .. }) = self.log.poll_append(now()) else {
            panic!("an append")
        };
        let path = self.segment(segment);
        let mut bytes = if at == 0 { Vec::new() } else { fs::read(&path).unwrap() };
        assert_eq!(bytes.len() as u64, at);
        batches.iter().for_each(|batch| bytes.extend_from_slice(&batch.bytes));
        fs::write(path, bytes).unwrap();
        (segment, end_offset)
    }

    fn segment(&self, base: i64) -> PathBuf {
        self.catalogue.place(LogId(0)).segment_path(base)
    }

    /// Base offsets of the batches that a read from `offset` gives.
    fn read(&mut self, offset: i64, bytes_max: usize) -> Vec<i64> {
        let mut out = Vec::new();
        self.reader.read(offset, bytes_max, true, &mut out).unwrap();
        bases(&out)
    }

    /// The whole log as a consumer walks it.
    fn read_all(&mut self) -> Vec<i64> {
        let (mut all, mut offset) = (Vec::new(), 0);
        loop {
            let mut out = Vec::new();
            self.reader.read(offset, 500, true, &mut out).unwrap();
            let Some(last) = headers(&out).last().copied() else { return all };
            all.extend(bases(&out));
            offset = last.next_offset();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn now() -> Now {
    Now { mono: Mono::from_ms(1_000_000), wall_ms: 1_000_000 }
}

fn batch(timestamps: &[i64], value: &[u8]) -> Box<Batch> {
    let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 0, partition: 0 }, 0, Mono(0));
    batch.base_timestamp_ms = timestamps[0];
    batch.max_timestamp_ms = timestamps.iter().copied().max().unwrap();
    for (n, at) in timestamps.iter().enumerate() {
        record_batch::append(&mut batch.bytes, n as u32, at - timestamps[0], None, Some(value), &[]);
        batch.records += 1;
    }
    batch
}

fn headers(mut bytes: &[u8]) -> Vec<Header> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let header = Header::parse(bytes).unwrap();
        header.check_crc(bytes).unwrap();
        assert_eq!(header.leader_epoch, 0);
        bytes = &bytes[header.batch_bytes..];
        all.push(header);
    }
    all
}

fn bases(bytes: &[u8]) -> Vec<i64> {
    headers(bytes).iter().map(|header| header.base_offset).collect()
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset() {
    let mut rig = Rig::new("begin", 1 << 20);
    for n in 0..5 {
        rig.append(&[n, n, n], b"value");
    }
    assert_eq!(rig.read(0, 1 << 20), [0, 3, 6, 9, 12]);
    assert_eq!(rig.read(7, 1 << 20), [6, 9, 12]);
    assert_eq!(rig.read(14, 1 << 20), [12]);
    assert!(rig.read(15, 1 << 20).is_empty());
    for outside in [-1, 16] {
        assert!(matches!(rig.reader.read(outside, 1, true, &mut Vec::new()), Err(ReadError::OutOfRange)));
    }
}

#[test]
fn bytes_are_limited_but_one_batch_always_fits_if_asked() {
    let mut rig = Rig::new("bytes", 1 << 20);
    for _ in 0..3 {
        rig.append(&[1], &[7; 100]);
    }
    let one = rig.reader_bytes();
    assert_eq!(rig.read(0, 2 * one), [0, 1]);
    assert_eq!(rig.read(0, 2 * one - 1), [0]);
    assert_eq!(rig.read(0, 1), [0]);
    let mut out = Vec::new();
    rig.reader.read(0, one - 1, false, &mut out).unwrap();
    assert!(out.is_empty());
}

impl Rig {
    fn reader_bytes(&mut self) -> usize {
        let mut out = Vec::new();
        self.reader.read(0, 1, true, &mut out).unwrap();
        out.len()
    }
}

#[test]
fn segments_follow_each_other_and_unpublished_bytes_are_not_shown() {
    let mut rig = Rig::new("segments", 400);
    for n in 0..20 {
        rig.append(&[n], &[b'x'; 100]);
    }
    assert!(rig.catalogue.place(LogId(0)).ends.segments().len() > 5);
    assert_eq!(rig.read_all(), (0..20).collect::<Vec<_>>());
    rig.log.push(batch(&[1], b"in flight"));
    rig.write();
    assert_eq!(rig.read_all().len(), 20);
    assert!(rig.read(20, 1000).is_empty());
}

#[test]
fn what_a_failed_append_left_is_not_shown_even_when_its_offsets_are_used_again() {
    let mut rig = Rig::new("doubt", 1 << 20);
    rig.append(&[1, 2], b"good");
    rig.log.push(batch(&[3, 4, 5], b"doubtful"));
    let (segment, _) = rig.write();
    let failed = Err(crate::log::DiskError { during: "sync", errno: 5, text: String::new() });
    rig.log.on_appended(now(), segment, &failed);
    let later = Now { mono: Mono::from_ms(2_000_000), ..now() };
    rig.log.push(batch(&[6], b"again"));
    assert!(rig.log.poll_append(now()).is_none());
    let Some(DiskOp::Append { segment, at: 0, end_offset, batches, .. }) = rig.log.poll_append(later) else {
        panic!("an append to a fresh segment")
    };
    fs::write(rig.segment(segment), &batches[0].bytes).unwrap();
    rig.catalogue.place(LogId(0)).ends.appended(segment, end_offset);
    assert_eq!((segment, end_offset), (2, 3));
    assert_eq!(rig.read_all(), [0, 2]);
    let mut out = Vec::new();
    rig.reader.read(2, 1000, true, &mut out).unwrap();
    assert!(out.windows(5).any(|w| w == b"again"));
}

#[test]
fn damage_is_passed_over_and_counted_once() {
    let mut rig = Rig::new("damage", 400);
    for n in 0..20 {
        rig.append(&[n], &[b'x'; 100]);
    }
    let second = rig.catalogue.place(LogId(0)).ends.segments()[1];
    let mut bytes = fs::read(rig.segment(second)).unwrap();
    bytes[80] ^= 1;
    fs::write(rig.segment(second), bytes).unwrap();
    let survivors: Vec<i64> = (0..20).filter(|&n| n != second).collect();
    for _ in 0..3 {
        assert_eq!(rig.read_all(), survivors);
        assert_eq!(rig.catalogue.damage().batches(), 1);
    }
    assert_eq!(rig.read(second, 1000)[0], second + 1);
    // The last batch of a segment that takes no more.
    let third = rig.catalogue.place(LogId(0)).ends.segments()[2];
    let mut bytes = fs::read(rig.segment(second)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(rig.segment(second), bytes).unwrap();
    rig.reader = LogReader::new(Arc::clone(&rig.catalogue), LogId(0));
    assert_eq!(rig.read_all(), survivors.into_iter().filter(|&n| n != third - 1).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_retention_took_is_out_of_range() {
    let mut rig = Rig::new("retired", 400);
    for n in 0..20 {
        rig.append(&[n], &[b'x'; 100]);
    }
    assert_eq!(rig.read(0, 1)[0], 0);
    let (first, second) =
        (rig.catalogue.place(LogId(0)).ends.segments()[0], rig.catalogue.place(LogId(0)).ends.segments()[1]);
    rig.catalogue.place(LogId(0)).ends.retired(first);
    fs::remove_file(rig.segment(first)).unwrap();
    assert!(matches!(rig.reader.read(0, 1, true, &mut Vec::new()), Err(ReadError::OutOfRange)));
    assert_eq!(rig.read(second, 1), [second]);
}

#[test]
fn long_segments_are_indexed_and_every_offset_is_still_found() {
    let mut rig = Rig::new("index", 1 << 30);
    for n in 0..300 {
        rig.append(&[n, n], &[b'x'; 2000]);
    }
    rig.read(599, 1);
    assert!(rig.reader.indexes[&0].places.len() > 10);
    for offset in 0..600 {
        assert_eq!(rig.read(offset, 1), [offset / 2 * 2]);
    }
}

#[test]
fn a_time_finds_the_first_record_not_older() {
    let mut rig = Rig::new("time", 4000);
    for n in 0..50 {
        // Out of order inside a batch, as devices are.
        rig.append(&[n * 100, n * 100 + 50, n * 100 + 20], &[b'x'; 300]);
    }
    let mut find = |at| rig.reader.find_time(at).unwrap();
    for _ in 0..2 {
        assert_eq!(find(0), Some((0, 0)));
        assert_eq!(find(-5), Some((0, 0)));
        assert_eq!(find(1), Some((1, 50)));
        assert_eq!(find(51), Some((3, 100)));
        assert_eq!(find(2_030), Some((61, 2_050)));
        assert_eq!(find(4_950), Some((148, 4_950)));
        assert_eq!(find(4_951), None);
    }
}
