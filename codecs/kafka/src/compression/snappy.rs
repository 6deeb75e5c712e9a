//! Snappy as Kafka means it: raw blocks in the framing of xerial's snappy-java.
//!
//! ```text
//!  0  8 bytes  82 'SNAPPY' 00
//!  8  i32      version = 1
//! 12  i32      oldest version that can read it = 1
//! 16  blocks, each: u32 length, then one raw snappy block of at most 32 KiB before compression
//! ```
//!
//! Without that head the bytes are one raw block: some old clients send so, and Java reads it.

use super::too_large;
use crate::Error;
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};
use wire::{Reader, Writer};

const HEAD: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const BLOCK_BYTES: usize = 32 * 1024;
const FAILED: Error = Error::Compression("snappy");

/// Its tables, and the room for a block.
pub(super) struct Blocks {
    encoder: Encoder,
    block: [u8; max_block_bytes()],
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self { encoder: Encoder::new(), block: [0; max_block_bytes()] }
    }

    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_bytes(HEAD);
        for plain in bytes.chunks(BLOCK_BYTES) {
            let len = self.encoder.compress(plain, &mut self.block).map_err(|_| FAILED)?;
            out.put_u32(len as u32);
            out.put_bytes(self.block.get(..len).ok_or(FAILED)?);
        }
        Ok(())
    }
}

/// What [`max_compress_len`] says for a whole block, as a constant.
const fn max_block_bytes() -> usize {
    32 + BLOCK_BYTES + BLOCK_BYTES / 6
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    debug_assert_eq!(max_compress_len(BLOCK_BYTES), max_block_bytes());
    let mut decoder = Decoder::new();
    let mut left = bytes_max;
    let Some(blocks) = bytes.strip_prefix(HEAD) else {
        return one_block(&mut decoder, bytes, out, &mut left).map_err(|e| name_limit(e, bytes_max));
    };
    let mut blocks = Reader::new(blocks);
    while !blocks.is_empty() {
        let len = blocks.u32()? as usize;
        one_block(&mut decoder, blocks.take(len)?, out, &mut left).map_err(|e| name_limit(e, bytes_max))?;
    }
    Ok(())
}

/// The block says how long it will be, so the limit acts before memory is taken.
fn one_block(decoder: &mut Decoder, block: &[u8], out: &mut Vec<u8>, left: &mut usize) -> Result<(), Error> {
    let len = decompress_len(block).map_err(|_| FAILED)?;
    *left = left.checked_sub(len).ok_or(too_large(0))?;
    let start = out.len();
    out.resize(start + len, 0);
    decoder.decompress(block, out.split_at_mut(start).1).map_err(|_| FAILED)?;
    Ok(())
}

/// A limit error speaks of the whole limit, not of what was left of it.
fn name_limit(error: Error, bytes_max: usize) -> Error {
    if matches!(error, Error::Limit { .. }) { too_large(bytes_max) } else { error }
}
