//! Records that give way to newer ones in a buffer on disk: the oldest of a partition that are not on their way.
//!
//! So of what a client has sent to a partition nothing is gone while something older of it waits there. That is looked at after
//! records have been displaced, where everything that waits for the partition is in memory and can be shown.

use std::collections::BTreeMap;

use super::World;
use crate::kafka::{Records, plain, with_header};
use crate::message::MessageId;
use crate::plan::Plan;

/// One displacement of so many is looked at.
const LOOK_EVERY: u64 = 2;

/// How many records shards have displaced, by shard and sink, when that was last asked.
#[derive(Debug)]
pub(super) struct Displaced {
    counts: BTreeMap<(usize, u16), u64>,
    events: u64,
}

impl Displaced {
    /// For a world in which that can be told.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        plan.tells_displaced().then(|| Self { counts: BTreeMap::new(), events: 0 })
    }

    /// The node begins anew.
    pub(super) fn node_killed(&mut self) {
        self.counts.clear();
    }

    /// Whether it is time to look at a sink of a shard, which has displaced so many records by now.
    fn is_due(&mut self, shard: usize, sink: u16, count: u64) -> bool {
        let before = self.counts.insert((shard, sink), count).unwrap_or_default();
        self.events += u64::from(count > before);
        count > before && self.events % LOOK_EVERY == 1
    }
}

impl World {
    /// Looks at what a shard has displaced in its round.
    pub(super) fn look_at_displaced(&mut self, shard: usize) {
        let has_moved = |counts: &crate::kafka::Counts| counts.grown > 0 || counts.renewed > 0;
        let Some(displaced) = &mut self.displaced else { return };
        for sink in 0..self.plan.sinks as u16 {
            let machine = &self.nodes[shard].shard;
            if !displaced.is_due(shard, sink, machine.displaced(sink)) {
                continue;
            }
            if self.cluster.as_ref().is_none_or(|cluster| has_moved(cluster.counts())) {
                return;
            }
            machine.each_backlog(sink, |batches| {
                let mut waiting = Vec::new();
                let mut topic_name = String::new();
                for batch in batches {
                    topic_name.clone_from(&batch.topic_name);
                    let batch = with_header(batch);
                    let ids = |value: &[u8]| MessageId::read(value).ok();
                    waiting.extend(Records::of(&plain(&batch)).filter_map(|record| ids(record.value?)));
                }
                self.ledger.judge_backlog(&self.plan, usize::from(sink), &topic_name, &waiting);
            });
        }
    }
}
