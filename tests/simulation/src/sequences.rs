//! The oracle of numbers: what a producer sends to a partition has no gap, and epochs only go up (KIP-98).
//!
//! A batch may be sent again, and a number that nothing was stored under goes to the next record, so what is sent may begin
//! below what was sent before, never above. Once it is known that a topic was made anew, its partitions begin a new epoch. That a number which failed for good is not left out is the cluster's to see.

use std::collections::BTreeMap;

/// How a batch is numbered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    /// The producer's id, -1 without.
    pub(crate) producer_id: i64,
    /// Its epoch.
    pub(crate) epoch: i16,
    /// The sequence of the first record.
    pub(crate) first: i32,
    /// How many records there are.
    pub(crate) records: i32,
}

impl Numbers {
    /// Those of a sealed batch.
    pub(crate) fn of(batch: &[u8]) -> Self {
        let field = |at: usize, len: usize| batch[at..at + len].iter().fold(0i64, |n, &byte| n << 8 | i64::from(byte));
        Self {
            producer_id: field(43, 8),
            epoch: field(51, 2) as i16,
            first: field(53, 4) as i32,
            records: field(57, 4) as i32,
        }
    }
}

/// Of one partition: the producer and what it is to send next.
#[derive(Debug, Clone, Copy)]
struct Expected {
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    /// The topic was made anew since.
    is_over: bool,
}

/// The numbers one shard has sent, by connector and partition: each connector has a producer of its own.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    expected: BTreeMap<(u16, (u16, u32)), Expected>,
}

impl Sequences {
    /// A topic was made anew, as the shard now knows.
    pub(crate) fn made_anew(&mut self, connector: u16, topic: u16) {
        let of_topic = (connector, (topic, 0))..=(connector, (topic, u32::MAX));
        self.expected.range_mut(of_topic).for_each(|(_, expected)| expected.is_over = true);
    }

    /// A batch leaves.
    ///
    /// # Panics
    /// If its number leaves a gap, or its epoch is over.
    pub(crate) fn sent(&mut self, connector: u16, part: (u16, u32), numbers: Numbers) {
        let Numbers { producer_id, epoch, first, records } = numbers;
        let at = (connector, part);
        if producer_id < 0 {
            return;
        }
        if let Some(known) = self.expected.get(&at).filter(|known| known.producer_id == producer_id) {
            assert!(epoch >= known.epoch, "VIOLATION {part:?}: epoch {epoch} after {}", known.epoch);
            assert!(
                epoch > known.epoch || !known.is_over,
                "VIOLATION {part:?}: epoch {epoch}, which began before the topic was made anew"
            );
            let gap = epoch == known.epoch && ahead(first, known.sequence);
            assert!(!gap, "VIOLATION {part:?}: sequence {first} where {} is next", known.sequence);
            assert!(epoch == known.epoch || first == 0, "VIOLATION {part:?}: epoch {epoch} begins at {first}");
        } else {
            assert!(first == 0, "VIOLATION {part:?}: producer {producer_id} begins at {first}");
        }
        let known = self.expected.get(&at).filter(|known| (known.producer_id, known.epoch) == (producer_id, epoch));
        let sequence = (i64::from(first) + i64::from(records)) % (i64::from(i32::MAX) + 1);
        let sequence =
            known.map(|known| known.sequence).filter(|&known| ahead(known, sequence as i32)).unwrap_or(sequence as i32);
        self.expected.insert(at, Expected { producer_id, epoch, sequence, is_over: false });
    }
}

/// Whether `first` lies ahead of `next`, in sequences that wrap at 2^31.
pub(crate) fn ahead(first: i32, next: i32) -> bool {
    let distance = (i64::from(first) - i64::from(next)).rem_euclid(1 << 31);
    distance != 0 && distance < 1 << 30
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(producer: i64, epoch: i16, first: i32, records: i32) -> Vec<u8> {
        let mut bytes = vec![0; 43];
        bytes.extend(producer.to_be_bytes());
        bytes.extend(epoch.to_be_bytes());
        bytes.extend(first.to_be_bytes());
        bytes.extend(records.to_be_bytes());
        bytes
    }

    fn accepts(batches: &[Vec<u8>]) -> bool {
        let check = || {
            let mut sequences = Sequences::default();
            batches.iter().for_each(|batch| sequences.sent(0, (0, 0), Numbers::of(batch)));
        };
        std::panic::catch_unwind(check).is_ok()
    }

    #[test]
    fn a_resend_and_a_new_epoch_are_fine_a_gap_and_an_old_epoch_are_not() {
        let first = batch(1, 0, 0, 3);
        assert!(accepts(&[first.clone(), batch(1, 0, 3, 2), first.clone(), batch(1, 0, 3, 2), batch(1, 0, 5, 1)]));
        assert!(accepts(&[first.clone(), batch(1, 1, 0, 2), batch(2, 0, 0, 1)]));
        assert!(accepts(&[first.clone(), batch(1, 0, 3, i32::MAX - 2), batch(1, 0, 0, 1)]), "it wraps");
        assert!(!accepts(&[first.clone(), batch(1, 0, 4, 1)]), "a gap");
        assert!(!accepts(&[first.clone(), batch(1, 1, 0, 1), batch(1, 0, 3, 1)]), "an old epoch");
        assert!(!accepts(&[first.clone(), batch(1, 1, 3, 1)]), "an epoch that does not begin at 0");
        assert!(!accepts(&[batch(1, 0, 1, 1)]), "a producer that does not begin at 0");
    }

    #[test]
    fn a_topic_made_anew_begins_a_new_epoch() {
        let goes_on = |topic: u16, next: Vec<u8>| {
            let check = || {
                let mut sequences = Sequences::default();
                sequences.sent(0, (0, 3), Numbers::of(&batch(1, 0, 0, 3)));
                sequences.made_anew(0, topic);
                sequences.sent(0, (0, 3), Numbers::of(&next));
            };
            std::panic::catch_unwind(check).is_ok()
        };
        assert!(!goes_on(0, batch(1, 0, 3, 1)) && !goes_on(0, batch(1, 0, 0, 3)));
        assert!(goes_on(0, batch(1, 1, 0, 3)) && goes_on(0, batch(2, 0, 0, 3)));
        assert!(goes_on(1, batch(1, 0, 3, 1)), "another topic");
    }
}
