//! What waits behind a batch that its sink gave up goes with it: of publishers who wait for an outcome nothing is stored behind a gap.
//!
//! ```text
//! owner   | given up, with what it holds of the partition (sink/kafka/given_up.rs)
//! home    | journal ── accumulator      given up here, when the first of them comes home
//! ```
//!
//! Left out: what a start found on disk, whose publishers may have been told that it is kept; and a batch that is on its way to the owner
//! when the others are given up, which nobody can tell from one that was filled after that.

use super::Shard;
use super::buffer::gone_batch;
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

impl Shard {
    /// Whether what waits behind this batch of this shard goes with it.
    #[inline]
    pub(super) fn behind(&self, batch: &Batch, outcome: Outcome) -> Option<Behind> {
        let Outcome::Failed(why @ (FailReason::Expired | FailReason::RetriesExhausted)) = outcome else { return None };
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
            let Some(gone) = stored.journal.drop_oldest(now.mono, topic, *partition) else { break };
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
