//! A segment of 64 KiB, spoilt in every way there is.
//!
//! Setup: the log's own machine writes single records until the segment holds 64 KiB, the last one a little more. A batch is what a checksum covers, so one record
//! a batch makes "at most one record" a claim that can hold; where batches hold more, it is at most one batch. Action: every bit is
//! flipped by itself, and the segment is cut at every byte; each result is recovered and read. Expectation: nothing panics; a flipped
//! bit costs the record it hit and no other, readers go on behind it, and no offset is given out again that was readable; a cut costs
//! what lies behind it.

use std::fs;
use std::ops::Range;
use std::thread;

use kafka::record_batch::Header;

use crate::log::Mark;
use crate::log::recovery::{Recovery, recover};
use crate::log::rig::LogRig;
use crate::log::scan::{Found, Scanner};

const SEGMENT_BYTES: usize = 64 * 1024;
const THREADS: usize = 2;

/// Parts of a header that a flipped bit may hit without anybody noticing or counting differently.
const LEADER_EPOCH: Range<usize> = 12..16;
const RECORD_COUNT: Range<usize> = 57..61;

/// What the log wrote.
struct Segment {
    mark: Mark,
    bytes: Vec<u8>,
    /// Where each batch begins; its record's offset is its place here.
    starts: Vec<usize>,
}

impl Segment {
    fn write(name: &str) -> Self {
        let mut rig = LogRig::new(name, 1, 1 << 20);
        let mut starts = Vec::new();
        let path = rig.segment(0, 0);
        loop {
            let written = fs::metadata(&path).map_or(0, |file| file.len() as usize);
            if written >= SEGMENT_BYTES {
                break;
            }
            starts.push(written);
            let value = format!("{{\"n\":{},\"temperature\":21.5}}", starts.len());
            rig.append(0, &[1_000], value.as_bytes());
        }
        Self { mark: rig.catalogue.mark(), bytes: fs::read(path).expect("the segment"), starts }
    }

    fn records(&self) -> usize {
        self.starts.len()
    }

    /// The batch that holds this byte.
    fn batch_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) - 1
    }

    fn recover(&self, bytes: &[u8]) -> Recovery {
        recover(bytes, self.mark, bytes.len() as u64, 0, i64::MAX).expect("memory can be read")
    }

    /// Reads on from batch `from`, as a reader does whose index knows where that begins, and checks every batch against what was
    /// written; then the offsets that were missing.
    fn missing(&self, bytes: &[u8], from: usize) -> Vec<usize> {
        let (at, expected) = (self.starts[from] as u64, from as i64);
        let mut scanner = Scanner::new(bytes, self.mark, bytes.len() as u64, at, expected, i64::MAX);
        let mut missing = Vec::new();
        let mut next = from;
        loop {
            match scanner.next().expect("memory can be read") {
                Found::Batch { at, header } => {
                    let offset = usize::try_from(header.base_offset).expect("an offset that was written");
                    missing.extend(next..offset);
                    next = offset + 1;
                    assert_eq!(at as usize, self.starts[offset]);
                    let intact = &self.bytes[self.starts[offset]..][..header.batch_bytes];
                    assert_eq!(scanner.batch()[LEADER_EPOCH.end..], intact[LEADER_EPOCH.end..]);
                }
                Found::Damaged(_) => {}
                Found::End { .. } => {
                    missing.extend(next..self.records());
                    return missing;
                }
            }
        }
    }

    fn check_flip(&self, bytes: &mut [u8], bit: usize) {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let hit = self.batch_of(bit / 8);
        let within = bit / 8 - self.starts[hit];
        let harmless = LEADER_EPOCH.contains(&within);
        let lost = if harmless { vec![] } else { vec![hit] };
        // One batch earlier, so that what leads up to the damage is read too.
        assert_eq!(self.missing(bytes, hit.saturating_sub(1)), lost, "bit {bit}");
        let (found, records) = (self.recover(bytes), self.records() as i64);
        let is_last = hit + 1 == self.records();
        let readable = if is_last && !harmless { records - 1 } else { records };
        assert_eq!(found.end_offset, Some(readable), "bit {bit}");
        assert_eq!(found.keep_bytes + found.torn_bytes, bytes.len() as u64, "bit {bit}");
        assert!(found.torn_bytes == 0 || is_last, "bit {bit}: {found:?}");
        assert_eq!(found.damaged.len(), usize::from(!harmless && found.torn_bytes == 0), "bit {bit}");
        // How many records the last batch held cannot be known when the bit hit that count.
        assert!(found.next_offset >= records || is_last && RECORD_COUNT.contains(&within), "bit {bit}: {found:?}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }

    fn check_cut(&self, cut: usize) {
        let bytes = &self.bytes[..cut];
        let whole = self.starts.partition_point(|start| *start <= cut) - usize::from(cut < self.bytes.len());
        let found = self.recover(bytes);
        let keep = self.starts.get(whole).copied().unwrap_or(self.bytes.len());
        assert_eq!((found.keep_bytes, found.torn_bytes), (keep as u64, (cut - keep) as u64), "cut at {cut}");
        assert_eq!(found.end_offset, (whole > 0).then_some(whole as i64), "cut at {cut}");
        assert!(found.damaged.is_empty() && found.next_offset >= whole as i64, "cut at {cut}: {found:?}");
        assert_eq!(
            self.missing(bytes, whole.saturating_sub(1)),
            (whole..self.records()).collect::<Vec<_>>(),
            "cut at {cut}"
        );
    }
}

/// Deals the numbers below `n` to the threads, each of which has a copy of the segment to spoil.
fn deal(segment: &Segment, n: usize, check: impl Fn(&mut Vec<u8>, usize) + Sync) {
    thread::scope(|scope| {
        for first in 0..THREADS {
            let check = &check;
            scope.spawn(move || {
                let mut bytes = segment.bytes.clone();
                (first..n).step_by(THREADS).for_each(|case| check(&mut bytes, case));
                assert!(bytes == segment.bytes, "every flip is taken back");
            });
        }
    });
}

#[test]
fn the_segment_is_whole_before() {
    let segment = Segment::write("exhaustive-whole");
    assert!((SEGMENT_BYTES..SEGMENT_BYTES + 200).contains(&segment.bytes.len()));
    assert!(segment.records() > 400 && segment.recover(&segment.bytes).is_clean());
    for (start, offset) in segment.starts.iter().zip(0..) {
        let header = Header::parse(&segment.bytes[*start..]).expect("a batch");
        assert_eq!((header.records, header.base_offset), (1, offset));
    }
    assert!(segment.missing(&segment.bytes, 0).is_empty());
}

#[test]
fn every_flipped_bit_of_64_kib_costs_its_own_record_at_most() {
    let segment = Segment::write("exhaustive-flips");
    deal(&segment, 8 * segment.bytes.len(), |bytes, bit| segment.check_flip(bytes, bit));
}

#[test]
fn every_cut_of_64_kib_costs_what_lies_behind_it() {
    let segment = Segment::write("exhaustive-cuts");
    deal(&segment, segment.bytes.len() + 1, |_, cut| segment.check_cut(cut));
}
