//! One MQTT client of the ledger: it goes away and comes back, and sends again what was not answered.
//!
//! ```text
//! down --connect--> asking --CONNACK--> active --end of the connection--> down (50 to 250 ms)
//! ```
//!
//! Messages are opened in the order of their sequence and kept, oldest first, until they are answered. After a reconnection
//! they are sent again in that order and before anything new: in a persistent session with their packet id and DUP, otherwise
//! with new packet ids, as the standard has it. A sequence is never used twice for different messages.
//!
//! QoS 2 counts as acknowledged with PUBREC: from there on the message is the product's to keep.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use miette::Result;

use super::counts::Counts;
use super::left::Left;
use crate::ledger::book::BookWriter;
use crate::ledger::message::{self, Stamp};
use crate::measure::mono_ns;
use crate::mqtt_wire::{self, ConnectAs, Packet, PublishAs, Version};
use crate::random::Random;

/// Pause before a new attempt to connect, and how much longer it may be.
const PAUSE_NS: u64 = 50_000_000;
const JITTER_NS: u64 = 200_000_000;
/// A server that answers nothing to CONNECT for so long is left.
const CONNACK_NS: u64 = 5_000_000_000;
/// What the client promises to say something within, and when it says PINGREQ for want of anything else.
const KEEPALIVE_SECONDS: u16 = 20;
const PING_NS: u64 = 7_000_000_000;
/// Bytes that wait for the socket above which nothing new is opened.
const BACKLOG_BYTES: usize = 64 << 10;

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) version: Version,
    /// Its session outlives its connection.
    pub(super) persistent: bool,
    /// 1 or 2.
    pub(super) qos: u8,
}

/// What all clients of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common {
    pub(super) run: u64,
    pub(super) payload_bytes: usize,
    pub(super) routes: u8,
    pub(super) window: usize,
}

/// What a client says to its book and to the counts.
pub(super) struct Desk<'a> {
    pub(super) book: &'a mut BookWriter,
    pub(super) counts: &'a mut Counts,
    pub(super) now_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down { until_ns: u64 },
    Asking { since_ns: u64 },
    Active,
}

/// A message without its last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    id: u16,
    sequence: u32,
    attempt: u16,
    first_ns: u64,
    /// PUBREC has come; what is left is PUBREL and PUBCOMP.
    received: bool,
}

/// One client.
pub(super) struct Client {
    index: u32,
    kind: Kind,
    common: Common,
    topic: String,
    state: State,
    socket: Option<TcpStream>,
    /// The connection that it left last, until the server ends it.
    left: Option<Left>,
    open: VecDeque<Open>,
    next_sequence: u32,
    next_id: u16,
    /// Messages it may have begun by now.
    due: u32,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    said_ns: u64,
    random: Random,
}

impl Client {
    pub(super) fn new(index: u32, kind: Kind, common: Common) -> Self {
        Self {
            index,
            kind,
            common,
            topic: message::topic(index, common.routes),
            state: State::Down { until_ns: 0 },
            socket: None,
            left: None,
            open: VecDeque::new(),
            next_sequence: 0,
            next_id: 0,
            due: 0,
            unsent: Vec::new(),
            unread: Vec::new(),
            said_ns: 0,
            random: Random::new(common.run ^ u64::from(index)),
        }
    }

    /// One more message is due.
    pub(super) fn one_more_due(&mut self) {
        self.due += 1;
    }

    /// Nothing more will become due, and what is not begun will not be.
    pub(super) fn no_more(&mut self) {
        self.due = self.next_sequence;
    }

    /// Everything it began is answered.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// The server has let it in.
    pub(super) fn is_in(&self) -> bool {
        self.state == State::Active
    }

    /// Its network is gone, which the server does not hear of, and there again at once.
    pub(super) fn lose_network(&mut self, counts: &mut Counts) {
        let unread = std::mem::take(&mut self.unread);
        if let Some(socket) = self.socket.take().filter(|_| self.state == State::Active) {
            self.left = Some(Left::new(socket, unread));
            counts.left += 1;
        }
        self.unsent.clear();
        self.state = State::Down { until_ns: 0 };
    }

    /// Does what can be done now: connects, reads, sends.
    pub(super) fn step(&mut self, server: SocketAddr, scratch: &mut [u8], desk: &mut Desk<'_>) -> Result<()> {
        if let Some(ended) = self.left.as_mut().and_then(|left| left.step(scratch)) {
            ended.reason.into_iter().for_each(|reason| desk.counts.farewell(reason));
            self.left = None;
        }
        match self.state {
            State::Down { until_ns } if desk.now_ns >= until_ns => self.connect(server, desk),
            State::Down { .. } => return Ok(()),
            State::Asking { since_ns } if desk.now_ns - since_ns > CONNACK_NS => self.lose(desk),
            State::Asking { .. } | State::Active => {}
        }
        self.receive(scratch, desk)?;
        if self.state == State::Active {
            self.begin(desk)?;
            if self.unsent.is_empty() && desk.now_ns - self.said_ns > PING_NS {
                self.unsent.extend_from_slice(&mqtt_wire::PINGREQ);
            }
        }
        self.flush(desk);
        Ok(())
    }

    /// Says DISCONNECT, best effort.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(socket) = &mut self.socket {
            let _ = socket.write_all(&mqtt_wire::DISCONNECT);
        }
    }

    fn connect(&mut self, server: SocketAddr, desk: &mut Desk<'_>) {
        let connected = TcpStream::connect_timeout(&server, Duration::from_millis(200));
        let socket = connected.and_then(|socket| {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => {
                self.socket = Some(socket);
                self.state = State::Asking { since_ns: desk.now_ns };
                let Kind { version, persistent, .. } = self.kind;
                let as_ = ConnectAs { version, persistent, keepalive_seconds: KEEPALIVE_SECONDS };
                mqtt_wire::put_connect_as(&mut self.unsent, &message::key(self.index), as_);
            }
            Err(_) => self.wait(desk),
        }
    }

    /// Opens what is due, as far as the window allows.
    fn begin(&mut self, desk: &mut Desk<'_>) -> Result<()> {
        while self.next_sequence < self.due && self.open.len() < self.common.window && self.unsent.len() < BACKLOG_BYTES
        {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let id = self.free_id();
            let open = Open { id, sequence, attempt: 0, first_ns: desk.now_ns, received: false };
            self.open.push_back(open);
            self.publish(open, false, desk)?;
        }
        Ok(())
    }

    /// Writes a PUBLISH down, and then out.
    fn publish(&mut self, open: Open, duplicate: bool, desk: &mut Desk<'_>) -> Result<()> {
        desk.book.sent(self.index, open.sequence, 1, open.attempt, desk.now_ns)?;
        desk.counts.sent(open.attempt);
        let stamp = Stamp {
            run: self.common.run,
            client: self.index,
            sequence: open.sequence,
            attempt: open.attempt,
            qos: self.kind.qos,
            sent_ns: desk.now_ns,
        };
        let mut payload = Vec::with_capacity(self.common.payload_bytes);
        message::put(&mut payload, &stamp, &self.topic, self.common.payload_bytes);
        let as_ = PublishAs { version: self.kind.version, qos: self.kind.qos, duplicate, packet_id: open.id };
        mqtt_wire::put_publish_as(&mut self.unsent, as_, &self.topic, &payload);
        Ok(())
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.wrapping_add(1).max(1);
            if !self.open.iter().any(|open| open.id == self.next_id) {
                return self.next_id;
            }
        }
    }

    /// The server accepts us; `session`: it still knows what we had begun.
    fn connected(&mut self, session: bool, desk: &mut Desk<'_>) -> Result<()> {
        self.state = State::Active;
        let resumes = session && self.kind.persistent;
        if !resumes {
            // Without its session a PUBREL means nothing; the message itself is already acknowledged.
            self.open.retain(|open| !open.received);
        }
        for at in 0..self.open.len() {
            let mut open = self.open[at];
            if open.received {
                mqtt_wire::put_pubrel(&mut self.unsent, open.id);
                continue;
            }
            if !resumes {
                open.id = self.free_id();
            }
            open.attempt = open.attempt.saturating_add(1);
            self.open[at] = open;
            self.publish(open, resumes, desk)?;
        }
        Ok(())
    }

    fn receive(&mut self, scratch: &mut [u8], desk: &mut Desk<'_>) -> Result<()> {
        while let Some(socket) = &mut self.socket {
            match socket.read(scratch) {
                Ok(0) => self.lose(desk),
                Ok(count) => {
                    self.unread.extend_from_slice(&scratch[..count]);
                    self.take_packets(desk)?;
                    if count < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.lose(desk),
            }
        }
        Ok(())
    }

    fn take_packets(&mut self, desk: &mut Desk<'_>) -> Result<()> {
        let unread = std::mem::take(&mut self.unread);
        let mut used = 0;
        while self.socket.is_some() {
            match mqtt_wire::packet(&unread[used..]) {
                Ok(Some((packet, length))) => {
                    used += length;
                    if !self.take(packet, desk)? {
                        desk.counts.strange_packets += 1;
                        self.lose(desk);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    desk.counts.strange_packets += 1;
                    self.lose(desk);
                }
            }
        }
        if self.socket.is_some() {
            self.unread = unread[used..].to_vec();
        }
        Ok(())
    }

    /// Acts on a packet; false if the server may not send it here.
    fn take(&mut self, packet: Packet<'_>, desk: &mut Desk<'_>) -> Result<bool> {
        let kind = packet.kind();
        if let State::Asking { .. } = self.state {
            let (Some(flags), Some(0)) = (packet.body.first(), packet.body.get(1)) else { return Ok(false) };
            if kind != 2 {
                return Ok(false);
            }
            self.connected(flags & 1 == 1, desk)?;
            return Ok(true);
        }
        let reason = |at: usize| packet.body.get(at).copied().unwrap_or(0);
        match kind {
            4 | 5 | 7 => {
                let Ok(id) = packet.u16_at(0) else { return Ok(false) };
                self.answered(kind, id, reason(2), desk)
            }
            13 => Ok(true),
            14 => {
                desk.counts.farewell(reason(0));
                self.lose(desk);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// PUBACK (4), PUBREC (5) or PUBCOMP (7).
    fn answered(&mut self, kind: u8, id: u16, reason: u8, desk: &mut Desk<'_>) -> Result<bool> {
        let Some(at) = self.open.iter().position(|open| open.id == id) else {
            desk.counts.stray_acks += 1;
            return Ok(true);
        };
        let open = self.open[at];
        match (kind, self.kind.qos, open.received) {
            (4, 1, _) | (5, 2, false) if reason >= 0x80 => {
                desk.book.nacked(self.index, open.sequence, reason, desk.now_ns)?;
                desk.counts.nacked(reason);
                self.open.remove(at);
            }
            (4, 1, _) => {
                self.acked(&open, desk)?;
                self.open.remove(at);
            }
            (5, 2, received) => {
                if !received {
                    self.acked(&open, desk)?;
                    self.open[at].received = true;
                }
                mqtt_wire::put_pubrel(&mut self.unsent, id);
            }
            (7, 2, true) => drop(self.open.remove(at)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn acked(&mut self, open: &Open, desk: &mut Desk<'_>) -> Result<()> {
        desk.book.acked(self.index, open.sequence, 1, desk.now_ns)?;
        desk.counts.acked(self.index, open.first_ns, desk.now_ns);
        Ok(())
    }

    fn flush(&mut self, desk: &mut Desk<'_>) {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.unsent.is_empty()) else { return };
        match socket.write(&self.unsent) {
            Ok(count) => {
                self.unsent.drain(..count);
                self.said_ns = desk.now_ns;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.lose(desk),
        }
    }

    /// The connection is gone.
    fn lose(&mut self, desk: &mut Desk<'_>) {
        if self.socket.take().is_some() && self.state == State::Active {
            // What ended it may be younger than this round.
            desk.counts.disconnected(self.index, mono_ns());
        }
        self.wait(desk);
    }

    fn wait(&mut self, desk: &mut Desk<'_>) {
        self.unsent.clear();
        self.unread.clear();
        self.state = State::Down { until_ns: desk.now_ns + PAUSE_NS + self.random.below(JITTER_NS) };
    }
}

/// Makes the book know all clients.
pub(super) fn introduce(kinds: &[Kind], book: &mut BookWriter) -> Result<()> {
    (0_u32..).zip(kinds).try_for_each(|(index, kind)| book.client(index, kind.qos))
}
