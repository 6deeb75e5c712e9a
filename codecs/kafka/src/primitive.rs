//! Kafka's own primitives over [`wire::Reader`] and [`wire::Writer`]: variable-length integers, strings, array counts
//! and tagged fields, each in the plain and in the flexible (KIP-482) form.
//!
//! ```text
//! uvarint   7 bits a byte, lowest first, high bit = more follows        300    → AC 02
//! varint    zigzag, then uvarint                                        -1     → 01        1 → 02
//! string    plain: i16 length, -1 = null;    flexible: uvarint length + 1, 0 = null
//! array     plain: i32 count,  -1 = null;    flexible: uvarint count + 1,  0 = null
//! tags      flexible only: uvarint count, then each: uvarint tag, uvarint size, bytes
//! ```

use crate::Error;
use wire::{Reader, Writer};

/// Reads Kafka's primitives. `flexible` chooses between the two forms of KIP-482.
pub trait ReadKafka<'a> {
    /// A variable-length unsigned integer, at most five bytes.
    fn uvarint(&mut self) -> Result<u32, Error>;
    /// A zigzag variable-length integer, at most five bytes.
    fn varint(&mut self) -> Result<i32, Error>;
    /// A zigzag variable-length 64-bit integer, at most ten bytes.
    fn varlong(&mut self) -> Result<i64, Error>;
    /// A string that may be null.
    fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>, Error>;
    /// A string that may not be null.
    fn string(&mut self, flexible: bool) -> Result<&'a str, Error>;
    /// The count of an array, null read as zero. Refused where the rest of the input cannot hold that many items of
    /// `item_bytes_min` bytes, so that a count may be trusted for an allocation.
    fn count(&mut self, flexible: bool, item_bytes_min: usize) -> Result<usize, Error>;
    /// Tagged fields, each shown to `visit` with its tag; nothing where the message is not flexible.
    fn tagged(
        &mut self,
        flexible: bool,
        visit: &mut dyn FnMut(u32, &'a [u8]) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Tagged fields nobody here reads.
    fn skip_tagged(&mut self, flexible: bool) -> Result<(), Error> {
        self.tagged(flexible, &mut |_, _| Ok(()))
    }
    /// One byte, any value but zero being true.
    fn boolean(&mut self) -> Result<bool, Error>;
    /// A UUID, as its sixteen bytes.
    fn uuid(&mut self) -> Result<[u8; 16], Error>;
}

impl<'a> ReadKafka<'a> for Reader<'a> {
    #[inline]
    fn uvarint(&mut self) -> Result<u32, Error> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        // The fifth byte carries the top four bits and must be the last.
        match self.u8()? {
            top @ 0..=0x0f => Ok(value | u32::from(top) << 28),
            _ => Err(Error::Malformed("variable-length integer of more than 32 bits")),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, Error> {
        let z = self.uvarint()?;
        Ok((z >> 1) as i32 ^ -((z & 1) as i32))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, Error> {
        let mut z = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.u8()?;
            // The tenth byte carries the top bit and must be the last.
            if shift == 63 && byte > 1 {
                return Err(Error::Malformed("variable-length integer of more than 64 bits"));
            }
            z |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((z >> 1) as i64 ^ -((z & 1) as i64));
            }
            shift += 7;
        }
    }

    fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>, Error> {
        let len = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i16()?) };
        match usize::try_from(len) {
            Ok(len) => match std::str::from_utf8(self.take(len)?) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Error::Malformed("string: not UTF-8")),
            },
            Err(_) if len == -1 => Ok(None),
            Err(_) => Err(Error::Malformed("string: negative length")),
        }
    }

    fn string(&mut self, flexible: bool) -> Result<&'a str, Error> {
        self.nullable_string(flexible)?.ok_or(Error::Malformed("string: null where one is required"))
    }

    fn count(&mut self, flexible: bool, item_bytes_min: usize) -> Result<usize, Error> {
        let count = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        match usize::try_from(count) {
            Ok(count) if count.saturating_mul(item_bytes_min) <= self.remaining() => Ok(count),
            Ok(_) => Err(Error::Truncated),
            Err(_) if count == -1 => Ok(0),
            Err(_) => Err(Error::Malformed("array: negative count")),
        }
    }

    fn tagged(
        &mut self,
        flexible: bool,
        visit: &mut dyn FnMut(u32, &'a [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()?;
            visit(tag, self.take(size as usize)?)?;
        }
        Ok(())
    }

    fn boolean(&mut self) -> Result<bool, Error> {
        Ok(self.u8()? != 0)
    }

    fn uuid(&mut self) -> Result<[u8; 16], Error> {
        self.take(16)?.try_into().map_err(|_| Error::Truncated)
    }
}

/// Appends Kafka's primitives. `flexible` chooses between the two forms of KIP-482.
pub trait WriteKafka: Writer {
    /// A variable-length unsigned integer, one to five bytes.
    #[inline]
    fn put_uvarint(&mut self, v: u32) {
        self.put_uvarlong(u64::from(v));
    }

    /// A variable-length unsigned 64-bit integer, one to ten bytes.
    #[inline]
    fn put_uvarlong(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put_u8(v as u8 | 0x80);
            v >>= 7;
        }
        self.put_u8(v as u8);
    }

    /// A zigzag variable-length integer, one to five bytes.
    #[inline]
    fn put_varint(&mut self, v: i32) {
        self.put_uvarint(zigzag(v));
    }

    /// A zigzag variable-length 64-bit integer, one to ten bytes.
    #[inline]
    fn put_varlong(&mut self, v: i64) {
        self.put_uvarlong(zigzag_long(v));
    }

    /// A string or null. The plain form holds 32,767 bytes; what we send (topics, client ids) is limited far below.
    fn put_nullable_string(&mut self, text: Option<&str>, flexible: bool) {
        let len = text.map_or(-1, |t| t.len() as i64);
        assert!(len <= i64::from(i16::MAX), "a string of {len} bytes was let through to the wire");
        if flexible {
            self.put_uvarint((len + 1) as u32)
        } else {
            self.put_i16(len as i16)
        }
        self.put_bytes(text.unwrap_or_default().as_bytes());
    }

    /// A string.
    fn put_string(&mut self, text: &str, flexible: bool) {
        self.put_nullable_string(Some(text), flexible);
    }

    /// The count of an array.
    fn put_count(&mut self, count: usize, flexible: bool) {
        if flexible { self.put_uvarint(count as u32 + 1) } else { self.put_i32(count as i32) }
    }

    /// "No tagged fields", where the message is flexible.
    fn put_no_tags(&mut self, flexible: bool) {
        if flexible {
            self.put_u8(0);
        }
    }
}

impl<W: Writer> WriteKafka for W {}

/// Small magnitudes of either sign become small numbers: 0, -1, 1, -2 → 0, 1, 2, 3.
#[inline]
pub fn zigzag(v: i32) -> u32 {
    (v << 1) as u32 ^ (v >> 31) as u32
}

/// [`zigzag`] for 64 bits.
#[inline]
pub fn zigzag_long(v: i64) -> u64 {
    (v << 1) as u64 ^ (v >> 63) as u64
}

/// How many bytes [`WriteKafka::put_uvarlong`] takes for `v`.
#[inline]
pub fn uvarint_len(v: u64) -> usize {
    // One byte for each started group of seven significant bits, and one for zero.
    (70 - (v | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_varint(v: i32, bytes: &[u8]) {
        let mut out = Vec::new();
        out.put_varint(v);
        assert_eq!(out, bytes, "{v}");
        assert_eq!(Reader::new(bytes).varint(), Ok(v));
    }

    #[test]
    fn zigzag_varints_have_known_bytes() {
        check_varint(0, &[0]);
        check_varint(-1, &[1]);
        check_varint(1, &[2]);
        check_varint(63, &[0x7e]);
        check_varint(-64, &[0x7f]);
        check_varint(64, &[0x80, 0x01]);
        check_varint(i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]);
        check_varint(i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn overlong_integers_are_refused() {
        assert!(matches!(Reader::new(&[0x80; 5]).uvarint(), Err(Error::Malformed(_))));
        assert!(matches!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).uvarint(), Err(Error::Malformed(_))));
        assert!(matches!(Reader::new(&[0xff; 11]).varlong(), Err(Error::Malformed(_))));
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(Error::Truncated));
    }

    #[test]
    fn a_count_beyond_the_input_is_refused_before_anyone_allocates() {
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0, 0]).count(false, 4), Err(Error::Truncated));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).count(true, 1), Err(Error::Truncated));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).count(false, 4), Ok(0), "null");
        assert!(matches!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).count(false, 4), Err(Error::Malformed(_))));
    }

    proptest! {
        #[test]
        fn integers_round_trip_in_the_length_foretold(v in any::<i64>(), bits in 0u32..64) {
            let v = v >> bits;
            let mut out = Vec::new();
            out.put_varlong(v);
            prop_assert_eq!(out.len(), uvarint_len(zigzag_long(v)));
            prop_assert_eq!(Reader::new(&out).varlong(), Ok(v));
        }

        #[test]
        fn strings_round_trip(text in proptest::option::of(".{0,40}"), flexible: bool) {
            let mut out = Vec::new();
            out.put_nullable_string(text.as_deref(), flexible);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.nullable_string(flexible), Ok(text.as_deref()));
            prop_assert!(r.is_empty());
        }
    }
}
