//! Cutting packets out of a stream of bytes.
//!
//! ```text
//! type and flags u8 | remaining length, a varint | body
//! ```
//!
//! Only lengths are judged here, so that a large packet is refused before its body is received; flags and body belong
//! to the packet's own file.

use crate::Error;
use crate::ReasonCode;
use crate::primitive::{Varint, peek_varint, put_with_length};

/// One whole packet, not yet looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: packet type in the upper half, flags in the lower.
    pub first: u8,
    /// Everything after the remaining length.
    pub body: &'a [u8],
    /// Bytes of the whole packet, the two headers included.
    pub len: usize,
}

/// What the bytes received so far hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split<'a> {
    /// At least one whole packet; the next one begins `Frame::len` bytes further on.
    Whole(Frame<'a>),
    /// Not yet: how many bytes, counted from the start of the packet, make sense before asking again. Once the
    /// remaining length is there this is the length of the whole packet.
    Need(usize),
}

/// Cuts the first packet off `bytes`.
///
/// `packet_bytes_max` bounds the whole packet, headers included, as Maximum Packet Size does.
///
/// # Errors
/// `Malformed` for a remaining length of more than four bytes or with needless zero bytes, `Limit` with Packet too large
/// (0x95) for a packet above the maximum, even if only its length has arrived.
#[inline]
pub fn split(bytes: &[u8], packet_bytes_max: u32) -> Result<Split<'_>, Error> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Split::Need(1));
    };
    let (body_len, length_len) = match peek_varint(rest)? {
        Varint::Whole(value, len) => (value as usize, len),
        Varint::Partial => return Ok(Split::Need(bytes.len().saturating_add(1))),
    };
    let len = body_len.saturating_add(length_len).saturating_add(1);
    if len > packet_bytes_max as usize {
        return Err(too_large());
    }
    match rest.get(length_len..length_len.saturating_add(body_len)) {
        Some(body) => Ok(Split::Whole(Frame { first, body, len })),
        None => Ok(Split::Need(len)),
    }
}

#[cold]
fn too_large() -> Error {
    // [MQTT-3.2.2-15]
    Error::limit(ReasonCode::PacketTooLarge, "MQTT-3.2.2-15", "the packet is larger than the announced maximum")
}

/// Appends a packet whose body is short: `body` writes it, its length is put in front.
pub(crate) fn put(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    put_with_length(out, body);
}
