//! What the leader of a partition itself says of the topic. Brokers hear of changes one by one: one that is asked by turns may still tell of
//! a topic that the leader knows to be made anew, and in which it has just stored what we sent.

use kafka::message::{ApiKey, metadata};

use super::link::Asked;
use super::{Cluster, Question, Slot, question};
use crate::clock::Mono;
use crate::shard::io::Io;

impl Cluster {
    /// Asks the broker of a slot about a topic, if that can be now.
    pub fn ask_leader(&mut self, now: Mono, slot: Slot, topic: u16, io: &mut impl Io) -> Option<Question> {
        let begun = self.brokers.link_mut(slot)?.begin(now, ApiKey::Metadata, Asked::Metadata, true)?;
        let names = [self.topic(topic)?.name.as_str()];
        let mut head = Vec::new();
        let client_id = &self.settings.terms.client_id;
        metadata::encode_request(begun.version, begun.correlation, client_id, Some(&names), false, &mut head);
        io.request(begun.key, question(begun.correlation, head));
        Some(Question { slot, correlation: begun.correlation })
    }

    /// Whether the broker of a slot may still answer, or be asked.
    pub fn may_tell(&self, slot: Slot) -> bool {
        self.link(slot).is_some_and(|link| link.is_ready())
    }
}
