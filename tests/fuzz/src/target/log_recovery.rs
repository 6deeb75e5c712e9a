//! A segment of the local log as a crash, a sick disk or a stranger left it.
//!
//! Promises: no panic; what is shown is whole batches, in order, that do not overlap; recovery accounts for every byte and shows no
//! other batches than a reader; what it keeps is recovered to the same again; and a reader that begins at any batch sees the rest.

use aqueduct::log::Mark;
use aqueduct::log::recovery::{Recovery, recover};
use aqueduct::log::scan::{Found, Scanner};
use kafka::record_batch::Header;

use crate::trail;

/// The mark and the first offset of every segment of the corpus.
const MARK: Mark = Mark(0x1234_5678);
const BASE: i64 = 1000;

/// A signature: producer id, epoch and mark; and offsets near the first.
pub(super) const WORDS: &[&[u8]] = &[
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x12\x34\x56\x78",
    b"\0\0\0\0\0\0\x03\xe8",
    b"\0\0\0\0\0\0\x03\xeb",
    b"\0\0\0\0\0\0\x03\xee",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    &[0; 32],
];

/// Recovers and reads the segment.
pub(super) fn run(bytes: &[u8]) {
    let found = recovered(bytes);
    let shown = shown(bytes, 0, BASE, i64::MAX);
    accounts_for_every_byte(bytes, &found, &shown);
    assert_eq!(shown.last().map(|batch| batch.1.next_offset()), found.end_offset);
    let kept = &bytes[..found.keep_bytes as usize];
    let again = recovered(kept);
    assert_eq!((again.torn_bytes, &again.damaged, again.end_offset), (0, &found.damaged, found.end_offset));
    assert!(again.next_offset <= found.next_offset, "{again:?} after {found:?}");
    if let Some((at, header)) = shown.get(shown.len() / 2) {
        assert_eq!(self::shown(bytes, *at, header.base_offset, i64::MAX), shown[shown.len() / 2..]);
        let below = self::shown(bytes, 0, BASE, header.base_offset);
        assert_eq!(below, shown[..shown.len() / 2]);
    }
    trail::mark(60, shown.len().min(31) as u64);
    trail::mark(61, (found.damaged.len().min(15) as u64) << 1 | u64::from(found.torn_bytes > 0));
}

fn recovered(bytes: &[u8]) -> Recovery {
    recover(bytes, MARK, bytes.len() as u64, BASE, i64::MAX).expect("memory can be read")
}

/// Position and header of every batch that a reader is shown.
fn shown(bytes: &[u8], at: u64, expected: i64, limit: i64) -> Vec<(u64, Header)> {
    let mut scanner = Scanner::new(bytes, MARK, bytes.len() as u64, at, expected, limit);
    let mut batches: Vec<(u64, Header)> = Vec::new();
    loop {
        match scanner.next().expect("memory can be read") {
            Found::Batch { at, header } => {
                let batch = scanner.batch();
                assert_eq!(batch, &bytes[at as usize..at as usize + header.batch_bytes]);
                assert!(header.check_crc(batch).is_ok());
                let before = batches.last().map_or((0, BASE), |(at, h)| (at + h.batch_bytes as u64, h.next_offset()));
                assert!(before.0 <= at && before.1 <= header.base_offset, "{header:?} after {before:?}");
                batches.push((at, header));
            }
            Found::Damaged(_) => {}
            Found::End { .. } => return batches,
        }
    }
}

/// Batches, damage and what was cut lie side by side without a gap.
fn accounts_for_every_byte(bytes: &[u8], found: &Recovery, shown: &[(u64, Header)]) {
    assert_eq!(found.keep_bytes + found.torn_bytes, bytes.len() as u64);
    let batches = shown.iter().map(|(at, header)| (*at, header.batch_bytes as u64));
    let mut stretches: Vec<(u64, u64)> = batches.chain(found.damaged.iter().map(|s| (s.at, s.bytes))).collect();
    stretches.sort_unstable();
    let end = stretches.iter().fold(0, |end, (at, len)| {
        assert_eq!(*at, end, "{stretches:?}");
        at + len
    });
    assert_eq!(end, found.keep_bytes);
}
