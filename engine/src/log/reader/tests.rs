//! Readers on real files that a partition machine laid out.

use std::fs;

use super::*;
use crate::log::rig::{LogRig, now};

mod damage;

/// A log of one partition and its reader.
struct Rig {
    log: LogRig,
    reader: LogReader,
}

impl Rig {
    fn new(name: &str, segment_bytes: u64) -> Self {
        let log = LogRig::new(&format!("reader-{name}"), 1, segment_bytes);
        let reader = LogReader::new(Arc::clone(&log.catalogue), LogId(0));
        Self { log, reader }
    }

    fn append(&mut self, timestamps: &[i64], value: &[u8]) {
        self.log.append(0, timestamps, value);
    }

    fn ends(&self) -> &crate::log::PublishedEnds {
        &self.log.catalogue.place(LogId(0)).ends
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

    /// Flips a bit of a segment, counted in bytes from the start or, negative, from the end.
    fn damage(&self, segment: i64, at: isize) {
        let path = self.log.segment(0, segment);
        let mut bytes = fs::read(&path).unwrap();
        let at = if at < 0 { bytes.len().wrapping_add_signed(at) } else { at as usize };
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }
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
    let mut out = Vec::new();
    rig.reader.read(0, 1, true, &mut out).unwrap();
    let one = out.len();
    assert_eq!(rig.read(0, 2 * one), [0, 1]);
    assert_eq!(rig.read(0, 2 * one - 1), [0]);
    assert_eq!(rig.read(0, 1), [0]);
    out.clear();
    rig.reader.read(0, one - 1, false, &mut out).unwrap();
    assert!(out.is_empty());
}

#[test]
fn segments_follow_each_other_and_unpublished_bytes_are_not_shown() {
    let mut rig = Rig::new("segments", 400);
    for n in 0..20 {
        rig.append(&[n], &[b'x'; 100]);
    }
    assert!(rig.ends().segments().len() > 5);
    assert_eq!(rig.read_all(), (0..20).collect::<Vec<_>>());
    rig.log.push(0, &[1], b"in flight");
    rig.log.write(0, now(0));
    assert_eq!(rig.read_all().len(), 20);
    assert!(rig.read(20, 1000).is_empty());
}

#[test]
fn what_a_failed_append_left_is_not_shown_even_when_its_offsets_are_used_again() {
    let mut rig = Rig::new("doubt", 1 << 20);
    rig.append(&[1, 2], b"good");
    rig.log.push(0, &[3, 4, 5], b"doubtful");
    let (segment, _) = rig.log.write(0, now(0));
    rig.log.fail(0, segment);
    rig.log.push(0, &[6], b"again");
    let (segment, end) = rig.log.write(0, now(10_000));
    rig.log.publish(0, segment, end);
    assert_eq!((segment, end), (2, 3));
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
    let second = rig.ends().segments()[1];
    rig.damage(second, 80);
    let survivors: Vec<i64> = (0..20).filter(|&n| n != second).collect();
    for _ in 0..3 {
        assert_eq!(rig.read_all(), survivors);
        assert_eq!(rig.log.catalogue.damage().batches(), 1);
    }
    assert_eq!(rig.read(second, 1000)[0], second + 1);
    // The last batch of a segment that takes no more.
    let third = rig.ends().segments()[2];
    rig.damage(second, -1);
    rig.reader = LogReader::new(Arc::clone(&rig.log.catalogue), LogId(0));
    assert_eq!(rig.read_all(), survivors.into_iter().filter(|&n| n != third - 1).collect::<Vec<_>>());
}

#[test]
fn an_empty_log_has_nothing_at_its_start() {
    let mut rig = Rig::new("empty", 400);
    assert!(rig.read(0, 1000).is_empty());
    assert!(matches!(rig.reader.read(1, 1000, true, &mut Vec::new()), Err(ReadError::OutOfRange)));
}

#[test]
fn a_torn_tail_leaves_a_hole_that_readers_pass() {
    let mut rig = Rig::new("hole", 1 << 20);
    for _ in 0..3 {
        rig.append(&[1, 1], b"value");
    }
    let path = rig.log.segment(0, 0);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    // Twice: the second start finds an empty segment and nothing to repair.
    for _ in 0..2 {
        rig.log.reopen();
        rig.reader = LogReader::new(Arc::clone(&rig.log.catalogue), LogId(0));
        assert_eq!((rig.ends().end(), rig.ends().next()), (4, 6));
        assert_eq!(rig.read_all(), [0, 2]);
        // Who had read what is torn now stands in the hole, or behind it, and waits there.
        for offset in 4..=6 {
            assert!(rig.read(offset, 1000).is_empty(), "{offset}");
        }
        assert!(matches!(rig.reader.read(7, 1000, true, &mut Vec::new()), Err(ReadError::OutOfRange)));
    }
    rig.append(&[1], b"behind");
    assert_eq!(rig.ends().end(), 7);
    for offset in 4..=6 {
        assert_eq!(rig.read(offset, 1000), [6], "{offset}");
    }
    assert_eq!(rig.read_all(), [0, 2, 6]);
}

#[test]
fn a_segment_that_retention_took_is_out_of_range() {
    let mut rig = Rig::new("retired", 400);
    for n in 0..20 {
        rig.append(&[n], &[b'x'; 100]);
    }
    assert_eq!(rig.read(0, 1)[0], 0);
    let (first, second) = (rig.ends().segments()[0], rig.ends().segments()[1]);
    rig.ends().retired(first);
    fs::remove_file(rig.log.segment(0, first)).unwrap();
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

#[test]
fn a_file_that_is_gone_is_an_error_with_its_name_and_hides_no_other_segment() {
    let mut rig = Rig::new("gone", 400);
    for n in 0..20 {
        rig.append(&[n], &[b'x'; 100]);
    }
    let (second, third) = (rig.ends().segments()[1], rig.ends().segments()[2]);
    fs::remove_file(rig.log.segment(0, second)).unwrap();
    let error = rig.reader.read(second, 1000, true, &mut Vec::new()).unwrap_err();
    let ReadError::Io(error) = error else { panic!("{error:?}") };
    assert!(error.to_string().contains(&format!("{second:020}.log")), "{error}");
    assert_eq!(rig.read(0, 1)[0], 0);
    assert_eq!(rig.read(third, 1)[0], third);
}

#[test]
fn a_segment_is_not_done_with_where_the_end_was_read_before_it() {
    let mut rig = Rig::new("ahead", 400);
    for n in 0..20 {
        rig.append(&[n * 100], &[b'x'; 100]);
    }
    // As a reader that took the end, was held up, and then listed the segments.
    let bases = rig.ends().segments();
    let start = rig.reader.index(0).before_offset(0);
    rig.reader.walk(&bases, 0, 1, start, |_, _| Walk::On).unwrap();
    assert_eq!(rig.reader.find_time(100).unwrap(), Some((1, 100)));
}
