//! Clients beside those of the ledger that publish what Kafka never takes, into the partitions of the ledger's first topic: in turn
//! records that are too large for it, and records dated beyond what it takes.
//!
//! They write no book: each of their records is to be acknowledged and to lie in the dead-letter topic, once, and nowhere else. The
//! judge counts what lies in the ledger's own topics as corrupt.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use serde::Serialize;

use crate::ledger::fetch::KafkaReader;
use crate::mqtt_wire::{self, ConnectAs, PublishAs, Version};

/// Where what Kafka never takes goes.
pub(super) const DEAD_LETTERS: &str = "chaos-dead";
/// Settings of the ledger's topics: smaller than a record that is too large, larger than a batch of the ledger's messages.
pub(super) const TOPIC_SETTINGS: [(&str, &str); 1] = [("max.message.bytes", "20000")];
/// Settings of the product: who dates a record, and where to go with what Kafka never takes.
pub(super) const SETTINGS: [&str; 4] = [
    "sinks.dead.connector=k",
    "sinks.dead.topic=chaos-dead",
    "sinks.s1.dead_letter=dead",
    "sinks.s1.timestamp=${payload.ts}",
];
const LARGE_BYTES: usize = 40_000;
/// The year 2100, in milliseconds.
const LATE_MS: u64 = 4_102_444_800_000;
/// More clients than partitions, so that their records come to most of them.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(200);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The clients at work.
pub(super) struct Poisoner {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

/// What became of the poison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Poison {
    /// Records sent, each of which was acknowledged.
    pub acked: u64,
    /// Those of them in the dead-letter topic.
    pub dead_letters: u64,
    /// Records there that are none of them, or are there twice.
    pub strange: u64,
}

impl Poison {
    /// True if each lies where it belongs, once.
    pub(super) fn is_clean(&self) -> bool {
        self.acked == self.dead_letters && self.strange == 0
    }
}

impl Poisoner {
    /// Begins to publish to this MQTT topic.
    pub(super) fn start(server: SocketAddr, topic: String) -> Self {
        let over = Arc::<AtomicBool>::default();
        let ended = Arc::clone(&over);
        Self { over, thread: std::thread::spawn(move || drive(server, &topic, &ended)) }
    }

    /// Ends it. Answers how many records were acknowledged.
    pub(super) fn end(self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| miette!("a client with poison has panicked"))?
    }
}

/// Looks for so many records in the dead-letter topic.
pub(super) fn find(bootstrap: &str, acked: u64) -> Result<Poison> {
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    let mut strange = 0;
    KafkaReader::connect(bootstrap)?.read_topic(DEAD_LETTERS, &mut |record| match record
        .value
        .and_then(number)
        .filter(|number| *number < acked)
    {
        Some(number) => *found.entry(number).or_default() += 1,
        None => strange += 1,
    })?;
    strange += found.values().map(|copies| copies - 1).sum::<u64>();
    Ok(Poison { acked, dead_letters: found.len() as u64, strange })
}

fn drive(server: SocketAddr, topic: &str, over: &AtomicBool) -> Result<u64> {
    let mut clients = (0..CLIENTS).map(|at| connect(server, &format!("poison-{at}"))).collect::<Result<Vec<_>>>()?;
    let mut acked = 0;
    while !over.load(Ordering::Relaxed) {
        let client = &mut clients[acked as usize % CLIENTS];
        publish(client, topic, &payload(acked)).wrap_err_with(|| format!("record {acked} with poison"))?;
        acked += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(acked)
}

/// A record that Kafka never takes, with its number in front.
fn payload(number: u64) -> Vec<u8> {
    let mut text = format!("{{\"poison\":\"{number:08}\"");
    match number as usize / CLIENTS % 2 {
        0 => text += &format!(",\"ts\":{LATE_MS}}}"),
        _ => text += &format!(",\"fill\":\"{}\"}}", "x".repeat(LARGE_BYTES)),
    }
    text.into_bytes()
}

/// The number of such a record.
fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"poison\":\"")?.get(..8)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn connect(server: SocketAddr, id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER).into_diagnostic()?;
    stream.set_read_timeout(Some(ANSWER)).into_diagnostic()?;
    let mut bytes = Vec::new();
    let as_ = ConnectAs { version: Version::V5, persistent: false, keepalive_seconds: 0 };
    mqtt_wire::put_connect_as(&mut bytes, id, as_);
    stream.write_all(&bytes).into_diagnostic()?;
    match answer(&mut stream)?.as_slice() {
        [0x20, _, _, 0, ..] => Ok(stream),
        other => bail!("{id} got {other:x?} for its CONNECT"),
    }
}

/// Publishes, and waits for the acknowledgement.
fn publish(stream: &mut TcpStream, topic: &str, payload: &[u8]) -> Result<()> {
    let mut bytes = Vec::new();
    let as_ = PublishAs { version: Version::V5, qos: 1, duplicate: false, packet_id: 1 };
    mqtt_wire::put_publish_as(&mut bytes, as_, topic, payload);
    stream.write_all(&bytes).into_diagnostic()?;
    match answer(stream)?.as_slice() {
        [0x40, 2, 0, 1] | [0x40, _, 0, 1, 0, ..] => Ok(()),
        other => bail!("PUBACK was due, not {other:x?}"),
    }
}

/// The bytes of the next packet.
fn answer(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).into_diagnostic()?;
        bytes.push(byte[0]);
        if mqtt_wire::packet(&bytes).into_diagnostic()?.is_some() {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_bears_its_number_and_every_client_sends_both_kinds() {
        for sent in [0, 7, 8, 15, 99_999] {
            assert_eq!(number(&payload(sent)), Some(sent));
            let is_large = payload(sent).len() > LARGE_BYTES;
            assert_ne!(is_large, payload(sent + CLIENTS as u64).len() > LARGE_BYTES);
        }
        assert_eq!((number(b"AQLM"), number(b"{\"poison\":\"1\"}")), (None, None));
    }
}
