//! This shard's share of each sink's bytes beside the other shards': what `sticky` needs to fill partitions evenly.
//!
//! Where all shards bring about as much, each fills the partitions it owns, and no record changes shards. Where one brings more
//! or less than the others, its partitions would be fuller or emptier than theirs, so it chooses among all.
//!
//! Each pair of shards has one token. It carries the recent bytes of the shard it comes from, and whoever holds it passes it
//! on with the next look, a second apart: at most one message is under way between two shards, and none between shards at rest.

use super::ShardId;
use crate::clock::Mono;

/// Time between two looks at the shares, milliseconds.
const LOOK_MS: u64 = 1_000;

/// How far from the mean a share counts as even: a fifth of the mean.
const EVEN_DIVISOR: u64 = 5;

/// What a shard tells another: its recent bytes of each sink.
pub type Token = Box<[u64]>;

/// Recent bytes of every sink, here and at the other shards.
#[derive(Debug)]
pub(super) struct Shares {
    /// Bytes of each sink since the last look.
    fresh: Vec<u64>,
    /// Recent bytes of each sink: half of what they were at the look before, and what was fresh.
    recent: Vec<u64>,
    /// What each shard said last; the row of this one stays empty.
    others: Vec<Vec<u64>>,
    /// Tokens held here, by the other shard of their pair.
    held: Vec<Option<Token>>,
    next_look: Option<Mono>,
}

impl Shares {
    /// Nothing placed anywhere. The tokens begin at the first shard of each pair.
    pub(super) fn new(id: ShardId, shards: u16, sinks: usize) -> Self {
        let token = |other: u16| (id.0 < other).then(|| vec![0; sinks].into_boxed_slice());
        Self {
            fresh: vec![0; sinks],
            recent: vec![0; sinks],
            others: vec![vec![0; sinks]; usize::from(shards)],
            held: (0..shards).map(token).collect(),
            next_look: None,
        }
    }

    /// There are so many sinks now. Tokens are as long as they were when they were passed on.
    pub(super) fn grow(&mut self, sinks: usize) {
        self.fresh.resize(sinks, 0);
        self.recent.resize(sinks, 0);
        self.others.iter_mut().for_each(|other| other.resize(sinks, 0));
    }

    /// `bytes` of `sink` leave this shard's filling batches.
    pub(super) fn note(&mut self, now: Mono, sink: usize, bytes: usize) {
        self.fresh[sink] += bytes as u64;
        if self.next_look.is_none() && self.others.len() > 1 {
            self.next_look = Some(now.plus_ms(LOOK_MS));
        }
    }

    /// Forgets a little, takes in what is fresh, and passes on the tokens held here, if a second has passed.
    /// Whether it has.
    pub(super) fn look(&mut self, now: Mono, mut pass: impl FnMut(ShardId, Token)) -> bool {
        if self.next_look.is_none_or(|at| now < at) {
            return false;
        }
        let rest = self.recent.iter().chain(&self.fresh).all(|&bytes| bytes == 0);
        for (recent, fresh) in self.recent.iter_mut().zip(&mut self.fresh) {
            *recent = *recent / 2 + std::mem::take(fresh);
        }
        for (other, held) in self.held.iter_mut().enumerate() {
            if let Some(mut token) = held.take() {
                match token.len() == self.recent.len() {
                    true => token.copy_from_slice(&self.recent),
                    false => token = self.recent.clone().into(),
                }
                pass(ShardId(other as u16), token);
            }
        }
        self.next_look = (!rest).then(|| now.plus_ms(LOOK_MS));
        true
    }

    /// The token of the pair with `from` has come.
    pub(super) fn heard(&mut self, from: ShardId, token: Token) {
        let other = usize::from(from.0);
        // The other shard may have heard of more sinks, or of fewer.
        self.others[other].iter_mut().zip(token.iter()).for_each(|(own, told)| *own = *told);
        self.held[other] = Some(token);
    }

    /// Whether this shard's share of a sink's bytes is about the mean of all shards.
    pub(super) fn is_even(&self, sink: usize) -> bool {
        let mine = self.recent[sink];
        let all: u64 = mine + self.others.iter().map(|other| other[sink]).sum::<u64>();
        let mean = all / self.others.len().max(1) as u64;
        mine.abs_diff(mean) <= mean / EVEN_DIVISOR
    }

    /// When to look again; never at rest.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.next_look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Mono = Mono(LOOK_MS * 1_000_000);

    fn looked(shares: &mut Shares, now: Mono) -> Vec<(u16, Token)> {
        let mut passed = Vec::new();
        shares.look(now, |to, token| passed.push((to.0, token)));
        passed
    }

    #[test]
    fn a_share_is_even_within_a_fifth_of_the_mean() {
        for (mine, theirs, even) in [(0, 0, true), (120, 80, true), (121, 79, false), (79, 121, false), (5, 0, false)] {
            let mut shares = Shares::new(ShardId(0), 2, 1);
            shares.note(Mono(0), 0, mine);
            shares.heard(ShardId(1), vec![theirs].into());
            looked(&mut shares, SECOND);
            assert_eq!(shares.is_even(0), even, "{mine} beside {theirs}");
        }
    }

    #[test]
    fn a_token_goes_to_and_fro_once_a_second_and_rests_with_its_shards() {
        let mut one = Shares::new(ShardId(0), 2, 1);
        let mut two = Shares::new(ShardId(1), 2, 1);
        assert_eq!(one.deadline(), None);
        one.note(Mono(0), 0, 1000);
        assert_eq!(looked(&mut one, Mono(SECOND.0 - 1)), []);
        let mut passed = looked(&mut one, SECOND);
        assert_eq!(passed, [(1, vec![1000].into())]);
        assert_eq!(looked(&mut one, SECOND.plus_ms(LOOK_MS)), [], "it is with the other");
        two.heard(ShardId(0), passed.remove(0).1);
        assert_eq!(two.deadline(), None, "at rest, with nothing to say");
        two.note(SECOND, 0, 10);
        assert!(!two.is_even(0));
        assert_eq!(looked(&mut two, SECOND.plus_ms(LOOK_MS)), [(0, vec![10].into())]);
        // What was placed once is forgotten, and then there is nothing to look for.
        let mut now = SECOND.plus_ms(2 * LOOK_MS);
        for _ in 0..20 {
            looked(&mut one, now);
            now = now.plus_ms(LOOK_MS);
        }
        assert_eq!(one.deadline(), None);
    }

    #[test]
    fn one_shard_has_nobody_to_tell() {
        let mut alone = Shares::new(ShardId(0), 1, 2);
        alone.note(Mono(0), 1, 1000);
        assert_eq!(alone.deadline(), None);
        assert!(alone.is_even(1));
    }
}
