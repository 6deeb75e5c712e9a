//! Another configuration: the terms of sinks and of the cluster change, sinks come and go; links, queues and numbers stay.
//!
//! Terms count from the next batch that is numbered on. What was sent before travels as it did then, and a partition changes
//! its manner (acks, numbering) with nothing on its way; see [`super::settings::Manner`].

use super::Produce;
use super::given_up::look_through;
use super::settings::{SinkTerms, Terms, cluster_terms};
use crate::shard::control::{SlotState, Snapshot};
use crate::sink::WriterCounts;

impl Produce {
    /// Takes up the sinks that come with `snapshot`, and their topics. Nothing else changes.
    pub fn prepare(&mut self, connector: usize, snapshot: &Snapshot) {
        let new = terms_of(connector, snapshot);
        let slots = new.terms.len();
        self.terms.resize(slots, None);
        self.patience_ns.resize(slots, 0);
        self.counts.resize(slots, WriterCounts::default());
        self.inflight.resize(slots * self.shards, 0);
        for at in snapshot.fresh.iter().map(|&sink| usize::from(sink)) {
            self.counts[at] = WriterCounts::default();
            let Some(terms) = new.terms[at] else { continue };
            let name = terms.topic.and_then(|topic| new.topics.get(usize::from(topic)));
            let topic = name.and_then(|name| self.fix_topic(name, &terms));
            self.terms[at] = Some(Terms { topic, ..terms });
            self.patience_ns[at] = new.patience_ns[at];
        }
        self.look_through_at = look_through(&self.terms, self.look_through_at);
    }

    /// Works by `snapshot` from now on; it was prepared.
    pub fn apply(&mut self, connector: usize, snapshot: &Snapshot) {
        let new = terms_of(connector, snapshot);
        let config = &snapshot.config;
        if let Some(terms) = cluster_terms(&config.connectors[connector], config, &new) {
            self.backoff_ms_max = terms.patience.reconnect_delay_ms;
            let has_changed = snapshot.changed_connectors.iter().any(|&number| usize::from(number) == connector);
            self.cluster.configure(terms, has_changed);
        }
        for (own, new) in self.terms.iter_mut().zip(new.terms) {
            if let (Some(own), Some(new)) = (own, new) {
                *own = Terms { topic: own.topic, ..new };
            }
        }
        self.patience_ns = new.patience_ns;
        let terms = &self.terms;
        self.look_through_at = look_through(terms, self.look_through_at);
        self.idempotent = terms.iter().flatten().any(|terms| terms.idempotent);
        for (at, state) in self.topics.iter_mut().enumerate() {
            // A topic of the configuration has limits that its sinks share; others are written by whoever names them.
            let writes = |terms: &&Terms| match state.fixed > 0 {
                true => terms.topic.map(usize::from) == Some(at),
                false => terms.topic.is_none(),
            };
            let sizes = terms.iter().flatten().filter(writes).map(|terms| terms.batch_bytes_max);
            if let Some(bytes) = sizes.max() {
                state.ceiling.configure(bytes);
            }
        }
        self.packer.keep(|packing| terms.iter().flatten().any(|terms| terms.packing == *packing));
        self.changed = true;
    }

    /// A sink is gone: no batch of it is anywhere.
    pub fn forget(&mut self, sink: u16) {
        let terms = self.terms.get_mut(usize::from(sink)).and_then(Option::take);
        if let Some(topic) = terms.and_then(|terms| terms.topic) {
            self.unfix_topic(topic);
        }
        self.look_through_at = look_through(&self.terms, self.look_through_at);
    }
}

fn terms_of(connector: usize, snapshot: &Snapshot) -> SinkTerms {
    SinkTerms::new(connector, &snapshot.config, |at| snapshot.slots.get(at) != Some(&SlotState::Vacant))
}
