//! `memory_overload_protection`: what sinks with a buffer in memory do when the process, or its cgroup, uses more memory than the
//! watermark. In async the oldest records go, in sync publishers wait. The budget bounds what the engine plans with; this acts on
//! what is really in use, by whomever.

use super::Shard;
use super::settings::SinkSettings;
use crate::sink::Answered;
use crate::ticket::{FailReason, Outcome};

impl SinkSettings {
    /// In an overload: whether a record has to wait that would make a partition hold so many bytes.
    pub(super) fn must_wait(&self, bytes: usize) -> bool {
        self.is_sync() && self.overload_bytes_max.is_some_and(|bytes_max| bytes > bytes_max)
    }
}

impl Shard {
    pub(super) fn on_overload(&mut self, is_so: bool) {
        self.overloaded = is_so;
        self.pool.set_short(is_so);
        // Who was held for it may try again.
        self.round.released |= !is_so;
    }

    /// Drops the oldest batches of each partition that holds more than it may in an overload.
    pub(super) fn shed_overload(&mut self) {
        if !self.overloaded {
            return;
        }
        for (sink, settings) in self.sinks.iter_mut().zip(&self.settings.sinks) {
            let Some(bytes_max) = settings.overload_bytes_max.filter(|_| !settings.is_sync()) else { continue };
            while let Some(partition) = sink.accumulator.fuller_than(bytes_max) {
                let Some(mut batch) = sink.accumulator.drop_oldest(partition) else { break };
                self.budget.release(std::mem::take(&mut batch.charge_bytes));
                self.round.discarded.push(Answered { batch, outcome: Outcome::Failed(FailReason::QueueFull) });
                self.round.released = true;
            }
        }
    }
}
