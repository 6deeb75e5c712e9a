//! LZ4 frames. Kafka's reader (KIP-57) takes independent blocks only; 64 KiB ones are what it writes itself. Without a
//! content checksum, because the batch has its CRC.

use super::read_limited;
use crate::Error;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::Write;

const FAILED: Error = Error::Compression("lz4");

/// Writes one frame after the other with the same tables. Its own output is empty between them.
pub(super) struct Encoder(FrameEncoder<Vec<u8>>);

impl Encoder {
    pub(super) fn new() -> Self {
        let frame = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max64KB)
            .block_checksums(false)
            .content_checksum(false);
        Self(FrameEncoder::with_frame_info(frame, Vec::new()))
    }

    /// After an error it must not be used again: half a block may lie in it.
    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        std::mem::swap(self.0.get_mut(), out);
        let written =
            self.0.write_all(bytes).map_err(|_| FAILED).and_then(|()| self.0.try_finish().map_err(|_| FAILED));
        std::mem::swap(self.0.get_mut(), out);
        written
    }
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    read_limited(FrameDecoder::new(bytes), "lz4", out, bytes_max)
}
