//! Which partition a key belongs to, by the hashes other Kafka clients use, so that their records and ours meet.
//!
//! | hash | who else | negative values |
//! |---|---|---|
//! | murmur2 | Java client, Kafka Connect, franz-go | sign bit cleared |
//! | crc32 | librdkafka `consistent` | none: unsigned |
//! | fnv1a | Sarama, librdkafka `fnv1a` | negated |
//!
//! Left out: what to do without a key (the engine's strategies).

/// A key hash and its way from 32 bits to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyHash {
    /// As the Java client.
    #[default]
    Murmur2,
    /// As librdkafka's `consistent`.
    Crc32,
    /// As Sarama.
    Fnv1a,
}

impl KeyHash {
    /// The partition of `key` among `partitions` (1 to 2³¹-1).
    #[inline]
    pub fn partition(self, key: &[u8], partitions: u32) -> u32 {
        match self {
            Self::Murmur2 => partition_for_key(key, partitions),
            Self::Crc32 => crc32(key) % partitions,
            Self::Fnv1a => (fnv1a(key) as i32).wrapping_rem(partitions as i32).unsigned_abs(),
        }
    }
}

/// The partition the Java client's default partitioner gives `key` among `partitions` (1 to 2³¹-1).
#[inline]
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) as u32 & 0x7fff_ffff) % partitions
}

/// MurmurHash2, 32 bits, little-endian words, with Kafka's seed.
#[inline]
pub fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let mut hash = SEED ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let k = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (k ^ k >> R).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    (hash ^ hash >> 15) as i32
}

/// CRC-32 (IEEE), as zlib computes it.
pub fn crc32(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

/// FNV-1a, 32 bits.
pub fn fnv1a(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_equals_kafkas_own_vectors() {
        let check = |key: &str, hash: i32| assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    #[test]
    fn a_negative_hash_loses_its_sign_not_its_distance() {
        assert_eq!(partition_for_key(b"21", 1), 0);
        assert_eq!(partition_for_key(b"21", 10), ((-973_932_308i32) as u32 & 0x7fff_ffff) % 10);
        assert_eq!(partition_for_key(b"abc", 7), 479_470_107 % 7);
    }

    #[test]
    fn the_other_hashes_equal_their_published_vectors() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn every_hash_stays_inside_the_partitions() {
        for hash in [KeyHash::Murmur2, KeyHash::Crc32, KeyHash::Fnv1a] {
            for n in 0..2000u32 {
                assert!(hash.partition(&n.to_le_bytes(), 7) < 7);
                assert_eq!(hash.partition(&n.to_le_bytes(), 1), 0);
            }
        }
    }

    #[test]
    fn fnv1a_takes_the_magnitude_of_a_negative_hash() {
        // 0xe40c292c is -468965076 as a signed number, and 0xbf9cf968 is -1080231576.
        assert_eq!(KeyHash::Fnv1a.partition(b"a", 10), 6);
        assert_eq!(KeyHash::Fnv1a.partition(b"foobar", 7), 1_080_231_576 % 7);
    }
}
