//! What a client is sent: whether it fits the window that it has given, under identifiers that are free, and in the order in which
//! it was published.
//!
//! A client answers at once, but what it reads in one go was sent before any of these answers was written: so much of it may be
//! open as the window takes.

use std::collections::BTreeSet;

use crate::message::MessageId;
use crate::wire::Delivery;

/// Deliveries at QoS 1 and 2 that may be open, as a client says in its CONNECT.
pub(crate) const RECEIVE_MAXIMUM: u16 = 10;

/// The deliveries of one client.
#[derive(Debug)]
pub(crate) struct Inbox {
    name: String,
    /// The server has been told how much may be open.
    has_window: bool,
    /// Identifiers of QoS 2 deliveries whose PUBREL has not come.
    holding: BTreeSet<u16>,
    /// Those of them whose PUBLISH came over this connection.
    here: BTreeSet<u16>,
    /// Identifiers of QoS 1 deliveries that were read in this go.
    fresh: BTreeSet<u16>,
    /// Of QoS 2 deliveries that ended in this go: their PUBCOMP was not written before.
    ended: u16,
    /// By publisher, topic and QoS: the newest first copy, plus one.
    newest: Vec<u32>,
    topics: usize,
}

impl Inbox {
    /// That of a client which has not connected.
    pub(crate) fn new(name: &str, has_window: bool, clients: usize, topics: usize) -> Self {
        Self {
            name: name.to_string(),
            has_window,
            holding: BTreeSet::new(),
            here: BTreeSet::new(),
            fresh: BTreeSet::new(),
            ended: 0,
            newest: vec![0; clients * topics * 3],
            topics,
        }
    }

    /// A connection begins.
    pub(crate) fn begin(&mut self) {
        self.here.clear();
        self.answered();
    }

    /// Its session is a new one.
    pub(crate) fn forget(&mut self) {
        self.holding.clear();
    }

    /// All that was read has its answer.
    pub(crate) fn answered(&mut self) {
        self.fresh.clear();
        self.ended = 0;
    }

    /// A PUBLISH. Whether it is no repetition of what the client holds already.
    ///
    /// # Panics
    /// If its identifier is in use, or too much is open.
    pub(crate) fn take(&mut self, delivery: &Delivery<'_>) -> bool {
        let (name, id) = (&self.name, delivery.id);
        let is_new = match delivery.qos {
            0 => return true,
            1 => {
                let free = self.fresh.insert(id) && !self.holding.contains(&id);
                assert!(free, "VIOLATION {name}: delivery {id} is used twice at once");
                true
            }
            _ => {
                let free = self.holding.insert(id);
                assert!(free || delivery.dup, "VIOLATION {name}: delivery {id} is used twice at once");
                let first_here = self.here.insert(id) && !self.fresh.contains(&id);
                assert!(first_here, "VIOLATION {name}: delivery {id} comes twice over one connection");
                free
            }
        };
        let open = self.fresh.len() + self.here.len() + usize::from(self.ended);
        let fits = !self.has_window || open <= usize::from(RECEIVE_MAXIMUM);
        assert!(fits, "VIOLATION {name}: {open} deliveries are open");
        is_new
    }

    /// PUBREL.
    pub(crate) fn release(&mut self, id: u16) {
        self.holding.remove(&id);
        self.ended += u16::from(self.here.remove(&id));
    }

    /// The first copy of a message that was sent once. `qos`: as it was published.
    ///
    /// # Panics
    /// If the client has had a later one [MQTT-4.6.0-5].
    pub(crate) fn first_copy(&mut self, id: MessageId, topic: usize, qos: u8) {
        let at = (usize::from(id.client) * self.topics + topic) * 3 + usize::from(qos);
        let newest = self.newest[at];
        assert!(id.seq >= newest, "VIOLATION {}: {id:?} comes after {} of the same topic", self.name, newest - 1);
        self.newest[at] = id.seq + 1;
    }
}
