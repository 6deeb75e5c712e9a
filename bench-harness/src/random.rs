//! A small seeded generator (SplitMix64), so that a run can be repeated from its seed.

/// The generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is at least 1; the bias is below `end` / 2^64.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_the_range_is_filled() {
        let draw = |seed| (0..1_000).map(move |_| ()).scan(Random::new(seed), |random, ()| Some(random.below(10)));
        assert!(draw(1).eq(draw(1)));
        assert!(!draw(1).eq(draw(2)));
        for number in 0..10 {
            assert!(draw(7).filter(|drawn| *drawn == number).count() > 50, "{number}");
        }
    }
}
