//! The outermost layer of a link: a length, then as many bytes. What is inside is for [`crate::connection`].
//!
//! ```text
//! 0  i32  length of what follows, at least 4
//! 4  i32  correlation id
//! 8  the rest of a response
//! ```

use crate::Error;

/// The longest response we take. Ours are kilobytes (Produce) or, for metadata of a very large cluster, a few megabytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Bytes of the length field, and of the correlation id behind it.
pub const LENGTH_BYTES: usize = 4;

/// How many bytes the frame at the start of `bytes` takes, its length field included; `None` while fewer than four bytes
/// are there. Whether the whole frame is there is for the caller to compare.
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    // A TLS alert: type 21, version 3.x. As a length it would be 352 MB of nothing (KAFKA-4090).
    if let [0x15, 0x03, ..] = length {
        return Err(Error::Malformed("frame: a TLS alert, so this listener expects TLS"));
    }
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) if length < LENGTH_BYTES => Err(Error::Malformed("frame: too short for a correlation id")),
        Ok(length) if length > FRAME_BYTES_MAX => Err(Error::Limit { what: "response frame", max: FRAME_BYTES_MAX }),
        Ok(length) => Ok(Some(LENGTH_BYTES + length)),
        Err(_) => Err(Error::Malformed("frame: negative length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_taken_only_within_its_limits() {
        let check = |bytes: &[u8], expected| assert_eq!(frame_bytes(bytes), expected, "{bytes:x?}");
        check(&[], Ok(None));
        check(&[0, 0, 0], Ok(None));
        check(&[0, 0, 0, 4], Ok(Some(8)));
        check(&[0, 0, 1, 0, 9, 9], Ok(Some(260)));
        check(&[4, 0, 0, 0], Ok(Some((64 << 20) + 4)));
        check(&[4, 0, 0, 1], Err(Error::Limit { what: "response frame", max: 64 << 20 }));
        check(b"HTTP/1.1", Err(Error::Limit { what: "response frame", max: 64 << 20 }));
        check(&[0, 0, 0, 3], Err(Error::Malformed("frame: too short for a correlation id")));
        check(&[0xff, 0xff, 0xff, 0xff], Err(Error::Malformed("frame: negative length")));
        check(&[0x15, 3, 3, 0], Err(Error::Malformed("frame: a TLS alert, so this listener expects TLS")));
    }
}
