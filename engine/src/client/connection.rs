//! One connection of a client, as a pure machine: bytes and milliseconds go in; happenings, bytes and a deadline come out.
//!
//! ```text
//! new -> AwaitConnAck --CONNACK--> Active --disconnect--> Over        a Fault leads to Over from anywhere
//! ```
//!
//! Whoever drives it writes what [`output`](Connection::output) holds, gives what it reads to
//! [`receive`](Connection::receive), and then asks [`poll`](Connection::poll) until there is nothing more. A message is
//! acknowledged when it is handed out, so a driver that has done its work on it before it writes again never
//! acknowledges what it has not done.

mod active;
mod fault;

pub use active::{Message, Refusal};
pub use fault::Fault;

use mqtt::frame::{Split, split};
use mqtt::{ConnAck, Connect, ConnectProperties, Disconnect, Packet, PacketType, Publish, QoS, ReasonCode};
use mqtt::{Options as SubscribeOptions, Subscription, Version, decode};

use active::Active;

/// How long a server may take to answer a CONNECT.
const CONNACK_MS: u64 = 10_000;

/// The longest packet there is; a client for trying things takes them all.
const PACKET_BYTES_MAX: u32 = 268_435_460;

/// How many publications with QoS > 0 a client has open at most, in either direction.
const OPEN_MAX: u16 = 100;

/// Who a client says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The version to speak.
    pub version: Version,
    /// Names the session.
    pub client_id: String,
    /// Ask the server to keep the session when the connection ends, and continue it if there is one.
    pub keep_session: bool,
    /// Seconds within which the client sends something; 0 = it promises nothing.
    pub keep_alive_s: u16,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
}

/// What a server's packet means to its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The server let the client in.
    Connected {
        /// It has kept a session of this client id.
        session_present: bool,
    },
    /// A publication is acknowledged to the end.
    Acknowledged {
        /// As [`Connection::publish`] gave it.
        packet_id: u16,
        /// What has become of it; failures too.
        reason: ReasonCode,
        /// The server's words on it.
        text: Option<String>,
    },
    /// A SUBSCRIBE is answered.
    Subscribed {
        /// As [`Connection::subscribe`] gave it.
        packet_id: u16,
        /// One for each filter, in order.
        reasons: Vec<ReasonCode>,
    },
    /// A publication for this client.
    Message(Message),
}

/// Which way a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Sent,
    /// From it.
    Received,
}

/// Is shown every packet, for people who want to see them.
pub type Packets = fn(Way, &Packet<'_>);

/// See the module's head.
#[derive(Debug)]
pub struct Connection {
    version: Version,
    state: State,
    received: Vec<u8>,
    /// Bytes of `received` that have been dealt with.
    done: usize,
    output: Output,
}

#[derive(Debug)]
enum State {
    AwaitConnAck(AwaitConnAck),
    Active(Active),
    Over,
}

#[derive(Debug)]
struct AwaitConnAck {
    deadline_ms: u64,
    /// What was asked for; the server may want another one.
    keep_alive_s: u16,
}

impl Connection {
    /// A connection that was opened at `now_ms`; its CONNECT waits to be written. All times are of one monotonic clock.
    pub fn new(now_ms: u64, options: &Options, packets: Option<Packets>) -> Self {
        let mut output = Output { bytes: Vec::new(), version: options.version, packets };
        output.put(&Packet::Connect(connect(options)));
        let waiting =
            AwaitConnAck { deadline_ms: now_ms.saturating_add(CONNACK_MS), keep_alive_s: options.keep_alive_s };
        let state = State::AwaitConnAck(waiting);
        Self { version: options.version, state, received: Vec::new(), done: 0, output }
    }

    /// Takes what was read.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.drain(..self.done);
        self.done = 0;
        self.received.extend_from_slice(bytes);
    }

    /// The next thing that happened, if the bytes received so far hold one.
    ///
    /// # Errors
    /// After which the connection is over.
    pub fn poll(&mut self, now_ms: u64) -> Result<Option<Happening>, Fault> {
        loop {
            let before = self.done;
            let happened = self.step(now_ms).inspect_err(|_| self.state = State::Over)?;
            // A packet that means nothing to the caller was dealt with if the cursor has moved.
            if happened.is_some() || self.done == before {
                return Ok(happened);
            }
        }
    }

    /// Deals with one packet, if there is a whole one.
    fn step(&mut self, now_ms: u64) -> Result<Option<Happening>, Fault> {
        let Self { version, state, received, done, output } = self;
        let rest = received.get(*done..).unwrap_or_default();
        // Looked at before its length, which means nothing if this is not MQTT.
        if let (State::AwaitConnAck(_), Some(&first)) = (&*state, rest.first())
            && first != PacketType::ConnAck.first()
        {
            return Err(Fault::NotMqtt);
        }
        let frame = match split(rest, PACKET_BYTES_MAX) {
            Ok(Split::Whole(frame)) => frame,
            Ok(Split::Need(_)) => return Ok(None),
            Err(error) => return Err(Fault::Malformed(error)),
        };
        let packet = decode(*version, frame).map_err(Fault::Malformed)?;
        *done += frame.len;
        output.show(Way::Received, &packet);
        match state {
            State::AwaitConnAck(waiting) => {
                let Packet::ConnAck(answer) = &packet else { return Err(Fault::NotMqtt) };
                let active = waiting.accepted(now_ms, answer)?;
                *state = State::Active(active);
                Ok(Some(Happening::Connected { session_present: answer.session_present }))
            }
            State::Active(active) => active.handle(now_ms, &packet, output),
            State::Over => Ok(None),
        }
    }

    /// Publishes. The packet id, 0 at QoS 0, comes back with its [`Happening::Acknowledged`].
    ///
    /// # Errors
    /// If the server would not take it, or not yet.
    pub fn publish(
        &mut self,
        now_ms: u64,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<u16, Refusal> {
        let properties = mqtt::PublishProperties::default();
        let mut publish = Publish { dup: false, qos, retain, topic, packet_id: 0, properties, payload };
        let State::Active(active) = &mut self.state else { return Err(Refusal::NotConnected) };
        active.publish(now_ms, &mut publish, &mut self.output)?;
        Ok(publish.packet_id)
    }

    /// Asks for the publications that match any of `filters`, which are valid and not none. The packet id comes back with
    /// its [`Happening::Subscribed`].
    ///
    /// # Errors
    /// If too much is open.
    pub fn subscribe(&mut self, now_ms: u64, filters: &[String], qos: QoS) -> Result<u16, Refusal> {
        let State::Active(active) = &mut self.state else { return Err(Refusal::NotConnected) };
        let packet_id = active.subscribe(now_ms)?;
        let subscription = |filter| Subscription { filter, options: SubscribeOptions::at(qos) };
        let subscriptions: Vec<Subscription<'_>> = filters.iter().map(|filter| subscription(filter)).collect();
        self.output.put_with(|version, out| mqtt::encode_subscribe(version, packet_id, 0, &subscriptions, out));
        Ok(packet_id)
    }

    /// Says goodbye. What was not acknowledged by then never will be.
    pub fn disconnect(&mut self) {
        if let State::Active(_) = self.state {
            self.output.put(&Packet::Disconnect(Disconnect::of(ReasonCode::Success)));
        }
        self.state = State::Over;
    }

    /// How many publications may be sent now.
    pub fn window(&self) -> usize {
        self.active().map_or(0, Active::window)
    }

    /// How many publications are not acknowledged to the end.
    pub fn open(&self) -> usize {
        self.active().map_or(0, Active::open)
    }

    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        &self.output.bytes
    }

    /// The first `n` bytes of [`output`](Self::output) were written.
    pub fn written(&mut self, n: usize) {
        self.output.bytes.drain(..n.min(self.output.bytes.len()));
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; moves whenever anything else was called.
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::AwaitConnAck(waiting) => Some(waiting.deadline_ms),
            State::Active(active) => active.deadline_ms(),
            State::Over => None,
        }
    }

    /// The deadline may be over: sends a PINGREQ, or gives up on a silent server.
    ///
    /// # Errors
    /// After which the connection is over.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), Fault> {
        if self.deadline_ms().is_none_or(|deadline| now_ms < deadline) {
            return Ok(());
        }
        let outcome = match &mut self.state {
            State::Active(active) => active.handle_timeout(now_ms, &mut self.output),
            State::AwaitConnAck(_) => Err(Fault::Silent { to: PacketType::Connect, ms: CONNACK_MS }),
            State::Over => Ok(()),
        };
        outcome.inspect_err(|_| self.state = State::Over)
    }

    /// Whether the server let the client in and neither side has ended it.
    pub fn is_active(&self) -> bool {
        self.active().is_some()
    }

    fn active(&self) -> Option<&Active> {
        match &self.state {
            State::Active(active) => Some(active),
            State::AwaitConnAck(_) | State::Over => None,
        }
    }
}

fn connect(options: &Options) -> Connect<'_> {
    let session_expiry_s = if options.keep_session { u32::MAX } else { 0 };
    Connect {
        version: options.version,
        clean_start: !options.keep_session,
        keep_alive_s: options.keep_alive_s,
        client_id: &options.client_id,
        will: None,
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        properties: ConnectProperties { session_expiry_s, receive_maximum: OPEN_MAX, ..Default::default() },
    }
}

impl AwaitConnAck {
    fn accepted(&self, now_ms: u64, answer: &ConnAck<'_>) -> Result<Active, Fault> {
        if answer.reason != ReasonCode::Success {
            let text = answer.properties.reason_string.map(str::to_owned);
            return Err(Fault::Refused { reason: answer.reason, text });
        }
        // [MQTT-3.1.2-21]
        let keep_alive_s = answer.properties.server_keep_alive_s.unwrap_or(self.keep_alive_s);
        Ok(Active::new(now_ms, keep_alive_s, &answer.properties))
    }
}

/// Packets on their way to the socket.
#[derive(Debug)]
struct Output {
    bytes: Vec<u8>,
    version: Version,
    packets: Option<Packets>,
}

impl Output {
    fn put(&mut self, packet: &Packet<'_>) {
        self.show(Way::Sent, packet);
        packet.encode(self.version, &mut self.bytes);
    }

    /// For packets that the codec encodes from something else than a [`Packet`].
    fn put_with(&mut self, encode: impl FnOnce(Version, &mut Vec<u8>)) {
        let from = self.bytes.len();
        encode(self.version, &mut self.bytes);
        let written = self.bytes.get(from..).unwrap_or_default();
        if let (Some(packets), Ok(Split::Whole(frame))) = (self.packets, split(written, PACKET_BYTES_MAX))
            && let Ok(packet) = decode(self.version, frame)
        {
            packets(Way::Sent, &packet);
        }
    }

    fn show(&self, way: Way, packet: &Packet<'_>) {
        if let Some(packets) = self.packets {
            packets(way, packet);
        }
    }
}

#[cfg(test)]
mod tests;
