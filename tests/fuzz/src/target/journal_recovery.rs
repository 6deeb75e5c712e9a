//! A file of a buffer on disk as a crash, a sick disk or a stranger left it.
//!
//! Promises: no panic; what is found is whole entries with ascending numbers that do not overlap; every byte is an entry's, damaged or
//! torn; what is read back is what was found; and of a file that is cut behind an entry the same entries are found.

use aqueduct::buffer::PartKey;
use aqueduct::log::journal::scan::{Scanned, scan};
use aqueduct::log::journal::{ReadBack, Wanted, read_back};
use aqueduct::shard::ShardId;

use crate::trail;

/// The mark of every file of the corpus.
const MARK: u32 = 0x1234_5678;

/// Magics, the mark, small numbers.
pub(super) const WORDS: &[&[u8]] =
    &[b"AQJ1", b"AQJF", b"\x12\x34\x56\x78", b"\0\0\0\0\0\0\0\x02", b"\0\0\0\x3d", &[0; 32]];

/// Scans the file and reads every entry.
pub(super) fn run(bytes: &[u8]) {
    let found = scanned(bytes);
    let mut end = 0;
    let mut newest = None;
    for entry in &found.entries {
        let envelope = entry.envelope;
        assert!(entry.at >= end && newest < Some(envelope.number), "{found:?}");
        (end, newest) = (entry.at + u64::from(envelope.bytes), Some(envelope.number));
        let mut wanted = Wanted::new(envelope.number, entry.at as u32, envelope.bytes);
        let part = PartKey { sink: 0, partition: envelope.partition };
        let read = read_back(bytes, MARK, ShardId(0), part, &mut wanted, |_| panic!("what was found is whole"));
        let ReadBack::Whole(batch, written_ms) = read else { panic!("{read:?}") };
        assert_eq!((batch.records, written_ms), (envelope.records, envelope.written_ms));
        assert_eq!(batch.topic_name, found.topics.name(entry.topic));
        assert_eq!([&batch.bytes, batch.topic_name.as_bytes()].concat(), bytes[entry.at as usize..end as usize]);
    }
    let whole: u64 = found.entries.iter().map(|entry| u64::from(entry.envelope.bytes)).sum();
    let damaged: u64 = found.damaged.iter().map(|stretch| stretch.bytes).sum();
    assert_eq!(whole + damaged + found.torn_bytes, bytes.len() as u64, "{found:?}");
    assert_eq!(scanned(&bytes[..end as usize]).entries, found.entries);
    trail::mark(62, found.entries.len().min(31) as u64);
    trail::mark(63, (found.damaged.len().min(15) as u64) << 1 | u64::from(found.torn_bytes > 0));
}

fn scanned(bytes: &[u8]) -> Scanned {
    scan(bytes, bytes.len() as u64, MARK).expect("memory can be read")
}
