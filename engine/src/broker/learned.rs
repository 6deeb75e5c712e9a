//! What an answer about topics means.

use kafka::message::metadata;

use super::limits::Limit;
use super::metadata::{Change, Topic};
use super::{Cluster, Division, Place, Slot, number_links};
use crate::clock::Mono;
use crate::shard::ShardId;
use crate::shard::control::Level;

/// A question that was put to the broker of a slot itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Over which link.
    pub slot: Slot,
    /// Its number there.
    pub correlation: i32,
}

/// What an answer about topics changed.
#[derive(Debug, Default)]
pub struct Learned {
    /// A topic is known now, or has another number of partitions.
    pub counts: bool,
    /// Topics of which it tells how many partitions they have.
    pub told: Vec<u16>,
    /// Topics that were made anew under their old names, and how many partitions each had; 0 where nobody knows.
    pub recreated: Vec<(u16, u32)>,
    /// Which question it answers, if that was put to a broker itself.
    pub leader_told: Option<Question>,
}

impl Cluster {
    /// Takes in the answer to a question that was put on the link in a place.
    pub(super) fn learn(
        &mut self,
        now: Mono,
        (place, correlation): (Place, i32),
        told: &metadata::Metadata,
    ) -> Learned {
        let leader_told = match place {
            Place::Broker(slot) => Some(Question { slot, correlation }),
            Place::Control => {
                self.refresh.on_answer();
                None
            }
        };
        let connector = self.settings.bootstrap.first().map_or(0, |addr| addr.connector);
        for broker in &told.brokers {
            self.brokers.learn(broker, connector);
        }
        let mut learned = Learned { leader_told, ..Learned::default() };
        for topic in &told.topics {
            let Some(&at) = self.names.get(topic.name.as_str()) else { continue };
            self.learn_topic(now, usize::from(at), topic, &mut learned);
        }
        self.mark_wanted();
        self.forget_error();
        let open = |topic: &Topic| !topic.is_vacant() && (topic.trouble.is_some() || !topic.is_led());
        // What does not exist is asked for now and then, like what does.
        if self.topics.iter().any(|topic| open(topic) && topic.never(now).is_none()) {
            self.refresh.mark_stale();
        }
        learned
    }

    fn learn_topic(&mut self, now: Mono, at: usize, told: &metadata::Topic, learned: &mut Learned) {
        let brokers = &self.brokers;
        let known = &mut self.topics[at];
        let trouble_before = known.trouble;
        let Change { count, recreated, heard } = known.learn(now, told, |id| brokers.index(id));
        // Whoever waits for a topic that messages name also waits for the word that it may not be used.
        learned.counts |= count || known.is_live() && known.trouble != trouble_before;
        if self.settings.links == Division::PerPartition {
            number_links(known, &self.settings, &mut self.link_numbers);
        }
        if heard {
            learned.told.push(at as u16);
        }
        if let Some(count_before) = recreated {
            learned.recreated.push((at as u16, count_before));
            self.limits_changed = true;
        }
        if known.limit == Limit::Unasked && known.partitions().is_some() {
            self.limits.mark_fresh();
        }
        let (name, trouble, partitions) = (known.name.clone(), known.trouble, known.partitions().unwrap_or(0));
        if recreated.is_some() {
            self.note(Level::Warn, format!("topic {name} was deleted and made anew"));
        } else if count && self.settings.shard == ShardId(0) && self.topics[at].is_fixed() {
            self.note(Level::Info, format!("topic {name} has {partitions} partitions"));
        }
        if let Some(error) = trouble
            && trouble_before != trouble
        {
            self.note(Level::Warn, format!("topic {name}: {error}: {} It is asked for again and again.", error.why()));
        }
    }
}
