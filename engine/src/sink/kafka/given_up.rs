//! What is not sent any more: too old, refused too often, without a partition or without the right to number it.
//!
//! Publishers who wait for an outcome are promised that nothing of theirs is stored behind a gap, so with the head of a queue all
//! that waits for the same reason to wait goes. What was acknowledged when it was buffered has no one who could send it again: of
//! that only what is itself too old goes, and the want of a right is waited out.

use std::collections::VecDeque;

use super::ends::Fate;
use super::settings::Terms;
use super::{Place, Produce, Shipment};
use crate::clock::Mono;
use crate::shard::control::Level;
use crate::ticket::{FailReason, Outcome};

/// How often queues are looked through where what is spent may stand behind what is not.
const LOOK_THROUGH_EVERY_MS: u64 = 100;

/// What is given up first.
struct Head {
    terms: Terms,
    promised: bool,
}

impl Produce {
    /// Ends what has failed, lets go of partitions with nothing to do, and refuses what can never be numbered.
    pub(super) fn settle_failures(&mut self, now: Mono) {
        let look = self.look_through_at.as_mut().filter(|at| **at <= now);
        let depth = if look.is_some() { usize::MAX } else { 1 };
        look.into_iter().for_each(|at| *at = now.plus_ms(LOOK_THROUGH_EVERY_MS));
        let mut at = 0;
        while let Some(&place) = self.listed.get(at) {
            if self.partition_mut(place).can_settle() {
                self.settle(now, place);
            }
            if self.producer_id.denied().is_some() {
                self.refuse_unnumbered(place);
            }
            self.expire(now, place, depth);
            let ends = self.topics[usize::from(place.topic)].ends.as_mut();
            match ends.map(|ends| ends.look(now, place.partition)) {
                Some(Fate::Gone) => self.give_up(place),
                Some(Fate::Unheard) => self.cluster.mark_stale(),
                Some(Fate::There) | None => {}
            }
            self.give_up_missing(now, place);
            if self.partition_mut(place).is_idle() {
                self.partition_mut(place).listed = false;
                self.listed.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Gives up the first of the next `depth` batches of a partition that its sink does not want sent any more, and with it what goes
    /// the same way.
    fn expire(&mut self, now: Mono, place: Place, depth: usize) {
        let Some((head, why)) = self.first_spent(now, place, depth) else { return };
        let mut partition = std::mem::take(self.partition_mut(place));
        let own = self.terms.clone();
        let is_spent = |shipment: &Shipment| {
            let terms = own_terms(&own, shipment).unwrap_or(head.terms);
            let behind_a_gap = !head.promised && terms == head.terms && !shipment.is_promised(&terms);
            behind_a_gap || shipment.is_spent(now, &terms).is_some()
        };
        let mut doubtful = 0;
        let (spent, settled) = partition.give_up(is_spent, |kept| {
            doubtful += u64::from(kept.records);
            self.count_possible_duplicates(kept);
        });
        *self.partition_mut(place) = partition;
        self.say_given_up(place, &spent, why);
        self.after_settling(place, &settled, doubtful);
        for shipment in spent {
            let terms = own_terms(&own, &shipment).unwrap_or(head.terms);
            let why = shipment.is_spent(now, &terms).unwrap_or(why);
            self.complete(shipment, Outcome::Failed(why));
        }
    }

    fn first_spent(&self, now: Mono, place: Place, depth: usize) -> Option<(Head, FailReason)> {
        self.partition(place)?.at_rest().take(depth).find_map(|shipment| {
            let terms = own_terms(&self.terms, shipment)?;
            let why = shipment.is_spent(now, &terms)?;
            Some((Head { terms, promised: shipment.is_promised(&terms) }, why))
        })
    }

    /// When the next batch of a partition is too old.
    pub(super) fn expires_at(&self, place: Place) -> Option<Mono> {
        let next = self.partition(place)?.queue.front()?;
        let terms = own_terms(&self.terms, next).filter(|terms| terms.age_ns_max < u64::MAX)?;
        Some(next.batch.as_ref()?.opened + terms.age_ns_max + 1)
    }

    fn say_given_up(&mut self, place: Place, spent: &VecDeque<Shipment>, why: FailReason) {
        let records: u32 = spent.iter().map(|shipment| shipment.records).sum();
        let option =
            if why == FailReason::Expired { "older than max_batch_age" } else { "refused more often than max_retries" };
        let topic = self.topic_name(place);
        let text = format!("topic {topic} partition {}: {records} records given up, {option}", place.partition);
        self.cluster.note(Level::Warn, text);
    }

    /// The topic has no such partition, and nothing says that it will: see [`Ends`](super::ends::Ends).
    fn give_up(&mut self, place: Place) {
        let records: u32 = self.partition_mut(place).queue.iter().map(|shipment| shipment.records).sum();
        if records > 0 {
            let (topic, partition) = (self.topic_name(place), place.partition);
            let text = format!(
                "topic {topic} partition {partition}: {records} records given up, the topic has no such partition"
            );
            self.cluster.note(Level::Warn, text);
        }
        self.fail_queue(place, FailReason::UnknownTopic);
    }

    /// No producer id is to be had: batches that need one fail, and their clients hear of it. What was promised to be stored waits.
    fn refuse_unnumbered(&mut self, place: Place) {
        let Some((_, reason)) = self.producer_id.denied() else { return };
        if self.partition_mut(place).identify(None) {
            return;
        }
        let queue = std::mem::take(&mut self.partition_mut(place).queue);
        for shipment in queue {
            let terms = own_terms(&self.terms, &shipment);
            if terms.is_some_and(|terms| terms.idempotent && !shipment.is_promised(&terms)) {
                self.complete(shipment, Outcome::Failed(reason));
            } else {
                self.partition_mut(place).queue.push_back(shipment);
            }
        }
    }
}

/// When queues are looked through next: where the sinks of a connector are of different patience, and not later than planned.
pub(super) fn look_through(terms: &[Option<Terms>], planned: Option<Mono>) -> Option<Mono> {
    let mut all = terms.iter().flatten().map(|terms| (terms.age_ns_max, terms.retries_max));
    let first = all.next()?;
    all.any(|other| other != first).then(|| planned.unwrap_or_default())
}

fn own_terms(terms: &[Option<Terms>], shipment: &Shipment) -> Option<Terms> {
    let sink = shipment.batch.as_ref()?.part.sink;
    terms.get(usize::from(sink)).copied().flatten()
}
