//! LZ4 frames. Kafka's reader (KIP-57) takes independent blocks only; 64 KiB ones are what it writes itself. Without a
//! content checksum, because the batch has its CRC.

use super::read_limited;
use crate::Error;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::Write;

const FAILED: Error = Error::Compression("lz4");

pub(super) fn compress(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let frame = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB)
        .block_checksums(false)
        .content_checksum(false);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(bytes).map_err(|_| FAILED)?;
    encoder.finish().map_err(|_| FAILED)?;
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    read_limited(FrameDecoder::new(bytes), "lz4", out, bytes_max)
}
