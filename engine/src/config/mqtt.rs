//! `[mqtt]`: limits of what clients may send, hold and expect.

use super::kind::choice::{Choice, words};
use super::kind::number::{Count, Millis, Size};
use super::option::{Group, Section, options, or};
use super::unit::{DAY, GB, HOUR, KB, MB, MILLISECOND, SECOND};

pub(crate) static SECTION: Section = Section {
    name: "mqtt",
    named: false,
    about: Mqtt::ABOUT,
    groups: &[Group { only: None, about: Mqtt::ABOUT, rows: Mqtt::ROWS }],
};

words! {
    /// What becomes of a QoS 0 PUBLISH that finds its buffer full.
    pub enum Qos0OnFull {
        /// The client is not read until there is room.
        Backpressure = "backpressure",
        /// It is dropped and counted, and the client is read on.
        Drop = "drop",
    }
}

options! {
    /// Limits of what clients may send, hold and expect. MQTT 5 clients are told those the protocol has words for.
    pub struct Mqtt {
        /// Largest packet a client may send.
        "max_packet_size" => packet_bytes_max: u32 = Size::within(KB, 256 * MB - KB), or("1MB");
        /// Levels of a topic or a filter.
        "max_topic_levels" => topic_levels_max: u16 = Count::within(1, 1024), or("128"), new_clients;
        /// Bytes of a topic or a filter.
        "topic_max_bytes" => topic_bytes_max: u16 = Count::within(16, 65_535), or("1024"), new_clients;
        /// QoS 1 and 2 publishes a client may have unacknowledged.
        "receive_maximum" => receive_maximum: u16 = Count::within(1, 65_535), or("256");
        /// QoS 2 publishes of an MQTT 5 client that may wait for its PUBREL; never fewer than `receive_maximum` grants it.
        "qos2_max" => qos2_max: u16 = Count::within(1, 65_535), or("100");
        /// Longest keep-alive an MQTT 5 client is granted; an MQTT 3.1.1 client keeps its own.
        "keepalive_max" => keepalive_max_ms: u64 = Millis::within(SECOND, 65_535 * SECOND), or("600s"), new_clients;
        /// Longest a session outlives its connection; an MQTT 5 client that asks for more is told so.
        "session_expiry_max" => session_expiry_max_ms: u64 = Millis::within(0, 3650 * DAY), or("7d"), new_clients;
        /// How long the session of an MQTT 3.1.1 client without clean session outlives its connection: such a client cannot
        /// say.
        "session_expiry_default" => session_expiry_default_ms: u64 = Millis::within(0, 3650 * DAY), or("2h"), new_clients;
        /// Subscriptions of one client.
        "subscriptions_max" => subscriptions_max: u32 = Count::within(1, 1_000_000), or("100"), live;
        /// Messages queued for one subscriber.
        "queue_max_messages" => queue_messages_max: u32 = Count::within(1, 10_000_000), or("1000"), live;
        /// Bytes queued for one subscriber.
        "queue_max_bytes" => queue_bytes_max: u64 = Size::within(4 * KB, 4 * GB), or("1MB"), live;
        /// Topic aliases a client may use.
        "topic_alias_maximum" => topic_alias_maximum: u16 = Count::within(0, 65_535), or("16"), new_clients;
        /// Time from accept to a whole CONNECT.
        "connect_timeout" => connect_timeout_ms: u64 = Millis::within(100 * MILLISECOND, HOUR), or("5s"), new_clients;
        /// Connections each shard accepts in a second, and in one burst; more wait in the kernel's queue.
        "connect_rate" => connect_rate: u32 = Count::within(1, 1_000_000), or("5000");
        /// What becomes of a QoS 0 PUBLISH that finds its buffer full.
        "qos0_on_full" => qos0_on_full: Qos0OnFull = Choice::of(), or("backpressure");
    }
}
