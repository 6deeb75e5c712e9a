//! Why a server ended a connection, or why its client had to.

use mqtt::{PacketType, ReasonCode};
use thiserror::Error;

/// The server's fault, or its will.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The server does not let the client in.
    #[error("the server refused the connection: {reason} (0x{:02X}){}", reason.value(), words(text))]
    Refused {
        /// Its reason.
        reason: ReasonCode,
        /// Its words.
        text: Option<String>,
    },
    /// The server ended the connection with a DISCONNECT.
    #[error("the server ended the connection: {reason} (0x{:02X}){}", reason.value(), words(text))]
    Ended {
        /// Its reason.
        reason: ReasonCode,
        /// Its words.
        text: Option<String>,
    },
    /// The answer to CONNECT is no packet.
    #[error("what answers there does not speak MQTT")]
    NotMqtt,
    /// A packet that must not be.
    #[error("the server broke the protocol: {0}")]
    Malformed(mqtt::Error),
    /// A packet that must not come now.
    #[error("the server broke the protocol: {0:?} was not expected now")]
    Unexpected(PacketType),
    /// An acknowledgement of something that is not open.
    #[error("the server broke the protocol: {packet:?} for packet id {packet_id}, which does not wait for it")]
    NotOpen {
        /// The type of the acknowledgement.
        packet: PacketType,
        /// What it names.
        packet_id: u16,
    },
    /// No answer in time.
    #[error("the server gave no answer to {to:?} for {ms} ms")]
    Silent {
        /// What was sent.
        to: PacketType,
        /// How long the client waited, in milliseconds.
        ms: u64,
    },
}

fn words(text: &Option<String>) -> String {
    text.as_ref().map_or_else(String::new, |text| format!(": {text}"))
}
