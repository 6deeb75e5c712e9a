//! Offsets, rolling, retention and the disk that fails, without a disk.

use kafka::record_batch::Header;

use super::*;
use crate::log::recovery::recover;
use crate::shard::ShardId;

const LIMITS: LogLimits = LogLimits { segment_bytes: 1000, retention_bytes: 2500, retention_ms: 600_000 };
const MARK: Mark = Mark(7);

fn log_of(segments: Vec<Segment>, next_offset: i64) -> PartitionLog {
    PartitionLog::new(Recovered { log: LogId(3), mark: MARK, limits: LIMITS, segments, next_offset })
}

fn empty() -> PartitionLog {
    log_of(Vec::new(), 0)
}

fn segment(base_offset: i64, bytes: u64, touched_ms: i64) -> Segment {
    Segment { base_offset, bytes, opened_ms: touched_ms, touched_ms }
}

/// A filled batch of `records` records, `bytes` long in all.
fn batch(records: u32, bytes: usize) -> Box<Batch> {
    let mut pool = crate::buffer::BatchPool::new(ShardId(0), 0);
    let mut batch = pool.take(crate::buffer::PartKey { sink: 0, partition: 0 }, 0, Mono(0));
    for n in 0..records {
        record_batch::append(&mut batch.bytes, n, 0, None, None, record_batch::RawHeaders::NONE);
    }
    assert!(batch.bytes.len() <= bytes, "room for the records");
    // The last record's value fills the batch up; what it says does not matter here.
    batch.bytes.resize(bytes, 0);
    batch.records = records;
    batch.base_timestamp_ms = 5;
    batch.max_timestamp_ms = 9;
    batch
}

fn at(ms: u64) -> Now {
    Now { mono: Mono::from_ms(ms), wall_ms: 1_000_000 + ms as i64 }
}

/// The append that goes out now: segment, position, base offsets of its batches, end offset.
fn append(log: &mut PartitionLog, now: Now) -> Option<(i64, u64, Vec<i64>, i64)> {
    match log.poll_append(now)? {
        DiskOp::Append { log: LogId(3), segment, at, end_offset, batches } => {
            let bases = batches.iter().map(|batch| {
                let header = Header::parse(&batch.bytes).unwrap();
                header.check_crc(&batch.bytes).unwrap();
                assert_eq!((header.leader_epoch, header.producer_id, header.base_sequence), (0, -1, MARK.0));
                assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms), (5, 9));
                assert_eq!(header.records, batch.records);
                header.base_offset
            });
            Some((segment, at, bases.collect(), end_offset))
        }
        other => panic!("{other:?}"),
    }
}

fn deletion(log: &mut PartitionLog, now: Now) -> Option<i64> {
    match log.poll_delete(now)? {
        DiskOp::Delete { log: LogId(3), segment } => Some(segment),
        other => panic!("{other:?}"),
    }
}

fn failed() -> Result<(), DiskError> {
    Err(DiskError { during: "sync", errno: 5, text: "Input/output error".into() })
}

/// Writes one batch of one record and lets it succeed.
fn write(log: &mut PartitionLog, now: Now, bytes: usize) -> (i64, u64) {
    log.push(batch(1, bytes));
    let (segment, position, ..) = append(log, now).expect("an append");
    log.on_appended(now, segment, &Ok(())).expect("an offset");
    (segment, position)
}

#[test]
fn what_waits_goes_out_together_with_offsets_in_order() {
    let mut log = empty();
    assert_eq!(append(&mut log, at(0)), None);
    log.push(batch(2, 100));
    log.push(batch(3, 100));
    assert_eq!(append(&mut log, at(0)), Some((0, 0, vec![0, 2], 5)));
    // While an append is with the writer the next ones wait for each other.
    log.push(batch(1, 100));
    log.push(batch(1, 100));
    assert_eq!(append(&mut log, at(0)), None);
    assert_eq!(log.on_appended(at(1), 0, &Ok(())), Some(0));
    assert_eq!(append(&mut log, at(1)), Some((0, 200, vec![5, 6], 7)));
    assert_eq!(log.on_appended(at(2), 0, &Ok(())), Some(5));
    assert_eq!(log.next_offset(), 7);
    assert!(!log.is_busy());
}

#[test]
fn a_segment_ends_where_the_next_batch_would_not_fit() {
    let mut log = empty();
    for _ in 0..4 {
        log.push(batch(1, 300));
    }
    assert_eq!(append(&mut log, at(0)), Some((0, 0, vec![0, 1, 2], 3)));
    log.on_appended(at(0), 0, &Ok(()));
    assert_eq!(append(&mut log, at(0)), Some((3, 0, vec![3], 4)));
    log.on_appended(at(0), 3, &Ok(()));
    // A batch longer than a segment has one for itself.
    assert_eq!(write(&mut log, at(0), 5000), (4, 0));
    assert_eq!(write(&mut log, at(0), 100), (5, 0));
}

#[test]
fn a_segment_spans_no_more_offsets_than_its_index_could_count() {
    let mut log = log_of(vec![segment(0, 100, 1_000_000)], i64::from(i32::MAX));
    assert_eq!(write(&mut log, at(0), 100), (i64::from(i32::MAX), 0));
}

#[test]
fn a_trickle_begins_a_segment_when_the_first_record_is_past_its_time() {
    let mut log = empty();
    assert_eq!(write(&mut log, at(0), 70), (0, 0));
    assert_eq!(write(&mut log, at(600_000), 70), (0, 70));
    assert_eq!(write(&mut log, at(600_001), 70), (2, 0));
}

#[test]
fn the_log_goes_on_where_recovery_left_it() {
    let found = vec![segment(0, 900, 1_000_000), segment(40, 100, 1_000_000)];
    assert_eq!(write(&mut log_of(found, 50), at(0), 100), (40, 100));
    let mut log = log_of(vec![segment(0, 900, 1_000_000), segment(40, 0, 1_000_000)], 40);
    assert_eq!(write(&mut log, at(0), 100), (40, 0));
    assert_eq!(log.segments.len(), 2);
}

#[test]
fn bytes_above_the_limit_go_oldest_first_and_never_the_newest() {
    let mut log = empty();
    for _ in 0..4 {
        write(&mut log, at(0), 900);
    }
    // 3600 bytes: without the oldest the others still hold 2700, without two only 1800.
    assert_eq!(deletion(&mut log, at(0)), Some(0));
    assert_eq!(deletion(&mut log, at(0)), None, "one at a time");
    log.on_deleted(at(0), 0, &Ok(()));
    assert_eq!(deletion(&mut log, at(0)), None);
    // A single segment stays, however large.
    let mut log = log_of(vec![segment(0, 1 << 40, 1_000_000)], 10);
    assert_eq!(deletion(&mut log, at(0)), None);
    assert_eq!(log.deadline(), None);
}

#[test]
fn age_counts_from_the_last_append_and_is_looked_at_in_time() {
    let found = vec![segment(0, 10, 1_000_000), segment(5, 10, 1_100_000), segment(9, 10, 1_100_000)];
    let mut log = log_of(found, 12);
    assert_eq!(deletion(&mut log, at(0)), None);
    let check = log.deadline().expect("a check is due");
    assert_eq!(check, Mono::from_ms(60_000));
    assert_eq!(deletion(&mut log, at(600_000)), None, "not older than the limit");
    assert_eq!(deletion(&mut log, at(660_000)), Some(0));
    log.on_deleted(at(660_000), 0, &Ok(()));
    assert_eq!(deletion(&mut log, at(660_000)), None);
    assert_eq!(deletion(&mut log, at(720_000)), Some(5));
    log.on_deleted(at(720_000), 5, &Ok(()));
    assert_eq!(deletion(&mut log, at(9_000_000)), None, "the newest stays");
    assert_eq!(log.deadline(), None);
}

#[test]
fn a_clock_that_jumps_back_deletes_nothing() {
    let mut log = log_of(vec![segment(0, 10, i64::MAX), segment(5, 10, i64::MAX)], 12);
    assert_eq!(deletion(&mut log, Now { mono: Mono(0), wall_ms: i64::MIN }), None);
}

#[test]
fn a_deletion_that_failed_is_tried_again_later() {
    let mut log = log_of(vec![segment(0, 3000, 1_000_000), segment(5, 3000, 1_000_000)], 12);
    assert_eq!(deletion(&mut log, at(0)), Some(0));
    log.on_deleted(at(0), 0, &failed());
    assert_eq!(deletion(&mut log, at(0)), None);
    let again = log.deadline().expect("a check is due");
    assert_eq!(deletion(&mut log, Now { mono: again, ..at(0) }), Some(0));
}

#[test]
fn after_an_error_the_segment_is_dead_and_its_offsets_go_to_a_fresh_one() {
    let mut log = empty();
    write(&mut log, at(0), 100);
    log.push(batch(2, 100));
    assert_eq!(append(&mut log, at(0)), Some((0, 100, vec![1], 3)));
    log.push(batch(1, 100));
    assert_eq!(log.on_appended(at(10), 0, &failed()), None);
    assert_eq!(append(&mut log, at(10)), None, "not at once");
    assert_eq!(log.deadline(), Some(Mono::from_ms(510)));
    assert_eq!(append(&mut log, at(510)), Some((1, 0, vec![1], 2)));
    // That one fails as well: the name is used again, for a new file.
    assert_eq!(log.on_appended(at(510), 1, &failed()), None);
    log.push(batch(1, 100));
    assert_eq!(append(&mut log, at(2000)), Some((1, 0, vec![1], 2)));
    assert_eq!(log.on_appended(at(2000), 1, &Ok(())), Some(1));
    let known: Vec<_> = log.segments.iter().map(|segment| (segment.base_offset, segment.bytes)).collect();
    assert_eq!(known, [(0, 100), (1, 100)]);
}

#[test]
fn recovery_reads_what_was_appended() {
    let mut log = empty();
    let mut file = Vec::new();
    for records in [1, 5, 2] {
        log.push(batch(records, 150));
        let Some(DiskOp::Append { segment, at: position, batches, .. }) = log.poll_append(at(0)) else {
            panic!("an append")
        };
        assert_eq!(position, file.len() as u64);
        batches.iter().for_each(|batch| file.extend_from_slice(&batch.bytes));
        log.on_appended(at(0), segment, &Ok(()));
    }
    let found = recover(&file[..], MARK, file.len() as u64, 0, i64::MAX).unwrap();
    assert!(found.is_clean());
    assert_eq!((found.next_offset, found.keep_bytes), (log.next_offset(), 450));
}
