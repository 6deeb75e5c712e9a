//! MQTT 3.1, 3.1.1 and 5.0 as pure machines: bytes and a time go in, packets, bytes and deadlines come out.
//!
//! ```text
//! received bytes -> frame::split -> Frame -> decode -> Packet<'a>          (any side, any packet)
//!                                       \-> connection::ServerConnection   (a server's side of one connection)
//! Packet<'a> -> encode -> bytes appended to a caller's Vec<u8>
//! ```
//!
//! Framing answers "whole, or how many bytes more"; decoding works on a whole frame and answers "valid, or which clause
//! is broken". Packets borrow from the frame. PUBLISH, the acknowledgement family and PINGREQ are decoded without an
//! allocation, and so is every other packet; only [`connection`] keeps state, and it allocates for topic aliases alone.
//!
//! Strict in what it accepts: where a version says MUST, the opposite is an [`Error`] that names the clause and the
//! MQTT 5.0 reason code to send. Clause tags are those of MQTT 5.0 (`MQTT-3.3.1-4`); a rule of the 5.0 text without a
//! number is named by its section (`MQTT5 3.3.2.3.4`), a rule of 3.1.1 alone by `MQTT311` in front. The join of these
//! tags in code and in tests is `docs/reference/mqtt-conformance.md`.
//!
//! Left out on purpose: sockets, clocks, TLS and WebSocket framing; sessions (QoS 2 state, resends, queues), which
//! outlive connections; authorization; and any copy of a payload.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::panic,
        clippy::unreachable,
        clippy::arithmetic_side_effects
    )
)]

pub mod connection;
mod error;
pub mod frame;
mod packet;
mod primitive;
pub mod property;
mod reason;
pub mod topic;

pub use error::{Error, Kind};
pub use frame::Frame;
pub use packet::ack::{Ack, encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel};
pub use packet::auth::Auth;
pub use packet::connack::{ConnAck, ConnAckProperties};
pub use packet::connect::{Connect, ConnectProperties, Will};
pub use packet::disconnect::Disconnect;
pub use packet::ping::{encode_pingreq, encode_pingresp};
pub use packet::publish::{Publish, PublishProperties};
pub use packet::suback::{ReasonCodes, SubAck, encode_suback};
pub use packet::subscribe::{Options, RetainHandling, Subscribe, Subscription, Subscriptions, encode_subscribe};
pub use packet::unsuback::{UnsubAck, encode_unsuback};
pub use packet::unsubscribe::{Filters, Unsubscribe, encode_unsubscribe};
pub use packet::{Packet, PacketType, QoS, Version, decode};
pub use property::{PropertyBuf, UserProperties};
pub use reason::ReasonCode;
