//! Wills that wait for their clients: what must come of one whose client is back in time, and of one whose client is not.
//!
//! ```text
//! the server ends the connection   + delay, or the session's end      + what a server may be late
//! ──┬───────────────────────────────┬──────────────────────────────────┬──────────────
//!   │ CONNACK with the session:     │ either                           │ CONNECT only now, or
//!   │ it is never published         │                                  │ CONNACK without the session: it is due
//! ```
//!
//! Which connections the server has seen end, and when, is known here to the nanosecond.

use crate::client::PutOff;
use crate::ledger::Ledger;
use crate::message::Message;

/// Sessions are looked at once a second, and rounds may be late.
const LATE_NS_MAX: u64 = 1_500_000_000;

/// A will that waits.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    will: Message,
    /// The socket of its connection.
    socket: usize,
    /// When the server ended that.
    ended: Option<u64>,
    /// How long after that it is due, nanoseconds.
    delay_ns: u64,
    /// No other connection of its client is on its way to the server, which might take the place of a later one.
    is_sure: bool,
}

impl Waiting {
    fn is_due(&self, now: u64) -> bool {
        self.ended.is_some_and(|ended| self.is_sure && ended + self.delay_ns + LATE_NS_MAX < now)
    }

    fn may_be_out(&self, now: u64) -> bool {
        self.ended.is_some_and(|ended| ended + self.delay_ns <= now)
    }
}

/// One client's.
#[derive(Debug, Clone, Default)]
struct Own {
    waiting: Option<Waiting>,
    /// Sockets that it left before it had an answer, and that the server has not ended.
    strays: Vec<usize>,
}

/// The wills of all clients, by their numbers.
#[derive(Debug)]
pub(super) struct Wills(Vec<Own>);

impl Wills {
    /// So many clients, none of which has a will that waits.
    pub(super) fn new(clients: usize) -> Self {
        Self(vec![Own::default(); clients])
    }

    /// A client has lost its connection, which had a will that is put off. `ended`: when the server ended it, if it has.
    pub(super) fn wait(&mut self, client: usize, socket: usize, ended: Option<u64>, put_off: PutOff) {
        let own = &mut self.0[client];
        let PutOff { will, delay_ns } = put_off;
        own.waiting = Some(Waiting { will, socket, ended, delay_ns, is_sure: own.strays.is_empty() });
    }

    /// A client has left a connection before it had an answer: nobody knows whether the server has taken it for back.
    pub(super) fn leave(&mut self, client: usize, socket: usize, has_ended: bool) {
        let own = &mut self.0[client];
        own.waiting = None;
        if !has_ended {
            own.strays.push(socket);
        }
    }

    /// The server has ended a connection that its client had left before.
    pub(super) fn ended(&mut self, socket: usize, now: u64) {
        for own in &mut self.0 {
            own.strays.retain(|stray| *stray != socket);
            if let Some(waiting) = own.waiting.as_mut().filter(|waiting| waiting.socket == socket) {
                waiting.ended.get_or_insert(now);
            }
        }
    }

    /// A client is about to come back.
    pub(super) fn comes(&mut self, client: usize, now: u64, ledger: &mut Ledger) {
        if let Some(waiting) = self.0[client].waiting.take_if(|waiting| waiting.is_due(now)) {
            ledger.will_is_due(waiting.will);
        }
    }

    /// A client is back, and found its session or not.
    pub(super) fn is_back(&mut self, client: usize, now: u64, present: bool, ledger: &mut Ledger) {
        let Some(waiting) = self.0[client].waiting.take() else { return };
        if present && !waiting.may_be_out(now) {
            ledger.will_is_void(&waiting.will);
        } else if !present && waiting.is_sure {
            ledger.will_is_due(waiting.will);
        }
    }

    /// The node is gone, with what it had not published.
    pub(super) fn node_killed(&mut self, now: u64, ledger: &mut Ledger) {
        for own in &mut self.0 {
            own.strays.clear();
            if let Some(waiting) = own.waiting.take().filter(|waiting| !waiting.may_be_out(now)) {
                ledger.will_is_void(&waiting.will);
            }
        }
    }
}
