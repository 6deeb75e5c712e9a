//! Whether Kafka still has what it acknowledged.
//!
//! Kafka does not write to disk before it acknowledges: replicas that lose their memory together, or a leader elected from outside
//! the in-sync set, take acknowledged records with them, and no client is told. The offsets tell: the leader of a partition
//! that gives out an offset below one that was acknowledged has lost what stood there.
//!
//! ```text
//! acknowledged   0 1 2 3 4 5 6 7 8 9│ end 10
//! next batch at          6           │ 6..10 are gone
//! ```
//!
//! The answer to a batch that may have been stored by an earlier try may name the place of that try. Where it was first sent, all
//! before it was acknowledged up to some offset, so below that one it proves a loss too; above it proves nothing, and the next batch
//! does.
//!
//! A topic that was deleted and made anew begins at offset 0 too. So a loss is only suspected until the broker that gave out the
//! offset, which is asked at once, says that the topic is the same. Where its link is gone by then, the next answer of any broker to a
//! question that was put later has to do.

use std::ops::Range;

use super::{Place, Produce, Shipment};
use crate::broker::{Learned, Question, Slot};
use crate::clock::Mono;
use crate::shard::control::Level;
use crate::shard::io::Io;

/// Losses that wait for an answer about their topics; beyond, the count is of the oldest of each partition anyway.
const SUSPECTS_MAX: usize = 1024;

/// How far a partition was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AckedEnd {
    /// The offset behind the last acknowledged record; 0: none was.
    offset: i64,
    /// The lowest offset of batches in doubt since the last that was not.
    doubtful: Option<i64>,
}

/// Offsets that were acknowledged and given out again.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) place: Place,
    /// The sink whose batch showed it.
    sink: u16,
    offsets: Range<i64>,
    /// Over which link the offset came.
    slot: Option<Slot>,
    proof: Proof,
}

/// What is to show that a topic is the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The broker that gave out the offset is to be asked.
    Unasked,
    /// Its answer.
    OfLeader(Question),
    /// So many answers about topics, until one of them was asked for after the loss.
    OfAnyone(u8),
}

impl AckedEnd {
    /// The offset behind the last acknowledged record.
    pub(super) fn offset(&self) -> i64 {
        self.offset
    }

    /// `records` are acknowledged from `base_offset` on; negative: the broker does not say where. `in_doubt`: an earlier try of
    /// theirs may be what is stored there, and of these none was before the offset that it names. Returns the offsets that were
    /// acknowledged before and are gone.
    pub(super) fn advance(&mut self, base_offset: i64, records: u32, in_doubt: Option<i64>) -> Option<Range<i64>> {
        if base_offset < 0 {
            return None;
        }
        let before = self.offset;
        let end = base_offset.saturating_add(i64::from(records));
        let is_loss = base_offset < in_doubt.unwrap_or(before).min(before);
        if in_doubt.is_some() && !is_loss {
            self.offset = end.max(before);
            if base_offset < before {
                self.doubtful = Some(self.doubtful.map_or(base_offset, |lowest| lowest.min(base_offset)));
            }
            return None;
        }
        self.offset = end;
        let doubtful = self.doubtful.take().unwrap_or(base_offset);
        is_loss.then_some(doubtful.min(base_offset)..before)
    }

    /// The topic was made anew: its offsets begin anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Suspect {
    /// An answer about topics has come: whether it proves that the topic is the same, if it says so.
    fn hears(&mut self, learned: &Learned) -> bool {
        match (&mut self.proof, learned.leader_told) {
            (Proof::OfLeader(asked), Some(answered)) => *asked == answered,
            (Proof::OfAnyone(answers), None) => {
                *answers = answers.saturating_sub(1);
                *answers == 0
            }
            _ => false,
        }
    }
}

impl Produce {
    /// Notes how far a partition is acknowledged, and asks about the topic where that cannot be.
    pub(super) fn watch_offsets(&mut self, now: Mono, place: Place, shipment: &Shipment, base_offset: i64) {
        if shipment.is_outlived {
            return;
        }
        let partition = self.partition_mut(place);
        // Without a number no broker knows an earlier try: it says where it has stored this one.
        let may_be_known = shipment.in_doubt && shipment.seal.is_some_and(|seal| seal.numbered.is_some());
        let in_doubt = may_be_known.then_some(shipment.acked_before);
        let slot = partition.slot();
        let Some(offsets) = partition.acked_end.advance(base_offset, shipment.records, in_doubt) else { return };
        // Just made anew: a leader that was behind has stored in the topic before.
        let ends = self.topics.get(usize::from(place.topic)).and_then(|topic| topic.ends.as_ref());
        if ends.is_some_and(|ends| ends.is_young(now)) {
            return;
        }
        let sink = shipment.batch.as_ref().map_or(0, |batch| batch.part.sink);
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(Suspect { place, sink, offsets, slot, proof: Proof::Unasked });
        }
    }

    /// Asks about the topics of losses that are only suspected.
    pub(super) fn ask_about_suspects(&mut self, now: Mono, io: &mut impl Io) {
        let mut asked: Vec<(u16, Question)> = Vec::new();
        for suspect in &mut self.suspects {
            let topic = suspect.place.topic;
            let slot = suspect.slot.filter(|&slot| self.cluster.may_tell(slot));
            suspect.proof = match (suspect.proof, slot) {
                (Proof::Unasked, Some(slot)) => {
                    let same = asked.iter().find(|(of, question)| (*of, question.slot) == (topic, slot));
                    let question =
                        same.map(|&(_, open)| open).or_else(|| self.cluster.ask_leader(now, slot, topic, io));
                    let Some(question) = question else { continue };
                    asked.push((topic, question));
                    Proof::OfLeader(question)
                }
                (Proof::Unasked | Proof::OfLeader(_), None) => {
                    self.cluster.ask_at_once();
                    Proof::OfAnyone(1 + u8::from(self.cluster.is_asking()))
                }
                (proof, _) => proof,
            };
        }
    }

    /// Tells of the losses that are none of a topic made anew.
    pub(super) fn settle_suspects(&mut self, learned: &Learned) {
        for mut suspect in std::mem::take(&mut self.suspects) {
            let topic = suspect.place.topic;
            if learned.recreated.iter().any(|&(anew, _)| anew == topic) {
                continue;
            }
            let deleted = self.cluster.topic(topic).is_none_or(|topic| topic.trouble.is_some());
            match suspect.hears(learned) {
                true if !deleted => self.tell_loss(&suspect),
                heard => {
                    if heard {
                        suspect.proof = Proof::OfAnyone(1 + u8::from(self.cluster.is_asking()));
                    }
                    self.suspects.push(suspect);
                }
            }
        }
    }

    fn tell_loss(&mut self, Suspect { place, sink, offsets, .. }: &Suspect) {
        self.counts[usize::from(*sink)].acked_loss += offsets.end.abs_diff(offsets.start);
        let known = self.cluster.topic(place.topic).is_some_and(|topic| topic.has_id());
        let unless = if known { "" } else { " (or the topic was made anew, which brokers this old do not tell)" };
        let text = format!(
            "topic {} partition {}: Kafka has lost records that it had acknowledged{unless}: offsets {} to {} were given out \
             again. Replicas lost their memory together, or a leader was elected that was not in sync: see \
             min.insync.replicas and unclean.leader.election.enable of the topic.",
            self.topic_name(*place),
            place.partition,
            offsets.start,
            offsets.end - 1
        );
        self.cluster.note(Level::Error, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offset_that_was_acknowledged_before_is_a_loss() {
        let mut end = AckedEnd::default();
        assert_eq!(end.advance(0, 10, None), None);
        assert_eq!(end.advance(-1, 5, None), None, "a broker that recognises a repetition may not say where it is");
        assert_eq!(end.advance(15, 5, None), None, "others write too");
        assert_eq!(end.advance(12, 3, None), Some(12..20));
        assert_eq!(end.advance(15, 1, None), None, "it is told once");
        end.forget();
        assert_eq!(end.advance(0, 1, None), None);
    }

    #[test]
    fn a_batch_in_doubt_is_no_proof_but_the_next_one_is() {
        let mut end = AckedEnd::default();
        assert_eq!(end.advance(20, 10, None), None);
        assert_eq!(end.advance(10, 5, Some(0)), None, "it was stored before the last one was");
        assert_eq!(end.advance(30, 5, None), None);
        assert_eq!(end.advance(12, 3, Some(12)), None);
        assert_eq!(end.advance(15, 1, None), Some(12..35));
    }

    #[test]
    fn batches_in_doubt_below_what_was_acknowledged_when_they_were_first_sent_are_proof() {
        let mut end = AckedEnd::default();
        assert_eq!(end.advance(0, 104, None), None);
        assert_eq!(end.advance(4, 100, Some(104)), Some(4..104), "no try of it can have been stored there");
        for batch in 1..5 {
            assert_eq!(end.advance(4 + 100 * batch, 100, Some(104)), None, "it is told once");
        }
        assert_eq!(end.advance(504, 1, None), None);
    }
}
