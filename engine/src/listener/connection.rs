//! One client connection: protocol machine, unread bytes, bytes to send, and the memo of its last route.

use std::net::SocketAddr;

use mqtt::connection::ServerConnection;

use super::receive::{READ_BYTES, Unread};
use crate::clock::Mono;
use crate::shard::io::{CloseReason, ConnKey, Io};
use crate::sink::route::RouteMemo;

/// Bytes to send above which a connection is not read until they are gone: acknowledgements of a client that does not
/// read them must not pile up.
pub const OUT_BYTES_MAX: usize = 64 << 10;

/// One client connection at the shard that serves it.
#[derive(Debug)]
pub struct Connection {
    /// The driver's name for its socket.
    pub key: ConnKey,
    /// Which listener accepted it.
    pub listener: u16,
    /// Address of the client.
    pub peer: SocketAddr,
    /// `peer` as text, for events.
    pub peer_text: Box<str>,
    /// The protocol's state.
    pub mqtt: ServerConnection,
    /// Slot of its session, once CONNECT was accepted.
    pub session: Option<u32>,
    /// Bytes received and not parsed.
    pub unread: Unread,
    /// Bytes of `unread` charged to the budget.
    pub charged_bytes: usize,
    /// Packets to send.
    pub out: Vec<u8>,
    /// The socket took less than it was given; wait for Writable.
    pub blocked: bool,
    /// The socket may hold bytes.
    pub readable: bool,
    /// Size of its next read: twice that of the last one while it fills them.
    pub read_bytes: usize,
    /// Why reading stands still, if it does.
    pub held: Option<Held>,
    /// Since when.
    pub held_since: Mono,
    /// Reading one packet from the reserve: it stops again after that.
    pub rationed: bool,
    /// SUBACKs and UNSUBACKs that wait for other shards; deliveries stay behind them.
    pub answers_due: u16,
    /// Deliveries wait for room in `out`.
    pub backlog: bool,
    /// Already in the list of connections to flush this round.
    pub dirty: bool,
    /// To be closed as soon as what is in `out` was offered to the socket.
    pub closing: Option<CloseReason>,
    /// The client said DISCONNECT: its will is void.
    pub said_goodbye: bool,
    /// When the timer wheel comes to it, milliseconds; an entry of another time is a leftover.
    pub timer_ms: Option<u64>,
    /// Route of the last PUBLISH.
    pub memo: RouteMemo,
}

/// Why a connection's reading stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A PUBLISH at the front of its unread bytes does not fit the budget, or its topic is not known yet.
    Publish,
    /// A 3.1.1 client's open tickets hold all the bytes they may.
    Tickets,
    /// The client does not read what we send.
    Output,
    /// Other shards have not confirmed the subscriptions before this one.
    Filters,
}

/// A held connection is read for a packet at least this often, whatever its keep-alive.
const TURN_MS_MAX: u64 = 10_000;

impl Connection {
    /// When a held connection is to be read for one packet from the reserve: a quarter of its keep-alive after it was held,
    /// so that a PINGREQ behind a PUBLISH is answered in time (spec section 2.3 step 3).
    pub fn turn(&self) -> Mono {
        let quarter_ms = match self.mqtt.keep_alive_s() {
            0 => TURN_MS_MAX,
            s => u64::from(s) * 250,
        };
        self.held_since.plus_ms(quarter_ms.min(TURN_MS_MAX))
    }

    /// A connection that has sent nothing yet.
    pub fn new(key: ConnKey, listener: u16, peer: SocketAddr, mqtt: ServerConnection) -> Self {
        Self {
            key,
            listener,
            peer,
            peer_text: peer.to_string().into(),
            mqtt,
            session: None,
            unread: Unread::default(),
            charged_bytes: 0,
            out: Vec::new(),
            blocked: false,
            readable: true,
            read_bytes: READ_BYTES,
            held: None,
            held_since: Mono(0),
            rationed: false,
            answers_due: 0,
            backlog: false,
            dirty: false,
            closing: None,
            said_goodbye: false,
            timer_ms: None,
            memo: RouteMemo::default(),
        }
    }

    /// Offers what is to be sent to the socket; returns how many bytes it took.
    pub fn flush(&mut self, io: &mut impl Io) -> usize {
        if self.out.is_empty() || self.blocked {
            return 0;
        }
        let taken = io.send(self.key, &self.out);
        if taken == self.out.len() {
            self.out.clear();
            if self.out.capacity() > OUT_BYTES_MAX {
                self.out = Vec::new();
            }
        } else {
            self.out.drain(..taken);
            self.blocked = true;
        }
        taken
    }
}
