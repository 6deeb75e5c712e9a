//! What the leader of a partition itself says of the topic. Brokers hear of changes one by one: one that is asked by turns may still tell of
//! a topic that the leader knows to be made anew, and in which it has just stored what we sent.

use kafka::message::{ApiKey, metadata};

use super::link::Asked;
use super::{Cluster, Place, question};
use crate::clock::Mono;
use crate::shard::io::Io;

impl Cluster {
    /// Asks the leader of a partition about the topic, over the link of the partition. Answers which broker is asked, if one can be.
    pub fn ask_leader(&mut self, now: Mono, topic: u16, partition: u32, io: &mut impl Io) -> Option<u16> {
        let slot = self.slot(topic, partition)?;
        let begun = self.brokers.link_mut(slot)?.begin(now, ApiKey::Metadata, Asked::Metadata, true)?;
        let names = [self.topic(topic)?.name.as_str()];
        let mut head = Vec::new();
        let client_id = &self.settings.terms.client_id;
        metadata::encode_request(begun.version, begun.correlation, client_id, Some(&names), false, &mut head);
        io.request(begun.key, question(begun.correlation, head));
        Some(slot.broker)
    }

    /// Whether a broker that was asked by [`ask_leader`](Self::ask_leader) may still answer.
    pub fn may_tell(&self, broker: u16, topic: u16, partition: u32) -> bool {
        let slot = self.slot(topic, partition).filter(|slot| slot.broker == broker);
        slot.and_then(|slot| self.link(slot)).is_some_and(|link| link.is_ready())
    }

    /// The broker and the topic, if an answer is one to [`ask_leader`](Self::ask_leader).
    pub(super) fn leader_told(&self, place: Place, told: &metadata::Metadata) -> Option<(u16, u16)> {
        let Place::Broker(slot) = place else { return None };
        let topic = self.names.get(told.topics.first()?.name.as_str())?;
        Some((slot.broker, *topic))
    }
}
