//! A segment of 64 KiB without a footer, spoilt in every way there is.
//!
//! Setup: entries of one record until the segment holds 64 KiB, two of three for topics that messages named. Action: every bit is flipped by itself, and the segment is cut at
//! every byte; each result is scanned. Expectation: nothing panics; a flipped bit costs the entry it hit and no other; a cut costs
//! what lies behind it; what is missing is told as damaged or torn, byte for byte.

use std::thread;

use super::*;
use crate::log::journal::rig;

const SEGMENT_BYTES: usize = 64 * 1024;
const THREADS: usize = 2;
const MARK: u32 = 0x0bad_cafe;

struct Written {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

fn segment() -> Written {
    let mut written = Written { bytes: Vec::new(), starts: Vec::new() };
    while written.bytes.len() < SEGMENT_BYTES {
        let number = written.starts.len() as u64;
        written.starts.push(written.bytes.len());
        let value = format!("{{\"n\":{number},\"temperature\":21.5}}");
        let topic = ["", "site-a", "t"][number as usize % 3];
        written.bytes.extend(rig::entry_to(topic, number, number as u32 % 8, value.as_bytes(), MARK));
    }
    written
}

fn scanned(bytes: &[u8]) -> Scanned {
    scan(bytes, bytes.len() as u64, MARK).expect("memory can be read")
}

/// Every byte belongs to a whole entry, to damage, or to what was cut off.
fn check_whole(bytes: &[u8], found: &Scanned) {
    let entries: u64 = found.entries.iter().map(|entry| u64::from(entry.envelope.bytes)).sum();
    let damaged: u64 = found.damaged.iter().map(|stretch| stretch.bytes).sum();
    assert_eq!(entries + damaged + found.torn_bytes, bytes.len() as u64);
}

fn deal(written: &Written, n: usize, check: impl Fn(&mut Vec<u8>, usize) + Sync) {
    thread::scope(|scope| {
        for first in 0..THREADS {
            let check = &check;
            scope.spawn(move || {
                let mut bytes = written.bytes.clone();
                (first..n).step_by(THREADS).for_each(|case| check(&mut bytes, case));
                assert!(bytes == written.bytes, "every change is taken back");
            });
        }
    });
}

/// A scan of all 64 KiB for each of half a million flips would take minutes: three entries before the flip and three behind it
/// show the same.
#[test]
fn every_flipped_bit_costs_its_own_entry_at_most() {
    let written = segment();
    let (starts, len) = (&written.starts, written.bytes.len());
    deal(&written, 8 * len, |bytes, bit| {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let hit = starts.partition_point(|start| *start <= bit / 8) - 1;
        let (from, to) = (hit.saturating_sub(3), (hit + 4).min(starts.len()));
        let part = &bytes[starts[from]..starts.get(to).copied().unwrap_or(len)];
        let found = scanned(part);
        let numbers: Vec<u64> = found.entries.iter().map(|entry| entry.envelope.number).collect();
        let expected: Vec<u64> = (from..to).filter(|&n| n != hit).map(|n| n as u64).collect();
        assert_eq!(numbers, expected, "bit {bit}");
        let topics = found.entries.iter().map(|entry| found.topics.name(entry.topic));
        let named = numbers.iter().map(|number| ["", "site-a", "t"][*number as usize % 3]);
        assert!(topics.eq(named), "bit {bit}");
        check_whole(part, &found);
        assert_eq!(found.damaged.len() + usize::from(found.torn_bytes > 0), 1, "bit {bit}");
        assert!(found.torn_bytes == 0 || hit + 1 == starts.len(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    });
}

#[test]
fn every_cut_costs_what_lies_behind_it() {
    let written = segment();
    let starts = &written.starts;
    deal(&written, written.bytes.len() + 1, |bytes, cut| {
        let whole = starts.partition_point(|start| *start <= cut) - usize::from(cut < bytes.len());
        let from = whole.saturating_sub(3);
        let part = &bytes[starts[from].min(cut)..cut];
        let found = scanned(part);
        assert_eq!(found.entries.len(), whole - from, "cut at {cut}");
        assert!(found.damaged.is_empty(), "cut at {cut}: {found:?}");
        check_whole(part, &found);
    });
}

#[test]
fn a_whole_segment_is_read_to_its_end_across_chunks() {
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend(rig::entry(number, 0, &vec![b'x'; 40_000], MARK));
    }
    assert!(bytes.len() > 3 * CHUNK_BYTES);
    let found = scanned(&bytes);
    assert_eq!((found.entries.len(), found.damaged.len(), found.torn_bytes), (20, 0, 0));
    let last = found.entries[19];
    assert_eq!(last.item().expect("below 4 GiB").number, 19);
    // Sixty kilobytes of damage in the middle cost the two entries they touch.
    bytes[100_000..160_000].fill(0);
    let found = scanned(&bytes);
    assert_eq!((found.entries.len(), found.damaged.len()), (18, 1));
}

#[test]
fn space_that_nobody_wrote_was_cut_off_and_not_damaged() {
    let mut bytes = rig::entry(0, 0, b"value", MARK);
    let entry = bytes.len();
    bytes.resize(entry + 5_000, 0);
    let found = scanned(&bytes);
    assert_eq!((found.entries.len(), found.damaged.len(), found.torn_bytes), (1, 0, 5_000));
}

/// What a stranger publishes may look like an entry: it is not taken for one, unless it bears the mark.
#[test]
fn payloads_are_not_taken_for_entries() {
    let stranger = rig::entry(5, 0, b"stranger", 1);
    let mut bytes = rig::entry(0, 0, &stranger, MARK);
    let second = bytes.len();
    bytes.extend(rig::entry(1, 0, b"mine", MARK));
    bytes[second - 1] ^= 1;
    let found = scanned(&bytes);
    assert_eq!(found.entries.iter().map(|entry| entry.envelope.number).collect::<Vec<_>>(), [1]);
    assert_eq!(found.damaged, [Stretch { at: 0, bytes: second as u64 }]);
    // An old entry behind a newer one is what a disk that writes to the wrong place leaves.
    let bytes = [rig::entry(7, 0, b"a", MARK), rig::entry(7, 0, b"a", MARK)].concat();
    assert_eq!(scanned(&bytes).entries.len(), 1);
}
