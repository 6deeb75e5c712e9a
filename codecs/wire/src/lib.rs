//! What both protocols share: a cursor over received bytes and a writer that appends to a caller's buffer.
//!
//! All integers on the wire are big-endian (MQTT 5.0 section 1.5.2, Kafka protocol guide "Protocol Primitive Types").
//! Left out on purpose: variable-length integers (MQTT's and Kafka's differ), strings (their checks differ), and I/O.

/// The input ended before the value did: a peer sent a frame whose inside is longer than its length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the value is longer than the bytes that hold it")
    }
}

impl std::error::Error for Truncated {}

/// A cursor over borrowed bytes. A failed read takes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not yet read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether every byte has been read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes, borrowed from the input.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, unsigned.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, unsigned.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// One byte, signed.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, Truncated> {
        self.array().map(i8::from_be_bytes)
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, Truncated> {
        self.array().map(i16::from_be_bytes)
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Truncated> {
        self.array().map(i32::from_be_bytes)
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Truncated> {
        self.array().map(i64::from_be_bytes)
    }
}

/// Appends big-endian values to a byte vector. Free functions in a trait, so that any `Vec<u8>` is a writer.
pub trait Writer {
    /// One byte.
    fn put_u8(&mut self, v: u8);
    /// Two bytes, unsigned.
    fn put_u16(&mut self, v: u16);
    /// Four bytes, unsigned.
    fn put_u32(&mut self, v: u32);
    /// One byte, signed.
    fn put_i8(&mut self, v: i8);
    /// Two bytes, signed.
    fn put_i16(&mut self, v: i16);
    /// Four bytes, signed.
    fn put_i32(&mut self, v: i32);
    /// Eight bytes, signed.
    fn put_i64(&mut self, v: i64);
    /// Bytes as they are.
    fn put_bytes(&mut self, v: &[u8]);
}

impl Writer for Vec<u8> {
    #[inline]
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }
    #[inline]
    fn put_u16(&mut self, v: u16) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i8(&mut self, v: i8) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i16(&mut self, v: i16) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i32(&mut self, v: i32) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i64(&mut self, v: i64) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_bytes(&mut self, v: &[u8]) {
        self.extend_from_slice(v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16(0xfffe);
        out.put_u32(0x8000_0001);
        out.put_i8(-1);
        out.put_i16(-2);
        out.put_i32(-3);
        out.put_i64(-4);
        out.put_bytes(b"abc");
        let mut r = Reader::new(&out);
        assert_eq!((r.u8(), r.u16(), r.u32()), (Ok(1), Ok(0xfffe), Ok(0x8000_0001)));
        assert_eq!((r.i8(), r.i16(), r.i32(), r.i64()), (Ok(-1), Ok(-2), Ok(-3), Ok(-4)));
        assert_eq!(r.take(3), Ok(&b"abc"[..]));
        assert!(r.is_empty());
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.u32(), Err(Truncated));
        assert_eq!(r.take(4), Err(Truncated));
        assert_eq!(r.rest(), &[1, 2, 3]);
    }
}
