//! What a client is to be told: its queue, and what is in flight between PUBLISH and the last acknowledgement.
//!
//! ```text
//! push ─ queue ─ send ─ QoS 0: gone
//!                     ├ QoS 1: in flight ─ PUBACK ─ gone
//!                     └ QoS 2: in flight ─ PUBREC ─ released ─ PUBCOMP ─ gone
//! ```
//!
//! Strictly first in, first out: a publication at QoS 0 does not overtake one that waits for the window. At most `window`
//! publications are in flight. When a client comes back to its session, what was in flight is sent again, in order, before
//! anything new [MQTT-4.4.0-1].
//!
//! Left out: who subscribes to what, and whether there is a connection.

use std::collections::VecDeque;

use mqtt::connection::PacketIds;
use mqtt::{QoS, ReasonCode, Version};

use super::shelf::{Shelf, ShelfKey};
use crate::clock::Mono;
use crate::publication::Telling;

/// What one session may hold.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Publications in the queue.
    pub messages_max: usize,
    /// Bytes in the queue, and again in flight.
    pub bytes_max: usize,
}

/// A publication that waits for its client.
#[derive(Debug)]
pub struct Queued {
    /// Where it lies.
    pub key: ShelfKey,
    /// Its size there.
    pub bytes: usize,
    /// Quality of service of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub subscription_ids: Box<[u32]>,
}

/// What an entry takes beside the publication itself.
pub const ENTRY_BYTES: usize = size_of::<InFlight>();

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    step: Step,
    /// To be sent again on this connection.
    unsent: bool,
    /// Its PUBLISH was sent on this connection and takes a place in the window.
    counts: bool,
}

/// Entries that an empty queue, or flight, keeps room for.
const IDLE_CAPACITY_MAX: usize = 64;

/// What the client has to say next.
#[derive(Debug)]
#[expect(clippy::enum_variant_names, reason = "named after the packets they are answered with")]
enum Step {
    PubAck(Queued),
    PubRec(Queued),
    PubComp,
}

/// The client at the other end, and how much it takes now.
#[derive(Debug, Clone, Copy)]
pub struct Recipient {
    /// What it speaks.
    pub version: Version,
    /// Publications with QoS > 0 that may be in flight.
    pub window: u16,
    /// Longest packet it takes, bytes.
    pub packet_bytes_max: u32,
    /// Nothing more is appended to output of this size.
    pub out_bytes_max: usize,
}

/// What came of an attempt to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Publications sent for the first time.
    pub publications: u64,
    /// Dropped: their expiry interval had passed.
    pub expired: u64,
    /// Dropped: the client does not take packets of their size.
    pub too_large: u64,
    /// Bytes to return to the budget.
    pub freed_bytes: usize,
    /// Something more can be sent as soon as there is room in the output.
    pub more: bool,
}

/// The answer to a PUBREC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPubRec {
    /// Send PUBREL with this reason.
    Release(ReasonCode),
    /// The client refused the publication: that was all.
    Ended,
}

/// Queue and flight of one session.
#[derive(Debug, Default)]
pub struct Deliveries {
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    inflight: VecDeque<InFlight>,
    inflight_bytes: usize,
    ids: PacketIds,
    /// Entries in flight that are to be sent again.
    unsent: usize,
    /// Entries that take a place in the window.
    counting: u16,
}

impl Deliveries {
    /// Whether `bytes` more would break the limits. An empty queue takes a publication of any size, or it could never be sent.
    pub fn is_full_for(&self, bytes: usize, limits: &QueueLimits) -> bool {
        let full = self.queue.len() >= limits.messages_max || self.queue_bytes + bytes > limits.bytes_max;
        full && !self.queue.is_empty()
    }

    /// Queues a publication. The caller charges [`ENTRY_BYTES`].
    pub fn push(&mut self, queued: Queued) {
        self.queue_bytes += queued.bytes;
        self.queue.push_back(queued);
    }

    /// Gives up the publication that has waited longest; returns the bytes freed.
    pub fn drop_oldest(&mut self, shelf: &mut Shelf) -> usize {
        self.take_front().map_or(0, |queued| ENTRY_BYTES + shelf.done(queued.key))
    }

    /// Whether nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.unsent == 0
    }

    /// Entries in the queue and in flight.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.inflight.len()
    }

    /// A connection begins: everything in flight is to be sent again on it.
    pub fn resume(&mut self) {
        for entry in &mut self.inflight {
            entry.unsent = true;
            entry.counts = false;
        }
        self.unsent = self.inflight.len();
        self.counting = 0;
    }

    /// The connection has ended: what was queued at QoS 0 is dropped. Returns how many, and the bytes freed.
    pub fn drop_qos0(&mut self, shelf: &mut Shelf) -> (u64, usize) {
        let (mut dropped, mut freed_bytes) = (0, 0);
        let queue_bytes = &mut self.queue_bytes;
        self.queue.retain(|queued| {
            let keep = queued.qos > QoS::AtMostOnce;
            if !keep {
                dropped += 1;
                *queue_bytes -= queued.bytes;
                freed_bytes += ENTRY_BYTES + shelf.done(queued.key);
            }
            keep
        });
        (dropped, freed_bytes)
    }

    /// The session ends; returns the bytes freed.
    pub fn clear(&mut self, shelf: &mut Shelf) -> usize {
        let mut freed_bytes = (self.queue.len() + self.inflight.len()) * ENTRY_BYTES;
        let flying = self.inflight.drain(..).filter_map(|entry| entry.step.into_queued());
        freed_bytes += self.queue.drain(..).chain(flying).map(|queued| shelf.done(queued.key)).sum::<usize>();
        *self = Self::default();
        freed_bytes
    }

    /// Appends to `out` what the client takes now.
    pub fn send(
        &mut self,
        now: Mono,
        shelf: &mut Shelf,
        to: &Recipient,
        limits: &QueueLimits,
        out: &mut Vec<u8>,
    ) -> Sent {
        let mut sent = Sent::default();
        self.send_again(now, shelf, to, out, &mut sent);
        while self.unsent == 0 {
            let Some(next) = self.queue.front() else {
                shrink(&mut self.queue);
                return sent;
            };
            if next.qos > QoS::AtMostOnce && !self.has_window(to, limits) {
                return sent;
            }
            if out.len() >= to.out_bytes_max {
                sent.more = true;
                return sent;
            }
            if let Some(queued) = self.take_front() {
                self.send_first(now, queued, shelf, to, out, &mut sent);
            }
        }
        sent
    }

    /// Sends a publication for the first time.
    fn send_first(
        &mut self,
        now: Mono,
        queued: Queued,
        shelf: &mut Shelf,
        to: &Recipient,
        out: &mut Vec<u8>,
        sent: &mut Sent,
    ) {
        let publication = shelf.get(queued.key);
        // [MQTT-3.3.2-5]
        let expired = publication.is_expired(now);
        let packet_id = if queued.qos == QoS::AtMostOnce { Some(0) } else { self.ids.allocate() };
        let told = !expired
            && packet_id.is_some_and(|packet_id| publication.tell(&queued.telling(now, packet_id, false, to), out));
        match packet_id.filter(|&id| id != 0) {
            Some(packet_id) if told => {
                self.inflight_bytes += queued.bytes;
                self.counting += 1;
                let step = Step::of(queued);
                self.inflight.push_back(InFlight { packet_id, step, unsent: false, counts: true });
            }
            flying => {
                if let Some(packet_id) = flying {
                    self.ids.release(packet_id);
                }
                sent.freed_bytes += ENTRY_BYTES + shelf.done(queued.key);
            }
        }
        sent.publications += u64::from(told);
        sent.expired += u64::from(expired);
        sent.too_large += u64::from(!told && !expired);
    }

    /// Sends again what was in flight when the last connection ended, in order, as far as window and output reach.
    fn send_again(&mut self, now: Mono, shelf: &mut Shelf, to: &Recipient, out: &mut Vec<u8>, sent: &mut Sent) {
        let mut at = 0;
        while self.unsent > 0 && at < self.inflight.len() {
            let entry = &mut self.inflight[at];
            if !entry.unsent {
                at += 1;
                continue;
            }
            if out.len() >= to.out_bytes_max {
                sent.more = true;
                return;
            }
            let told = match &entry.step {
                Step::PubComp => {
                    mqtt::encode_pubrel(to.version, entry.packet_id, ReasonCode::Success, None, out);
                    true
                }
                Step::PubAck(_) | Step::PubRec(_) if self.counting >= to.window => return,
                Step::PubAck(queued) | Step::PubRec(queued) => {
                    entry.counts = true;
                    self.counting += 1;
                    // [MQTT-3.3.1-1]
                    shelf.get(queued.key).tell(&queued.telling(now, entry.packet_id, true, to), out)
                }
            };
            if told {
                entry.unsent = false;
                self.unsent -= 1;
                at += 1;
            } else {
                sent.too_large += 1;
                sent.freed_bytes += self.remove(at, shelf);
            }
        }
    }

    /// The client has a publication at QoS 1, or does not want it; returns the bytes freed. Other identifiers change nothing.
    pub fn puback(&mut self, packet_id: u16, shelf: &mut Shelf) -> usize {
        match self.find(packet_id) {
            Some(at) if matches!(self.inflight[at].step, Step::PubAck(_)) => self.remove(at, shelf),
            _ => 0,
        }
    }

    /// The client has received a publication at QoS 2, or refused it; the answer, and the bytes freed.
    pub fn pubrec(&mut self, packet_id: u16, refused: bool, shelf: &mut Shelf) -> (OnPubRec, usize) {
        let unknown = (OnPubRec::Release(ReasonCode::PacketIdentifierNotFound), 0);
        let Some(at) = self.find(packet_id) else { return unknown };
        if matches!(self.inflight[at].step, Step::PubAck(_)) {
            return unknown;
        }
        if refused {
            return (OnPubRec::Ended, self.remove(at, shelf));
        }
        let entry = &mut self.inflight[at];
        if std::mem::take(&mut entry.unsent) {
            self.unsent -= 1;
        }
        let freed_bytes = match std::mem::replace(&mut entry.step, Step::PubComp).into_queued() {
            Some(queued) => {
                self.inflight_bytes -= queued.bytes;
                shelf.done(queued.key)
            }
            None => 0,
        };
        (OnPubRec::Release(ReasonCode::Success), freed_bytes)
    }

    /// The client has let go of a publication at QoS 2; returns the bytes freed.
    pub fn pubcomp(&mut self, packet_id: u16, shelf: &mut Shelf) -> usize {
        match self.find(packet_id) {
            Some(at) if matches!(self.inflight[at].step, Step::PubComp) => self.remove(at, shelf),
            _ => 0,
        }
    }

    fn has_window(&self, to: &Recipient, limits: &QueueLimits) -> bool {
        // [MQTT-3.3.4-9]
        self.counting < to.window && (self.inflight_bytes < limits.bytes_max || self.inflight.is_empty())
    }

    fn take_front(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.bytes;
        Some(queued)
    }

    /// Clients acknowledge in order as a rule, so the search ends early.
    fn find(&self, packet_id: u16) -> Option<usize> {
        self.inflight.iter().position(|entry| entry.packet_id == packet_id)
    }

    fn remove(&mut self, at: usize, shelf: &mut Shelf) -> usize {
        let Some(entry) = self.inflight.remove(at) else { return 0 };
        self.unsent -= usize::from(entry.unsent);
        self.counting -= u16::from(entry.counts);
        self.ids.release(entry.packet_id);
        shrink(&mut self.inflight);
        let Some(queued) = entry.step.into_queued() else { return ENTRY_BYTES };
        self.inflight_bytes -= queued.bytes;
        ENTRY_BYTES + shelf.done(queued.key)
    }
}

impl Queued {
    fn telling(&self, now: Mono, packet_id: u16, dup: bool, to: &Recipient) -> Telling<'_> {
        Telling {
            version: to.version,
            packet_bytes_max: to.packet_bytes_max,
            packet_id,
            qos: self.qos,
            retain: self.retain,
            dup,
            subscription_ids: &self.subscription_ids,
            now,
        }
    }
}

impl Step {
    /// The first step of a publication with QoS > 0.
    fn of(queued: Queued) -> Self {
        if queued.qos == QoS::ExactlyOnce { Self::PubRec(queued) } else { Self::PubAck(queued) }
    }

    fn into_queued(self) -> Option<Queued> {
        match self {
            Self::PubAck(queued) | Self::PubRec(queued) => Some(queued),
            Self::PubComp => None,
        }
    }
}

/// What has been long does not keep its room for ever: idle clients are many.
fn shrink<T>(entries: &mut VecDeque<T>) {
    if entries.is_empty() && entries.capacity() > IDLE_CAPACITY_MAX {
        *entries = VecDeque::new();
    }
}

#[cfg(test)]
mod tests;
