//! gzip, by flate2's pure Rust backend. Concatenated members count as one stream, as in Java.

use super::read_limited;
use crate::Error;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::Write;

const FAILED: Error = Error::Compression("gzip");

pub(super) fn compress(level: u32, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut encoder = GzEncoder::new(out, flate2::Compression::new(level));
    encoder.write_all(bytes).map_err(|_| FAILED)?;
    encoder.finish().map_err(|_| FAILED)?;
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    read_limited(MultiGzDecoder::new(bytes), "gzip", out, bytes_max)
}
