//! Record batch, format 2: what a producer sends, a broker stores and a consumer reads (KIP-98; Kafka 0.11 and later).
//!
//! ```text
//!  0  i64  base offset              the log's to set; outside the CRC
//!  8  i32  batch length             bytes after this field = whole batch - 12
//! 12  i32  partition leader epoch   the log's to set; outside the CRC
//! 16  i8   magic = 2
//! 17  u32  CRC-32C of everything from 21 to the end
//! 21  i16  attributes               bits 0-2 compression, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//! 23  i32  last offset delta        base offset + this = last offset; stays when compaction removes records
//! 27  i64  base timestamp, ms       what timestamp deltas count from
//! 35  i64  max timestamp, ms
//! 43  i64  producer id              -1: not idempotent
//! 51  i16  producer epoch
//! 53  i32  base sequence
//! 57  i32  records
//! 61  records, one after the other, all of them compressed together if compressed at all
//!
//! record:  varint   length of what follows
//!          i8       attributes = 0
//!          varlong  timestamp delta, ms
//!          varint   offset delta
//!          varint   key length, -1 = null; key
//!          varint   value length, -1 = null; value
//!          varint   headers; each: varint key length, key, varint value length (-1 = null), value
//! ```
//!
//! The way of a batch that we fill: [`begin`] leaves the gap for the header, [`append`] adds records, [`seal`] fills the
//! gap. A broker takes one batch per partition and request, so two small batches cannot travel side by side; [`merge`]
//! makes one of them.
//!
//! Left out: formats 0 and 1, which no supported broker sends; writing transactional and control batches.

mod header;
mod headers;
mod merge;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use header::{Header, restamp_producer, seal, set_base_offset};
pub use headers::{HeaderBlock, RawHeaders};
pub use merge::{Span, merge};
pub use reader::{Headers, Record, Records, decompressed_records, records};
pub use writer::{append, begin, lone_record_bytes, record_bytes_max};

use crate::compression::Compression;

/// Bytes of the header, so the place of the first record.
pub const HEADER_LEN: usize = 61;

/// What the header does not count in its batch length: base offset and the length itself.
const LENGTH_STARTS_AT: usize = 12;

/// Where the bytes under the checksum begin.
const CRC_STARTS_AT: usize = 21;

/// The producer id of a batch without idempotence; its epoch and sequence are -1 too.
pub const NO_PRODUCER_ID: i64 = -1;

/// One header of a record. The key is UTF-8 by agreement; what a consumer reads may break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Its name; may repeat.
    pub key: &'a [u8],
    /// Its value, which may be absent.
    pub value: Option<&'a [u8]>,
}

/// What [`seal`] writes into the header beyond what it finds in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What the timestamp deltas of the records count from, in ms since 1970.
    pub base_timestamp_ms: i64,
    /// The latest timestamp of the batch, in ms since 1970.
    pub max_timestamp_ms: i64,
    /// Records in the batch, at least one.
    pub records: u32,
    /// How the bytes behind the header are compressed already.
    pub compression: Compression,
    /// From InitProducerId, or -1.
    pub producer_id: i64,
    /// From InitProducerId, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record within its partition and epoch, or -1.
    pub base_sequence: i32,
}

impl Stamp {
    /// A stamp without idempotence and compression.
    pub fn plain(span: &Span) -> Self {
        Self {
            base_timestamp_ms: span.base_timestamp_ms,
            max_timestamp_ms: span.max_timestamp_ms,
            records: span.records,
            compression: Compression::None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// The sequence `records` after `base`: after 2³¹-1 comes 0.
#[inline]
pub fn next_sequence(base: i32, records: u32) -> i32 {
    ((i64::from(base) + i64::from(records)) & i64::from(i32::MAX)) as i32
}
