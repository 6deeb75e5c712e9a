//! Judges the records of a topic, one by one, by the truth of the run.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::generator::truth::{ClientTruth, Truth};
use crate::message::{Bodies, STAMP_BYTES, Stamp};

/// What became of the messages of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages sent, or about to be when the run ended.
    pub sent: u64,
    /// Messages whose acknowledgement was read.
    pub acknowledged: u64,
    /// Different messages found in the topic.
    pub delivered: u64,
    /// Acknowledged messages that are not in the topic.
    pub lost: u64,
    /// Records beyond the first of a message.
    pub duplicated: u64,
    /// Records that stand behind a later message of the same client in the same partition.
    pub reordered: u64,
    /// Records that are no message of this run, or not byte for byte.
    pub corrupt: u64,
}

impl Verdict {
    /// Nothing acknowledged is lost, and nothing is twice, out of order or corrupt.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.corrupt == 0
    }
}

/// What is known of one client's messages so far.
struct Seen {
    sent: u32,
    found: Vec<bool>,
    /// By partition: the highest sequence found, and no fewer entries than partitions that hold a record.
    highest: BTreeMap<i32, u32>,
}

/// Counts while the topic is read.
pub(super) struct VerdictTally<'a> {
    truth: &'a Truth,
    bodies: Bodies,
    clients: HashMap<u32, Seen>,
    records: u64,
    verdict: Verdict,
}

impl<'a> VerdictTally<'a> {
    pub(super) fn new(truth: &'a Truth) -> Self {
        let seen = |truth: &ClientTruth| Seen {
            sent: truth.sent,
            found: vec![false; truth.sent as usize],
            highest: BTreeMap::new(),
        };
        Self {
            truth,
            bodies: Bodies::new(truth.payload_bytes),
            clients: truth.clients.iter().map(|(client, truth)| (*client, seen(truth))).collect(),
            records: 0,
            verdict: Verdict::default(),
        }
    }

    /// One record, in the order of its partition.
    pub(super) fn record(&mut self, partition: i32, value: Option<&[u8]>) {
        self.records += 1;
        let value = value.unwrap_or_default();
        let intact = |stamp: &Stamp| self.bodies.is_intact(*stamp, &value[STAMP_BYTES..]);
        let Some(stamp) = Stamp::of(value).filter(intact) else {
            self.verdict.corrupt += 1;
            return;
        };
        let Some(seen) = self.clients.get_mut(&stamp.client).filter(|seen| stamp.sequence < seen.sent) else {
            self.verdict.corrupt += 1;
            return;
        };
        let found = &mut seen.found[stamp.sequence as usize];
        if std::mem::replace(found, true) {
            self.verdict.duplicated += 1;
            return;
        }
        self.verdict.delivered += 1;
        let highest = seen.highest.entry(partition).or_insert(stamp.sequence);
        if stamp.sequence < *highest {
            self.verdict.reordered += 1;
        }
        *highest = stamp.sequence.max(*highest);
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The verdict, once every partition is read.
    pub(super) fn verdict(mut self) -> Verdict {
        for (client, truth) in &self.truth.clients {
            let found = self.clients.get(client).map(|seen| seen.found.as_slice()).unwrap_or_default();
            self.verdict.sent += u64::from(truth.sent);
            self.verdict.acknowledged += truth.acked.iter().filter(|acked| **acked).count() as u64;
            self.verdict.lost +=
                truth.acked.iter().zip(found).filter(|(acked, found)| **acked && !**found).count() as u64;
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{self, Telemetry};

    fn value(client: u32, sequence: u32) -> Vec<u8> {
        let mut value = Stamp { client, sequence }.to_bytes().to_vec();
        value.extend(message::filler(32));
        value
    }

    fn check(records: &[(i32, Vec<u8>)], expected: Verdict) {
        let mut truth = Truth::complete(32, [(0, 4), (1, 2)]);
        // The last message of client 1 was sent and never acknowledged.
        truth.clients.get_mut(&1).unwrap().acked[1] = false;
        let mut tally = VerdictTally::new(&truth);
        for (partition, value) in records {
            tally.record(*partition, Some(value));
        }
        assert_eq!(tally.verdict(), expected);
    }

    const SENT: Verdict =
        Verdict { sent: 6, acknowledged: 5, delivered: 0, lost: 0, duplicated: 0, reordered: 0, corrupt: 0 };

    #[test]
    fn everything_in_order_is_clean() {
        let all: Vec<_> = (0..4).map(|sequence| (0, value(0, sequence))).chain([(1, value(1, 0))]).collect();
        check(&all, Verdict { delivered: 5, ..SENT });
        assert!(SENT.is_clean());
    }

    #[test]
    fn a_missing_acknowledged_message_is_lost_and_an_unacknowledged_one_is_not() {
        check(&[(0, value(0, 0)), (0, value(0, 2))], Verdict { delivered: 2, lost: 3, ..SENT });
    }

    #[test]
    fn a_second_record_is_a_duplicate_and_not_a_reordering() {
        let records = [0, 1, 2, 0, 1, 3].map(|sequence| (0, value(0, sequence)));
        check(&records, Verdict { delivered: 4, lost: 1, duplicated: 2, ..SENT });
    }

    #[test]
    fn order_counts_within_one_partition_only() {
        let records = [(0, value(0, 1)), (1, value(0, 0)), (0, value(0, 3)), (0, value(0, 2)), (0, value(1, 0))];
        check(&records, Verdict { delivered: 5, reordered: 1, ..SENT });
    }

    #[test]
    fn telemetry_is_judged_by_its_own_stamp() {
        let json = |said: u32, told: u32| {
            let mut value = Stamp { client: 0, sequence: said }.to_bytes().to_vec();
            value.extend(Telemetry::new(248).of(Stamp { client: 0, sequence: told }));
            value
        };
        let truth = Truth::complete(256, [(0, 3)]);
        let mut tally = VerdictTally::new(&truth);
        let mut changed = json(2, 2);
        changed[100] ^= 1;
        for value in [json(0, 0), json(1, 2), changed] {
            tally.record(0, Some(&value));
        }
        let expected = Verdict { sent: 3, acknowledged: 3, delivered: 1, lost: 2, corrupt: 2, ..Verdict::default() };
        assert_eq!(tally.verdict(), expected);
    }

    #[test]
    fn strangers_and_changed_bytes_are_corrupt() {
        let mut changed = value(0, 0);
        changed[20] ^= 1;
        let records = [(0, changed), (0, value(9, 0)), (0, value(0, 4)), (0, b"x".to_vec())];
        check(&records, Verdict { lost: 5, corrupt: 4, ..SENT });
    }
}
