//! The five ways a record batch may be compressed, in the bytes Kafka's own decoders accept.
//!
//! | id | codec | bytes |
//! |---|---|---|
//! | 0 | none | |
//! | 1 | gzip | RFC 1952 |
//! | 2 | snappy | xerial framing: not snappy's own frame format, which Kafka cannot read |
//! | 3 | lz4 | frame format with independent 64 KiB blocks: Kafka refuses linked ones |
//! | 4 | zstd | one frame (Kafka 2.1 and later) |
//!
//! A broker that does not look inside would store anything, so the tests decode with other implementations.
//! Decompression takes a limit and stops there: a kilobyte may claim to be a gigabyte.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use crate::Error;
use std::fmt;
use std::io::Read;
use std::ops::RangeInclusive;

/// Bits 0 to 2 of a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy in xerial's framing.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Compression {
    /// All of them, by id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this id.
    pub fn from_id(id: u8) -> Result<Self, Error> {
        Self::ALL.get(usize::from(id)).copied().ok_or(Error::UnknownCompression(id))
    }

    /// As Kafka's `compression.type` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Its levels, if it has any.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::Gzip => Some(1..=9),
            Self::Zstd => Some(-7..=22),
            Self::None | Self::Snappy | Self::Lz4 => None,
        }
    }

    /// The level used where none is asked for. On JSON, gzip 6 (Kafka's default) costs eight times gzip 1 and zstd 3 a
    /// third more than zstd 1, for ratios that hardly differ.
    pub fn level_default(self) -> i32 {
        match self {
            Self::Gzip | Self::Zstd => 1,
            Self::None | Self::Snappy | Self::Lz4 => 0,
        }
    }
}

/// Compresses batches with one codec at one level. The codec's tables are kept between batches, so that one that follows
/// another costs no allocation where `out` has room.
pub struct Compressor {
    level: i32,
    state: State,
}

enum State {
    None,
    Gzip(gzip::Encoder),
    Snappy(Box<snappy::Blocks>),
    Lz4(Box<lz4::Encoder>),
    Zstd(zstd::Context),
}

impl Compressor {
    /// A compressor at `level`, or at [`Compression::level_default`]; levels outside [`Compression::levels`] are
    /// brought inside.
    ///
    /// # Errors
    /// If zstd has no memory for its context.
    pub fn new(codec: Compression, level: Option<i32>) -> Result<Self, Error> {
        let level = level.unwrap_or(codec.level_default());
        let level = codec.levels().map_or(level, |range| level.clamp(*range.start(), *range.end()));
        Ok(Self { level, state: State::new(codec, level)? })
    }

    /// The codec, for the batch's [`crate::record_batch::Stamp`].
    pub fn codec(&self) -> Compression {
        match &self.state {
            State::None => Compression::None,
            State::Gzip(_) => Compression::Gzip,
            State::Snappy(_) => Compression::Snappy,
            State::Lz4(_) => Compression::Lz4,
            State::Zstd(_) => Compression::Zstd,
        }
    }

    /// Appends `records` (the bytes of a batch behind its header) to `out`, compressed.
    ///
    /// # Errors
    /// If the codec fails, which for bytes in memory means it has run out of that. `out` is then as it was.
    pub fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let end_before = out.len();
        let result = match &mut self.state {
            State::None => {
                out.extend_from_slice(records);
                Ok(())
            }
            State::Gzip(encoder) => encoder.compress(records, out),
            State::Snappy(blocks) => blocks.compress(records, out),
            State::Lz4(encoder) => encoder.compress(records, out),
            State::Zstd(context) => context.compress(records, out),
        };
        if result.is_err() {
            out.truncate(end_before);
            // What was begun lies in the codec's tables.
            self.state = State::new(self.codec(), self.level)?;
        }
        result
    }
}

impl State {
    fn new(codec: Compression, level: i32) -> Result<Self, Error> {
        Ok(match codec {
            Compression::None => State::None,
            Compression::Gzip => State::Gzip(gzip::Encoder::new(level.unsigned_abs())),
            Compression::Snappy => State::Snappy(Box::new(snappy::Blocks::new())),
            Compression::Lz4 => State::Lz4(Box::new(lz4::Encoder::new())),
            Compression::Zstd => State::Zstd(zstd::Context::new(level)?),
        })
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compressor({} {})", self.codec().name(), self.level)
    }
}

/// Appends the decompressed `bytes` to `out`, at most `bytes_max` of them.
///
/// # Errors
/// [`Error::Limit`] at the first byte too many, [`Error::Compression`] for bytes that are not the codec's.
pub fn decompress(codec: Compression, bytes: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    match codec {
        Compression::None if bytes.len() > bytes_max => Err(too_large(bytes_max)),
        Compression::None => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        Compression::Gzip => gzip::decompress(bytes, out, bytes_max),
        Compression::Snappy => snappy::decompress(bytes, out, bytes_max),
        Compression::Lz4 => lz4::decompress(bytes, out, bytes_max),
        Compression::Zstd => zstd::decompress(bytes, out, bytes_max),
    }
}

/// Reads a decoder to its end, or to one byte after the limit.
fn read_limited(decoder: impl Read, codec: &'static str, out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Error> {
    let read = decoder.take(bytes_max as u64 + 1).read_to_end(out).map_err(|_| Error::Compression(codec))?;
    if read > bytes_max { Err(too_large(bytes_max)) } else { Ok(()) }
}

fn too_large(max: usize) -> Error {
    Error::Limit { what: "decompressed record batch", max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Compression; 5] = Compression::ALL;

    fn compressed(codec: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut out = b"gap".to_vec();
        Compressor::new(codec, None).unwrap().compress(bytes, &mut out).unwrap();
        assert_eq!(out[..3], *b"gap");
        out.split_off(3)
    }

    fn json(len: usize) -> Vec<u8> {
        (0..)
            .flat_map(|n: u32| format!(r#"{{"id":{n},"temp":{}}}"#, n.wrapping_mul(2_654_435_761)).into_bytes())
            .take(len)
            .collect()
    }

    #[test]
    fn what_is_compressed_comes_back_within_its_own_size_and_no_less() {
        for codec in CODECS {
            // One byte, one block, several blocks of snappy (32 KiB) and lz4 (64 KiB).
            for len in [1, 5000, 32 * 1024, 64 * 1024, 200_000] {
                let bytes = json(len);
                let small = compressed(codec, &bytes);
                let mut out = b"before".to_vec();
                decompress(codec, &small, &mut out, len).unwrap();
                assert!(out[6..] == bytes, "{codec:?} {len}");
                let limit = decompress(codec, &small, &mut Vec::new(), len - 1);
                assert_eq!(limit, Err(Error::Limit { what: "decompressed record batch", max: len - 1 }), "{codec:?}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        for codec in CODECS {
            let bomb = compressed(codec, &vec![0; 64 << 20]);
            let mut out = Vec::new();
            let result = decompress(codec, &bomb, &mut out, 1 << 20);
            assert!(matches!(result, Err(Error::Limit { .. })), "{codec:?}: {result:?}");
            assert!(out.capacity() <= 4 << 20, "{codec:?} reserved {}", out.capacity());
        }
    }

    #[test]
    fn the_heads_are_those_that_kafkas_own_readers_want() {
        // What Kafka refuses and other decoders do not, so only the bytes themselves can tell.
        let bytes = json(200_000);
        let lz4 = compressed(Compression::Lz4, &bytes);
        // Magic; version 1, independent blocks, no checksums, no sizes; blocks of 64 KiB.
        assert_eq!(lz4[..6], [0x04, 0x22, 0x4d, 0x18, 0b0110_0000, 4 << 4]);
        let snappy = compressed(Compression::Snappy, &bytes);
        assert_eq!(snappy[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        // The first raw block says how long it will be, 32 KiB, as a varint.
        assert_eq!(snappy[20..23], [0x80, 0x80, 0x02]);
    }

    #[test]
    fn a_compressor_writes_the_same_bytes_again_and_takes_no_more_memory() {
        for codec in CODECS {
            let mut compressor = Compressor::new(codec, None).unwrap();
            let mut out = Vec::new();
            for len in [100_000, 1, 70_000, 100_000] {
                let bytes = json(len);
                out.clear();
                compressor.compress(&bytes, &mut out).unwrap();
                assert!(out == compressed(codec, &bytes), "{codec:?} {len}");
            }
            let (capacity, bytes) = (out.capacity(), json(100_000));
            out.clear();
            compressor.compress(&bytes, &mut out).unwrap();
            assert_eq!(out.capacity(), capacity, "{codec:?}");
        }
    }

    #[test]
    fn noise_grows_and_comes_back() {
        let noise: Vec<u8> = (0u64..300_000).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        let noise: Vec<u8> = noise.iter().enumerate().map(|(n, b)| b ^ ((n * n) >> 7) as u8).collect();
        for codec in CODECS {
            let mut out = Vec::new();
            decompress(codec, &compressed(codec, &noise), &mut out, noise.len()).unwrap();
            assert!(out == noise, "{codec:?}");
        }
    }

    #[test]
    fn levels_matter_where_there_are_any() {
        let bytes = json(100_000);
        for codec in [Compression::Gzip, Compression::Zstd] {
            let size = |level| {
                let mut out = Vec::new();
                Compressor::new(codec, Some(level)).unwrap().compress(&bytes, &mut out).unwrap();
                out.len()
            };
            let (lowest, highest) = codec.levels().unwrap().into_inner();
            assert!(size(highest) < size(lowest), "{codec:?}");
            assert_eq!(size(1000), size(highest), "clamped");
        }
    }

    #[test]
    fn ids_are_kafkas() {
        for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
            let codec = Compression::from_id(id as u8).unwrap();
            assert_eq!((codec as usize, codec.name()), (id, name));
        }
        assert_eq!(Compression::from_id(5), Err(Error::UnknownCompression(5)));
    }

    proptest! {
        #[test]
        fn damaged_input_is_an_error_or_other_bytes_but_never_a_panic(
            len in 1usize..3000, at in any::<prop::sample::Index>(), flip in 1u8.., cut: bool,
        ) {
            for codec in CODECS {
                let mut bytes = compressed(codec, &json(len));
                let at = at.index(bytes.len());
                if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
                let mut out = Vec::new();
                let _ = decompress(codec, &bytes, &mut out, 1 << 16);
                prop_assert!(out.len() <= (1 << 16) + 1);
            }
        }

        #[test]
        fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in CODECS {
                let _ = decompress(codec, &bytes, &mut Vec::new(), 1 << 16);
            }
        }
    }
}
