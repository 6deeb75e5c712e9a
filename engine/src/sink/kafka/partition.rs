//! One partition at its owner: what waits, what is on its way, and under which numbers.
//!
//! ```text
//! queue   [resend resend | waiting waiting waiting]   front is sent next
//! flights [away away away]                            oldest first, all on one link
//! ```
//!
//! After the first failure nothing more is sent until every flight has its answer (or its link is down); those that failed
//! wait in their place among the flights, and then all of them go to the front of the queue, in order. So there are never
//! two copies of a batch on their way, and a later batch never overtakes an earlier one.
//!
//! Sequences (KIP-98) count records within (producer id, epoch, partition). A broker keeps them per partition, so each
//! partition begins its next epoch by itself: when numbers are lost, and only with nothing on its way.
//!
//! ```text
//! failed, may be tried again   resent with the number it had
//! failed for good              its number goes to the next record, and those sent after it are numbered anew
//! number not understood        next epoch from 0; what may have been stored under the old one is a possible duplicate
//! ```

use std::collections::VecDeque;

use kafka::message::init_producer_id::Producer;
use kafka::record_batch::next_sequence;

use super::acked_loss::AckedEnd;
use super::settings::Manner;
use super::shipment::Shipment;
use crate::broker::Slot;
use crate::buffer::Batch;
use crate::clock::Mono;
use crate::plants::{Plant, is_planted};

/// First pause after a failure; it doubles up to `reconnect_delay`.
const BACKOFF_MS: u64 = 50;

/// A broker that was silent for longer may have forgotten us: it is sent one batch first. Redpanda forgets after minutes,
/// Kafka after a day.
const FORGOTTEN_AFTER_NS: u64 = 60_000_000_000;

/// How a batch travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    /// Over which link.
    pub(super) slot: Slot,
    /// What the request says.
    pub(super) manner: Manner,
}

/// Under which numbers a partition's batches are sent.
#[derive(Debug, Clone, Copy)]
struct Identity {
    producer: Producer,
    next_sequence: i32,
    /// When the broker last stored a batch under it. A broker that does not know the identity takes any first sequence,
    /// so until it has answered only one batch is under way: the second could be stored without the first.
    confirmed: Option<Mono>,
}

/// A number that nothing was stored under, and never will be.
#[derive(Debug, Clone, Copy)]
struct Hole {
    sequence: i32,
    /// What was sent under it, or after it, may have been stored nevertheless.
    doubtful: bool,
}

/// What the end of a failure came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// A new epoch was begun, or has to be.
    pub(super) epoch_lost: bool,
    /// The producer id has no epochs left.
    pub(super) id_used_up: Option<i64>,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) queue: VecDeque<Shipment>,
    /// How far it is acknowledged.
    pub(super) acked_end: AckedEnd,
    /// Sent, oldest first. Those that are away have no batch; those that failed have theirs back.
    flights: VecDeque<Shipment>,
    away: u32,
    /// How flights travel. Others wait until these have landed: answers come in the order of sending only on one link, and
    /// only where all are answered, or none.
    way: Option<Way>,
    identity: Option<Identity>,
    /// Something failed: nothing is sent until nothing is away.
    recovering: bool,
    /// The failure calls for a pause.
    faulty: bool,
    /// The numbers are not understood.
    numbers_lost: bool,
    hole: Option<Hole>,
    /// Failures since the last success.
    failures: u32,
    retry_at: Mono,
    /// Where the last failure happened; another leader is tried at once.
    failed_on: Option<Slot>,
    /// Whether it stands in the list of partitions with something to do.
    pub(super) listed: bool,
}

impl Partition {
    /// Whether nothing waits and nothing is away.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flights.is_empty()
    }

    /// Over which link what is away travels, or travelled last.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.way.map(|way| way.slot)
    }

    /// Whether nothing is away and no failure waits for its end.
    pub(super) fn is_idle_aloft(&self) -> bool {
        self.flights.is_empty() && !self.recovering
    }

    /// Forgets the identity it was last written under. Some of its numbers may have been given to what was never stored, so
    /// nothing may be written under it again.
    pub(super) fn forget_identity(&mut self) -> Option<Producer> {
        self.identity.take().map(|identity| identity.producer)
    }

    /// All shipments, those on their way first.
    pub(super) fn shipments(&self) -> impl Iterator<Item = &Shipment> {
        self.flights.iter().chain(&self.queue)
    }

    /// Whether the next shipment may be sent this way now, as far as the partition is concerned.
    pub(super) fn may_send(&self, now: Mono, way: Way, inflight_max: u32) -> bool {
        if self.recovering || self.queue.is_empty() {
            return false;
        }
        if now < self.retry_at && self.failed_on == Some(way.slot) {
            return false;
        }
        let here = self.away == 0 || self.way == Some(way);
        here && self.away < self.inflight_limit(now, inflight_max)
    }

    /// One while it is not sure that the next would be stored after this one, and as long as something is sent again: a broker
    /// recognises the last five batches of a producer, so nothing new may be stored in front of one whose fate is open.
    fn inflight_limit(&self, now: Mono, inflight_max: u32) -> u32 {
        let known = |confirmed: Mono| now.since(confirmed) < FORGOTTEN_AFTER_NS;
        let unsure = self.identity.is_some_and(|identity| !identity.confirmed.is_some_and(known));
        if unsure || self.failures > 1 || self.is_repeating() { 1 } else { inflight_max }
    }

    /// Whether what is sent next, or is away, was sent before.
    fn is_repeating(&self) -> bool {
        self.queue.front().is_some_and(|next| next.tries > 0)
            || self.flights.front().is_some_and(|flight| flight.tries > 1)
    }

    /// When a pause ends, if one is the reason to wait.
    pub(super) fn pause_ends(&self, now: Mono) -> Option<Mono> {
        (!self.queue.is_empty() && !self.recovering && self.retry_at > now).then_some(self.retry_at)
    }

    /// Whether it can number batches: it has an identity, or is given one here.
    pub(super) fn identify(&mut self, producer: Option<Producer>) -> bool {
        if self.identity.is_none() {
            self.identity = producer.map(|producer| Identity { producer, next_sequence: 0, confirmed: None });
        }
        self.identity.is_some()
    }

    /// Numbers and seals `shipment`, which is the next to be sent, unless it was sent before.
    pub(super) fn seal(&mut self, shipment: &mut Shipment, manner: Manner) {
        if shipment.seal.is_some() {
            return;
        }
        let identity = self.identity.as_mut().filter(|_| manner.idempotent);
        let numbered = identity.map(|identity| {
            let sequence = identity.next_sequence;
            identity.next_sequence = next_sequence(sequence, shipment.records);
            (identity.producer, sequence)
        });
        shipment.seal(numbered, manner);
    }

    /// `shipment` leaves; its batch goes with the request.
    pub(super) fn depart(&mut self, mut shipment: Shipment, way: Way) -> Option<Box<Batch>> {
        let batch = shipment.batch.take();
        if shipment.tries == 0 {
            shipment.acked_before = self.acked_end.offset();
        }
        shipment.tries += 1;
        shipment.is_outlived = false;
        self.flights.push_back(shipment);
        self.away += 1;
        self.way = Some(way);
        batch
    }

    /// A batch is back: the place of its flight. Answers come in the order of sending, so it is the oldest that is away.
    pub(super) fn land(&mut self, batch: Box<Batch>) -> usize {
        let at = self.flights.iter().position(|flight| flight.batch.is_none());
        let at = at.expect("a batch that comes back was sent");
        self.flights[at].batch = Some(batch);
        self.away -= 1;
        at
    }

    /// The shipment that has landed at `at`.
    pub(super) fn landed(&self, at: usize) -> &Shipment {
        &self.flights[at]
    }

    /// It is stored.
    pub(super) fn stored(&mut self, now: Mono, at: usize) -> Option<Shipment> {
        self.failures = 0;
        if let Some(identity) = &mut self.identity {
            identity.confirmed = Some(now);
        }
        if let Some(hole) = &mut self.hole {
            // Stored although something before it was not: the broker counts otherwise than we do.
            hole.doubtful = true;
        }
        self.flights.remove(at)
    }

    /// It is to be sent again. `doubtful`: the broker may have stored it.
    pub(super) fn again(&mut self, at: usize, doubtful: bool) {
        self.flights[at].in_doubt |= doubtful;
        self.recovering = true;
        self.faulty = true;
        if doubtful && is_planted(Plant::ResendAnew) {
            self.flights[at].unseal();
        }
        if doubtful && is_planted(Plant::RecycleEarly) {
            self.flights[at].overwrite();
        }
        if doubtful && is_planted(Plant::BumpEarly) {
            self.flights[at].unseal();
            self.next_epoch();
        }
    }

    /// A broker has refused it, for a reason that may pass.
    pub(super) fn refused(&mut self, at: usize) {
        self.flights[at].refusals += 1;
    }

    /// It arrived damaged: how often it has.
    pub(super) fn damaged(&mut self, at: usize) -> u32 {
        self.flights[at].damaged += 1;
        self.flights[at].damaged
    }

    /// The broker does not understand its number. Behind a batch that failed that is only to be expected.
    pub(super) fn number_refused(&mut self, at: usize) {
        if at == 0 && self.hole.is_none() {
            self.numbers_lost = true;
            self.refused(at);
        }
        self.again(at, false);
    }

    /// It is not stored and never will be.
    pub(super) fn failed(&mut self, at: usize) -> Option<Shipment> {
        let shipment = self.flights.remove(at)?;
        if !is_planted(Plant::ExpireHead) {
            self.tear(&shipment, at);
        }
        Some(shipment)
    }

    /// Takes a shipment out that was not stored and is to be sent in parts.
    pub(super) fn take_out(&mut self, at: usize) -> Option<Shipment> {
        self.flights.remove(at)
    }

    /// Puts the parts of `shipment` where it stood.
    pub(super) fn put_in(&mut self, at: usize, shipment: &Shipment, parts: Vec<Shipment>) {
        self.tear(shipment, at);
        for mut part in parts.into_iter().rev() {
            part.in_doubt = shipment.in_doubt;
            self.flights.insert(at, part);
        }
    }

    /// The number of `shipment` will not be used; those of the flights from `at` on are wrong by now.
    fn tear(&mut self, shipment: &Shipment, at: usize) {
        self.recovering = true;
        let Some((_, sequence)) = shipment.numbered() else { return };
        let hole = self.hole.get_or_insert(Hole { sequence, doubtful: false });
        hole.doubtful |= shipment.in_doubt;
        for later in self.flights.iter_mut().skip(at) {
            later.stale = true;
        }
    }

    /// Forgets how far it was acknowledged: the topic was made anew.
    pub(super) fn forget_offsets(&mut self) {
        self.acked_end.forget();
        self.flights.iter_mut().for_each(|flight| flight.is_outlived = true);
        self.flights.iter_mut().chain(&mut self.queue).for_each(|shipment| shipment.acked_before = 0);
    }

    /// Forgets all numbers as soon as nothing is away: the topic was made anew.
    pub(super) fn forget_numbers(&mut self) {
        if self.identity.is_some() {
            self.numbers_lost = true;
            self.recovering = true;
        }
    }

    /// Whether a failure waits for its end, and nothing is away.
    pub(super) fn can_settle(&self) -> bool {
        self.recovering && self.away == 0
    }

    /// Ends a failure: all that is to be sent again goes to the front of the queue, numbered anew where that is needed.
    /// `possible_duplicate` is told of each shipment that is sent under another number although it may be stored.
    pub(super) fn settle(
        &mut self,
        now: Mono,
        backoff_ms_max: u64,
        possible_duplicate: impl FnMut(&Shipment),
    ) -> Settled {
        assert!(self.away == 0, "a failure ends when every flight has its answer");
        self.recovering = false;
        if std::mem::take(&mut self.faulty) {
            self.failures = self.failures.saturating_add(1);
            let pause_ms = BACKOFF_MS << (self.failures - 1).min(16);
            self.retry_at = now.plus_ms(pause_ms.min(backoff_ms_max));
            self.failed_on = self.way.map(|way| way.slot);
        }
        // What stands in the queue with a number was sent after every flight.
        let after_hole = self.hole.is_some();
        for waiting in self.queue.iter_mut().take_while(|s| s.seal.is_some()) {
            waiting.stale |= after_hole;
        }
        while let Some(flight) = self.flights.pop_back() {
            self.queue.push_front(flight);
        }
        self.renumber(possible_duplicate)
    }

    /// What waits, if nothing is away, so that it can be given up.
    pub(super) fn at_rest(&self) -> impl Iterator<Item = &Shipment> {
        self.queue.iter().filter(|_| self.flights.is_empty())
    }

    /// Takes out of what waits what `is_spent`. A number that was not used goes to the next record; where that is not sure, the
    /// next epoch is begun, and `possible_duplicate` is told of what goes on under it although it may be stored.
    pub(super) fn give_up(
        &mut self,
        mut is_spent: impl FnMut(&Shipment) -> bool,
        possible_duplicate: impl FnMut(&Shipment),
    ) -> (VecDeque<Shipment>, Settled) {
        assert!(self.flights.is_empty(), "what is away is not given up");
        let (mut spent, mut kept, mut hole) = (VecDeque::new(), VecDeque::new(), None::<Hole>);
        for mut shipment in std::mem::take(&mut self.queue) {
            let sequence = shipment.numbered().map(|(_, sequence)| sequence);
            if is_spent(&shipment) {
                if let Some(sequence) = sequence {
                    hole.get_or_insert(Hole { sequence, doubtful: false }).doubtful |= shipment.in_doubt;
                }
                spent.push_back(shipment);
            } else {
                shipment.stale |= hole.is_some() && sequence.is_some();
                kept.push_back(shipment);
            }
        }
        (self.queue, self.failures) = (kept, 0);
        self.hole = hole;
        (spent, self.renumber(possible_duplicate))
    }

    fn renumber(&mut self, mut possible_duplicate: impl FnMut(&Shipment)) -> Settled {
        let hole = self.hole.take();
        let lost = std::mem::take(&mut self.numbers_lost);
        let sent = self.queue.iter().filter(|s| s.stale && s.numbered().is_some());
        let doubtful = hole.is_some_and(|hole| hole.doubtful || sent.into_iter().any(|s| s.in_doubt));
        if !lost && !doubtful {
            if let (Some(hole), Some(identity)) = (hole, &mut self.identity) {
                identity.next_sequence = hole.sequence;
                self.queue.iter_mut().filter(|s| s.stale).for_each(Shipment::unseal);
            }
            return Settled::default();
        }
        // Parts of a batch that was split have no number of their own yet, but its doubt.
        let own = |s: &&mut Shipment| s.numbered().is_some() || s.seal.is_none();
        let anew = if is_planted(Plant::EpochMixed) { 1 } else { usize::MAX };
        for shipment in self.queue.iter_mut().filter(own).take(anew) {
            if shipment.in_doubt {
                possible_duplicate(shipment);
            }
            shipment.unseal();
        }
        Settled { epoch_lost: true, id_used_up: self.next_epoch() }
    }

    /// Begins the next epoch, or gives up the id that has none left.
    fn next_epoch(&mut self) -> Option<i64> {
        let Identity { producer, .. } = self.identity?;
        let Some(epoch) = producer.epoch.checked_add(1) else {
            self.identity = None;
            return Some(producer.id);
        };
        let producer = Producer { epoch, ..producer };
        self.identity = Some(Identity { producer, next_sequence: 0, confirmed: None });
        None
    }
}
