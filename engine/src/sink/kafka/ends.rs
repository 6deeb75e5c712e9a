//! Where a topic ends that was made anew with fewer partitions: what waits for those that are gone will never be stored.
//!
//! ```text
//! before     0 1 2 3 4 5
//! made anew  0 1 2 3│. .│6   4 and 5 are gone at once; 6 was never heard of here: it may be new, another shard hears of growth first
//! ```

use std::ops::Range;

use crate::clock::Mono;

/// How long a partition may be waited for that no answer about the topic names.
const UNHEARD_MS_MAX: u64 = 30_000;

/// The end of a topic that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    /// Partitions that were there before and are not now.
    gone: Range<u32>,
    /// The highest that something waits for and that was never heard of, and since when.
    unheard: Option<(u32, Mono)>,
}

impl Ends {
    /// It has so many partitions, and had so many before.
    pub(super) fn new(count: u32, before: u32) -> Self {
        Self { gone: count..before, unheard: None }
    }

    /// Something waits for a partition: whether that will never be stored.
    pub(super) fn is_gone(&mut self, now: Mono, partition: u32) -> bool {
        if partition >= self.gone.end.max(self.gone.start) {
            let (highest, since) = self.unheard.unwrap_or((partition, now));
            self.unheard = Some((highest.max(partition), since));
        }
        self.gone.contains(&partition)
    }

    /// An answer says how many partitions it has.
    pub(super) fn hear(&mut self, now: Mono, count: u32) {
        self.gone.start = count;
        self.unheard = self.unheard.filter(|&(partition, _)| partition >= count);
        let given_up = self.unheard.take_if(|(_, since)| now >= since.plus_ms(UNHEARD_MS_MAX));
        if let Some((partition, _)) = given_up {
            self.gone.end = partition + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::default().plus_ms(ms)
    }

    #[test]
    fn what_was_there_before_is_gone_and_what_is_new_is_waited_for() {
        let mut ends = Ends::new(4, 6);
        assert!(!ends.is_gone(at(0), 3) && ends.is_gone(at(0), 4) && ends.is_gone(at(0), 5));
        assert!(!ends.is_gone(at(1_000), 6), "it may be new");
        ends.hear(at(2_000), 7);
        assert!((4..7).all(|partition| !ends.is_gone(at(2_000), partition)), "and so it was");
    }

    #[test]
    fn what_no_answer_names_for_long_is_gone_too() {
        let mut ends = Ends::new(4, 4);
        assert!(!ends.is_gone(at(1_000), 5));
        ends.hear(at(30_999), 4);
        assert!(!ends.is_gone(at(100_000), 5), "nobody was asked meanwhile");
        ends.hear(at(100_000), 4);
        assert!(ends.is_gone(at(100_000), 5) && ends.is_gone(at(100_000), 4));
        assert!(!ends.is_gone(at(100_000), 6));
        ends.hear(at(100_001), 6);
        assert!(!ends.is_gone(at(100_001), 5), "it is there now");
    }
}
