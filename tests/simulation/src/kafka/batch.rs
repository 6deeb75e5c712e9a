//! A record batch as a broker reads it: everything that Kafka would refuse is a bug of ours, and told in a sentence.
//!
//! ```text
//! i64 base offset, i32 length of what follows, i32 leader epoch, i8 magic, u32 CRC-32C of what follows,
//! i16 attributes, i32 last offset delta, i64 base and i64 max timestamp, i64 producer id, i16 epoch, i32 base sequence,
//! i32 count, records: varint length, i8 attributes, varlong timestamp delta, varint offset delta,
//!                     varint + key, varint + value, varint + headers (varint + name, varint + value)
//! ```
//!
//! Written from Kafka's protocol guide, not with our codec; records are decompressed by `kafka-protocol`, whose codecs are
//! others than ours.

use std::borrow::Cow;
use std::cell::RefCell;

use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy};
use zstd::bulk;

/// The header of dead letters that names their sink.
const ORIGIN: &[u8] = b"aqueduct.sink";

/// Bytes in front of the records.
const HEADER_LEN: usize = 61;

/// Bytes in front of what the length counts.
const LENGTH_ENDS_AT: usize = 12;

/// No world has batches as long as this, decompressed.
const RECORDS_BYTES_MAX: usize = 1 << 20;

/// Where the bytes begin that the checksum covers.
const CRC_ENDS_AT: usize = 21;

/// What a broker takes from a batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) records: u32,
    pub(super) base_timestamp_ms: i64,
    pub(super) max_timestamp_ms: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the batch.
    pub index: u32,
    /// In ms since 1970.
    pub timestamp_ms: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
    /// Of a dead letter: the name of the sink it was meant for.
    pub origin: Option<&'a [u8]>,
}

/// The batch with its records as they were before compression, for [`Records`]. Length and checksum stay what they were.
///
/// # Panics
/// If the records cannot be decompressed.
pub fn plain(bytes: &[u8]) -> Cow<'_, [u8]> {
    let codec = i16_at(bytes, 21);
    match codec {
        0 => return Cow::Borrowed(bytes),
        4 => return Cow::Owned(plain_from_zstd(bytes)),
        _ => {}
    }
    let mut packed = Bytes::copy_from_slice(&bytes[HEADER_LEN..]);
    let records = match codec {
        1 => Gzip::decompress(&mut packed, |records| Ok(records.to_vec())),
        2 => Snappy::decompress(&mut packed, |records| Ok(records.to_vec())),
        3 => Lz4::decompress(&mut packed, |records| Ok(records.to_vec())),
        other => panic!("a batch with attributes {other:#x}"),
    };
    let records = records.unwrap_or_else(|error| panic!("records compressed by codec {codec}: {error}"));
    assert!(records.len() > bytes.len() - HEADER_LEN, "compression by codec {codec} was not worth it");
    Cow::Owned([&bytes[..HEADER_LEN], &records].concat())
}

/// A batch that has no header yet, with as much of one as [`plain`] and [`Records`] read.
pub fn with_header(batch: &aqueduct::buffer::Batch) -> Vec<u8> {
    let mut bytes = batch.bytes.clone();
    let codec = batch.packed.map_or(0, |codec| codec as u16);
    bytes[21..23].copy_from_slice(&codec.to_be_bytes());
    bytes[27..35].copy_from_slice(&batch.base_timestamp_ms.to_be_bytes());
    bytes[57..61].copy_from_slice(&batch.records.to_be_bytes());
    bytes
}

/// Whether its records are compressed in a way that brokers before 2.1 refuse.
pub(super) fn is_zstd(bytes: &[u8]) -> bool {
    i16_at(bytes, 21) & 7 == 4
}

/// There is one implementation of zstd for us and everybody else. Its context is kept, which costs more to set up than most
/// batches to decompress.
fn plain_from_zstd(bytes: &[u8]) -> Vec<u8> {
    thread_local! {
        static KEPT: RefCell<(bulk::Decompressor<'static>, Vec<u8>)> =
            RefCell::new((bulk::Decompressor::new().expect("memory"), Vec::with_capacity(RECORDS_BYTES_MAX)));
    }
    KEPT.with_borrow_mut(|(decompressor, records)| {
        let done = decompressor.decompress_to_buffer(&bytes[HEADER_LEN..], records);
        done.unwrap_or_else(|error| panic!("records compressed by codec 4: {error}"));
        assert!(records.len() > bytes.len() - HEADER_LEN, "compression by codec 4 was not worth it");
        [&bytes[..HEADER_LEN], records].concat()
    })
}

/// Checks a whole batch and shows each record. Returns it plain, as [`plain`] makes it.
///
/// # Panics
/// If it is not what a Kafka producer may send.
pub(super) fn check<'a>(bytes: &'a [u8], mut each: impl FnMut(&Record<'_>)) -> (Batch, Cow<'a, [u8]>) {
    assert!(bytes.len() > HEADER_LEN, "a batch of {} bytes is shorter than its header", bytes.len());
    assert_eq!(i64_at(bytes, 0), 0, "a producer's batch begins at offset 0");
    let length = i32_at(bytes, 8);
    assert_eq!(length as usize, bytes.len() - LENGTH_ENDS_AT, "the length in the batch's header is not the batch's");
    assert_eq!(bytes[16], 2, "the batch's magic is not 2");
    let (stored, computed) = (i32_at(bytes, 17) as u32, crc32c::crc32c(&bytes[CRC_ENDS_AT..]));
    assert_eq!(stored, computed, "the batch's checksum is wrong");
    let attributes = i16_at(bytes, 21);
    assert_eq!(attributes & !0b111, 0, "a batch here is of no transaction, and has the producer's timestamps");
    let batch = header(bytes);
    assert!(batch.records > 0 && batch.records <= i32::MAX as u32, "a batch of {} records", batch.records as i32);
    assert_eq!(i32_at(bytes, 23), batch.records as i32 - 1, "the last offset delta does not fit the count");
    if batch.producer_id >= 0 {
        assert!(batch.producer_epoch >= 0, "a producer id without an epoch");
        assert!(batch.base_sequence >= 0, "a producer id without a sequence");
    } else {
        let none = (batch.producer_id, batch.producer_epoch, batch.base_sequence);
        assert_eq!(none, (-1, -1, -1), "a batch without a producer id has -1 in all three fields");
    }
    let plain = plain(bytes);
    let mut records = Records::new(&batch, &plain);
    let mut latest_ms = i64::MIN;
    for record in records.by_ref() {
        latest_ms = latest_ms.max(record.timestamp_ms);
        each(&record);
    }
    assert_eq!(records.next_at, plain.len(), "bytes after the last record of the batch");
    assert_eq!(latest_ms, batch.max_timestamp_ms, "the batch's max timestamp is not its latest record's");
    (batch, plain)
}

fn header(bytes: &[u8]) -> Batch {
    Batch {
        records: i32_at(bytes, 57) as u32,
        base_timestamp_ms: i64_at(bytes, 27),
        max_timestamp_ms: i64_at(bytes, 35),
        producer_id: i64_at(bytes, 43),
        producer_epoch: i16_at(bytes, 51),
        base_sequence: i32_at(bytes, 53),
    }
}

/// The records of a batch, oldest first.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    base_timestamp_ms: i64,
    next_at: usize,
    next: u32,
    count: u32,
}

impl<'a> Records<'a> {
    fn new(batch: &Batch, bytes: &'a [u8]) -> Self {
        Self { bytes, base_timestamp_ms: batch.base_timestamp_ms, next_at: HEADER_LEN, next: 0, count: batch.records }
    }

    /// Of a batch that is whole, right and plain: one that was checked, or one of ours.
    ///
    /// # Panics
    /// If it is not.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self::new(&header(bytes), bytes)
    }

    #[inline]
    fn varint(&mut self) -> i64 {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.bytes[self.next_at];
            self.next_at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (value >> 1) as i64 ^ -((value & 1) as i64);
            }
            shift += 7;
            assert!(shift < 64, "a varint of more than ten bytes");
        }
    }

    #[inline]
    fn nullable(&mut self) -> Option<&'a [u8]> {
        let length = self.varint();
        if length < 0 {
            assert_eq!(length, -1, "a negative length in a record");
            return None;
        }
        let from = self.next_at;
        self.next_at += length as usize;
        Some(&self.bytes[from..self.next_at])
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.next == self.count {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let length = self.varint();
        let from = self.next_at;
        assert!(length > 0 && from + length as usize <= self.bytes.len(), "record {index} is longer than its batch");
        assert_eq!(self.bytes[from], 0, "record {index} has attributes");
        self.next_at += 1;
        let timestamp_ms = self.base_timestamp_ms + self.varint();
        let offset_delta = self.varint();
        assert_eq!(offset_delta, i64::from(index), "offset delta of record {index}");
        let (key, value) = (self.nullable(), self.nullable());
        let mut origin = None;
        for _ in 0..self.varint() {
            let name = self.nullable().expect("the name of a header is not null");
            let value = self.nullable();
            origin = if name == ORIGIN { value } else { origin };
        }
        assert_eq!(self.next_at, from + length as usize, "record {index} is not as long as it says");
        Some(Record { index, timestamp_ms, key, value, origin })
    }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(*bytes[at..].first_chunk().expect("inside the header"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(*bytes[at..].first_chunk().expect("inside the header"))
}
