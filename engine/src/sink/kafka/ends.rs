//! Where a topic ends, and what becomes of what waits beyond: growth is heard of by one shard first, and a topic that was made anew may
//! have fewer partitions than before.
//!
//! ```text
//! before     0 1 2 3 4 5
//! made anew  0 1 2 3│. .│6   4 and 5 are gone; 6 was never heard of here: it may be new
//! ```
//!
//! After half a minute 4 and 5 may be new as well. What is waited for and asked for, and named by no answer for a minute, is given up:
//! nobody may have seen that the topic was made anew, and with buffers on disk it may have been placed long ago.

use crate::clock::Mono;

/// How long after a topic was made anew what is meant for its former partitions has no hope.
const GONE_MS: u64 = 30_000;
/// How long a partition may be waited for that no answer about the topic names, though it is asked for as often as may be.
const UNHEARD_MS: u64 = 60_000;

/// The end of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    count: u32,
    /// Partitions below this are gone until then, as far as they are not there.
    gone: (u32, Mono),
    /// The highest partition that something waits for and that was never heard of; since when, and when it was last looked at.
    unheard: Option<(u32, Mono, Mono)>,
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there.
    There,
    /// It may be new: the topic is to be asked about.
    Unheard,
    /// Nothing for it will ever be stored.
    Gone,
}

impl Ends {
    /// It is heard of for the first time, and has so many partitions.
    pub(super) fn first(count: u32) -> Self {
        Self { count, gone: (0, Mono::default()), unheard: None }
    }

    /// It was made anew: it has so many partitions, and had so many before.
    pub(super) fn new(now: Mono, count: u32, before: u32) -> Self {
        Self { count, gone: (before, now.plus_ms(GONE_MS)), unheard: None }
    }

    /// Whether it was made anew, or something was given up, only a short time ago.
    pub(super) fn is_young(&self, now: Mono) -> bool {
        now < self.gone.1
    }

    /// Something waits for a partition: what is known of that.
    pub(super) fn look(&mut self, now: Mono, partition: u32) -> Fate {
        if partition < self.count {
            return Fate::There;
        }
        if partition < self.gone.0 && now < self.gone.1 {
            return Fate::Gone;
        }
        let known =
            |&(highest, _, looked): &(u32, Mono, Mono)| partition <= highest && now < looked.plus_ms(UNHEARD_MS);
        let (highest, since, _) = self.unheard.filter(known).unwrap_or((partition, now, now));
        self.unheard = Some((highest, since, now));
        Fate::Unheard
    }

    /// An answer says how many partitions it has.
    pub(super) fn hear(&mut self, now: Mono, count: u32) {
        self.count = count;
        self.unheard = self.unheard.filter(|&(partition, ..)| partition >= count);
        let given_up = self.unheard.take_if(|(_, since, _)| now >= since.plus_ms(UNHEARD_MS));
        if let Some((partition, ..)) = given_up {
            self.gone = (partition + 1, now.plus_ms(GONE_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fate::{Gone, There, Unheard};
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::default().plus_ms(ms)
    }

    fn fates<const N: usize>(ends: &mut Ends, now_ms: u64, partitions: [u32; N]) -> [Fate; N] {
        partitions.map(|partition| ends.look(at(now_ms), partition))
    }

    #[test]
    fn what_was_there_before_is_gone_and_what_is_new_is_waited_for() {
        let mut ends = Ends::new(at(0), 4, 6);
        assert_eq!(fates(&mut ends, 0, [3, 4, 5, 6]), [There, Gone, Gone, Unheard]);
        ends.hear(at(2_000), 7);
        assert_eq!(fates(&mut ends, 2_000, [4, 5, 6]), [There; 3]);
    }

    #[test]
    fn later_what_was_there_before_may_be_new_too() {
        let mut ends = Ends::new(at(0), 3, 6);
        assert_eq!(fates(&mut ends, 29_999, [4]), [Gone]);
        assert!(ends.is_young(at(29_999)) && !ends.is_young(at(30_000)));
        assert_eq!(fates(&mut ends, 30_000, [4]), [Unheard]);
        ends.hear(at(89_999), 3);
        assert_eq!(fates(&mut ends, 89_999, [4]), [Unheard]);
        ends.hear(at(90_000), 3);
        assert_eq!(fates(&mut ends, 90_000, [3, 4, 5]), [Gone, Gone, Unheard]);
    }

    #[test]
    fn what_no_answer_names_for_long_is_gone_too() {
        let mut ends = Ends::first(4);
        assert!(!ends.is_young(at(0)));
        for now_ms in [1_000, 60_000, 119_000] {
            assert_eq!(fates(&mut ends, now_ms, [5]), [Unheard], "nobody was asked since");
        }
        ends.hear(at(119_000), 4);
        assert_eq!(fates(&mut ends, 119_000, [4, 5, 6]), [Gone, Gone, Unheard]);
        ends.hear(at(119_001), 6);
        assert_eq!(fates(&mut ends, 119_001, [5]), [There]);
    }

    #[test]
    fn what_comes_later_is_waited_for_anew() {
        let mut ends = Ends::new(at(0), 4, 4);
        assert_eq!(fates(&mut ends, 1_000, [5]), [Unheard]);
        assert_eq!(fates(&mut ends, 60_000, [6]), [Unheard], "another one");
        ends.hear(at(119_000), 4);
        assert_eq!(fates(&mut ends, 119_000, [6]), [Unheard]);
        assert_eq!(fates(&mut ends, 180_000, [5]), [Unheard], "nothing waited meanwhile");
        ends.hear(at(180_001), 4);
        assert_eq!(fates(&mut ends, 180_001, [5]), [Unheard]);
    }
}
