//! Two small batches of one partition become one: the deltas of the second are counted anew, the rest is copied.

use super::reader::frame_record;
use super::{HEADER_LEN, writer};
use crate::Error;
use crate::primitive::{ReadKafka, WriteKafka, uvarint_len, zigzag, zigzag_long};
use wire::{Reader, Writer};

/// What the header gap of a batch under way will have to say about its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What the timestamp deltas count from, in ms since 1970.
    pub base_timestamp_ms: i64,
    /// The latest timestamp, in ms since 1970.
    pub max_timestamp_ms: i64,
    /// Records so far.
    pub records: u32,
}

impl Span {
    /// Before the first record, which arrives at `base_timestamp_ms`.
    pub fn starting(base_timestamp_ms: i64) -> Self {
        Self { base_timestamp_ms, max_timestamp_ms: base_timestamp_ms, records: 0 }
    }

    /// Counts a record and gives its deltas for [`super::append`]: offset, then timestamp in ms.
    #[inline]
    pub fn count(&mut self, timestamp_ms: i64) -> (u32, i64) {
        let offset_delta = self.records;
        self.records += 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        (offset_delta, timestamp_ms.wrapping_sub(self.base_timestamp_ms))
    }
}

/// Appends the records of `other` to `into`. Both are uncompressed, sealed or not, and described by their spans; the
/// offset deltas of `other` run from 0 without a gap, as [`super::append`] wrote them. The result is byte for byte what
/// appending the records directly would have given, at most 14 bytes a record longer than `other`.
///
/// # Errors
/// If `other` is not made of `other_span.records` whole records. `into` is then as it was.
pub fn merge(into: &mut Vec<u8>, span: &mut Span, other: &[u8], other_span: &Span) -> Result<(), Error> {
    if into.is_empty() {
        writer::begin(into);
        *span = Span::starting(other_span.base_timestamp_ms);
    }
    let end_before = into.len();
    let result = append_records(into, span, other, other_span);
    match result {
        Ok(()) => {
            span.records += other_span.records;
            span.max_timestamp_ms = span.max_timestamp_ms.max(other_span.max_timestamp_ms);
        }
        Err(_) => into.truncate(end_before),
    }
    result
}

fn append_records(into: &mut Vec<u8>, span: &Span, other: &[u8], other_span: &Span) -> Result<(), Error> {
    let mut batch = Reader::new(other.get(HEADER_LEN..).ok_or(Error::Truncated)?);
    let timestamp_shift = other_span.base_timestamp_ms.wrapping_sub(span.base_timestamp_ms);
    for _ in 0..other_span.records {
        let r = &mut Reader::new(frame_record(&mut batch)?);
        let attributes = r.u8()?;
        let timestamp = zigzag_long(r.varlong()?.wrapping_add(timestamp_shift));
        let offset = zigzag(r.varint()?.wrapping_add(span.records as i32));
        let body = 1 + uvarint_len(timestamp) + uvarint_len(u64::from(offset)) + r.remaining();
        into.put_uvarint(zigzag(body as i32));
        into.put_u8(attributes);
        into.put_uvarlong(timestamp);
        into.put_uvarint(offset);
        into.put_bytes(r.rest());
    }
    if batch.is_empty() { Ok(()) } else { Err(Error::Malformed("record batch: bytes after the last record")) }
}
