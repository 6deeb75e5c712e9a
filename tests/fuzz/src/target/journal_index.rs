//! What a buffer on disk keeps beside its entries, as a crash, a sick disk or a stranger left it: the footer of a finished segment, and
//! the positions up to which it has been passed.
//!
//! Promises: no panic; what is believed takes no more memory than a small multiple of the file; of another mark nothing is believed;
//! and positions that were read are written to the same bytes and read the same again.

use aqueduct::log::journal::{Positions, read_footer};

use crate::trail;

/// The mark of every file of the corpus.
const MARK: u32 = 0x1234_5678;
/// Bytes of an entry in a footer, and of the least that positions say of a partition.
const FOOTER_ITEM_LEN: usize = 24;
const POSITION_LEN: usize = 14;
/// Bytes of a name's length, and of its number of partitions.
const TOPIC_LEN: usize = 5;

/// Magics, the mark, small numbers.
pub(super) const WORDS: &[&[u8]] =
    &[b"AQJF", b"AQJG", b"AQP2", b"AQP3", b"\x12\x34\x56\x78", b"\0\0\0\x01", b"\0\0\0\x18", &[0; 24]];

/// Reads the file as either.
pub(super) fn run(bytes: &[u8]) {
    if let Some(items) = footer(bytes, MARK) {
        assert!(items * FOOTER_ITEM_LEN <= bytes.len());
        assert_eq!(footer(bytes, !MARK), None);
        trail::mark(64, items.min(31) as u64);
    }
    if let Some(positions) = Positions::decode(bytes, MARK) {
        let all = || positions.topics.values().chain([&positions.partitions]).flatten();
        let open: usize = all().map(|(_, position)| position.open.len()).sum();
        let names: usize = positions.topics.keys().map(|name| name.len() + TOPIC_LEN).sum();
        assert!(all().count() * POSITION_LEN + 8 * open + names <= bytes.len());
        assert_eq!(Positions::decode(bytes, !MARK), None);
        // A partition that a file names twice is written once.
        let again = positions.encode(MARK);
        assert_eq!(Positions::decode(&again, MARK).as_ref(), Some(&positions));
        for (partition, position) in all() {
            assert!(!position.has_passed(position.resume), "{partition}: {position:?}");
        }
        trail::mark(65, (all().count().min(15) as u64) << 4 | open.min(15) as u64);
    }
}

/// How many entries a footer names.
fn footer(bytes: &[u8], mark: u32) -> Option<usize> {
    read_footer(bytes, bytes.len() as u64, mark).expect("memory can be read").map(|listed| listed.items.len())
}
