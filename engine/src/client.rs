//! A client's side of MQTT: for `aqueduct pub` and `sub`, and for the devices of `aqueduct demo`.
//!
//! [`Connection`] is the protocol, without io or clock; [`Socket`] drives one over blocking TCP. Apart from the codec it
//! shares nothing with the server's side, and nothing on the path from a PUBLISH to Kafka uses it.
//!
//! Left out on purpose: sessions that survive this process, resends, topic aliases, TLS and WebSocket.

mod connection;
mod error;
mod socket;

pub use connection::{Connection, Fault, Happening, Message, Options, Packets, Refusal, Way};
pub use error::ClientError;
pub use socket::{Address, Socket, Wake};
