//! SASL: proving to a broker who we are. Challenges come in, answers go out; no sockets, clocks or randomness.
//!
//! ```text
//! SaslHandshake(mechanism) → SaslAuthenticate(first) ⇄ SaslAuthenticate(answer) … → done
//!                                      └── Exchange::begin        └── Exchange::answer
//! ```
//!
//! | mechanism | file | said |
//! |---|---|---|
//! | PLAIN | [`plain`] | user and password, as they are |
//! | SCRAM-SHA-256, SCRAM-SHA-512 | [`scram`] | proofs on both sides that the password is known |
//! | OAUTHBEARER | [`oauthbearer`] | a token that somebody else issued |
//! | GSSAPI | [`gssapi`] | what the caller's Kerberos library says ([`Exchange::Outside`]) |
//!
//! What a mechanism needs at every connection comes with [`Exchange`]; a nonce comes from the caller's randomness.
//!
//! Left out: the requests that carry it ([`crate::message::sasl_handshake`], [`crate::message::sasl_authenticate`]), their
//! order ([`crate::connection`]), and where passwords and tokens come from.

pub mod gssapi;
pub mod oauthbearer;
pub mod plain;
pub mod scram;

use crate::ErrorCode;
use std::fmt;

use scram::Scram;

/// Longest part of a broker's own words that goes into an error, in characters.
const WORDS_MAX: usize = 200;

/// A mechanism, by its registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// As RFC 7677, with SHA-512.
    ScramSha512,
    /// RFC 7628.
    OauthBearer,
    /// RFC 4752.
    Gssapi,
}

impl Mechanism {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Gssapi => "GSSAPI",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// One authentication under way.
#[derive(Debug)]
pub enum Exchange {
    /// User and password.
    Plain(plain::Plain),
    /// Proofs. Boxed: it is the largest by far.
    Scram(Box<Scram>),
    /// A token.
    OauthBearer(oauthbearer::OauthBearer),
    /// The caller finds the answers.
    Outside(Outside),
}

/// A mechanism whose answers come from the caller.
#[derive(Debug)]
pub struct Outside {
    mechanism: Mechanism,
    /// What to say first, if the caller has found that already.
    first: Option<Vec<u8>>,
    /// The caller has said that its last answer was the last.
    ended: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this to the broker.
    Send(Vec<u8>),
    /// Find an answer to this, then go on.
    Ask(Question),
    /// The broker has accepted us, and proven itself where the mechanism has that.
    Done,
}

/// What the caller is asked, where the answers are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What to say first.
    Begin,
    /// What to say to this challenge, which may be empty.
    Answer(Vec<u8>),
}

impl Exchange {
    /// One whose answers the caller finds.
    pub fn outside(mechanism: Mechanism) -> Self {
        Self::Outside(Outside { mechanism, first: None, ended: false })
    }

    /// The same, with the first message found before it is asked for.
    pub fn outside_from(mechanism: Mechanism, first: Vec<u8>) -> Self {
        Self::Outside(Outside { mechanism, first: Some(first), ended: false })
    }

    /// Which mechanism.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Plain(_) => Mechanism::Plain,
            Self::Scram(scram) => scram.mechanism(),
            Self::OauthBearer(_) => Mechanism::OauthBearer,
            Self::Outside(outside) => outside.mechanism,
        }
    }

    /// The broker speaks the mechanism: what to say first.
    pub fn begin(&mut self) -> Step {
        match self {
            Self::Plain(plain) => Step::Send(plain.message()),
            Self::Scram(scram) => Step::Send(scram.client_first()),
            Self::OauthBearer(bearer) => Step::Send(bearer.message()),
            Self::Outside(outside) => match outside.first.take() {
                Some(first) => Step::Send(first),
                None => Step::Ask(Question::Begin),
            },
        }
    }

    /// The broker has accepted what was said so far, and says this.
    ///
    /// # Errors
    /// The broker does not keep to the mechanism, or cannot prove itself.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Step, Fault> {
        match self {
            Self::Plain(_) => Ok(Step::Done),
            Self::Scram(scram) => scram.answer(challenge),
            Self::OauthBearer(_) => oauthbearer::OauthBearer::answer(challenge),
            Self::Outside(outside) if outside.ended => Ok(Step::Done),
            Self::Outside(_) => Ok(Step::Ask(Question::Answer(challenge.to_vec()))),
        }
    }

    /// The caller's answer that was asked for is the last: what the broker says next is its consent.
    ///
    /// A broker that consents before that is asked about like any other challenge: whether it may is not for us to say.
    pub(crate) fn end_outside(&mut self) {
        if let Self::Outside(outside) = self {
            outside.ended = true;
        }
    }
}

/// Why an authentication failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The listener does not offer the mechanism.
    NotEnabled {
        /// What was asked for.
        mechanism: Mechanism,
        /// What it offers.
        enabled: Vec<String>,
    },
    /// The broker does not accept us.
    Refused {
        /// With which mechanism.
        mechanism: Mechanism,
        /// Its code.
        code: ErrorCode,
        /// Its own words; may be empty.
        words: String,
    },
    /// The broker does not keep to the mechanism, or has not proven that it knows the password either.
    Broker {
        /// Which mechanism.
        mechanism: Mechanism,
        /// What is wrong.
        what: &'static str,
    },
}

impl Fault {
    /// A fault of the broker.
    pub(crate) fn broker(mechanism: Mechanism, what: &'static str) -> Self {
        Self::Broker { mechanism, what }
    }

    /// A refusal, with as many of the broker's words as fit into a log line.
    pub(crate) fn refused(mechanism: Mechanism, code: ErrorCode, words: &str) -> Self {
        let words = words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
        Self::Refused { mechanism, code, words }
    }

    /// The mechanism that failed.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::NotEnabled { mechanism, .. } | Self::Refused { mechanism, .. } | Self::Broker { mechanism, .. } => {
                *mechanism
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnabled { mechanism, enabled } if enabled.is_empty() => {
                write!(f, "authentication with {mechanism}: the broker offers no mechanism on this listener")
            }
            Self::NotEnabled { mechanism, enabled } => {
                write!(f, "authentication with {mechanism}: the broker offers only {}", enabled.join(", "))
            }
            Self::Refused { mechanism, code, words } if words.is_empty() => {
                write!(f, "authentication with {mechanism} was refused: {code}: {}", code.why())
            }
            Self::Refused { mechanism, words, .. } => {
                write!(f, "authentication with {mechanism} was refused: {words}")
            }
            Self::Broker { mechanism, what } => write!(f, "authentication with {mechanism}: {what}"),
        }
    }
}

impl std::error::Error for Fault {}
