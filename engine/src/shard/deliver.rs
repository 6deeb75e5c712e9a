//! Publications on their way to subscribers: copied, held until their outcomes, sent to the shards that want them, and put
//! into the queues of sessions there.
//!
//! ```text
//! PUBLISH ─ copy ─ lane of its publisher ─ (outcomes, receipt order) ─ release ┬ own shard ────── fan out ─ queues
//!                                                                              └ Parcel ─▶ other ─ fan out ─ queues
//! ```
//!
//! Each shard of the set gets one parcel with a copy of its own, and a pair of shards has so many parcels under way at most: a
//! publisher whose subscribers live where no more fits is held like one whose PUBLISH does not fit the budget.
//!
//! Memory: copies in lanes, copies under way and queues share a budget of their own, apart from that of batches. Queues may
//! not take all of it, or a client that is away could stop one that publishes.

use std::collections::VecDeque;

use mqtt::{Publish, QoS};

use super::budget::Budget;
use super::io::Io;
use super::mesh::MeshMsg;
use super::place::{NoPlace, Placed};
use super::will::DueWill;
use super::{Settings, Shard, ShardId};
use crate::clock::Now;
use crate::publication::Publication;
use crate::session::deliveries::{ENTRY_BYTES, Queued};
use crate::session::publications::{Front, LaneSeat, Lanes};
use crate::session::shelf::{Shelf, ShelfKey};
use crate::session::subscription::{Claim, Subscriber, claims};
use crate::session::table::SessionTable;
use crate::ticket::Run;

/// A copy that has its place in a lane, while the records of its PUBLISH are being placed.
#[derive(Debug)]
pub(super) struct Copied {
    publication: Box<Publication>,
    pub(super) seat: LaneSeat,
}

/// Part of the memory of deliveries that may be under way to other shards, as a divisor.
const PARCELS_DIVISOR: usize = 4;

/// What one shard has to deliver.
#[derive(Debug)]
pub(super) struct Deliver {
    pub(super) budget: Budget,
    pub(super) lanes: Lanes,
    pub(super) shelf: Shelf,
    /// Wills whose records had no place yet.
    pub(super) wills: VecDeque<DueWill>,
    parcels: Parcels,
    /// Lanes whose front may have become ready.
    ready: Vec<u32>,
    /// Lanes whose front waits for a parcel credit.
    stuck: Vec<u32>,
    /// Sessions with something to send.
    pub(super) due: Vec<u32>,
    /// Kept for their capacity.
    targets: Vec<ShardId>,
    matching: Vec<Subscriber>,
    /// What the shelf may take of the budget while a client keeps up, and at all.
    shelf_bytes_soft: usize,
    shelf_bytes_max: usize,
}

impl Deliver {
    pub(super) fn new(settings: &Settings) -> Self {
        let memory_bytes = settings.subscribers.memory_bytes;
        Self {
            budget: Budget::new(memory_bytes),
            lanes: Lanes::default(),
            shelf: Shelf::default(),
            wills: VecDeque::new(),
            parcels: Parcels::new(settings.shards, settings.subscribers.parcel_credits, memory_bytes),
            ready: Vec::new(),
            stuck: Vec::new(),
            due: Vec::new(),
            targets: Vec::new(),
            matching: Vec::new(),
            shelf_bytes_soft: memory_bytes / 4 * 2,
            shelf_bytes_max: memory_bytes / 4 * 3,
        }
    }

    /// Lists a session that has something to send.
    pub(super) fn send_soon(&mut self, sessions: &mut SessionTable, slot: u32) {
        if let Some(session) = sessions.get_mut(slot)
            && !std::mem::replace(&mut session.due, true)
        {
            self.due.push(slot);
        }
    }

    /// What all publications on the shelf may take before one is refused to a client, who may keep up or not.
    fn shelf_limit_bytes(&self, keeps_up: bool) -> usize {
        if keeps_up { self.shelf_bytes_max } else { self.shelf_bytes_soft }
    }

    /// Bytes of parcels that have not been taken.
    pub(super) fn parcels_bytes(&self) -> usize {
        self.parcels.peers.iter().map(|peer| peer.out_bytes).sum()
    }

    /// Whether the next round has something to do without being told.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.due.is_empty()
    }

    /// Whether no publication waits for its release.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty() && self.wills.is_empty()
    }
}

/// Parcels between this shard and each other one.
#[derive(Debug)]
struct Parcels {
    /// How many one peer may have, and how many bytes; a single one may be larger.
    credits: u32,
    bytes_max: usize,
    peers: Vec<Peer>,
    /// Peers that can be sent nothing now.
    exhausted: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    /// Parcels it has not taken, and their bytes.
    out: u32,
    out_bytes: usize,
    /// Parcels of its that we have taken and not told it so.
    taken: u32,
    taken_bytes: usize,
}

impl Parcels {
    fn new(shards: u16, credits: u32, memory_bytes: usize) -> Self {
        let bytes_max = memory_bytes / PARCELS_DIVISOR / usize::from(shards.max(1));
        Self { credits, bytes_max, peers: vec![Peer::default(); usize::from(shards)], exhausted: 0 }
    }

    fn has_credit(&self, to: ShardId) -> bool {
        let peer = &self.peers[usize::from(to.0)];
        peer.out < self.credits && peer.out_bytes < self.bytes_max || peer.out == 0
    }

    fn send(&mut self, to: ShardId, bytes: usize) {
        assert!(self.has_credit(to), "a parcel has a credit");
        let peer = &mut self.peers[usize::from(to.0)];
        peer.out += 1;
        peer.out_bytes += bytes;
        self.exhausted += u32::from(!self.has_credit(to));
    }

    fn taken_by(&mut self, from: ShardId, parcels: u32, bytes: usize) {
        let had_credit = self.has_credit(from);
        let peer = &mut self.peers[usize::from(from.0)];
        assert!(parcels <= peer.out && bytes <= peer.out_bytes, "no more is taken than was sent");
        peer.out -= parcels;
        peer.out_bytes -= bytes;
        self.exhausted -= u32::from(!had_credit && self.has_credit(from));
    }
}

impl Shard {
    /// Copies a PUBLISH that subscribers match, charged and with a place in its publisher's lane.
    ///
    /// `publisher` is a session, or nobody for a publication whose client has gone.
    pub(super) fn copy_publication(
        &mut self,
        now: Now,
        publisher: Option<u32>,
        topic: &str,
        publish: &Publish<'_>,
    ) -> Result<Option<Copied>, NoPlace> {
        if self.deliver.parcels.exhausted > 0 && !self.has_credits(topic) {
            return Err(NoPlace::Hold);
        }
        let Some(publication) = Publication::new(topic, publish, now.mono) else {
            self.counters.deliveries_dropped_too_large += 1;
            return Ok(None);
        };
        let bytes = publication.bytes();
        if !self.deliver.budget.try_charge(bytes) {
            // Whatever holds the budget then, no outcome will free it: one publication goes beyond, and so on it goes.
            if !self.deliver.lanes.is_empty() {
                return Err(NoPlace::Hold);
            }
            self.deliver.budget.charge(bytes);
        }
        let lanes = &mut self.deliver.lanes;
        let lane = match publisher.and_then(|slot| Some((slot, self.sessions.get_mut(slot)?))) {
            Some((slot, session)) => *session.lane.get_or_insert_with(|| lanes.open_for(slot, &session.client_id)),
            None => lanes.open(None),
        };
        Ok(Some(Copied { publication: Box::new(publication), seat: self.deliver.lanes.seat(lane) }))
    }

    /// Puts a copy into its lane once its records were placed, or drops it if they were not.
    pub(super) fn hold_publication(&mut self, copied: Copied, placed: Option<&Placed>) {
        let Copied { publication, seat } = copied;
        let lane = seat.lane;
        match placed {
            Some(placed) => {
                self.deliver.lanes.push(lane, publication, placed.awaited, placed.withheld);
                self.note_ready(lane);
            }
            None => {
                self.deliver.budget.release(publication.bytes());
                self.close_lane_if_empty(lane);
            }
        }
    }

    /// Records of publications have their outcome.
    pub(super) fn settle_publications(&mut self, run: Run, good: bool) {
        let seat = LaneSeat { lane: run.session, generation: run.lane_gen, number: run.first };
        if self.deliver.lanes.settle(seat, run.n, good) {
            self.note_ready(run.session);
        }
    }

    fn note_ready(&mut self, lane: u32) {
        if self.deliver.lanes.list(lane) {
            self.deliver.ready.push(lane);
        }
    }

    /// Lets go every publication whose turn has come.
    pub(super) fn release_publications(&mut self, now: Now, io: &mut impl Io) {
        let mut ready = std::mem::take(&mut self.deliver.ready);
        for lane in ready.drain(..) {
            self.deliver.lanes.unlist(lane);
            self.release_lane(now, lane, io);
        }
        self.deliver.ready = ready;
    }

    fn release_lane(&mut self, now: Now, lane: u32, io: &mut impl Io) {
        loop {
            let ready = match self.deliver.lanes.front(lane) {
                Front::Empty => return self.close_lane_if_empty(lane),
                Front::Waiting => return,
                Front::Refused => false,
                Front::Ready(publication) => {
                    self.filters.index().shards(publication.topic(), &mut self.deliver.targets);
                    true
                }
            };
            let deliver = &mut self.deliver;
            if ready && !deliver.targets.iter().all(|&to| to == self.id || deliver.parcels.has_credit(to)) {
                deliver.lanes.list(lane);
                return deliver.stuck.push(lane);
            }
            let publisher = deliver.lanes.publisher(lane);
            let Some(publication) = deliver.lanes.pop(lane) else { return };
            if ready {
                self.send_parcels(&publication, io);
            }
            if ready && self.deliver.targets.contains(&self.id) {
                self.fan_out(now, publication, publisher, io);
            } else {
                self.release_delivered(publication.bytes());
            }
        }
    }

    /// One parcel to each other shard of `targets`. Its copy is charged here until it was taken.
    fn send_parcels(&mut self, publication: &Publication, io: &mut impl Io) {
        let deliver = &mut self.deliver;
        for &to in deliver.targets.iter().filter(|&&to| to != self.id) {
            let parcel = Box::new(publication.clone());
            let bytes = parcel.bytes();
            deliver.budget.charge(bytes);
            deliver.parcels.send(to, bytes);
            io.mesh(to, MeshMsg::Parcel(parcel));
        }
    }

    /// Whether every shard with subscribers to `topic` can be sent a parcel.
    #[cold]
    fn has_credits(&mut self, topic: &str) -> bool {
        let deliver = &mut self.deliver;
        self.filters.index().shards(topic, &mut deliver.targets);
        deliver.targets.iter().all(|&to| to == self.id || deliver.parcels.has_credit(to))
    }

    fn close_lane_if_empty(&mut self, lane: u32) {
        if !matches!(self.deliver.lanes.front(lane), Front::Empty) {
            return;
        }
        if let Some(session) = self.deliver.lanes.close(lane).and_then(|slot| self.sessions.get_mut(slot)) {
            session.lane = None;
        }
    }

    /// A publication of another shard's client for subscribers here.
    pub(super) fn on_parcel(&mut self, now: Now, from: ShardId, publication: Box<Publication>, io: &mut impl Io) {
        let bytes = publication.bytes();
        let peer = &mut self.deliver.parcels.peers[usize::from(from.0)];
        peer.taken += 1;
        peer.taken_bytes += bytes;
        self.deliver.budget.charge(bytes);
        self.fan_out(now, publication, None, io);
    }

    /// Tells the other shards how many of their parcels were taken.
    pub(super) fn return_credits(&mut self, io: &mut impl Io) {
        for (shard, peer) in self.deliver.parcels.peers.iter_mut().enumerate().filter(|(_, peer)| peer.taken > 0) {
            let (parcels, bytes) = (std::mem::take(&mut peer.taken), std::mem::take(&mut peer.taken_bytes));
            io.mesh(ShardId(shard as u16), MeshMsg::ParcelsTaken { parcels, bytes });
        }
    }

    /// Another shard has taken parcels: lanes that waited for it may go on.
    pub(super) fn on_parcels_taken(&mut self, from: ShardId, parcels: u32, bytes: usize) {
        self.deliver.parcels.taken_by(from, parcels, bytes);
        self.release_delivered(bytes);
        let mut stuck = std::mem::take(&mut self.deliver.stuck);
        self.deliver.ready.append(&mut stuck);
        self.deliver.stuck = stuck;
    }

    /// Puts a publication, charged already, into the queue of every session here that subscribes to it.
    fn fan_out(&mut self, now: Now, publication: Box<Publication>, publisher: Option<u32>, io: &mut impl Io) {
        let mut matching = std::mem::take(&mut self.deliver.matching);
        self.filters.index().subscribers(publication.topic(), publisher, &mut matching);
        let key = self.deliver.shelf.put(publication);
        for claim in claims(&matching) {
            if !self.has_room(key, claim.session) {
                self.send_now(now, claim.session, io);
            }
            self.queue(now, key, claim);
        }
        let freed_bytes = self.deliver.shelf.done(key);
        self.release_delivered(freed_bytes);
        self.deliver.matching = matching;
    }

    /// Whether a session can queue one more without dropping anything.
    #[inline]
    fn has_room(&self, key: ShelfKey, slot: u32) -> bool {
        let Some(session) = self.sessions.get(slot) else { return true };
        let (deliveries, shelf) = (&session.deliveries, &self.deliver.shelf);
        let full = deliveries.is_full_for(shelf.get(key).bytes(), &self.settings.subscribers.queue);
        !full && shelf.bytes() <= self.deliver.shelf_limit_bytes(deliveries.is_idle())
    }

    /// Puts a publication into one queue, where it may push out older ones.
    fn queue(&mut self, now: Now, key: ShelfKey, claim: Claim) {
        let Some(session) = self.sessions.get_mut(claim.session) else { return };
        let deliver = &mut self.deliver;
        let publication = deliver.shelf.get(key);
        let (bytes, qos) = (publication.bytes(), publication.qos().min(claim.qos));
        let online = session.conn.is_some();
        if publication.is_expired(now.mono) {
            self.counters.deliveries_dropped_expired += 1;
            return;
        }
        if qos == QoS::AtMostOnce && !online {
            self.counters.deliveries_dropped_offline += 1;
            return;
        }
        let keeps_up = online && session.deliveries.is_idle();
        if deliver.shelf.bytes() > deliver.shelf_limit_bytes(keeps_up) {
            self.counters.deliveries_dropped_queue_full += 1;
            return;
        }
        // As EMQX does: the oldest gives way, whatever its quality of service.
        let retain = claim.retain_as_published && publication.retain();
        while session.deliveries.is_full_for(bytes, &self.settings.subscribers.queue) {
            let freed_bytes = session.deliveries.drop_oldest(&mut deliver.shelf);
            deliver.budget.release(freed_bytes);
            self.counters.deliveries_dropped_queue_full += 1;
        }
        deliver.shelf.wait(key);
        deliver.budget.charge(ENTRY_BYTES);
        session.deliveries.push(Queued { key, bytes, qos, retain, subscription_ids: claim.ids });
        if online {
            deliver.send_soon(&mut self.sessions, claim.session);
        }
    }

    /// Returns bytes to the budget of deliveries; a held publisher may go on.
    pub(super) fn release_delivered(&mut self, bytes: usize) {
        if bytes > 0 {
            self.deliver.budget.release(bytes);
            self.round.released = true;
        }
    }
}
