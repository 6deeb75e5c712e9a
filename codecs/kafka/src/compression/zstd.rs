//! Zstandard, one frame a batch, by the reference implementation. The context is kept: setting it up costs more than a
//! small batch.

use super::read_limited;
use crate::Error;
use zstd::bulk;
use zstd::stream::read::Decoder;

const FAILED: Error = Error::Compression("zstd");

pub(super) struct Context(bulk::Compressor<'static>);

impl Context {
    pub(super) fn new(level: i32) -> Result<Self, Error> {
        bulk::Compressor::new(level).map(Self).map_err(|_| FAILED)
    }

    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.resize(start + zstd::zstd_safe::compress_bound(bytes.len()), 0);
        let len = self.0.compress_to_buffer(bytes, out.split_at_mut(start).1).map_err(|_| FAILED)?;
        out.truncate(start + len);
        Ok(())
    }
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    let decoder = Decoder::with_buffer(bytes).map_err(|_| FAILED)?;
    read_limited(decoder, "zstd", out, bytes_max)
}
