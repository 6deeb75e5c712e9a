//! Which partition a record goes to: the five strategies of the spec, without state of other shards.

use kafka::partitioner;

use crate::config::{KeyHash, PartitionStrategy};
use crate::shard::ShardId;
use crate::shard::placement::owner_in;

/// SplitMix64: small, seeded at start-up, so that a run can be repeated.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that repeats itself for equal seeds.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 fresh bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`; 0 for `n` of 0.
    pub fn below(&mut self, n: u32) -> u32 {
        // The multiply-shift maps 64 bits onto n values with a bias below n / 2^64.
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u32
    }
}

/// What a shard knows of its sink's partitions when it chooses.
pub trait Partitions {
    /// How many partitions the topic has, at least 1.
    fn count(&self) -> u32;
    /// Whether the leader answered within the last second and the buffer is not full.
    fn usable(&self, partition: u32) -> bool;
    /// Bytes waiting or unanswered, to prefer the shorter queue.
    fn load(&self, partition: u32) -> usize;
}

/// Chooses partitions for one sink at one shard.
#[derive(Debug)]
pub struct Partitioner {
    strategy: PartitionStrategy,
    hash: KeyHash,
    shard: ShardId,
    shards: u16,
    random: Random,
    /// By how many shards the owners of the partitions are shifted.
    base: u16,
    /// Partition of the present sticky batch.
    sticky: Option<u32>,
    /// `sticky` keeps to the partitions this shard owns.
    prefers_owned: bool,
}

/// What a choice rests on.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Rendered key; `None` for null.
    pub key: Option<&'a [u8]>,
    /// The publisher.
    pub client_id: &'a str,
    /// MQTT topic.
    pub topic: &'a str,
}

impl Partitioner {
    /// A partitioner for `shard` of `shards`.
    pub fn new(strategy: PartitionStrategy, hash: KeyHash, shard: ShardId, shards: u16, seed: u64) -> Self {
        Self { strategy, hash, shard, shards, random: Random::new(seed), base: 0, sticky: None, prefers_owned: true }
    }

    /// A partitioner of the same kind for another topic.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.strategy, self.hash, self.shard, self.shards, self.random.next_u64())
    }

    /// Chooses by other rules from now on. Whether they are others.
    pub fn configure(&mut self, strategy: PartitionStrategy, hash: KeyHash) -> bool {
        let is_new = (self.strategy, self.hash) != (strategy, hash);
        if is_new {
            (self.strategy, self.hash, self.sticky) = (strategy, hash, None);
        }
        is_new
    }

    /// The same for a topic the owners of whose partitions are shifted.
    #[must_use]
    pub fn based(self, base: u16) -> Self {
        Self { base, ..self }
    }

    /// Whether equal client, topic and key always mean the same partition, so that a memo may keep it.
    pub fn is_fixed(&self, key_is_null: bool) -> bool {
        match self.strategy {
            PartitionStrategy::KeyDispatch => !key_is_null,
            PartitionStrategy::ClientId | PartitionStrategy::Topic => true,
            PartitionStrategy::Sticky | PartitionStrategy::Random => false,
        }
    }

    /// Whether what a record says decides on its partition, and not load or chance.
    #[inline]
    pub fn is_by_key(&self) -> bool {
        !matches!(self.strategy, PartitionStrategy::Sticky | PartitionStrategy::Random)
    }

    /// Whether one choice holds for all the messages that one read brings from one session.
    pub fn holds_for_a_read(&self) -> bool {
        self.strategy == PartitionStrategy::Random
    }

    /// The partition for a record.
    pub fn choose(&mut self, choice: &Choice<'_>, partitions: &impl Partitions) -> u32 {
        let count = partitions.count();
        match self.strategy {
            PartitionStrategy::KeyDispatch => match choice.key {
                Some(key) if !key.is_empty() => self.hashed(key, count),
                _ => self.sticky(partitions),
            },
            PartitionStrategy::ClientId => self.hashed(choice.client_id.as_bytes(), count),
            PartitionStrategy::Topic => self.hashed(choice.topic.as_bytes(), count),
            PartitionStrategy::Sticky => self.sticky(partitions),
            PartitionStrategy::Random => self.uniform(partitions),
        }
    }

    /// Whether `sticky` keeps to the partitions this shard owns, where it owns any: as long as all shards bring about as much.
    pub fn prefer_owned(&mut self, yes: bool) {
        self.prefers_owned = yes;
    }

    /// The present sticky batch was sealed: the next record chooses anew.
    pub fn sealed(&mut self, partition: u32) {
        self.sticky.take_if(|p| *p == partition);
    }

    fn hashed(&self, bytes: &[u8], count: u32) -> u32 {
        let hash = match self.hash {
            KeyHash::Murmur2 => partitioner::KeyHash::Murmur2,
            KeyHash::Crc32 => partitioner::KeyHash::Crc32,
            KeyHash::Fnv1a => partitioner::KeyHash::Fnv1a,
        };
        hash.partition(bytes, count)
    }

    fn uniform(&mut self, partitions: &impl Partitions) -> u32 {
        let usable = (0..partitions.count()).filter(|&p| partitions.usable(p)).count() as u32;
        if usable == 0 {
            return self.random.below(partitions.count());
        }
        let nth = self.random.below(usable) as usize;
        (0..partitions.count()).filter(|&p| partitions.usable(p)).nth(nth).unwrap_or(0)
    }

    fn sticky(&mut self, partitions: &impl Partitions) -> u32 {
        if let Some(partition) = self.sticky.filter(|&p| partitions.usable(p)) {
            return partition;
        }
        let chosen = self.weighted(partitions);
        self.sticky = Some(chosen);
        chosen
    }

    /// Prefers usable partitions this shard owns, the less loaded the likelier; all partitions if there is none, or if this
    /// shard brings more or less than its share.
    fn weighted(&mut self, partitions: &impl Partitions) -> u32 {
        let owned = |p: &u32| self.prefers_owned && owner_in(self.base, *p, self.shards) == self.shard;
        let count = partitions.count();
        let any_owned = (0..count).any(|p| owned(&p) && partitions.usable(p));
        let any_usable = (0..count).any(|p| partitions.usable(p));
        let candidate = |p: &u32| (!any_owned || owned(p)) && (!any_usable || partitions.usable(*p));
        let heaviest = (0..count).filter(candidate).map(|p| partitions.load(p)).max().unwrap_or(0);
        // A partition with the heaviest load still gets a share, or a lasting imbalance could starve it.
        let floor = heaviest / 4 + 1;
        let weight = |p: u32| (heaviest - partitions.load(p) + floor) as u64;
        let total: u64 = (0..count).filter(candidate).map(weight).sum();
        let random = self.random.next_u64();
        let mut at = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        for p in (0..count).filter(candidate) {
            match at.checked_sub(weight(p)) {
                Some(left) => at = left,
                None => return p,
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        usable: Vec<bool>,
        load: Vec<usize>,
    }

    impl Partitions for Fake {
        fn count(&self) -> u32 {
            self.usable.len() as u32
        }
        fn usable(&self, partition: u32) -> bool {
            self.usable[partition as usize]
        }
        fn load(&self, partition: u32) -> usize {
            self.load[partition as usize]
        }
    }

    fn partitioner(strategy: PartitionStrategy, shards: u16) -> Partitioner {
        Partitioner::new(strategy, KeyHash::Murmur2, ShardId(0), shards, 42)
    }

    const CHOICE: Choice<'_> = Choice { key: Some(b"21"), client_id: "foobar", topic: "abc" };

    #[test]
    fn keys_go_where_the_java_client_sends_them() {
        let fake = Fake { usable: vec![false; 10], load: vec![0; 10] };
        for (strategy, hash) in [
            (PartitionStrategy::KeyDispatch, -973_932_308i32),
            (PartitionStrategy::ClientId, -790_332_482),
            (PartitionStrategy::Topic, 479_470_107),
        ] {
            let expected = (hash & 0x7fff_ffff) as u32 % 10;
            assert_eq!(partitioner(strategy, 1).choose(&CHOICE, &fake), expected, "{strategy:?}");
        }
    }

    #[test]
    fn fnv1a_goes_where_sarama_sends_it() {
        let fake = Fake { usable: vec![true; 10], load: vec![0; 10] };
        let mut partitioner = Partitioner::new(PartitionStrategy::KeyDispatch, KeyHash::Fnv1a, ShardId(0), 1, 42);
        // The hash of "a" is -468965076 as a signed number, of which Sarama takes the magnitude.
        assert_eq!(partitioner.choose(&Choice { key: Some(b"a"), ..CHOICE }, &fake), 6);
    }

    #[test]
    fn an_empty_key_is_sticky_until_its_batch_is_sealed() {
        let fake = Fake { usable: vec![true; 8], load: vec![0; 8] };
        let mut p = partitioner(PartitionStrategy::KeyDispatch, 1);
        let choice = Choice { key: Some(b""), ..CHOICE };
        let first = p.choose(&choice, &fake);
        assert!((0..100).all(|_| p.choose(&choice, &fake) == first));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let partition = p.choose(&choice, &fake);
            seen.insert(partition);
            p.sealed(partition);
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn random_is_uniform_and_avoids_what_does_not_answer() {
        let fake = Fake { usable: vec![true, false, true, true], load: vec![0; 4] };
        let mut p = partitioner(PartitionStrategy::Random, 1);
        let mut counts = [0u32; 4];
        for _ in 0..30_000 {
            counts[p.choose(&CHOICE, &fake) as usize] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!(counts.iter().enumerate().all(|(i, &n)| i == 1 || n.abs_diff(10_000) < 400), "{counts:?}");
    }

    #[test]
    fn sticky_prefers_owned_partitions_and_short_queues() {
        let fake = Fake { usable: vec![true; 4], load: vec![0, 0, 9000, 0] };
        let mut p = partitioner(PartitionStrategy::Sticky, 2);
        let mut counts = [0u32; 4];
        for _ in 0..1000 {
            let partition = p.choose(&CHOICE, &fake);
            counts[partition as usize] += 1;
            p.sealed(partition);
        }
        assert_eq!((counts[1], counts[3]), (0, 0), "owned by the other shard");
        assert!(counts[0] > 3 * counts[2] && counts[2] > 0, "{counts:?}");
        // A shard that brings more than its share would make its own partitions fuller than the others.
        p.prefer_owned(false);
        let mut counts = [0u32; 4];
        for _ in 0..1000 {
            let partition = p.choose(&CHOICE, &fake);
            counts[partition as usize] += 1;
            p.sealed(partition);
        }
        assert!(counts.iter().all(|&n| n > 0) && counts[1].abs_diff(counts[3]) < 100, "{counts:?}");
    }
}
