//! Zstandard, one frame a batch, by the reference implementation. The context is kept: setting it up costs more than a
//! small batch.

use super::read_limited;
use crate::Error;
use std::io::Cursor;
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
        out.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        // A cursor writes behind what is there, into room that need not be filled with zeros first.
        let mut behind = Cursor::new(std::mem::take(out));
        behind.set_position(start as u64);
        let result = self.0.compress_to_buffer(bytes, &mut behind);
        *out = behind.into_inner();
        result.map(drop).map_err(|_| FAILED)
    }
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    let decoder = Decoder::with_buffer(bytes).map_err(|_| FAILED)?;
    read_limited(decoder, "zstd", out, bytes_max)
}
