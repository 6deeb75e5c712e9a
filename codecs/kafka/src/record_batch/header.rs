//! The 61 bytes in front of the records: sealing them, changing them, reading them.

use super::{CRC_STARTS_AT, HEADER_LEN, LENGTH_STARTS_AT, Stamp};
use crate::Error;
use crate::compression::Compression;
use wire::Reader;

const MAGIC: i8 = 2;

// Bits of the attributes.
const COMPRESSION: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Fills the header gap of a batch whose records are complete. The checksum is computed here, over header and records.
///
/// # Panics
/// If `buf` has no room for a header: it did not come from [`super::begin`].
pub fn seal(buf: &mut [u8], stamp: &Stamp) {
    debug_assert!(stamp.records > 0, "a batch without records is never sealed");
    let batch_length = buf.len() - LENGTH_STARTS_AT;
    let head = gap(buf);
    // Base offset 0 and leader epoch -1 are what producers send; the log overwrites both.
    head[0..8].copy_from_slice(&0i64.to_be_bytes());
    head[8..12].copy_from_slice(&(batch_length as i32).to_be_bytes());
    head[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    head[16..17].copy_from_slice(&MAGIC.to_be_bytes());
    head[21..23].copy_from_slice(&(stamp.compression as i16).to_be_bytes());
    head[23..27].copy_from_slice(&(stamp.records.wrapping_sub(1) as i32).to_be_bytes());
    head[27..35].copy_from_slice(&stamp.base_timestamp_ms.to_be_bytes());
    head[35..43].copy_from_slice(&stamp.max_timestamp_ms.to_be_bytes());
    head[57..61].copy_from_slice(&(stamp.records as i32).to_be_bytes());
    restamp_producer(buf, stamp.producer_id, stamp.producer_epoch, stamp.base_sequence);
}

/// Replaces the producer's part of a sealed batch and recomputes the checksum: a batch whose epoch changed before it was
/// stored, or one that waited on disk without a producer.
///
/// # Panics
/// If `buf` is shorter than a header.
pub fn restamp_producer(buf: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    let head = gap(buf);
    head[43..51].copy_from_slice(&producer_id.to_be_bytes());
    head[51..53].copy_from_slice(&producer_epoch.to_be_bytes());
    head[53..57].copy_from_slice(&base_sequence.to_be_bytes());
    let crc = crc32c::crc32c(buf.split_at(CRC_STARTS_AT).1);
    gap(buf)[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Writes what a log decides about a batch when it appends it. Both fields lie outside the checksum.
///
/// # Panics
/// If `buf` is shorter than a header.
pub fn set_base_offset(buf: &mut [u8], offset: i64, leader_epoch: i32) {
    let head = gap(buf);
    head[0..8].copy_from_slice(&offset.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

fn gap(buf: &mut [u8]) -> &mut [u8; HEADER_LEN] {
    let len = buf.len();
    match buf.first_chunk_mut() {
        Some(head) => head,
        #[allow(clippy::panic, reason = "our own buffers begin with the gap; no peer decides their length")]
        None => panic!("a batch of {len} bytes has no room for its header"),
    }
}

/// A batch header as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record, or of the first that was there before compaction.
    pub base_offset: i64,
    /// Bytes of the whole batch, header included; at least [`HEADER_LEN`].
    pub batch_bytes: usize,
    /// Leader epoch in which the batch was appended, -1 from a producer.
    pub leader_epoch: i32,
    /// CRC-32C as stored.
    pub crc: u32,
    /// Raw bits; see the methods.
    pub attributes: i16,
    /// Last offset minus base offset, not negative.
    pub last_offset_delta: i32,
    /// What timestamp deltas count from, in ms since 1970.
    pub base_timestamp_ms: i64,
    /// Latest timestamp, or the append time of all records, in ms since 1970.
    pub max_timestamp_ms: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
    /// Records that are in the batch now; compaction may have left fewer than offsets, even none.
    pub records: u32,
}

impl Header {
    /// Reads the first [`HEADER_LEN`] bytes of `bytes`; the records need not be there yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let r = &mut Reader::new(bytes.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?);
        let base_offset = r.i64()?;
        let batch_length = r.i32()?;
        let leader_epoch = r.i32()?;
        let magic = r.i8()?;
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        let header = Self {
            base_offset,
            batch_bytes: usize::try_from(batch_length).unwrap_or(0) + LENGTH_STARTS_AT,
            leader_epoch,
            crc: r.u32()?,
            attributes: r.i16()?,
            last_offset_delta: r.i32()?,
            base_timestamp_ms: r.i64()?,
            max_timestamp_ms: r.i64()?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            base_sequence: r.i32()?,
            records: u32::try_from(r.i32()?).map_err(|_| Error::Malformed("record batch: negative record count"))?,
        };
        if header.batch_bytes < HEADER_LEN {
            return Err(Error::Malformed("record batch: length shorter than its header"));
        }
        if header.last_offset_delta < 0 {
            return Err(Error::Malformed("record batch: negative last offset delta"));
        }
        Ok(header)
    }

    /// Compares the checksum with the bytes. `batch` starts with this header and may go on after the batch.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), Error> {
        let covered = batch.get(CRC_STARTS_AT..self.batch_bytes).ok_or(Error::Truncated)?;
        let computed = crc32c::crc32c(covered);
        if computed == self.crc { Ok(()) } else { Err(Error::Crc { stored: self.crc, computed }) }
    }

    /// The bytes behind the header, compressed if they are. `batch` starts with this header and may go on after the batch.
    pub fn body<'a>(&self, batch: &'a [u8]) -> Result<&'a [u8], Error> {
        batch.get(HEADER_LEN..self.batch_bytes).ok_or(Error::Truncated)
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, Error> {
        Compression::from_id((self.attributes & COMPRESSION) as u8)
    }

    /// The offset after the last one of this batch: where the next batch begins.
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }

    /// Whether the broker replaced the producer's timestamps: then every record has `max_timestamp_ms`.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers for brokers and consumers instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}
