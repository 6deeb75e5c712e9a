//! Compression of batches, in place: a batch keeps its buffer, and so its charge.
//!
//! ```text
//! filling shard   batches of PACK_HERE_BYTES and more, as they are sealed
//! owner           what it merged, smaller batches that travel alone, pieces of a split
//! ```
//!
//! The filling shards share the work where there is much of it; small batches wait for the owner, who may merge them, and
//! more records compress better together. A batch is looked at once: one that does not shrink travels as it is.
//!
//! Limits of batches (`max_batch_bytes`, the target, the ceiling after MESSAGE_TOO_LARGE) count bytes before compression.

use kafka::compression::{self, Compression, Compressor};
use kafka::record_batch::HEADER_LEN;

use crate::buffer::Batch;

/// A batch of this size or larger is compressed by the shard that filled it. The owner merges smaller ones.
pub const PACK_HERE_BYTES: usize = 16 << 10;

/// Room for output that is kept between batches. A larger one, for a single large record, goes again.
const SCRATCH_BYTES_KEPT: usize = 2 << 20;

/// How the batches of a sink are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packing {
    /// The codec.
    pub codec: Compression,
    /// Its level; `None` is its default.
    pub level: Option<i32>,
}

/// Compresses batches of one shard's half of its sinks; codecs and room for output are kept and used again.
#[derive(Debug, Default)]
pub struct Packer {
    compressors: Vec<(Packing, Compressor)>,
    scratch: Vec<u8>,
}

impl Packer {
    /// Compresses the records of `batch`, unless that was decided before. Where they do not shrink, or the codec finds no
    /// memory, they stay as they are.
    pub fn pack(&mut self, batch: &mut Batch, packing: Packing) {
        if packing.codec == Compression::None || batch.packed.is_some() {
            return;
        }
        batch.packed = Some(Compression::None);
        let Some(at) = self.compressor(packing) else { return };
        let records = batch.bytes.get(HEADER_LEN..).unwrap_or_default();
        self.scratch.clear();
        let done = self.compressors[at].1.compress(records, &mut self.scratch);
        if done.is_ok() && self.scratch.len() < records.len() {
            self.put_back(batch, packing.codec);
        }
        self.tidy();
    }

    /// Decompresses the records of `batch`, so that they can be read one by one.
    ///
    /// # Errors
    /// If they are not what [`pack`](Self::pack) wrote, or there is no memory.
    pub fn unpack(&mut self, batch: &mut Batch) -> Result<(), kafka::Error> {
        let Some(codec) = batch.packed.take() else { return Ok(()) };
        if codec == Compression::None {
            return Ok(());
        }
        let packed = batch.bytes.get(HEADER_LEN..).unwrap_or_default();
        self.scratch.clear();
        compression::decompress(codec, packed, &mut self.scratch, batch.queued_bytes)?;
        if self.scratch.len() != batch.queued_bytes {
            return Err(kafka::Error::Truncated);
        }
        self.put_back(batch, Compression::None);
        batch.packed = None;
        self.tidy();
        Ok(())
    }

    /// Keeps the compressors that are still in use.
    pub fn keep(&mut self, in_use: impl Fn(&Packing) -> bool) {
        self.compressors.retain(|(of, _)| in_use(of));
    }

    /// The place of the compressor for `packing`; a sink or a few have it in common.
    fn compressor(&mut self, packing: Packing) -> Option<usize> {
        if let Some(at) = self.compressors.iter().position(|(of, _)| *of == packing) {
            return Some(at);
        }
        let compressor = Compressor::new(packing.codec, packing.level).ok()?;
        self.compressors.push((packing, compressor));
        Some(self.compressors.len() - 1)
    }

    /// Plain or compressed, it fits the buffer: that once held the plain records, and the others are fewer.
    fn put_back(&mut self, batch: &mut Batch, codec: Compression) {
        batch.bytes.truncate(HEADER_LEN);
        batch.bytes.extend_from_slice(&self.scratch);
        batch.packed = Some(codec);
    }

    fn tidy(&mut self) {
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BatchPool, PartKey};
    use crate::clock::Mono;
    use crate::shard::ShardId;

    fn batch(records: &[u8]) -> Box<Batch> {
        let mut pool = BatchPool::new(ShardId(0), 0);
        let mut batch = pool.take(PartKey { sink: 0, partition: 0 }, 0, Mono::default());
        batch.bytes.extend_from_slice(records);
        batch.queued_bytes = records.len();
        batch
    }

    #[test]
    fn what_shrinks_is_packed_once_in_its_own_buffer_and_comes_back() {
        let records = b"temperature 21.5 ".repeat(3_000);
        for codec in Compression::ALL.into_iter().skip(1) {
            let (mut packer, mut batch) = (Packer::default(), batch(&records));
            let (at, capacity) = (batch.bytes.as_ptr(), batch.bytes.capacity());
            packer.pack(&mut batch, Packing { codec, level: None });
            let packed = batch.bytes.clone();
            assert!(batch.packed == Some(codec) && packed.len() < records.len() / 4, "{codec:?}");
            packer.pack(&mut batch, Packing { codec: Compression::Gzip, level: Some(9) });
            assert!(batch.bytes == packed, "{codec:?}: looked at once");
            assert_eq!(batch.plain_bytes(), HEADER_LEN + records.len());
            packer.unpack(&mut batch).unwrap();
            assert!(batch.bytes[HEADER_LEN..] == records[..] && batch.packed.is_none(), "{codec:?}");
            assert_eq!((batch.bytes.as_ptr(), batch.bytes.capacity()), (at, capacity), "{codec:?}");
        }
    }

    #[test]
    fn what_does_not_shrink_stays() {
        let (mut packer, mut batch) = (Packer::default(), batch(b"7"));
        packer.pack(&mut batch, Packing { codec: Compression::Gzip, level: None });
        assert_eq!((batch.packed, &batch.bytes[HEADER_LEN..]), (Some(Compression::None), &b"7"[..]));
        packer.unpack(&mut batch).unwrap();
        assert_eq!((batch.packed, &batch.bytes[HEADER_LEN..]), (None, &b"7"[..]));
    }

    #[test]
    fn damage_is_an_error() {
        let (mut packer, mut batch) = (Packer::default(), batch(&b"abc".repeat(1_000)));
        packer.pack(&mut batch, Packing { codec: Compression::Lz4, level: None });
        batch.bytes.truncate(HEADER_LEN + 10);
        assert!(packer.unpack(&mut batch).is_err());
    }

    #[test]
    fn the_room_for_a_giant_is_not_kept() {
        let mut packer = Packer::default();
        packer.pack(&mut batch(&vec![7; 8 << 20]), Packing { codec: Compression::Zstd, level: None });
        assert!(packer.scratch.capacity() <= SCRATCH_BYTES_KEPT);
        packer.pack(&mut batch(&b"abc".repeat(10_000)), Packing { codec: Compression::Zstd, level: None });
        assert!(packer.scratch.capacity() > 0);
    }
}
