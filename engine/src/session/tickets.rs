//! Acknowledgement lanes: tickets in the order of their PUBLISHes, resolved in any order, answered in that order.
//!
//! A session has two lanes, one for PUBACK and one for PUBREC; the two do not wait for each other. A ticket names its place
//! by a number that counts over the life of the lane; a lane's generation tells its tickets from those of an earlier
//! connection, whose outcomes must not be sent on this one.
//!
//! Invariant: `base <= number of any open ticket < base + ring.len()`, all in wrapping arithmetic.

use std::collections::VecDeque;

use crate::ticket::FailReason;

/// What is known of a PUBLISH's records so far. Worse replaces better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All outcomes so far were successes.
    Good,
    /// One was not, with its reason.
    Bad(FailReason),
}

/// Our receipt for one PUBLISH.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Packet identifier to answer.
    pub packet_id: u16,
    /// Records of this PUBLISH without an outcome.
    pub pending: u16,
    /// The worst outcome so far.
    pub verdict: Verdict,
    /// Whether no subscriber, sink or route matched (MQTT 5 reason 0x10).
    pub unmatched: bool,
    /// A later ticket of the same 3.1.1 packet identifier answers for this one too.
    pub silent: bool,
    /// Whether `sync_timeout` has been counted for it.
    pub late: bool,
    /// The first sink whose outcome it waits for; its timeout applies.
    pub sink: u16,
    /// Milliseconds of monotonic time at arrival, wrapping.
    pub opened_ms: u32,
    /// Bytes its records hold.
    pub bytes: u32,
}

/// One lane of tickets.
#[derive(Debug, Default)]
pub struct AckLane {
    generation: u32,
    base: u32,
    ring: VecDeque<Ticket>,
    open_bytes: usize,
    /// Some open identifier is not the successor of the one before it, so membership cannot be computed.
    scattered: bool,
}

impl AckLane {
    /// An empty lane. No two lanes that ever share a session slot may share a generation.
    pub fn new(generation: u32) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Writes a ticket and returns its number.
    #[inline]
    pub fn push(&mut self, ticket: Ticket) -> u32 {
        let number = self.next_number();
        self.open_bytes += ticket.bytes as usize;
        match self.ring.back() {
            Some(last) => self.scattered |= successor(last.packet_id) != ticket.packet_id,
            None => self.scattered = false,
        }
        self.ring.push_back(ticket);
        number
    }

    /// The number the next ticket will get.
    #[inline]
    pub fn next_number(&self) -> u32 {
        // The ring is bounded by the 65,535 packet identifiers at MQTT 5, by open bytes at 3.1.1.
        self.base.wrapping_add(self.ring.len() as u32)
    }

    /// Generation that runs must carry to be heard.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Tickets `first .. first + n` got an outcome each. Returns how many of them had been answered without waiting for it.
    #[inline]
    pub fn settle(&mut self, first: u32, n: u16, verdict: Verdict) -> u16 {
        // Below zero where the run begins before the oldest ticket.
        let at = first.wrapping_sub(self.base) as i32;
        let answered = at.min(0).unsigned_abs().min(u32::from(n)) as u16;
        let start = at.max(0) as usize;
        let end = start.saturating_add(usize::from(n - answered)).min(self.ring.len());
        if start >= end {
            return answered;
        }
        for ticket in self.ring.range_mut(start..end) {
            ticket.pending = ticket.pending.saturating_sub(1);
            if verdict > ticket.verdict {
                ticket.verdict = verdict;
            }
        }
        answered
    }

    /// The oldest ticket, if all its records have an outcome.
    #[inline]
    pub fn pop_ready(&mut self) -> Option<Ticket> {
        if self.ring.front()?.pending > 0 {
            return None;
        }
        let ticket = self.ring.pop_front()?;
        self.base = self.base.wrapping_add(1);
        self.open_bytes -= ticket.bytes as usize;
        Some(ticket)
    }

    /// The oldest ticket.
    pub fn front(&self) -> Option<&Ticket> {
        self.ring.front()
    }

    /// All open tickets, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Ticket> {
        self.ring.iter()
    }

    /// All open tickets, oldest first, to mark or fail them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Ticket> {
        self.ring.iter_mut()
    }

    /// A ticket by its number.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Ticket> {
        self.ring.get_mut(number.wrapping_sub(self.base) as usize)
    }

    /// Open tickets.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no ticket is open.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes of records that the open tickets wait for.
    #[inline]
    pub fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    /// Whether a ticket with this packet identifier is open. Constant time for clients that count upwards.
    #[inline]
    pub fn holds(&self, packet_id: u16) -> bool {
        let Some(front) = self.ring.front() else { return false };
        if self.scattered {
            return self.ring.iter().any(|t| t.packet_id == packet_id);
        }
        distance(front.packet_id, packet_id) < self.ring.len()
    }

    /// Lets a later ticket answer for every open one with this packet identifier.
    pub fn silence(&mut self, packet_id: u16) {
        self.ring.iter_mut().filter(|t| t.packet_id == packet_id).for_each(|t| t.silent = true);
    }

    /// Forgets every ticket; outcomes still on their way find another generation. Called when a connection ends.
    pub fn restart(&mut self, generation: u32) {
        assert!(generation != self.generation, "a new life of the lane has a new generation");
        self.base = self.next_number();
        self.generation = generation;
        self.ring = VecDeque::new();
        self.open_bytes = 0;
    }
}

/// The identifier after `id`: 65,535 is followed by 1 [MQTT-2.2.1-3].
#[inline]
fn successor(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

/// How many steps of [`successor`] lead from `from` to `to`; both are 1..=65,535.
#[inline]
fn distance(from: u16, to: u16) -> usize {
    let (from, to) = (usize::from(from), usize::from(to));
    if to >= from { to - from } else { to + usize::from(u16::MAX) - from }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(packet_id: u16, pending: u16) -> Ticket {
        Ticket {
            packet_id,
            pending,
            verdict: Verdict::Good,
            unmatched: false,
            silent: false,
            late: false,
            sink: 0,
            opened_ms: 0,
            bytes: 10,
        }
    }

    fn ready(lane: &mut AckLane) -> Vec<u16> {
        std::iter::from_fn(|| lane.pop_ready()).map(|t| t.packet_id).collect()
    }

    #[test]
    fn a_run_whose_first_tickets_were_answered_early_settles_the_others() {
        for answered_early in 0..=3u16 {
            let mut lane = AckLane { base: u32::MAX - 1, ..AckLane::default() };
            let first = lane.push(ticket(1, 1));
            lane.push(ticket(2, 1));
            lane.push(ticket(3, 1));
            lane.iter_mut().take(usize::from(answered_early)).for_each(|t| t.pending = 0);
            assert_eq!(ready(&mut lane).len(), usize::from(answered_early));
            assert_eq!(lane.settle(first, 3, Verdict::Good), answered_early);
            assert_eq!(ready(&mut lane).len(), 3 - usize::from(answered_early));
            assert!(lane.is_empty());
        }
    }

    #[test]
    fn acks_leave_in_order_whatever_order_outcomes_come_in() {
        let mut lane = AckLane::default();
        let numbers: Vec<u32> = (1..=3).map(|id| lane.push(ticket(id, 1))).collect();
        lane.settle(numbers[2], 1, Verdict::Good);
        lane.settle(numbers[1], 1, Verdict::Good);
        assert_eq!(ready(&mut lane), Vec::<u16>::new());
        lane.settle(numbers[0], 1, Verdict::Good);
        assert_eq!(ready(&mut lane), [1, 2, 3]);
        assert_eq!(lane.open_bytes(), 0);
    }

    #[test]
    fn a_ticket_waits_for_all_its_records_and_keeps_the_worst() {
        let mut lane = AckLane::default();
        let number = lane.push(ticket(7, 2));
        lane.settle(number, 1, Verdict::Bad(FailReason::TooLarge));
        assert!(lane.pop_ready().is_none());
        lane.settle(number, 1, Verdict::Good);
        assert_eq!(lane.pop_ready().map(|t| t.verdict), Some(Verdict::Bad(FailReason::TooLarge)));
    }

    #[test]
    fn outcomes_of_an_earlier_connection_find_nothing() {
        let mut lane = AckLane::default();
        let old = lane.push(ticket(1, 1));
        let generation = lane.generation();
        lane.restart(1);
        assert_ne!(lane.generation(), generation);
        let new = lane.push(ticket(1, 1));
        lane.settle(old, 1, Verdict::Good);
        assert!(lane.pop_ready().is_none(), "the old number must not answer the new ticket");
        lane.settle(new, 1, Verdict::Good);
        assert!(lane.pop_ready().is_some());
    }

    #[test]
    fn numbers_wrap() {
        let mut lane = AckLane { base: u32::MAX - 1, ..AckLane::default() };
        let numbers: Vec<u32> = (1..=4).map(|id| lane.push(ticket(id, 1))).collect();
        assert_eq!(numbers, [u32::MAX - 1, u32::MAX, 0, 1]);
        lane.settle(numbers[0], 4, Verdict::Good);
        assert_eq!(ready(&mut lane), [1, 2, 3, 4]);
    }

    #[test]
    fn open_identifiers_are_known_whether_they_count_upwards_or_not() {
        for ids in [&[65_534u16, 65_535, 1, 2][..], &[5, 9, 7], &[3, 3, 4]] {
            let mut lane = AckLane::default();
            for &id in ids {
                lane.push(ticket(id, 1));
            }
            for id in 1..=u16::MAX {
                assert_eq!(lane.holds(id), ids.contains(&id), "{id} of {ids:?}");
            }
        }
    }

    #[test]
    fn a_settled_ticket_is_not_settled_twice_below_zero() {
        let mut lane = AckLane::default();
        let number = lane.push(ticket(1, 0));
        lane.settle(number, 1, Verdict::Good);
        assert_eq!(ready(&mut lane), [1]);
    }
}
