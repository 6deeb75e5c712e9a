//! One entry: a batch, with our own envelope in the gap where Kafka's header will stand when it is sent.
//!
//! ```text
//!  0  u32  magic "AQJ1"
//!  4  u32  CRC-32 (IEEE) of everything from 8 to the end
//!  8  u32  bytes of the entry, this envelope included
//! 12  u64  number: ascends within a journal
//! 20  u32  partition
//! 24  u32  records
//! 28  i64  base timestamp, ms
//! 36  i64  max timestamp, ms
//! 44  u32  mark of the journal: what tells an entry from a stranger's payload that looks like one
//! 48  u16  attributes: bits 0-2 compression, bit 3 whether that has been decided
//! 50  u32  bytes of the records before compression
//! 54  u48  when it was written, ms since 1970
//! 60  u8   bytes of the topic's name, 0 where the topic is the sink's own
//! 61  records, as in a record batch
//!  …  name of the topic, where messages named it
//! ```
//!
//! Producer id, epoch and sequence are not kept: they belong to the process that sends, and are stamped then.

use kafka::compression::Compression;
use kafka::record_batch::HEADER_LEN;
use kafka::topic_name::{TOPIC_NAME_MAX, is_topic_name};

use crate::buffer::Batch;

/// Bytes of the envelope: just those of the header that replaces it.
pub(crate) const ENVELOPE_LEN: usize = HEADER_LEN;

/// Begins every entry.
pub(crate) const MAGIC: [u8; 4] = *b"AQJ1";

/// Where the checksum begins to count.
const CRC_STARTS_AT: usize = 8;
/// Where the mark stands.
pub(crate) const MARK_AT: usize = 44;
/// Set where it has been decided whether to compress.
const DECIDED: u16 = 8;
const WRITTEN_MS_MAX: u64 = (1 << 48) - 1;

/// What an envelope says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Bytes of the whole entry.
    pub bytes: u32,
    /// Its number.
    pub number: u64,
    /// Kafka's partition.
    pub partition: u32,
    /// Records in it.
    pub records: u32,
    /// Timestamp that those of the records count from, ms since 1970.
    pub base_timestamp_ms: i64,
    /// The latest of them, ms since 1970.
    pub max_timestamp_ms: i64,
    /// How the records are compressed; `None` if that has not been decided.
    pub packed: Option<Compression>,
    /// Bytes of the records before compression.
    pub plain_bytes: u32,
    /// When it was written, ms since 1970; 0 if that was before.
    pub written_ms: i64,
    /// Bytes of the topic's name behind the records.
    pub topic_bytes: u8,
    crc: u32,
}

impl Envelope {
    /// Reads the envelope at the start of `bytes`. `None` if that is none of this journal's.
    pub fn parse(bytes: &[u8], mark: u32) -> Option<Self> {
        let head: &[u8; ENVELOPE_LEN] = bytes.first_chunk()?;
        let u32_at = |at: usize| Some(u32::from_be_bytes(*head.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(*head.get(at..)?.first_chunk()?));
        let ours = *head.first_chunk::<4>()? == MAGIC && u32_at(MARK_AT)? == mark;
        let length = u32_at(8)?;
        let attributes = u16::from_be_bytes(*head.get(48..)?.first_chunk()?);
        let topic_bytes = *head.last()?;
        let known = attributes <= (DECIDED | 7) && usize::from(topic_bytes) <= TOPIC_NAME_MAX;
        if !ours || !known || (length as usize) < ENVELOPE_LEN + usize::from(topic_bytes) {
            return None;
        }
        let codec = Compression::from_id((attributes & 7) as u8).ok()?;
        Some(Self {
            bytes: length,
            number: u64_at(12)?,
            partition: u32_at(20)?,
            records: u32_at(24)?,
            base_timestamp_ms: u64_at(28)? as i64,
            max_timestamp_ms: u64_at(36)? as i64,
            packed: (attributes & DECIDED != 0).then_some(codec),
            plain_bytes: u32_at(50)?,
            written_ms: (u64_at(52)? & WRITTEN_MS_MAX) as i64,
            topic_bytes,
            crc: u32_at(4)?,
        })
    }

    /// Whether `entry`, whose envelope this is, is what was written.
    pub fn is_whole(&self, entry: &[u8]) -> bool {
        entry.len() == self.bytes as usize
            && entry.get(CRC_STARTS_AT..).is_some_and(|bytes| crc32fast::hash(bytes) == self.crc)
            && self.topic(entry).is_some()
    }

    /// The name of the topic in `entry`, whose envelope this is; empty for the sink's own. `None`: that is no name.
    pub fn topic<'e>(&self, entry: &'e [u8]) -> Option<&'e str> {
        let at = entry.len().checked_sub(usize::from(self.topic_bytes))?;
        let name = entry.get(at..)?;
        if !name.is_empty() && !is_topic_name(name) {
            return None;
        }
        std::str::from_utf8(name).ok()
    }
}

/// The pieces of a sealed batch's entry.
pub fn pieces(batch: &Batch) -> [&[u8]; 2] {
    [&batch.bytes, batch.topic_name.as_bytes()]
}

/// Bytes of a batch's entry.
pub(crate) fn bytes_of(batch: &Batch) -> usize {
    batch.bytes.len() + batch.topic_name.len()
}

/// Writes the envelope of a batch into its header gap.
pub(crate) fn seal(batch: &mut Batch, number: u64, mark: u32, wall_ms: i64) {
    let written_ms = u64::try_from(wall_ms).unwrap_or(0).min(WRITTEN_MS_MAX);
    let bytes = u32::try_from(bytes_of(batch)).expect("a batch is far below 4 GiB");
    let topic_bytes = u8::try_from(batch.topic_name.len()).expect("names of topics are checked when they are rendered");
    let (partition, records) = (batch.part.partition, batch.records);
    let attributes = batch.packed.map_or(0, |codec| DECIDED | codec as u16);
    let plain = u32::try_from(batch.queued_bytes).unwrap_or(u32::MAX);
    let (base_ms, max_ms) = (batch.base_timestamp_ms, batch.max_timestamp_ms);
    let head = &mut batch.bytes[..ENVELOPE_LEN];
    head[..4].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&bytes.to_be_bytes());
    head[12..20].copy_from_slice(&number.to_be_bytes());
    head[20..24].copy_from_slice(&partition.to_be_bytes());
    head[24..28].copy_from_slice(&records.to_be_bytes());
    head[28..36].copy_from_slice(&base_ms.to_be_bytes());
    head[36..44].copy_from_slice(&max_ms.to_be_bytes());
    head[MARK_AT..48].copy_from_slice(&mark.to_be_bytes());
    head[48..50].copy_from_slice(&attributes.to_be_bytes());
    head[50..54].copy_from_slice(&plain.to_be_bytes());
    head[54..60].copy_from_slice(&written_ms.to_be_bytes()[2..]);
    head[60] = topic_bytes;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&batch.bytes[CRC_STARTS_AT..]);
    crc.update(batch.topic_name.as_bytes());
    batch.bytes[4..8].copy_from_slice(&crc.finalize().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BatchPool, PartKey};
    use crate::clock::Mono;
    use crate::shard::ShardId;

    fn check_envelope(topic: &str) {
        let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 1, partition: 7 }, 0, Mono(0));
        batch.topic_name.push_str(topic);
        batch.bytes.extend_from_slice(b"records");
        (batch.records, batch.base_timestamp_ms, batch.max_timestamp_ms) = (3, -5, 1_700_000_000_123);
        seal(&mut batch, 42, 0xfeed_beef, 1_700_000_000_999);
        let read = Envelope::parse(&batch.bytes, 0xfeed_beef).expect("an envelope");
        let length = 68 + topic.len() as u32;
        assert_eq!((read.number, read.partition, read.records, read.bytes), (42, 7, 3, length));
        assert_eq!((read.base_timestamp_ms, read.max_timestamp_ms), (-5, 1_700_000_000_123));
        assert_eq!(read.written_ms, 1_700_000_000_999);
        let mut entry = pieces(&batch).concat();
        assert!(read.is_whole(&entry));
        assert_eq!(read.topic(&entry), Some(topic));
        assert_eq!(Envelope::parse(&entry, 1), None, "the mark of another journal");
        for bit in 0..8 * entry.len() {
            entry[bit / 8] ^= 1 << (bit % 8);
            let whole = Envelope::parse(&entry, 0xfeed_beef).is_some_and(|e| e.is_whole(&entry));
            assert!(!whole, "bit {bit}");
            entry[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn an_envelope_reads_as_it_was_written() {
        check_envelope("");
        check_envelope("site-a");
        check_envelope(&"x".repeat(TOPIC_NAME_MAX));
    }

    /// What was written before entries had names of topics: the same bytes mean the same.
    #[test]
    fn an_entry_without_a_name_is_what_it_always_was() {
        let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 1, partition: 7 }, 0, Mono(0));
        batch.bytes.extend_from_slice(b"records");
        batch.records = 1;
        seal(&mut batch, 3, 9, 0);
        assert_eq!(batch.bytes[60], 0);
        assert_eq!(batch.bytes[4..8], crc32fast::hash(&batch.bytes[8..]).to_be_bytes());
    }
}
