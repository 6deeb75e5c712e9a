//! One message of the ledger: it says who sent it, where it belongs, and whether a byte of it was changed.
//!
//! ```text
//! payload  0        4     12       16         24        26    27        35
//!          | 'AQLM' | run | client | sequence | attempt | qos | sent_ns | topic length | topic | fill | crc |
//!            4        u64   u32      u64        u16       u8    u64       u8             text           u32     big-endian
//! ```
//!
//! The fill depends on run, client and sequence, so bytes of another message are seen even where the lengths agree; the
//! CRC-32C covers everything in front of it. A message that is sent again has the same sequence and a higher attempt: two
//! records with one attempt were made by whoever stands between the client and Kafka.

use thiserror::Error;

use crate::message::client_id;

const MAGIC: &[u8; 4] = b"AQLM";
const TOPIC_AT: usize = 36;
const CRC_BYTES: usize = 4;
/// The longest topic that [`Routes`] makes.
const TOPIC_BYTES_MAX: usize = 24;
/// The shortest payload there is room in.
pub const PAYLOAD_BYTES_MIN: usize = TOPIC_AT + TOPIC_BYTES_MAX + CRC_BYTES;

/// Everything a message says of itself but its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run it belongs to.
    pub run: u64,
    /// Index of its client.
    pub client: u32,
    /// Its place among that client's messages, from 0.
    pub sequence: u32,
    /// How often it was sent before, capped.
    pub attempt: u16,
    /// 1 or 2.
    pub qos: u8,
    /// When this attempt was made, on the sender's monotonic clock.
    pub sent_ns: u64,
}

/// Why a payload is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Corrupt {
    /// It does not begin or end as one.
    #[error("not a message")]
    Form,
    /// The checksum is another one.
    #[error("a wrong checksum")]
    Checksum,
    /// The checksum is right, the fill is not that of this message.
    #[error("the fill of another message")]
    Fill,
}

/// Appends a message of `payload_bytes` bytes, at least [`PAYLOAD_BYTES_MIN`].
pub fn put(out: &mut Vec<u8>, stamp: &Stamp, topic: &str, payload_bytes: usize) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&stamp.run.to_be_bytes());
    out.extend_from_slice(&stamp.client.to_be_bytes());
    out.extend_from_slice(&u64::from(stamp.sequence).to_be_bytes());
    out.extend_from_slice(&stamp.attempt.to_be_bytes());
    out.push(stamp.qos);
    out.extend_from_slice(&stamp.sent_ns.to_be_bytes());
    out.push(topic.len() as u8);
    out.extend_from_slice(topic.as_bytes());
    let end = start + payload_bytes - CRC_BYTES;
    let mut fill = Fill::of(stamp);
    while out.len() < end {
        out.push(fill.next());
    }
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Reads a payload: the stamp and the MQTT topic it was published to.
pub fn parse(payload: &[u8]) -> Result<(Stamp, &str), Corrupt> {
    let (covered, checksum) = payload.split_last_chunk::<CRC_BYTES>().ok_or(Corrupt::Form)?;
    if !covered.starts_with(MAGIC) || covered.len() < TOPIC_AT {
        return Err(Corrupt::Form);
    }
    if crc32c::crc32c(covered) != u32::from_be_bytes(*checksum) {
        return Err(Corrupt::Checksum);
    }
    let long = |at: usize| covered[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let word = |at: usize| covered[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let stamp = Stamp {
        run: long(4),
        client: word(12),
        sequence: u32::try_from(long(16)).map_err(|_| Corrupt::Form)?,
        attempt: u16::from_be_bytes([covered[24], covered[25]]),
        qos: covered[26],
        sent_ns: long(27),
    };
    let topic_end = TOPIC_AT + usize::from(covered[35]);
    let topic = covered.get(TOPIC_AT..topic_end).and_then(|topic| std::str::from_utf8(topic).ok());
    let topic = topic.ok_or(Corrupt::Form)?;
    let mut fill = Fill::of(&stamp);
    if covered[topic_end..].iter().any(|byte| *byte != fill.next()) {
        return Err(Corrupt::Fill);
    }
    Ok((stamp, topic))
}

/// Client and sequence of the messages that lie somewhere in these bytes, whole or not.
pub fn all_in(bytes: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let starts = bytes.windows(TOPIC_AT).filter(|window| window.starts_with(MAGIC));
    let word = |window: &[u8], at: usize| window[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    starts.map(move |window| (word(window, 12), word(window, 20)))
}

/// Bytes that no other message has.
struct Fill(u64);

impl Fill {
    fn of(stamp: &Stamp) -> Self {
        let seed = stamp.run ^ (u64::from(stamp.client) << 32) ^ u64::from(stamp.sequence);
        // Xorshift stays at zero once it is there.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}

/// Which MQTT topics lead to which Kafka topic. Every client has one MQTT topic, and neighbours in number have different
/// Kafka topics, so that a record in the wrong one is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<String>);

impl Routes {
    /// One route to each of these Kafka topics, of which there is at least one.
    pub fn to(kafka_topics: Vec<String>) -> Self {
        assert!(!kafka_topics.is_empty(), "messages have to go somewhere");
        Self(kafka_topics)
    }

    /// The Kafka topics in the order of the routes.
    pub fn kafka_topics(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// For each route, the filter of its MQTT topics and its Kafka topic.
    pub fn filters(&self) -> Vec<(String, String)> {
        (0..).zip(&self.0).map(|(route, topic): (usize, _)| (format!("chaos/{route}/#"), topic.clone())).collect()
    }

    /// How many there are.
    pub fn count(&self) -> u8 {
        self.0.len() as u8
    }
}

/// The MQTT topic of a client where there are so many routes.
pub fn topic(client: u32, routes: u8) -> String {
    format!("chaos/{}/{client:06}", route(client, routes))
}

/// The route of a client where there are so many.
pub fn route(client: u32, routes: u8) -> u8 {
    (client % u32::from(routes.max(1))) as u8
}

/// The record key that a client's records bear, which is its client id.
pub fn key(client: u32) -> String {
    client_id(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 7, client: 3, sequence: 9, attempt: 1, qos: 2, sent_ns: 1 << 40 };

    fn payload(stamp: &Stamp) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, stamp, &topic(stamp.client, 2), 96);
        out
    }

    #[test]
    fn a_message_reads_as_it_was_written() {
        let payload = payload(&STAMP);
        assert_eq!(payload.len(), 96);
        assert_eq!(parse(&payload), Ok((STAMP, "chaos/1/000003")));
        assert!(topic(999_999, 255).len() <= TOPIC_BYTES_MAX);
    }

    #[test]
    fn messages_are_found_among_other_bytes() {
        let other = Stamp { client: 4, sequence: 1 << 20, ..STAMP };
        let bytes = [&b"AQL"[..], &payload(&STAMP), b"AQLM", &payload(&other)].concat();
        let found: Vec<(u32, u32)> = all_in(&bytes).collect();
        assert!(found.starts_with(&[(3, 9)]) && found.ends_with(&[(4, 1 << 20)]), "{found:?}");
    }

    #[test]
    fn every_changed_byte_is_seen_and_so_is_every_cut() {
        let whole = payload(&STAMP);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(parse(&changed).is_err(), "byte {at}");
            assert!(parse(&whole[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_fill_of_another_message_is_seen_under_a_right_checksum() {
        let other = payload(&Stamp { sequence: 10, ..STAMP });
        let mut mixed = payload(&STAMP);
        mixed[60..92].copy_from_slice(&other[60..92]);
        let checksum = crc32c::crc32c(&mixed[..92]);
        mixed[92..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(parse(&mixed), Err(Corrupt::Fill));
    }
}
