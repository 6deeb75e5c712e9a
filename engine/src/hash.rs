//! Hash maps for keys that strangers choose, and that a seed can replay: SipHash 1-3 under a key given at start-up.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// A map whose iteration order nobody may rely on: look up, never walk.
pub type Map<K, V> = hashbrown::HashMap<K, V, Keyed>;

/// Builds hashers under one key.
#[derive(Debug, Clone, Copy)]
pub struct Keyed {
    k0: u64,
    k1: u64,
}

impl Keyed {
    /// Hashers under this key.
    pub fn new(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}
