//! Two clients of a whole shard: what they send goes through connection, session, routing, sink and deliveries.
//!
//! ```text
//! choices u8 | turns u8 | packets
//! ```
//!
//! Packet `n` is sent by the client that bit `n mod 8` of `turns` names. A client whose connection has ended begins another with its
//! next packet.
//!
//! Promises: no panic; all that the shard counts as it goes is right whenever it is recounted; it comes to rest; a client is told whole
//! packets of its version, only acknowledgements that are due to somebody, and only what somebody has published and somebody has
//! subscribed to, under packet identifiers that are free; after the end of a connection nobody speaks on it. When all have gone and
//! their sessions have expired nothing is left.

mod clients;
mod node;

use mqtt::frame::{self, Split};

use node::Node;

// Bits of the choices.
/// The sink is a Kafka that cannot be reached; else one that takes all at once.
const AWAY: u8 = 1;
/// The sockets give a byte and take seven at a time.
const DRIPS: u8 = 2;
/// Deliveries are acknowledged.
const ANSWERS: u8 = 4;
/// Connections break before their clients connect anew; else the shard sees the second CONNECT.
const BREAKS: u8 = 8;
/// Two bits: how long it is to the next packet.
const PAUSE: u32 = 4;
const PAUSES_MS: [u64; 4] = [0, 1_000, 40_000, 3 * 3_600_000];

/// Plays the packets.
pub(super) fn run(bytes: &[u8]) {
    let [choices, turns, stream @ ..] = bytes else { return };
    let mut node = Node::new(*choices);
    let pause_ms = PAUSES_MS[usize::from(choices >> PAUSE & 3)];
    let (mut at, mut turn) = (0, 0);
    while at < stream.len() {
        let rest = &stream[at..];
        let packet = match frame::split(rest, u32::MAX) {
            Ok(Split::Whole(frame)) => &rest[..frame.len],
            Ok(Split::Need(_)) | Err(_) => rest,
        };
        at += packet.len();
        node.packet(usize::from(turns >> (turn % 8) & 1), packet);
        node.pass_ms(pause_ms);
        turn += 1;
    }
    node.end();
}
