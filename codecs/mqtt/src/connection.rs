//! A server's side of one connection: what a client may send now, and what it is told.
//!
//! ```text
//! new -> AwaitConnect --CONNECT--> Answering --accept--> Active --DISCONNECT, fail, disconnect--> Closing
//!             |                        |
//!             +-------- refuse, fail --+---------------------------------------------------------> Closing
//! ```
//!
//! Bytes and milliseconds go in; packets, bytes and a deadline come out. The caller frames what it receives with
//! [`frame::split`](crate::frame::split) and gives each frame to [`ServerConnection::handle_frame`]. Packet ids of
//! publications, QoS 2 states and resends belong to the session, which outlives this.
//!
//! Plain data, some 130 bytes without topic aliases, so thousands of idle connections cost little and one may move to
//! another thread at any time.

mod alias;
mod handshake;
mod inflight;
mod keepalive;

pub use alias::{Alias, InboundAliases, OutboundAliases};
pub use handshake::{Accepted, Peer};
pub use inflight::{Inbound, PacketIds};
pub use keepalive::KeepAlive;

use handshake::{Answering, AwaitConnect, check_auth, check_disconnect, put_disconnect};

use crate::topic::{self, Shared};
use crate::{Error, Frame, Packet, PacketType, Publish, QoS, ReasonCode, Subscribe, Unsubscribe, Version};

/// What a server accepts from a client and, in MQTT 5.0, announces to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to a whole CONNECT, and on to the end of enhanced authentication if there is one.
    pub connect_timeout_ms: u64,
    /// The longest packet, headers included. Enforced by [`frame::split`](crate::frame::split), announced here.
    pub packet_bytes_max: u32,
    /// How many publications with QoS > 0 a client of MQTT 5.0 may have open; 1 to 65,535.
    pub receive_maximum: u16,
    /// The highest topic alias of a client; 0 = none.
    pub topic_alias_maximum: u16,
    /// The longest keep alive of a client of MQTT 5.0; 0 = any, none included.
    pub keepalive_max_s: u16,
    /// The longest topic name or filter.
    pub topic_bytes_max: u16,
    /// The most levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// The highest QoS of a PUBLISH. This and the features below bind clients of MQTT 5.0, which are told of them;
    /// what becomes of the others' requests is the session's affair.
    pub qos_max: QoS,
    /// Whether publications may be retained.
    pub retain_available: bool,
    /// Whether filters may hold wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_id_available: bool,
    /// Whether `$share/` is served.
    pub shared_subscription_available: bool,
}

/// The protocol state of one client connection. See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConnection {
    limits: Limits,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    AwaitConnect(AwaitConnect),
    Answering(Answering),
    Active(Active),
    /// Nothing is read or written any more.
    Closing(Option<Peer>),
}

impl ServerConnection {
    /// A connection that was opened at `now_ms`. All times are of one monotonic clock.
    pub fn new(now_ms: u64, limits: &Limits) -> Self {
        Self { limits: *limits, state: State::AwaitConnect(AwaitConnect::new(now_ms, limits)) }
    }

    /// Decodes a packet and checks that it may come now.
    ///
    /// A PUBLISH with a topic alias is returned as it came, perhaps with an empty topic; [`topic`](Self::topic) knows its
    /// name until the next call. A DISCONNECT ends the conversation: no frame is taken after it.
    ///
    /// While [`wants_frames`](Self::wants_frames) is false, frames are to be kept; one given here is refused.
    ///
    /// # Errors
    /// The packet must not be processed; give the error to [`fail`](Self::fail) and close.
    #[inline]
    pub fn handle_frame<'a>(&mut self, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
        // The packet that comes a million times a second takes the short way: it is written once, into the result.
        if let State::Active(active) = &mut self.state
            && frame.first >> 4 == PacketType::Publish as u8
        {
            let publish = Publish::decode(active.peer.version, frame)?;
            active.publish(&self.limits, &publish)?;
            return Ok(Packet::Publish(publish));
        }
        self.handle_other(frame)
    }

    fn handle_other<'a>(&mut self, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
        let packet = match &mut self.state {
            State::Active(active) => active.handle(&self.limits, frame)?,
            State::AwaitConnect(waiting) => {
                let (connect, answering) = waiting.handle(&self.limits, frame)?;
                self.state = State::Answering(answering);
                return Ok(Packet::Connect(connect));
            }
            State::Answering(answering) => answering.handle(frame)?,
            State::Closing(_) => return Err(closed()),
        };
        if let Packet::Disconnect(_) = &packet {
            self.state = State::Closing(self.peer().copied());
        }
        Ok(packet)
    }

    /// Whether frames may be given to [`handle_frame`](Self::handle_frame). False between a CONNECT and its answer, unless
    /// the client takes part in its authentication, and after the end.
    pub fn wants_frames(&self) -> bool {
        match &self.state {
            State::AwaitConnect(_) | State::Active(_) => true,
            State::Answering(answering) => answering.auth_method.is_some(),
            State::Closing(_) => false,
        }
    }

    /// Lets the client in: appends the CONNACK, with all limits if its version can say them. Keep-alive begins.
    ///
    /// Only between a CONNECT and its answer; at any other time nothing happens.
    pub fn accept(&mut self, now_ms: u64, accepted: &Accepted<'_>, out: &mut Vec<u8>) {
        self.state = match std::mem::replace(&mut self.state, State::Closing(None)) {
            State::Answering(answering) => State::Active(answering.accept(now_ms, &self.limits, accepted, out)),
            other => other,
        };
    }

    /// Turns the client away: appends a CONNACK with `reason`, or with the nearest thing its version can say, or nothing
    /// where there is no such thing or where the client's version is not known. Then close.
    pub fn refuse(&mut self, reason: ReasonCode, reason_string: Option<&str>, out: &mut Vec<u8>) {
        match &self.state {
            State::AwaitConnect(waiting) => waiting.refuse(reason, reason_string, out),
            State::Answering(answering) => answering.refuse(reason, reason_string, out),
            State::Active(_) | State::Closing(_) => return,
        }
        self.state = State::Closing(self.peer().copied());
    }

    /// Ends the conversation: appends a DISCONNECT, which only MQTT 5.0 has, or refuses a client that is not in yet.
    /// Then close.
    pub fn disconnect(&mut self, reason: ReasonCode, reason_string: Option<&str>, out: &mut Vec<u8>) {
        match &self.state {
            // [MQTT-3.14.0-1]
            State::AwaitConnect(_) | State::Answering(_) => self.refuse(reason, reason_string, out),
            State::Active(active) => {
                put_disconnect(&active.peer, reason, reason_string, out);
                self.state = State::Closing(Some(active.peer));
            }
            State::Closing(_) => {}
        }
    }

    /// Ends the conversation because of `error`, which says what to tell the client. Then close.
    pub fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        // [MQTT-4.13.1-1], [MQTT-4.13.2-1]
        self.disconnect(error.reason, Some(error.what), out);
    }

    /// One or more packets arrived, or the caller reads again after it had stopped: the keep-alive timer starts anew.
    #[inline]
    pub fn received(&mut self, now_ms: u64) {
        if let State::Active(active) = &mut self.state {
            active.keep_alive.heard(now_ms);
        }
    }

    /// `n` publications of the client are acknowledged to the end: PUBACK, PUBCOMP or a failing PUBREC was written.
    #[inline]
    pub fn inbound_done(&mut self, n: u32) {
        if let State::Active(active) = &mut self.state {
            active.inbound.done(n);
        }
    }

    /// How many publications with QoS > 0 the client has open.
    pub fn inbound_open(&self) -> u32 {
        self.active().map_or(0, |active| active.inbound.open())
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to say; moves whenever anything else was called.
    #[inline]
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::AwaitConnect(waiting) => Some(waiting.deadline_ms),
            State::Answering(answering) => answering.deadline_ms(),
            State::Active(active) => active.keep_alive.deadline_ms(),
            State::Closing(_) => None,
        }
    }

    /// The error of a client that has been silent for too long, once the deadline is over. Give it to
    /// [`fail`](Self::fail) and close.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Option<Error> {
        if self.deadline_ms().is_none_or(|deadline| now_ms < deadline) {
            return None;
        }
        Some(match &self.state {
            // [MQTT-3.1.2-22]
            State::Active(_) => Error::limit(ReasonCode::KeepAliveTimeout, "MQTT-3.1.2-22", "silent for too long"),
            _ => Error::limit(ReasonCode::UnspecifiedError, "MQTT5 3.1.4", "not connected in time"),
        })
    }

    /// The name of a publication's topic, its alias resolved. `publish` is the last packet that
    /// [`handle_frame`](Self::handle_frame) returned.
    #[inline]
    pub fn topic<'t>(&'t self, publish: &Publish<'t>) -> &'t str {
        if publish.topic.is_empty() {
            return self.active().map_or("", |active| active.aliases.topic(publish.properties.topic_alias));
        }
        publish.topic
    }

    /// Changes whenever one of the client's topic aliases comes to mean another topic.
    pub fn alias_generation(&self) -> u32 {
        self.active().map_or(0, |active| active.aliases.generation())
    }

    /// The version of the connection, once a CONNECT has named it.
    pub fn version(&self) -> Option<Version> {
        self.peer().map(|peer| peer.version)
    }

    /// What the client said about itself, once a CONNECT has.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::AwaitConnect(_) => None,
            State::Answering(answering) => Some(&answering.peer),
            State::Active(active) => Some(&active.peer),
            State::Closing(peer) => peer.as_ref(),
        }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The keep alive that was agreed, in seconds; 0 = none, or not agreed yet.
    pub fn keep_alive_s(&self) -> u16 {
        self.active().map_or(0, |active| active.keep_alive.interval_s())
    }

    /// Whether the client has been let in and not yet left.
    pub fn is_active(&self) -> bool {
        self.active().is_some()
    }

    /// Whether the conversation is over: send what was appended, then close.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_))
    }

    #[inline]
    fn active(&self) -> Option<&Active> {
        match &self.state {
            State::Active(active) => Some(active),
            _ => None,
        }
    }
}

#[cold]
fn closed() -> Error {
    Error::protocol("MQTT-3.14.4-1", "a packet after the end of the conversation")
}

/// A client that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Active {
    peer: Peer,
    keep_alive: KeepAlive,
    inbound: Inbound,
    aliases: InboundAliases,
    auth_method: Option<Box<str>>,
}

impl Active {
    fn new(now_ms: u64, keep_alive_s: u16, peer: Peer, auth_method: Option<Box<str>>) -> Self {
        Self {
            peer,
            keep_alive: KeepAlive::new(keep_alive_s, now_ms),
            inbound: Inbound::default(),
            aliases: InboundAliases::default(),
            auth_method,
        }
    }

    #[inline]
    fn handle<'a>(&mut self, limits: &Limits, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
        let packet = crate::decode(self.peer.version, frame)?;
        match &packet {
            Packet::Publish(publish) => self.publish(limits, publish)?,
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) | Packet::PingReq => {}
            Packet::Subscribe(subscribe) => self.subscribe(limits, subscribe)?,
            Packet::Unsubscribe(unsubscribe) => unsubscribe_within(limits, unsubscribe)?,
            Packet::Disconnect(disconnect) => check_disconnect(&self.peer, disconnect)?,
            Packet::Auth(auth) => check_auth(self.auth_method.as_deref(), auth.method)?,
            // [MQTT-3.1.0-2]
            Packet::Connect(_) => return Err(Error::protocol("MQTT-3.1.0-2", "a second CONNECT")),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Error::protocol("MQTT5 2.1.2", "a packet that only a server sends"));
            }
        }
        Ok(packet)
    }

    #[inline]
    fn publish(&mut self, limits: &Limits, publish: &Publish<'_>) -> Result<(), Error> {
        if !topic::within(publish.topic, limits.topic_bytes_max, limits.topic_levels_max) {
            return Err(long_topic(ReasonCode::TopicNameInvalid));
        }
        if self.peer.version.is_v5() {
            self.publish_v5(limits, publish)?;
        }
        if publish.qos > QoS::AtMostOnce {
            let maximum = self.peer.version.is_v5().then_some(limits.receive_maximum);
            self.inbound.arrived(maximum)?;
        }
        Ok(())
    }

    #[inline]
    fn publish_v5(&mut self, limits: &Limits, publish: &Publish<'_>) -> Result<(), Error> {
        // [MQTT-3.2.2-11]
        if publish.qos > limits.qos_max {
            return Err(Error::limit(ReasonCode::QoSNotSupported, "MQTT-3.2.2-11", "the QoS is not supported"));
        }
        // [MQTT-3.2.2-14]
        if publish.retain && !limits.retain_available {
            return Err(Error::limit(ReasonCode::RetainNotSupported, "MQTT-3.2.2-14", "RETAIN is not supported"));
        }
        // [MQTT-3.3.4-6]
        if publish.properties.has_subscription_id() {
            return Err(Error::protocol("MQTT-3.3.4-6", "a client sent a subscription identifier"));
        }
        if publish.properties.topic_alias != 0 {
            let alias = publish.properties.topic_alias;
            self.aliases.resolve(alias, publish.topic, limits.topic_alias_maximum)?;
        }
        Ok(())
    }

    fn subscribe(&self, limits: &Limits, subscribe: &Subscribe<'_>) -> Result<(), Error> {
        let is_v5 = self.peer.version.is_v5();
        if is_v5 && subscribe.subscription_id != 0 && !limits.subscription_id_available {
            return Err(Error::limit(
                ReasonCode::SubscriptionIdentifiersNotSupported,
                "MQTT5 3.2.2.3.12",
                "subscription identifiers are not supported",
            ));
        }
        for subscription in subscribe.subscriptions() {
            filter_within(limits, subscription.filter)?;
            if is_v5 {
                check_features(limits, subscription.filter)?;
            }
        }
        Ok(())
    }
}

fn check_features(limits: &Limits, filter: &str) -> Result<(), Error> {
    if !limits.wildcard_subscription_available && topic::has_wildcard(filter) {
        return Err(Error::limit(
            ReasonCode::WildcardSubscriptionsNotSupported,
            "MQTT5 3.2.2.3.11",
            "wildcard subscriptions are not supported",
        ));
    }
    if !limits.shared_subscription_available && Shared::parse(filter)?.is_some() {
        return Err(Error::limit(
            ReasonCode::SharedSubscriptionsNotSupported,
            "MQTT5 3.2.2.3.13",
            "shared subscriptions are not supported",
        ));
    }
    Ok(())
}

fn unsubscribe_within(limits: &Limits, unsubscribe: &Unsubscribe<'_>) -> Result<(), Error> {
    unsubscribe.filters().try_for_each(|filter| filter_within(limits, filter))
}

fn filter_within(limits: &Limits, filter: &str) -> Result<(), Error> {
    if topic::within(filter, limits.topic_bytes_max, limits.topic_levels_max) {
        return Ok(());
    }
    Err(long_topic(ReasonCode::TopicFilterInvalid))
}

#[cold]
fn long_topic(reason: ReasonCode) -> Error {
    Error::limit(reason, "MQTT5 4.7.3", "a topic is longer or deeper than this server accepts")
}
