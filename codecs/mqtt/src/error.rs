//! What is wrong with a packet: whose fault, which clause, and the reason code that tells the peer.

use wire::Truncated;

use crate::ReasonCode;

/// What class of mistake a peer made (MQTT 5.0 sections 1.2 and 4.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bytes cannot be read as the packet they claim to be.
    Malformed,
    /// The packet can be read, but the protocol forbids it, or forbids it now.
    Violation,
    /// The packet is allowed in general, but exceeds what this side announced or accepts.
    Limit,
}

/// A packet that must not be processed; the connection is to be closed.
///
/// MQTT 5.0 peers are told `reason` in a CONNACK or DISCONNECT first, older ones just lose the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// The class of the mistake.
    pub kind: Kind,
    /// The code to send to a peer that speaks MQTT 5.0.
    pub reason: ReasonCode,
    /// The clause that was broken, such as `MQTT-3.3.1-4`.
    pub clause: &'static str,
    /// The mistake in a few words, fit for a log line and for a reason string.
    pub what: &'static str,
}

impl Error {
    /// Bytes that cannot be read as the packet they claim to be: reason code 0x81.
    #[cold]
    pub const fn malformed(clause: &'static str, what: &'static str) -> Self {
        Self { kind: Kind::Malformed, reason: ReasonCode::MalformedPacket, clause, what }
    }

    /// A readable packet that the protocol forbids.
    #[cold]
    pub const fn violation(reason: ReasonCode, clause: &'static str, what: &'static str) -> Self {
        Self { kind: Kind::Violation, reason, clause, what }
    }

    /// A readable packet that the protocol forbids without naming a code of its own: reason code 0x82.
    #[cold]
    pub const fn protocol(clause: &'static str, what: &'static str) -> Self {
        Self::violation(ReasonCode::ProtocolError, clause, what)
    }

    /// A packet beyond a limit of this side.
    #[cold]
    pub const fn limit(reason: ReasonCode, clause: &'static str, what: &'static str) -> Self {
        Self { kind: Kind::Limit, reason, clause, what }
    }
}

impl From<Truncated> for Error {
    #[cold]
    fn from(_: Truncated) -> Self {
        Self::malformed("MQTT5 2.1.4", "a field is longer than the packet that holds it")
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reason, clause, what, .. } = self;
        write!(f, "{what} [{clause}], reason 0x{:02X} {}", reason.value(), reason.name())
    }
}

impl std::error::Error for Error {}
