//! One link to a broker as a machine: who asked what, and which answer is whose.
//!
//! ```text
//! handle_connected → ApiVersions (→ SASL) → Ready ─┬─ begin: a correlation id and a version for the next request
//!                                                  └─ handle_bytes, handle_frame: the response it belongs to
//! ```
//!
//! A broker answers the requests of a connection in their order, so the open ones are a queue and its head is the only
//! one a response may name. The machine does not see request bodies: whoever begins a request encodes it with the id and
//! version given here and sends it at once.
//!
//! Invariant: `open` holds exactly the requests that were begun and will be answered, oldest first.
//!
//! With [`BrokerConnection::authenticate_with`] the handshake goes on with SASL, which may come again on a ready link.
//!
//! Left out: bytes on their way out (the link has its own queue), and deadlines.

mod authentication;

use crate::cluster::{NoCommonVersion, Versions};
use crate::frame::{LENGTH_BYTES, frame_bytes};
use crate::message::{ApiKey, api_versions};
use crate::primitive::ReadKafka;
use crate::sasl::scram::Salted;
use crate::sasl::{Exchange, Fault};
use crate::{Error, ErrorCode};
use std::collections::VecDeque;
use std::fmt;
use wire::Reader;

/// The software name brokers show in their metrics (KIP-511).
const SOFTWARE: &str = "aqueduct";

/// One link's handshake and correlation.
#[derive(Debug)]
pub struct BrokerConnection {
    client_id: String,
    software_version: String,
    state: State,
    correlation_next: i32,
    open: VecDeque<Open>,
    transmit: Option<Vec<u8>>,
    /// How the next connection proves who we are.
    login: Option<Exchange>,
    ongoing: Option<authentication::Ongoing>,
    salted: Option<Salted>,
    /// The broker knows who we are.
    authenticated: bool,
    /// As the broker said at the end of the last authentication; 0 for ever.
    session_lifetime_ms: i64,
}

#[derive(Debug)]
enum State {
    /// There is no socket yet.
    Idle,
    /// ApiVersions is under way.
    Negotiating,
    /// Versions are agreed on, and we are proving who we are.
    Authenticating(Versions),
    /// Requests may begin.
    Ready(Versions),
}

/// A request that will be answered.
#[derive(Debug, Clone, Copy)]
struct Open {
    correlation_id: i32,
    api: ApiKey,
    version: i16,
}

/// What a new request is to be encoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The id its response will carry.
    pub correlation_id: i32,
    /// The version agreed for its API.
    pub version: i16,
}

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake asks for another step: see [`BrokerConnection::poll_transmit`].
    Handshake,
    /// The handshake is over; requests may begin.
    Ready,
    /// The answer to the oldest open request.
    Response(Response<'a>),
}

/// A response without its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The id [`BrokerConnection::begin`] gave.
    pub correlation_id: i32,
    /// The API of the request.
    pub api: ApiKey,
    /// The version of the request, so of the body.
    pub version: i16,
    /// For the `decode_response` of the API.
    pub body: &'a [u8],
}

/// What was found at the start of the bytes received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'a> {
    /// Not a whole frame yet: this many bytes more complete it, or its length field.
    Need(usize),
    /// A frame of this many bytes, and what it is.
    Frame(usize, Event<'a>),
}

/// Why a link is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// The broker's bytes are not Kafka's protocol, or not in step with us: close, connect again.
    Protocol(Error),
    /// The broker refuses the handshake.
    Refused(ErrorCode),
    /// The broker lacks an API that nothing works without.
    NoCommonVersion(NoCommonVersion),
    /// We could not prove to the broker who we are, or it could not to us.
    Authentication(Fault),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::Refused(code) => write!(f, "the broker refuses ApiVersions with {code}: {}", code.why()),
            Self::NoCommonVersion(error) => error.fmt(f),
            Self::Authentication(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl BrokerConnection {
    /// A link that is not connected yet. `software_version` appears in the broker's metrics.
    pub fn new(client_id: &str, software_version: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            software_version: software_version.to_owned(),
            state: State::Idle,
            correlation_next: 0,
            open: VecDeque::new(),
            transmit: None,
            login: None,
            ongoing: None,
            salted: None,
            authenticated: false,
            session_lifetime_ms: 0,
        }
    }

    /// The client id every request of this link carries.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What was agreed with the broker, once the handshake is over.
    pub fn versions(&self) -> Option<&Versions> {
        match &self.state {
            State::Ready(versions) => Some(versions),
            State::Idle | State::Negotiating | State::Authenticating(_) => None,
        }
    }

    /// How many requests wait for their answer, the handshake's included.
    pub fn open_requests(&self) -> usize {
        self.open.len()
    }

    /// A socket is connected (and its TLS handshake done): whatever an earlier one left is forgotten, and the handshake
    /// begins.
    pub fn handle_connected(&mut self) {
        self.open.clear();
        self.ongoing = None;
        self.authenticated = false;
        self.session_lifetime_ms = 0;
        self.ask_versions(ApiKey::ApiVersions.api().version_max);
    }

    /// The next bytes of the handshake, to be sent before anything else.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.take()
    }

    /// Begins a request that will be answered. Its bytes must be the next ones sent.
    ///
    /// # Errors
    /// If the broker and we have no version of `api` in common.
    ///
    /// # Panics
    /// Before [`Event::Ready`], when there is no version to encode with, and during an authentication.
    pub fn begin(&mut self, api: ApiKey) -> Result<Begun, NoCommonVersion> {
        let begun = self.begin_unanswered(api)?;
        self.open.push_back(Open { correlation_id: begun.correlation_id, api, version: begun.version });
        Ok(begun)
    }

    /// Begins a request the broker will not answer: Produce with [`crate::message::produce::Acks::None`].
    ///
    /// # Errors
    /// As [`BrokerConnection::begin`].
    ///
    /// # Panics
    /// As [`BrokerConnection::begin`].
    pub fn begin_unanswered(&mut self, api: ApiKey) -> Result<Begun, NoCommonVersion> {
        assert!(matches!(self.state, State::Ready(_)), "a request was begun before the handshake was over");
        assert!(!self.is_authenticating(), "a request was begun during an authentication");
        let version = match &self.state {
            State::Ready(versions) => versions.of(api)?,
            State::Idle | State::Negotiating | State::Authenticating(_) => 0,
        };
        Ok(Begun { correlation_id: self.next_correlation(), version })
    }

    /// Looks at the start of the bytes received. The caller keeps them, drops what a frame took, and asks again until
    /// more are needed.
    pub fn handle_bytes<'a>(&mut self, bytes: &'a [u8]) -> Result<Taken<'a>, LinkError> {
        let Some(frame_len) = frame_bytes(bytes)? else { return Ok(Taken::Need(LENGTH_BYTES - bytes.len())) };
        match bytes.get(LENGTH_BYTES..frame_len) {
            Some(frame) => Ok(Taken::Frame(frame_len, self.handle_frame(frame)?)),
            None => Ok(Taken::Need(frame_len - bytes.len())),
        }
    }

    /// A whole frame without its length field.
    pub fn handle_frame<'a>(&mut self, frame: &'a [u8]) -> Result<Event<'a>, LinkError> {
        let r = &mut Reader::new(frame);
        let got = r.i32().map_err(Error::from)?;
        let oldest = self.open.front().copied();
        let Some(open) = oldest.filter(|open| open.correlation_id == got) else {
            return Err(Error::Correlation { expected: oldest.map(|open| open.correlation_id), got }.into());
        };
        self.open.pop_front();
        r.skip_tagged(open.api.has_response_tags(open.version))?;
        match open.api {
            ApiKey::ApiVersions => self.handle_versions(open.version, r.rest()),
            ApiKey::SaslHandshake => self.on_sasl_handshake(r.rest()),
            ApiKey::SaslAuthenticate => self.on_sasl_authenticate(open.version, r.rest()),
            api => Ok(Event::Response(Response { correlation_id: got, api, version: open.version, body: r.rest() })),
        }
    }

    fn handle_versions(&mut self, version: i16, body: &[u8]) -> Result<Event<'static>, LinkError> {
        let response = api_versions::decode_response(version, body)?;
        if response.error == ErrorCode::UNSUPPORTED_VERSION && version > 0 {
            self.ask_versions(0);
            return Ok(Event::Handshake);
        }
        if !response.error.is_ok() {
            return Err(LinkError::Refused(response.error));
        }
        let versions = Versions::negotiate(response.ranges);
        // Without these two a link serves nobody; better said now than at the first message.
        for api in [ApiKey::Produce, ApiKey::Metadata] {
            versions.of(api).map_err(LinkError::NoCommonVersion)?;
        }
        let Some(exchange) = self.login.take() else {
            self.state = State::Ready(versions);
            return Ok(Event::Ready);
        };
        self.begin_authentication(&versions, exchange).map_err(LinkError::NoCommonVersion)?;
        self.state = State::Authenticating(versions);
        Ok(Event::Handshake)
    }

    /// The authentication of a new link is over; that of a ready link changes nothing.
    fn become_ready(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Authenticating(versions) => State::Ready(versions),
            other => other,
        };
    }

    fn ask_versions(&mut self, version: i16) {
        self.state = State::Negotiating;
        let correlation_id = self.next_correlation();
        let mut out = Vec::new();
        api_versions::encode_request(
            version,
            correlation_id,
            &self.client_id,
            SOFTWARE,
            &self.software_version,
            &mut out,
        );
        self.transmit = Some(out);
        self.open.push_back(Open { correlation_id, api: ApiKey::ApiVersions, version });
    }

    fn next_correlation(&mut self) -> i32 {
        let id = self.correlation_next;
        self.correlation_next = id.checked_add(1).unwrap_or(0);
        id
    }
}

#[cfg(test)]
mod tests;
