//! The third lane: publications that subscribers match, held until their outcomes and released in receipt order.
//!
//! A lane belongs to a publisher but outlives its connection, and its session too: what Kafka has accepted is delivered even
//! when its publisher has gone. A client that comes back goes on with the lane that it left, so that what it sends now passes nothing
//! that it sent before [MQTT-4.6.0-5]. Runs of batches name a lane by slot and generation, as they name the lanes of tickets. A lane exists
//! while it holds something.
//!
//! Invariant: `base <= number of any held publication < base + ring.len()`, in wrapping arithmetic.

use std::collections::{BTreeMap, VecDeque};

use crate::publication::Publication;

/// Where a publication will stand, known before its records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSeat {
    /// Slot of the lane.
    pub lane: u32,
    /// Generation that runs must carry to be heard.
    pub generation: u32,
    /// Its number, counted over the life of the lane (wraps).
    pub number: u32,
}

/// The lanes of one shard.
#[derive(Debug, Default)]
pub struct Lanes {
    slots: Vec<Lane>,
    free: Vec<u32>,
    generation: u32,
    /// Those of clients whose sessions have ended, by client identifier.
    left: BTreeMap<Box<str>, u32>,
}

#[derive(Debug, Default)]
struct Lane {
    generation: u32,
    base: u32,
    ring: VecDeque<Held>,
    publisher: Option<u32>,
    /// Whose it was, once the session has ended.
    left_by: Option<Box<str>>,
    listed: bool,
}

#[derive(Debug)]
struct Held {
    /// Records without an outcome that it waits for.
    pending: u16,
    refused: bool,
    publication: Box<Publication>,
}

/// The oldest publication of a lane.
#[derive(Debug)]
pub enum Front<'a> {
    /// There is none.
    Empty,
    /// It waits for outcomes.
    Waiting,
    /// Kafka, or a sink's `overflow`, refused one of its records.
    Refused,
    /// Its subscribers may see it.
    Ready(&'a Publication),
}

impl Lanes {
    /// The lane of the session in slot `publisher`, which has none: the one that its client has left, or a new one.
    pub fn open_for(&mut self, publisher: u32, client_id: &str) -> u32 {
        let Some(lane) = self.left.remove(client_id) else { return self.open(Some(publisher)) };
        let slot = &mut self.slots[lane as usize];
        (slot.publisher, slot.left_by) = (Some(publisher), None);
        lane
    }

    /// A lane for the session in slot `publisher`, or for a publication without a client.
    pub fn open(&mut self, publisher: Option<u32>) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Lane::default());
            self.slots.len() as u32 - 1
        });
        let lane = &mut self.slots[slot as usize];
        lane.generation = self.generation;
        lane.publisher = publisher;
        slot
    }

    /// Ends a lane that holds nothing; returns the session it belonged to, if that still exists.
    pub fn close(&mut self, lane: u32) -> Option<u32> {
        let slot = &mut self.slots[lane as usize];
        assert!(slot.ring.is_empty(), "a lane exists while it holds something");
        slot.left_by.take().and_then(|client_id| self.left.remove(&client_id));
        slot.listed = false;
        if slot.ring.capacity() > IDLE_CAPACITY_MAX {
            slot.ring = VecDeque::new();
        }
        self.free.push(lane);
        slot.publisher.take()
    }

    /// The session of the publisher has ended.
    pub fn forget_publisher(&mut self, lane: u32, client_id: Box<str>) {
        let slot = &mut self.slots[lane as usize];
        (slot.publisher, slot.left_by) = (None, Some(client_id.clone()));
        self.left.insert(client_id, lane);
    }

    /// The session of the publisher.
    pub fn publisher(&self, lane: u32) -> Option<u32> {
        self.slots[lane as usize].publisher
    }

    /// Where the next publication of the lane will stand.
    pub fn seat(&self, lane: u32) -> LaneSeat {
        let Lane { generation, base, ring, .. } = &self.slots[lane as usize];
        // The ring is bounded by the budget.
        LaneSeat { lane, generation: *generation, number: base.wrapping_add(ring.len() as u32) }
    }

    /// Holds a publication with `pending` outcomes to come; `refused`: a sink has refused it already.
    pub fn push(&mut self, lane: u32, publication: Box<Publication>, pending: u16, refused: bool) {
        self.slots[lane as usize].ring.push_back(Held { pending, refused, publication });
    }

    /// `n` publications from number `first` got an outcome each. Returns whether the lane may have something to release.
    pub fn settle(&mut self, seat: LaneSeat, n: u16, good: bool) -> bool {
        let Some(lane) = self.slots.get_mut(seat.lane as usize).filter(|l| l.generation == seat.generation) else {
            return false;
        };
        let start = seat.number.wrapping_sub(lane.base) as usize;
        let end = start.saturating_add(usize::from(n)).min(lane.ring.len());
        if start >= end {
            return false;
        }
        for held in lane.ring.range_mut(start..end) {
            held.pending = held.pending.saturating_sub(1);
            held.refused |= !good;
        }
        start == 0
    }

    /// The oldest publication.
    pub fn front(&self, lane: u32) -> Front<'_> {
        match self.slots[lane as usize].ring.front() {
            None => Front::Empty,
            Some(held) if held.pending > 0 => Front::Waiting,
            Some(held) if held.refused => Front::Refused,
            Some(held) => Front::Ready(&held.publication),
        }
    }

    /// Takes the oldest publication out.
    pub fn pop(&mut self, lane: u32) -> Option<Box<Publication>> {
        let slot = &mut self.slots[lane as usize];
        let held = slot.ring.pop_front()?;
        slot.base = slot.base.wrapping_add(1);
        Some(held.publication)
    }

    /// Notes that the lane stands in a list of lanes to look at; false if it did already.
    pub fn list(&mut self, lane: u32) -> bool {
        !std::mem::replace(&mut self.slots[lane as usize].listed, true)
    }

    /// The lane was taken off that list.
    pub fn unlist(&mut self, lane: u32) {
        self.slots[lane as usize].listed = false;
    }

    /// Bytes of all publications held.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.iter().flat_map(|lane| &lane.ring).map(|held| held.publication.bytes()).sum()
    }

    /// Whether no lane holds anything.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

/// Entries that an unused lane keeps room for.
const IDLE_CAPACITY_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use mqtt::{Publish, PublishProperties, QoS};

    fn named(topic: &str) -> Box<Publication> {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            properties: PublishProperties::default(),
            payload: b"",
        };
        Box::new(Publication::new(topic, &publish, Mono::default()).unwrap())
    }

    /// Takes out what may leave; refused ones in brackets.
    fn released(lanes: &mut Lanes, lane: u32) -> String {
        let mut text = String::new();
        loop {
            match lanes.front(lane) {
                Front::Empty | Front::Waiting => return text,
                Front::Ready(publication) => text += publication.topic(),
                Front::Refused => text += "(refused)",
            }
            lanes.pop(lane);
        }
    }

    #[test]
    fn publications_leave_in_receipt_order_whatever_order_outcomes_come_in() {
        let mut lanes = Lanes::default();
        let lane = lanes.open(Some(3));
        let seats: Vec<LaneSeat> = [("a", 1), ("b", 0), ("c", 2), ("d", 1)]
            .map(|(topic, pending)| {
                let seat = lanes.seat(lane);
                lanes.push(lane, named(topic), pending, false);
                seat
            })
            .to_vec();
        assert!(!lanes.settle(seats[3], 1, true));
        assert!(!lanes.settle(seats[2], 1, true));
        assert_eq!(released(&mut lanes, lane), "");
        assert!(lanes.settle(seats[0], 1, true));
        assert_eq!(released(&mut lanes, lane), "ab");
        assert!(lanes.settle(seats[2], 1, false));
        assert_eq!(released(&mut lanes, lane), "(refused)d");
        assert_eq!(lanes.close(lane), Some(3));
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_client_goes_on_with_the_lane_that_it_left_as_long_as_that_holds_something() {
        let mut lanes = Lanes::default();
        let lane = lanes.open_for(1, "c");
        let first = lanes.seat(lane);
        lanes.push(lane, named("a"), 1, false);
        lanes.forget_publisher(lane, "c".into());
        let other = lanes.open_for(2, "d");
        assert_ne!(other, lane, "another client");
        assert_eq!((lanes.open_for(3, "c"), lanes.publisher(lane)), (lane, Some(3)));
        let second = lanes.seat(lane);
        lanes.push(lane, named("b"), 1, false);
        assert!(!lanes.settle(second, 1, true));
        assert!(lanes.settle(first, 1, true));
        assert_eq!(released(&mut lanes, lane), "ab");
        assert_eq!(lanes.close(lane), Some(3));
        lanes.close(other);
        let again = lanes.open_for(4, "c");
        lanes.push(again, named("c"), 0, false);
        lanes.forget_publisher(again, "c".into());
        assert_eq!(released(&mut lanes, again), "c");
        assert_eq!(lanes.close(again), None);
        assert!(lanes.left.is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_reused_lane_does_not_hear_outcomes_of_its_former_publisher() {
        let mut lanes = Lanes::default();
        let lane = lanes.open(Some(1));
        let old = lanes.seat(lane);
        lanes.push(lane, named("a"), 0, false);
        lanes.pop(lane);
        lanes.forget_publisher(lane, "c".into());
        assert_eq!(lanes.close(lane), None);
        assert_eq!(lanes.open(Some(2)), lane);
        let new = lanes.seat(lane);
        lanes.push(lane, named("b"), 1, false);
        assert!(!lanes.settle(LaneSeat { number: new.number, ..old }, 1, true));
        assert_eq!(released(&mut lanes, lane), "");
        assert!(lanes.settle(new, 1, true));
        assert_eq!(released(&mut lanes, lane), "b");
    }
}
