//! Records into the buffer of a batch: the one copy that a message pays.

use super::HEADER_LEN;
use super::headers::{RawHeaders, count_on_wire};
use crate::primitive::{WriteKafka, uvarint_len, zigzag, zigzag_long};
use wire::Writer;

/// Empties `buf` and leaves the gap for the header. The capacity stays: batches recycle their buffers.
pub fn begin(buf: &mut Vec<u8>) {
    buf.clear();
    buf.resize(HEADER_LEN, 0);
}

/// The most bytes [`append`] can add for one record, so that its buffer need not grow: the lengths in bytes, headers in their
/// wire form. At most 36 bytes above the truth.
#[inline]
pub const fn record_bytes_max(key_len: usize, value_len: usize, headers_len: usize) -> usize {
    // Length, attributes, timestamp, offset, key length, value length, header count: 5 + 1 + 10 + 5 + 5 + 5 + 5.
    36 + key_len + value_len + headers_len
}

/// The bytes that [`append`] adds for a record that is alone in its batch.
pub fn lone_record_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: RawHeaders<'_>) -> usize {
    let field = |field: Option<&[u8]>| uvarint_len(u64::from(length(field))) + field.map_or(0, <[u8]>::len);
    let headers_len = uvarint_len(u64::from(count_on_wire(headers.count))) + headers.bytes.len();
    // Attributes and both deltas: a byte each.
    let body = 3 + field(key) + field(value) + headers_len;
    uvarint_len(u64::from(zigzag(body as i32))) + body
}

/// Appends one record. `offset_delta` is the number of records before it in the batch, `timestamp_delta_ms` counts from
/// the base timestamp the batch will be sealed with. The record itself must stay below 2³¹ bytes, which the limits on
/// packets guarantee many times over.
#[inline]
pub fn append(
    buf: &mut Vec<u8>,
    offset_delta: u32,
    timestamp_delta_ms: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: RawHeaders<'_>,
) {
    let timestamp = zigzag_long(timestamp_delta_ms);
    let offset = zigzag(offset_delta as i32);
    let key_length = length(key);
    let value_length = length(value);
    let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
    let header_count = count_on_wire(headers.count);
    let headers_len = if headers.is_empty() { 1 } else { uvarint_len(u64::from(header_count)) + headers.bytes.len() };
    let after_key = uvarint_len(u64::from(value_length)) + value.len() + headers_len;

    // Small deltas, a key below 64 bytes and a record below 8 KiB: what stands before the key fits one register.
    if timestamp < TWO_BYTES && u64::from(offset) < TWO_BYTES && key_length < 0x80 && after_key < 8000 {
        let timestamp = Short::of(timestamp as u32);
        let offset = Short::of(offset);
        let body = 1 + timestamp.len() + offset.len() + 1 + key.len() + after_key;
        Short::of(zigzag(body as i32))
            .then(Short::of(0)) // attributes
            .then(timestamp)
            .then(offset)
            .then(Short::of(key_length))
            .append_to(buf);
    } else {
        let lengths = uvarint_len(timestamp) + uvarint_len(u64::from(offset)) + uvarint_len(u64::from(key_length));
        let body = 1 + lengths + key.len() + after_key;
        debug_assert!(body <= i32::MAX as usize, "a record of {body} bytes was let through to a batch");
        buf.put_uvarint(zigzag(body as i32));
        buf.put_u8(0); // attributes
        buf.put_uvarlong(timestamp);
        buf.put_uvarint(offset);
        buf.put_uvarint(key_length);
    }
    buf.extend_from_slice(key);
    buf.put_uvarint(value_length);
    buf.extend_from_slice(value);
    if headers.is_empty() {
        buf.push(0);
    } else {
        buf.put_uvarint(header_count);
        buf.extend_from_slice(headers.bytes);
    }
}

/// The zigzag length of a field: null is -1, which is 1.
#[inline]
pub(super) fn length(field: Option<&[u8]>) -> u32 {
    field.map_or(1, |f| zigzag(f.len() as i32))
}

/// What a varint of two bytes stays below.
const TWO_BYTES: u64 = 1 << 14;

/// Varints of one or two bytes each, up to eight bytes together, gathered in a register.
#[derive(Clone, Copy)]
struct Short {
    /// Little-endian: the first byte is the lowest.
    word: u64,
    bits: u32,
}

impl Short {
    /// One varint; `v` is below [`TWO_BYTES`].
    #[inline(always)]
    fn of(v: u32) -> Self {
        let v = u64::from(v);
        if v < 0x80 { Self { word: v, bits: 8 } } else { Self { word: (v & 0x7f) | 0x80 | (v >> 7) << 8, bits: 16 } }
    }

    #[inline(always)]
    fn len(self) -> usize {
        (self.bits / 8) as usize
    }

    #[inline(always)]
    fn then(self, next: Self) -> Self {
        Self { word: self.word | next.word << self.bits, bits: self.bits + next.bits }
    }

    /// Stores all eight bytes and gives back what is too much: a store of fixed size costs less than one for each byte.
    #[inline(always)]
    fn append_to(self, buf: &mut Vec<u8>) {
        let end = buf.len() + self.len();
        buf.extend_from_slice(&self.word.to_le_bytes());
        buf.truncate(end);
    }
}
