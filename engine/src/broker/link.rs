//! One link: the life of a socket to a broker, as the shard sees it.
//!
//! ```text
//! Down ── dial ──> Dialling ── LinkUp ──> Negotiating ── ApiVersions, SASL ──> Ready ⟲ SASL again
//!   ^                  │                       │                                 │
//!   └──── LinkDown ────┴───────────────────────┴────────── Closing <─────────────┘  silent, refused, or not Kafka
//! ```
//!
//! A link that has gone down is dialled again at once, but no two dials of it begin within `reconnect_delay`. Names are
//! looked up by the driver at every dial.
//!
//! A broker may limit how long a login lasts (KIP-368). Well before the end we log in again on the same link: what is open is
//! answered first, new requests wait until the broker has consented. Where a library finds what to say, it is asked before that,
//! while requests go on: it may have to wait for a server of its own.
//!
//! Left out: what is asked over a link and why ([`super::Cluster`] for questions about the cluster, the sink for records).

use std::collections::VecDeque;

use kafka::connection::{BrokerConnection, Event, LinkError};
use kafka::message::ApiKey;
use kafka::sasl::scram::Salted;
use kafka::sasl::{Exchange, Mechanism, Question};

use crate::clock::Mono;
use crate::shard::io::{BrokerAddr, Io, LinkKey, LoginAnswer, LoginQuestion, Request};

/// What brokers show as the version of the software that talks to them.
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A leader whose answer is this late counts as not answering.
const ANSWERS_WITHIN_NS: u64 = 1_000_000_000;
/// The part of a login's life after which we log in again, in percent: what is left is for requests that wait before ours,
/// and for a broker whose clock runs faster. Java's client waits as long.
const LOGIN_PERCENT: u64 = 85;
/// Least time between two logins on a link: a broker refuses another within a second of the last (KIP-368).
const LOGIN_PAUSE_MS: u64 = 1_050;
/// Before the library is asked again that had nothing to say.
const LIBRARY_PAUSE_MS: u64 = 5_000;

/// How long things may take on a link, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the dial until the handshake is over, TLS and SASL included.
    pub connect_timeout_ms: u64,
    /// Silence with an open Produce.
    pub request_timeout_ms: u64,
    /// Silence with an open question about the cluster.
    pub question_timeout_ms: u64,
    /// Between the beginnings of two dials.
    pub reconnect_delay_ms: u64,
}

/// What a request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A step of the handshake: the versions a broker speaks, or who we are.
    Handshake,
    /// Topics and brokers.
    Metadata,
    /// How large batches topics take.
    Limits,
    /// A producer id.
    ProducerId,
    /// To store records.
    Produce,
    /// Nothing, but whether anybody is there.
    Probe,
}

#[derive(Debug)]
struct Open {
    correlation: i32,
    asked: Asked,
    since: Mono,
}

#[derive(Debug)]
enum State {
    Down,
    Dialling {
        key: LinkKey,
    },
    Negotiating {
        key: LinkKey,
        conn: Box<BrokerConnection>,
    },
    Ready {
        key: LinkKey,
        conn: Box<BrokerConnection>,
        /// When to log in again; `None` if the login lasts for ever.
        login_at: Option<Mono>,
    },
    /// Given up by us; `LinkDown` has not come yet.
    Closing {
        key: LinkKey,
    },
}

/// What a response turned out to be.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A step of the handshake.
    Handshake,
    /// The handshake is over, or a later login.
    Ready(Welcome),
    /// The answer to a request.
    Answer {
        /// What was asked.
        asked: Asked,
        /// At which version.
        version: i16,
        /// For the API's decoder.
        body: &'a [u8],
    },
}

/// What the end of a handshake brought.
#[derive(Debug)]
pub struct Welcome {
    /// Whether we have proven who we are.
    pub logged_in: bool,
    /// What the next login need not compute again.
    pub salted: Option<Salted>,
}

/// Why a link is of no use any more.
#[derive(Debug)]
pub enum LinkFault {
    /// Broker and we could not prove to each other who we are.
    Login(kafka::sasl::Fault),
    /// For people: what is wrong with what the broker sent.
    Answer(String),
}

/// What an answer of the library came to that was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The link waited for it, and is of no use.
    Lost,
    /// The link goes on with the login it has, and will ask again.
    Later,
}

impl LinkFault {
    fn unasked() -> Self {
        Self::Answer("an answer without a question".to_string())
    }
}

impl From<LinkError> for LinkFault {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Authentication(fault) => Self::Login(fault),
            other => Self::Answer(other.to_string()),
        }
    }
}

/// What a request on a ready link is to be encoded with, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// The link's key.
    pub key: LinkKey,
    /// The id the response will carry.
    pub correlation: i32,
    /// The version agreed for the API.
    pub version: i16,
}

/// A link to one broker.
#[derive(Debug)]
pub struct Link {
    state: State,
    /// Requests without an answer, oldest first.
    open: VecDeque<Open>,
    /// When the broker last said something.
    heard: Mono,
    /// No dial before.
    dial_at: Mono,
    /// When the handshake of the last dial has to be over.
    connect_until: Mono,
    /// The broker asked us to stay quiet until then.
    quiet_until: Mono,
    /// What was dialled last.
    to: Option<BrokerAddr>,
    /// It carries a partition that this shard owns, so it is to be up.
    pub wanted: bool,
}

impl Default for Link {
    /// A link that may be dialled at once.
    fn default() -> Self {
        Self {
            state: State::Down,
            open: VecDeque::new(),
            heard: Mono::default(),
            dial_at: Mono::default(),
            connect_until: Mono::default(),
            quiet_until: Mono::default(),
            to: None,
            wanted: false,
        }
    }
}

impl Link {
    /// Whether `key` is this link's.
    pub fn is(&self, key: LinkKey) -> bool {
        match &self.state {
            State::Down => false,
            State::Dialling { key: own }
            | State::Negotiating { key: own, .. }
            | State::Ready { key: own, .. }
            | State::Closing { key: own } => *own == key,
        }
    }

    /// Whether requests can be sent now.
    #[inline]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether it is down and nothing has been started to change that.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Whether we have given it up and wait for its end.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    /// Whether requests can be sent: the broker has not asked for quiet, and we are not logging in again.
    #[inline]
    pub fn takes_requests(&self, now: Mono) -> bool {
        self.takes_questions() && now >= self.quiet_until
    }

    /// The version in which requests of an API would be sent; `None` while none can be, and of an API that is not common.
    pub fn version(&self, api: ApiKey) -> Option<i16> {
        let State::Ready { conn, .. } = &self.state else { return None };
        conn.versions()?.of(api).ok()
    }

    /// Whether questions can be sent.
    #[inline]
    pub fn takes_questions(&self) -> bool {
        matches!(&self.state, State::Ready { conn, .. } if !conn.is_authenticating())
    }

    /// Whether the broker has let no question wait for more than a second.
    pub fn answers(&self, now: Mono) -> bool {
        self.is_ready() && self.silent_ns(now).is_none_or(|ns| ns < ANSWERS_WITHIN_NS)
    }

    /// How long the broker has said nothing while a question was open, nanoseconds; `None` if it owes no answer.
    pub fn silent_ns(&self, now: Mono) -> Option<u64> {
        self.open.front().map(|oldest| now.since(self.heard.max(oldest.since)))
    }

    /// Begins to connect.
    pub fn dial(&mut self, now: Mono, to: &BrokerAddr, patience: &Patience, io: &mut impl Io) {
        self.state = State::Dialling { key: io.dial(to) };
        self.to = Some(to.clone());
        self.dial_at = now.plus_ms(patience.reconnect_delay_ms);
        self.connect_until = now.plus_ms(patience.connect_timeout_ms);
        self.quiet_until = now;
    }

    /// The socket stands: the handshake begins, with a `login` if one is asked of us.
    pub fn on_up(&mut self, now: Mono, client_id: &str, login: Option<Exchange>, io: &mut impl Io) {
        let State::Dialling { key } = self.state else { return };
        let mut conn = Box::new(BrokerConnection::new(client_id, SOFTWARE_VERSION));
        if let Some(exchange) = login {
            conn.authenticate_with(exchange);
        }
        conn.handle_connected();
        self.heard = now;
        self.state = State::Negotiating { key, conn };
        self.shake(now, io);
    }

    /// A response. An error is the end of the link.
    ///
    /// # Errors
    /// What is wrong with the broker's bytes, or why it and we do not trust each other.
    pub fn on_response<'a>(
        &mut self,
        now: Mono,
        correlation: i32,
        body: &'a [u8],
        io: &mut impl Io,
    ) -> Result<Heard<'a>, LinkFault> {
        self.heard = now;
        let (State::Negotiating { conn, .. } | State::Ready { conn, .. }) = &mut self.state else {
            return Err(LinkFault::unasked());
        };
        let event = conn.handle_frame(body)?;
        let asked = self.close_request(correlation);
        match event {
            Event::Handshake => {
                self.shake(now, io);
                self.ask_library(io);
                Ok(Heard::Handshake)
            }
            Event::Ready => Ok(Heard::Ready(self.become_ready(now))),
            Event::Response(response) => {
                let asked = asked.ok_or_else(LinkFault::unasked)?;
                Ok(Heard::Answer { asked, version: response.version, body: response.body })
            }
        }
    }

    /// A request without an answer has left. That is the kernel's word, not the broker's, which may be silent all the same.
    pub fn on_sent(&mut self, correlation: i32) {
        self.close_request(correlation);
    }

    /// The broker asked for quiet.
    pub fn hush(&mut self, now: Mono, throttle_ms: i32) {
        self.quiet_until = now.plus_ms(u64::try_from(throttle_ms).unwrap_or(0));
    }

    /// The socket is gone.
    pub fn on_down(&mut self) {
        self.state = State::Down;
        self.open.clear();
    }

    /// The next dial waits at least until `at`.
    pub fn rest_until(&mut self, at: Mono) {
        self.dial_at = self.dial_at.max(at);
    }

    /// The next dial need not wait: another address is tried.
    pub fn rest_no_more(&mut self) {
        self.dial_at = Mono::default();
    }

    /// Closes the socket; `LinkDown` follows.
    pub fn close(&mut self, io: &mut impl Io) {
        if let State::Dialling { key } | State::Negotiating { key, .. } | State::Ready { key, .. } = self.state {
            self.state = State::Closing { key };
            io.drop_link(key);
        }
    }

    /// Begins a request, to be given to `Io` before anything else on this link. `answered` as in [`Request`]. `None`: the
    /// link is not ready, or the broker and we have no version of `api` in common.
    pub fn begin(&mut self, now: Mono, api: ApiKey, asked: Asked, answered: bool) -> Option<Begun> {
        let State::Ready { key, conn, .. } = &mut self.state else { return None };
        if conn.is_authenticating() {
            return None;
        }
        let begun = if answered { conn.begin(api) } else { conn.begin_unanswered(api) }.ok()?;
        self.open.push_back(Open { correlation: begun.correlation_id, asked, since: now });
        Some(Begun { key: *key, correlation: begun.correlation_id, version: begun.version })
    }

    /// Whether the broker speaks a version of `api` that we speak; `Err` says which versions there are.
    pub fn speaks(&self, api: ApiKey) -> Result<(), String> {
        match &self.state {
            State::Ready { conn, .. } => match conn.versions() {
                Some(versions) => versions.of(api).map(drop).map_err(|error| error.to_string()),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// When the link has been silent for too long, if nothing is heard until then.
    pub fn silent_at(&self, patience: &Patience) -> Option<Mono> {
        match &self.state {
            State::Negotiating { .. } => Some(self.connect_until),
            State::Ready { .. } => {
                let oldest = self.open.front()?;
                let timeout_ms = match oldest.asked {
                    Asked::Produce => patience.request_timeout_ms,
                    Asked::Handshake | Asked::Metadata | Asked::Limits | Asked::ProducerId | Asked::Probe => {
                        patience.question_timeout_ms
                    }
                };
                Some(self.heard.max(oldest.since).max(self.quiet_until).plus_ms(timeout_ms))
            }
            State::Down | State::Dialling { .. } | State::Closing { .. } => None,
        }
    }

    /// Closes the link if it has been silent for too long; whether it has.
    pub fn close_if_silent(&mut self, now: Mono, patience: &Patience, io: &mut impl Io) -> bool {
        let silent = self.silent_at(patience).is_some_and(|at| at <= now);
        if silent {
            self.close(io);
        }
        silent
    }

    /// When to ask whether anybody is there: nothing was heard for so long, and no question is open that would tell.
    pub fn probe_at(&self, after_ms: u64) -> Option<Mono> {
        let idle = self.takes_questions() && self.open.is_empty();
        idle.then(|| self.heard.plus_ms(after_ms).max(self.quiet_until))
    }

    /// When the quiet ends that the broker asked for.
    pub fn quiet_ends(&self, now: Mono) -> Option<Mono> {
        (self.is_ready() && self.quiet_until > now).then_some(self.quiet_until)
    }

    /// When to log in again, if that is not under way.
    pub fn login_at(&self) -> Option<Mono> {
        match &self.state {
            State::Ready { conn, login_at, .. } if !conn.is_authenticating() => *login_at,
            _ => None,
        }
    }

    /// Logs in again; without an `exchange` a little later.
    pub fn log_in_again(&mut self, now: Mono, exchange: Option<Exchange>, io: &mut impl Io) {
        let State::Ready { conn, login_at, .. } = &mut self.state else { return };
        *login_at = Some(now.plus_ms(LOGIN_PAUSE_MS));
        // A broker that has let us in has what this takes.
        if exchange.is_some_and(|exchange| conn.authenticate_again(exchange).is_ok()) {
            self.shake(now, io);
        }
    }

    /// Finds out what to say first when we log in again; the login begins with the answer.
    pub fn prepare_login(&mut self, io: &mut impl Io) {
        let State::Ready { key, login_at, .. } = &mut self.state else { return };
        *login_at = None;
        let key = *key;
        self.put_question(key, Question::Begin, io);
    }

    /// The library has found what to say next, or has not.
    ///
    /// # Errors
    /// It has not.
    pub fn on_answer(&mut self, now: Mono, answer: Option<LoginAnswer>, io: &mut impl Io) -> Result<(), Unanswered> {
        match (&mut self.state, answer) {
            (State::Ready { conn, login_at, .. }, answer) if !conn.is_authenticating() => {
                let Some(answer) = answer else {
                    *login_at = Some(now.plus_ms(LIBRARY_PAUSE_MS));
                    return Err(Unanswered::Later);
                };
                self.log_in_again(now, Some(Exchange::outside_from(Mechanism::Gssapi, answer.bytes)), io);
                Ok(())
            }
            (State::Negotiating { conn, .. } | State::Ready { conn, .. }, Some(answer)) => {
                conn.handle_answer(&answer.bytes, answer.last);
                self.shake(now, io);
                Ok(())
            }
            (State::Negotiating { .. } | State::Ready { .. }, None) => Err(Unanswered::Lost),
            // Too late.
            (State::Down | State::Dialling { .. } | State::Closing { .. }, _) => Ok(()),
        }
    }

    /// Whether it can go on only when the library has found what to say.
    pub fn awaits_answer(&self) -> bool {
        match &self.state {
            State::Negotiating { conn, .. } | State::Ready { conn, .. } => conn.awaits_answer(),
            State::Down | State::Dialling { .. } | State::Closing { .. } => false,
        }
    }

    /// When it may be dialled, if it is down.
    pub fn dial_at(&self) -> Option<Mono> {
        self.is_down().then_some(self.dial_at)
    }

    /// Sends the next step of the handshake.
    fn shake(&mut self, now: Mono, io: &mut impl Io) {
        let (State::Negotiating { key, conn } | State::Ready { key, conn, .. }) = &mut self.state else { return };
        let Some(head) = conn.poll_transmit() else { return };
        let Some(correlation) = correlation_of(&head) else { return };
        self.open.push_back(Open { correlation, asked: Asked::Handshake, since: now });
        io.request(*key, Request { correlation, head, cuts: Vec::new(), batches: Vec::new(), answered: true });
    }

    /// Asks the library what the broker wants to know.
    fn ask_library(&mut self, io: &mut impl Io) {
        let (State::Negotiating { key, conn } | State::Ready { key, conn, .. }) = &mut self.state else { return };
        let (key, question) = (*key, conn.poll_question());
        if let Some(question) = question {
            self.put_question(key, question, io);
        }
    }

    fn put_question(&self, key: LinkKey, question: Question, io: &mut impl Io) {
        let Some(BrokerAddr { connector, host, .. }) = self.to.clone() else { return };
        io.find_answer(key, LoginQuestion { connector, host, question });
    }

    fn become_ready(&mut self, now: Mono) -> Welcome {
        let state = std::mem::replace(&mut self.state, State::Down);
        let (State::Negotiating { key, mut conn } | State::Ready { key, mut conn, .. }) = state else {
            self.state = state;
            return Welcome { logged_in: false, salted: None };
        };
        let lifetime_ms = conn.session_lifetime_ms();
        let wait_ms = lifetime_ms.map(|ms| (ms.saturating_mul(LOGIN_PERCENT) / 100).max(LOGIN_PAUSE_MS));
        let login_at = wait_ms.map(|ms| now.plus_ms(ms));
        let welcome = Welcome { logged_in: conn.has_authenticated(), salted: conn.take_salted() };
        self.state = State::Ready { key, conn, login_at };
        welcome
    }

    fn close_request(&mut self, correlation: i32) -> Option<Asked> {
        let at = self.open.iter().position(|open| open.correlation == correlation)?;
        self.open.remove(at).map(|open| open.asked)
    }
}

/// The correlation id of an encoded request: after its length, API key and version.
fn correlation_of(head: &[u8]) -> Option<i32> {
    head.get(8..)?.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
