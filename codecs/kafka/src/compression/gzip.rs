//! gzip, by flate2's pure Rust backend. Concatenated members count as one stream, as in Java.
//!
//! ```text
//!  0  1f 8b      magic
//!  2  08         deflate
//!  3  flags 0, time 0 (4 bytes), extra flags 0, system ff (unknown)
//! 10  deflated bytes
//!     u32 LE     CRC-32 of the plain bytes
//!     u32 LE     their number, modulo 2^32
//! ```
//!
//! Head and tail are written here because flate2's own gzip writer cannot be used twice, and its tables are a quarter of a
//! megabyte.

use super::read_limited;
use crate::Error;
use flate2::read::MultiGzDecoder;
use flate2::{Compress, Crc, FlushCompress, Status};
use wire::Writer;

const FAILED: Error = Error::Compression("gzip");

const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// What the output grows by where it was not foretold well enough: bytes that cannot be compressed need a little more.
const GROWTH_BYTES: usize = 4 << 10;

pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(level: u32) -> Self {
        Self(Compress::new(flate2::Compression::new(level), false))
    }

    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.0.reset();
        out.put_bytes(&HEAD);
        out.reserve(bytes.len() + GROWTH_BYTES);
        let mut rest = bytes;
        loop {
            let before = self.0.total_in();
            let status = self.0.compress_vec(rest, out, FlushCompress::Finish).map_err(|_| FAILED)?;
            let taken = usize::try_from(self.0.total_in() - before).map_err(|_| FAILED)?;
            rest = rest.get(taken..).ok_or(FAILED)?;
            match status {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError => out.reserve(GROWTH_BYTES),
            }
        }
        let mut crc = Crc::new();
        crc.update(bytes);
        out.put_bytes(&crc.sum().to_le_bytes());
        out.put_bytes(&crc.amount().to_le_bytes());
        Ok(())
    }
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    read_limited(MultiGzDecoder::new(bytes), "gzip", out, bytes_max)
}
