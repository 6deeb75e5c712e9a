//! Records into the buffer of a batch: the one copy that a message pays.

use super::{HEADER_LEN, RecordHeader};
use crate::primitive::{WriteKafka, uvarint_len, zigzag, zigzag_long};
use wire::Writer;

/// Empties `buf` and leaves the gap for the header. The capacity stays: batches recycle their buffers.
pub fn begin(buf: &mut Vec<u8>) {
    buf.clear();
    buf.resize(HEADER_LEN, 0);
}

/// The most bytes [`append`] can add for one record, so that its buffer need not grow: the lengths in bytes, the
/// headers' keys and values together, and how many headers there are. At most 36 bytes and 10 a header above the truth.
#[inline]
pub const fn record_bytes_max(key_len: usize, value_len: usize, headers_len: usize, headers: usize) -> usize {
    // Length, attributes, timestamp, offset, key length, value length, header count: 5 + 1 + 10 + 5 + 5 + 5 + 5.
    36 + key_len + value_len + headers_len + 10 * headers
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
    headers: &[RecordHeader<'_>],
) {
    let timestamp = zigzag_long(timestamp_delta_ms);
    let offset = zigzag(offset_delta as i32);
    let key_length = length(key);
    let value_length = length(value);
    let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
    let header_bytes = if headers.is_empty() { 1 } else { headers_len(headers) };
    let body = 1
        + uvarint_len(timestamp)
        + uvarint_len(u64::from(offset))
        + uvarint_len(u64::from(key_length))
        + key.len()
        + uvarint_len(u64::from(value_length))
        + value.len()
        + header_bytes;
    debug_assert!(body <= i32::MAX as usize, "a record of {body} bytes was let through to a batch");
    let body = zigzag(body as i32);

    // Up to the key everything usually fits 16 bytes (4 + 1 + 4 + 3 + 3): one store instead of five loops.
    if body < 1 << 28 && timestamp < 1 << 28 && offset < 1 << 21 && key_length < 1 << 21 {
        let mut prefix = Prefix::default();
        prefix.push(body);
        prefix.push(0); // attributes
        prefix.push(timestamp as u32);
        prefix.push(offset);
        prefix.push(key_length);
        prefix.append_to(buf);
    } else {
        buf.put_uvarint(body);
        buf.put_u8(0);
        buf.put_uvarlong(timestamp);
        buf.put_uvarint(offset);
        buf.put_uvarint(key_length);
    }
    buf.extend_from_slice(key);
    if value_length < 1 << 28 {
        let mut prefix = Prefix::default();
        prefix.push(value_length);
        prefix.append_to(buf);
    } else {
        buf.put_uvarint(value_length);
    }
    buf.extend_from_slice(value);
    if headers.is_empty() {
        buf.push(0);
    } else {
        put_headers(buf, headers);
    }
}

/// The zigzag length of a field: null is -1, which is 1.
#[inline]
fn length(field: Option<&[u8]>) -> u32 {
    field.map_or(1, |f| zigzag(f.len() as i32))
}

fn headers_len(headers: &[RecordHeader<'_>]) -> usize {
    let each = |h: &RecordHeader<'_>| {
        uvarint_len(u64::from(length(Some(h.key))))
            + h.key.len()
            + uvarint_len(u64::from(length(h.value)))
            + h.value.map_or(0, <[u8]>::len)
    };
    uvarint_len(u64::from(zigzag(headers.len() as i32))) + headers.iter().map(each).sum::<usize>()
}

fn put_headers(buf: &mut Vec<u8>, headers: &[RecordHeader<'_>]) {
    buf.put_uvarint(zigzag(headers.len() as i32));
    for header in headers {
        buf.put_uvarint(length(Some(header.key)));
        buf.put_bytes(header.key);
        buf.put_uvarint(length(header.value));
        buf.put_bytes(header.value.unwrap_or_default());
    }
}

/// Up to four-byte varints gathered in a register, little-endian, 16 bytes together.
#[derive(Default)]
struct Prefix {
    word: u128,
    bits: u32,
}

impl Prefix {
    /// `v` is below 2²⁸.
    #[inline(always)]
    fn push(&mut self, v: u32) {
        let len = uvarint_len(u64::from(v)) as u32;
        // Seven bits to a byte, and the high bit on every byte but the last.
        let groups = (v & 0x7f) | (v & 0x3f80) << 1 | (v & 0x1f_c000) << 2 | (v & 0xfe0_0000) << 3;
        let more = 0x80_8080u32 & ((1u32 << (8 * (len - 1))) - 1);
        self.word |= u128::from(groups | more) << self.bits;
        self.bits += 8 * len;
    }

    /// Stores all sixteen bytes and gives back what is too much: a store of fixed size costs less than a loop.
    #[inline(always)]
    fn append_to(self, buf: &mut Vec<u8>) {
        let end = buf.len() + (self.bits / 8) as usize;
        buf.extend_from_slice(&self.word.to_le_bytes());
        buf.truncate(end);
    }
}
