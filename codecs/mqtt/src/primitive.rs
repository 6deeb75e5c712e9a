//! The data types of MQTT 5.0 section 1.5 that are not plain integers.
//!
//! ```text
//! text, binary:   length u16 | bytes
//! varint:         1 to 4 bytes, 7 bits each, least significant first, 0x80 = one more follows
//! ```

use wire::{Reader, Writer};

use crate::Error;

/// The largest value of a varint, and so the longest body of a packet.
pub(crate) const VARINT_MAX: u32 = 268_435_455;

/// Text: well-formed UTF-8 without U+0000.
#[inline]
pub(crate) fn text<'a>(r: &mut Reader<'a>) -> Result<&'a str, Error> {
    let bytes = binary(r)?;
    let text = utf8(bytes)?;
    // [MQTT-1.5.4-2]
    if bytes.contains(&0) {
        return Err(Error::malformed("MQTT-1.5.4-2", "U+0000 in a string"));
    }
    Ok(text)
}

/// UTF-8 as Unicode defines it, which leaves out surrogates.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    // [MQTT-1.5.4-1]
    std::str::from_utf8(bytes).map_err(|_| Error::malformed("MQTT-1.5.4-1", "a string is not UTF-8"))
}

/// Binary data: up to 65,535 bytes of anything.
#[inline]
pub(crate) fn binary<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let len = r.u16()?;
    Ok(r.take(usize::from(len))?)
}

/// A packet identifier, which is never 0.
#[inline]
pub(crate) fn packet_id(r: &mut Reader<'_>) -> Result<u16, Error> {
    match r.u16()? {
        // [MQTT-2.2.1-3]
        0 => Err(Error::protocol("MQTT-2.2.1-3", "packet identifier 0")),
        id => Ok(id),
    }
}

/// What the bytes so far say about a varint.
pub(crate) enum Varint {
    /// Its value and how many bytes it takes.
    Whole(u32, usize),
    /// The bytes end before it does.
    Partial,
}

/// A varint at the start of `bytes`.
#[inline]
pub(crate) fn peek_varint(bytes: &[u8]) -> Result<Varint, Error> {
    let mut value = 0u32;
    for ((&byte, shift), len) in bytes.iter().zip([0, 7, 14, 21]).zip(1..) {
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // [MQTT-1.5.5-1]
            if byte == 0 && len > 1 {
                return Err(Error::malformed("MQTT-1.5.5-1", "a length takes more bytes than it needs"));
            }
            return Ok(Varint::Whole(value, len));
        }
    }
    if bytes.len() < 4 {
        return Ok(Varint::Partial);
    }
    Err(Error::malformed("MQTT5 1.5.5", "a length takes more than four bytes"))
}

/// A whole varint.
#[inline]
pub(crate) fn varint(r: &mut Reader<'_>) -> Result<u32, Error> {
    match peek_varint(r.rest())? {
        Varint::Whole(value, len) => {
            r.take(len)?;
            Ok(value)
        }
        Varint::Partial => Err(wire::Truncated.into()),
    }
}

/// Refuses bytes after the last field.
#[inline]
pub(crate) fn end(r: &Reader<'_>) -> Result<(), Error> {
    if r.is_empty() { Ok(()) } else { Err(Error::malformed("MQTT5 2.1.4", "bytes after the last field")) }
}

/// How many bytes a varint takes.
#[inline]
pub(crate) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// A varint as bytes, and how many of them count. Values above 268,435,455 are ours to prevent.
#[inline]
fn varint_bytes(value: u32) -> ([u8; 4], usize) {
    debug_assert!(value <= VARINT_MAX, "value <= VARINT_MAX");
    let mut rest = value.min(VARINT_MAX);
    let mut bytes = [0; 4];
    let len = varint_len(rest);
    for (i, byte) in bytes.iter_mut().enumerate() {
        let more = if i.saturating_add(1) < len { 0x80 } else { 0 };
        *byte = (rest & 0x7f) as u8 | more;
        rest >>= 7;
    }
    (bytes, len)
}

/// Appends a varint.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u32) {
    let (bytes, len) = varint_bytes(value);
    out.put_bytes(bytes.get(..len).unwrap_or_default());
}

/// Appends text, cut to the 65,535 bytes that fit the length field. Topics are shorter by the check that let them in.
#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    if text.len() <= usize::from(u16::MAX) {
        put_binary(out, text.as_bytes());
    } else {
        let end = text.floor_char_boundary(usize::from(u16::MAX));
        put_binary(out, text.as_bytes().get(..end).unwrap_or_default());
    }
}

/// Appends binary data, cut to the 65,535 bytes that fit the length field.
#[inline]
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(len);
    out.put_bytes(bytes.get(..usize::from(len)).unwrap_or_default());
}

/// How many bytes text or binary data takes.
#[inline]
pub(crate) fn sized_len(len: usize) -> usize {
    len.min(usize::from(u16::MAX)).saturating_add(2)
}

/// Appends what `body` writes, with its length as a varint in front.
pub(crate) fn put_with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    body(out);
    let len = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    // The length is known last and stands first. Bodies written this way are short, so moving them is cheaper than
    // measuring them beforehand.
    let (bytes, n) = varint_bytes(len);
    out.splice(start..start, bytes.into_iter().take(n));
}
