//! What waits behind a batch that its sink gave up goes with it: of publishers who wait for an outcome nothing is stored behind a gap.
//!
//! ```text
//! owner   | given up, with what it holds of the partition (sink/kafka/given_up.rs)
//! mesh    | what is on its way to the owner meets a gap there, which closes when its home has heard of it
//! home    | journal ── accumulator      given up here, when the first of them comes home
//! ```
//!
//! Left out: what a start found on disk, whose publishers may have been told that it is kept.

use super::Shard;
use super::buffer::gone_batch;
use super::io::{Io, ShardId};
use super::mesh::MeshMsg;
use crate::buffer::{Batch, PartKey};
use crate::clock::Now;
use crate::ticket::{FailReason, Outcome};

/// Where it waits, and why it will not be sent.
pub(super) struct Behind {
    part: PartKey,
    /// Of the accumulator, where it has one.
    slot: Option<u32>,
    topic: String,
    why: FailReason,
}

/// Batches that were given up here and whose home does not know it yet, as far as this shard has heard.
#[derive(Debug, Default)]
pub(super) struct Gaps(Vec<Gap>);

/// Those of one partition and one home.
#[derive(Debug)]
struct Gap {
    home: ShardId,
    part: PartKey,
    topic: String,
    why: FailReason,
    batches: u32,
}

impl Gaps {
    /// A batch leaves for its home.
    #[inline]
    pub(super) fn note(&mut self, batch: &Batch, outcome: Outcome) {
        if let Some(why) = given_up(batch, outcome) {
            self.open(batch, why);
        }
    }

    #[cold]
    fn open(&mut self, batch: &Batch, why: FailReason) {
        match self.find(batch.home, batch.part, &batch.topic_name) {
            Some(at) => self.0[at].batches += 1,
            None => self.0.push(Gap {
                home: batch.home,
                part: batch.part,
                topic: batch.topic_name.clone(),
                why,
                batches: 1,
            }),
        }
    }

    /// The home of one of them has failed what waited behind it: what it sends from now on was filled later.
    pub(super) fn close(&mut self, home: ShardId, part: PartKey, topic: &str) {
        let Some(at) = self.find(home, part, topic) else { return };
        self.0[at].batches -= 1;
        if self.0[at].batches == 0 {
            self.0.swap_remove(at);
        }
    }

    /// Why this batch was left behind, if it was.
    #[inline]
    fn before(&self, batch: &Batch) -> Option<FailReason> {
        if self.0.is_empty() {
            return None;
        }
        self.find(batch.home, batch.part, &batch.topic_name).map(|at| self.0[at].why)
    }

    fn find(&self, home: ShardId, part: PartKey, topic: &str) -> Option<usize> {
        self.0.iter().position(|gap| gap.home == home && gap.part == part && gap.topic == topic)
    }
}

/// Why records of a batch were given up, if some were: all of them, or some pieces of a batch that was sent in pieces.
fn given_up(batch: &Batch, outcome: Outcome) -> Option<FailReason> {
    let is_given_up = |why: &FailReason| matches!(why, FailReason::Expired | FailReason::RetriesExhausted);
    let whole = match outcome {
        Outcome::Failed(why) => Some(why),
        _ => None,
    };
    whole.into_iter().chain(batch.refused.iter().map(|refused| refused.why)).find(is_given_up)
}

impl Shard {
    /// Takes a batch of a partition that this shard owns. One for whose outcome nobody waits, or that is kept on disk in async, goes on
    /// behind a gap: its publishers were told, by this life of the node or an earlier one.
    pub(super) fn on_hand_over(&mut self, now: Now, batch: Box<Batch>, io: &mut impl Io) {
        match self.gaps.before(&batch).filter(|_| !batch.runs.is_empty() && !batch.told_when_durable) {
            Some(why) => self.settle(now, batch, Outcome::Failed(why), io),
            None => self.submit(now, batch),
        }
    }

    /// Takes back a batch that another shard has sent, or has given up.
    pub(super) fn on_return(
        &mut self,
        now: Now,
        owner: ShardId,
        batch: Box<Batch>,
        outcome: Outcome,
        io: &mut impl Io,
    ) {
        let gap = given_up(&batch, outcome).map(|_| (batch.part, batch.topic_name.as_str().into()));
        self.settle(now, batch, outcome, io);
        if let Some((PartKey { sink, partition }, topic)) = gap {
            io.mesh(owner, MeshMsg::GapKnown { sink, topic, partition });
        }
    }

    /// Whether what waits behind this batch of this shard goes with it.
    #[inline]
    pub(super) fn behind(&self, batch: &Batch, outcome: Outcome) -> Option<Behind> {
        let why = given_up(batch, outcome)?;
        let index = usize::from(batch.part.sink);
        let sink = &self.sinks[index];
        // Of what was taken in async, and is sent in sync, publishers were told.
        if !self.settings.sinks[index].is_sync() || batch.told_when_durable || sink.promised_early {
            return None;
        }
        let slot = match &sink.live {
            Some(live) if batch.journal > 0 => live.slot(&batch.topic_name, batch.part.partition),
            _ => Some(batch.slot),
        };
        Some(Behind { part: batch.part, slot, topic: batch.topic_name.clone(), why })
    }

    /// Fails what waits there, oldest first.
    #[cold]
    pub(super) fn fail_behind(&mut self, now: Now, behind: &Behind) {
        let Behind { part: PartKey { sink, partition }, slot, topic, why } = behind;
        let outcome = Outcome::Failed(*why);
        while let Some(stored) = &mut self.sinks[usize::from(*sink)].journal {
            if stored.journal.has_adopted(topic, *partition) {
                return;
            }
            let Some(gone) = stored.journal.drop_oldest(now.mono, topic, *partition) else {
                stored.journal.leave_behind(topic, *partition, *why);
                break;
            };
            stored.ready = true;
            let batch = gone_batch(*sink, gone, &mut self.pool, now.mono);
            self.settle_at_home(now, batch, outcome);
        }
        let Some(slot) = *slot else { return };
        while let Some(batch) = self.sinks[usize::from(*sink)].accumulator.drop_oldest(slot) {
            self.settle_at_home(now, batch, outcome);
        }
    }
}
