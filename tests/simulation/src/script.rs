//! Scripts: what clients do, act by act and without times, and an outcome that does not depend on them either.
//!
//! ```text
//! Script ─ play ─┬─ Stage: a simulated world ────────────┐
//!                ├─ Stage: socket pairs to the driver ───┤
//!                ├─ Stage: TCP to a node, embedded log ──┼─ lines, to be compared
//!                └─ Stage: TCP to a node, Apache Kafka ──┘
//! ```
//!
//! The model of a cluster, of a disk or of a socket is worth what it has in common with the real one; the same script in all
//! worlds, with one outcome, shows it. The outcome is text, a line for each thing that has an order: the acknowledgements of a
//! lane, the deliveries of one publisher's topic, the records of one publisher in one partition. What has no order among itself
//! stands in different lines.
//!
//! A client waits only where the script says so ([`Act::Settle`], [`Act::Gone`]); what it might hear between its last wait and
//! the end of its connection is not part of the outcome.

mod audience;
mod drawn;
mod heard;
mod player;
mod records;
mod written;

use std::io::{ErrorKind, Read};

pub use drawn::drawn;
pub use player::play;
pub use records::Records;
pub use written::{Written, written};

pub use crate::world::simulate;

/// The sinks of every world, by their Kafka topics: lines of their sections. The second takes part of what the first takes.
pub const SINKS: [(&str, &str); 2] = [("t0", "source_topics = [\"in/#\"]"), ("t1", "source_topics = [\"in/+/b/#\"]")];

/// More lines of each of those sections.
pub const SINK: &str = "value = \"${payload}\"\nlinger = \"1ms\"\nmax_batch_bytes = \"32KB\"\nbatch_target_bytes = \"16KB\"\n\
                        sync_timeout = \"60s\"";

/// The section of MQTT limits.
pub const MQTT: &str = "[mqtt]\nreceive_maximum = 100\nqos2_max = 100\ntopic_alias_maximum = 8\nmax_packet_size = \"256KB\"\n\
                        qos0_on_full = \"backpressure\"";

/// Partitions of each topic.
pub const PARTITIONS: u32 = 3;

/// `max.message.bytes` of both topics, where records go to Kafka.
pub const MESSAGE_BYTES_MAX: u32 = (32 << 10) + 2_000;

/// A payload that no batch of such a topic can hold.
pub const TOO_LARGE_LEN: usize = 50_000;

/// MQTT topics, without what makes them the script's own. Nothing but a subscriber takes the last.
pub const TOPICS: [&str; 4] = ["a", "a/deep", "b/x", "unheard"];

/// Clients of a script at most.
pub const CLIENTS_MAX: usize = 8;

/// One client of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// MQTT 5, else 3.1.1.
    pub v5: bool,
    /// MQTT 5: uses topic aliases.
    pub aliases: bool,
}

/// What a client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Connects; a connection it has is taken over. Waits for CONNACK, and for the end of the old connection.
    Connect {
        /// Clean start (clean session).
        clean: bool,
        /// MQTT 5: seconds that the session outlives the connection.
        expiry_s: u32,
    },
    /// Publishes so many messages at once, which differ in their number only.
    Publish {
        /// Quality of service.
        qos: u8,
        /// Index into [`TOPICS`].
        topic: usize,
        /// Length of the payload, at least that of a message's head.
        len: usize,
        /// How many.
        count: u32,
    },
    /// Sends again, with DUP, what has no last acknowledgement, as one does on a new connection: PUBREL where PUBREC came.
    Resend,
    /// Sends again, with DUP, every QoS 2 PUBLISH whose PUBREC has come and which is not released.
    Repeat,
    /// Whether PUBREC is answered at once. Where it was not, the end of the holding is when it is.
    HoldReleases(bool),
    /// Whether deliveries are left without an answer.
    Mute(bool),
    /// Subscribes to a filter; `{}` in it is the script's number. Waits for the SUBACK.
    Subscribe {
        /// The filter.
        filter: &'static str,
        /// Most of it.
        qos: u8,
    },
    /// Unsubscribes. Waits for the UNSUBACK.
    Unsubscribe {
        /// The filter.
        filter: &'static str,
    },
    /// PINGREQ.
    Ping,
    /// Waits until every client has heard all that is due to it.
    Settle,
    /// Sends what nobody may send, of this kind; the server is to close.
    Rubbish(u8),
    /// Waits until the server has closed.
    Gone,
    /// DISCONNECT, and waits for the end.
    Disconnect,
    /// Finishes sending and does not listen any more, and waits for the end: what it sent has arrived, what it would have heard
    /// is unknown.
    Cut,
}

/// A script.
#[derive(Debug, Clone)]
pub struct Script {
    /// What makes its names its own: below 8,192.
    pub number: u16,
    /// Its clients.
    pub roles: Vec<Role>,
    /// Client and act.
    pub acts: Vec<(usize, Act)>,
}

impl Script {
    /// Whether its outcome needs a Kafka: the embedded log takes records of any size.
    pub fn needs_kafka(&self) -> bool {
        self.acts.iter().any(|(_, act)| matches!(act, Act::Publish { len, .. } if *len > 30_000))
    }

    /// The client identifier of a role, which is the key of its records.
    pub fn client_id(&self, role: usize) -> String {
        format!("s{}-c{role}", self.number)
    }

    /// A topic by its index into [`TOPICS`].
    pub fn topic(&self, topic: usize) -> String {
        let root = if topic + 1 == TOPICS.len() { "out" } else { "in" };
        format!("{root}/{}/{}", self.number, TOPICS[topic])
    }

    /// For people: an act a line.
    pub fn text(&self) -> String {
        let acts = self.acts.iter().enumerate().map(|(at, (client, act))| format!("  {at}: c{client} {act:?}"));
        let roles = self.roles.iter().map(|role| format!("  {role:?}"));
        roles.chain(acts).collect::<Vec<_>>().join("\n")
    }

    fn filter(&self, filter: &str) -> String {
        filter.replace("{}", &self.number.to_string())
    }

    /// What the payloads of a role say of their publisher.
    fn publisher(&self, role: usize) -> u16 {
        self.number * CLIENTS_MAX as u16 + role as u16
    }
}

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Something was appended.
    Bytes,
    /// The server has closed.
    Closed,
    /// Nothing, for as long as one would wait.
    Nothing,
}

impl Received {
    /// Appends what can be read at once, or within the timeout of the socket: `most` bytes.
    pub fn read(from: &mut impl Read, most: usize, into: &mut Vec<u8>) -> Self {
        let mut bytes = vec![0; most];
        match from.read(&mut bytes) {
            Ok(0) => Self::Closed,
            Ok(n) => {
                into.extend_from_slice(&bytes[..n]);
                Self::Bytes
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Self::Nothing,
            Err(_) => Self::Closed,
        }
    }
}

/// Where a script is played: connections to a node.
pub trait Stage {
    /// A new connection, by number.
    fn open(&mut self) -> usize;
    /// Sends bytes.
    fn send(&mut self, conn: usize, bytes: &[u8]);
    /// Finishes sending; the connection can still be read.
    fn finish(&mut self, conn: usize);
    /// Waits until there is something to read, which is appended.
    fn receive(&mut self, conn: usize, into: &mut Vec<u8>) -> Received;
    /// The connection is over and will not be used again.
    fn forget(&mut self, conn: usize);
}
