//! One benchmark message: a stamp that names it, then filler that is the same in every message, or telemetry in JSON.
//!
//! ```text
//! payload  0        4          8                    payload_bytes
//!          | client | sequence | filler ............|
//!            u32 BE   u32 BE
//! ```
//!
//! The client index and the sequence number make every message of a run unique, so a reader of the Kafka topic can say
//! which messages are lost, twice there or out of order. What follows is checked too: a byte moved is a corrupt record.

mod telemetry;

use serde::{Deserialize, Serialize};

pub use self::telemetry::{TELEMETRY_BYTES_MIN, Telemetry};

/// Bytes of the stamp at the start of every payload.
pub const STAMP_BYTES: usize = 8;

/// What makes a message unique in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Index of the client that sent it.
    pub client: u32,
    /// Its place among that client's messages, from 0.
    pub sequence: u32,
}

impl Stamp {
    /// The eight bytes at the start of the payload.
    pub fn to_bytes(self) -> [u8; STAMP_BYTES] {
        ((u64::from(self.client) << 32) | u64::from(self.sequence)).to_be_bytes()
    }

    /// Reads the stamp of a payload; `None` if it is too short to bear one.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<STAMP_BYTES>()?;
        let word = u64::from_be_bytes(*bytes);
        Some(Self { client: (word >> 32) as u32, sequence: word as u32 })
    }
}

/// What stands behind the stamp.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The same digits in every message.
    #[default]
    Filler,
    /// JSON whose readings differ.
    Json,
}

/// Judges what stands behind a stamp, of whichever kind it is.
#[derive(Debug)]
pub struct Bodies {
    filler: Vec<u8>,
    telemetry: Option<Telemetry>,
}

impl Bodies {
    /// Of payloads of so many bytes.
    pub fn new(payload_bytes: usize) -> Self {
        let body_bytes = payload_bytes.saturating_sub(STAMP_BYTES);
        let telemetry = (body_bytes >= TELEMETRY_BYTES_MIN).then(|| Telemetry::new(body_bytes));
        Self { filler: filler(payload_bytes), telemetry }
    }

    /// Whether the body is byte for byte what was sent with this stamp. Filler never begins with a brace.
    pub fn is_intact(&mut self, stamp: Stamp, body: &[u8]) -> bool {
        match &mut self.telemetry {
            Some(telemetry) if body.starts_with(b"{") => body == telemetry.of(stamp),
            _ => body == self.filler,
        }
    }
}

/// The filler behind the stamp in a payload of `payload_bytes`: printable.
pub fn filler(payload_bytes: usize) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut digit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        DIGITS[(state >> 60) as usize]
    };
    (STAMP_BYTES..payload_bytes).map(|_| digit()).collect()
}

/// The client id of a client; with the default key template also its record key.
///
/// Clients and keys go by a hash, and fifty names can fall 20 to 30 on two shards by chance. Fifty of these fall 25 to 25, and
/// 12, 13, 13 and 12 on four partitions, so that shares can be compared.
pub fn client_id(client: u32) -> String {
    format!("dev-{client:05}")
}

/// The MQTT topic that a client publishes to. The length is the same for every client, so frames can be patched.
pub fn topic(client: u32) -> String {
    format!("bench/{client:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_payload() {
        let stamp = Stamp { client: 0x0102_0304, sequence: u32::MAX - 1 };
        let mut payload = stamp.to_bytes().to_vec();
        payload.extend(filler(64));
        assert_eq!(payload.len(), 64);
        assert_eq!(Stamp::of(&payload), Some(stamp));
        assert_eq!(Stamp::of(&payload[..7]), None);
    }
}
