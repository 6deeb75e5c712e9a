//! The doors, one target each. A later door gets its file, its row here and its folder under `corpus/`.

mod config;
mod group_offsets;
mod headers;
mod journal_index;
mod journal_recovery;
mod kafka_frames;
mod kafka_login;
mod kafka_request;
pub mod kafka_response;
mod kafka_sasl;
mod log_recovery;
mod mqtt_client;
mod mqtt_connection;
mod mqtt_decode;
mod record_batch;
mod second_opinion;
mod shard_clients;
mod template;
mod tls_files;
mod token_answer;
mod topic_match;

use crate::shape::{self, Shape};

/// One door: what comes in there, and the promises it keeps.
#[derive(Debug)]
pub struct Target {
    /// Its name, also that of its corpus.
    pub name: &'static str,
    /// Takes any bytes; panics if a promise is broken.
    pub run: fn(&[u8]),
    /// What its inputs are made of.
    pub shape: Shape,
    /// Words that mean something there.
    pub words: &'static [&'static [u8]],
    /// Longer inputs are cut: they are slower and say nothing new.
    pub bytes_max: usize,
    /// Whether it decodes a wire format, for which there is a speed to reach.
    pub is_decoder: bool,
}

/// All of them.
pub static TARGETS: &[Target] = &[
    Target {
        name: "mqtt_decode_v3",
        run: mqtt_decode::v3,
        shape: shape::PACKETS,
        words: &[b"\0\x04MQTT\x04", b"\0\x06MQIsdp\x03", b"\0\x01#", b"\0\x01+", b"\xc0\0"],
        bytes_max: 512,
        is_decoder: true,
    },
    Target {
        name: "mqtt_decode_v5",
        run: mqtt_decode::v5,
        shape: shape::PACKETS,
        words: mqtt_decode::PROPERTIES,
        bytes_max: 512,
        is_decoder: true,
    },
    Target {
        name: "mqtt_connection",
        run: mqtt_connection::run,
        shape: shape::PACKETS_BEHIND_2,
        words: mqtt_decode::PROPERTIES,
        bytes_max: 1024,
        is_decoder: false,
    },
    Target {
        name: "mqtt_client",
        run: mqtt_client::run,
        shape: shape::PACKETS_BEHIND_2,
        words: mqtt_decode::PROPERTIES,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "shard_clients",
        run: shard_clients::run,
        shape: shape::PACKETS_BEHIND_2,
        words: mqtt_decode::PROPERTIES,
        bytes_max: 1024,
        is_decoder: false,
    },
    Target {
        name: "topic_match",
        run: topic_match::run,
        shape: shape::LINES,
        words: &[
            b"+0 ",
            b"-0 ",
            b">1 ",
            b"<1 ",
            b"/",
            b"+",
            b"#",
            b"/#",
            b"$SYS",
            b"$share/g/",
            b"a/",
            "\u{e4}".as_bytes(),
        ],
        bytes_max: 192,
        is_decoder: false,
    },
    Target {
        name: "kafka_frames",
        run: kafka_frames::run,
        shape: shape::FRAMES,
        words: &[b"\0\0\0\x01", b"\0\x23", b"\0\x00\0\x03\0\x0c"],
        bytes_max: 2048,
        is_decoder: true,
    },
    Target {
        name: "kafka_response",
        run: kafka_response::run,
        shape: shape::PLAIN_BEHIND_2,
        words: &[b"\0\x06", b"\0\x38", b"\0\x57", b"\x00", b"\x01", b"\0\0\0\0\0\0\0\x2a"],
        bytes_max: 1024,
        is_decoder: true,
    },
    Target {
        name: "kafka_sasl",
        run: kafka_sasl::run,
        shape: shape::LINES,
        words: &[b"r=", b",s=", b",i=4096", b"v=", b"e=", b"AAAA"],
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "kafka_login",
        run: kafka_login::run,
        shape: shape::FRAMES_BEHIND_1,
        words: &[b"r=", b",s=", b",i=4096", b"\0\x11\0\0\0\x01", b"\0\x24\0\0\0\x02", b"\0\x05PLAIN"],
        bytes_max: 1024,
        is_decoder: false,
    },
    Target {
        name: "kafka_request",
        run: kafka_request::run,
        shape: shape::FRAMES,
        words: kafka_request::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "record_batch",
        run: record_batch::run,
        shape: shape::BATCHES,
        words: &[b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", b"\x1f\x8b\x08", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"],
        bytes_max: 2048,
        is_decoder: true,
    },
    Target {
        name: "log_recovery",
        run: log_recovery::run,
        shape: shape::BATCHES,
        words: log_recovery::WORDS,
        bytes_max: 4096,
        is_decoder: false,
    },
    Target {
        name: "journal_recovery",
        run: journal_recovery::run,
        shape: shape::ENTRIES,
        words: journal_recovery::WORDS,
        bytes_max: 2048,
        is_decoder: false,
    },
    Target {
        name: "journal_index",
        run: journal_index::run,
        shape: shape::INDEX,
        words: journal_index::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "group_offsets",
        run: group_offsets::run,
        shape: shape::LINES,
        words: group_offsets::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "config",
        run: config::run,
        shape: shape::LINES,
        words: config::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "template",
        run: template::run,
        shape: shape::LINES,
        words: template::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "headers",
        run: headers::run,
        shape: shape::LINES_BEHIND_1,
        words: headers::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "token_answer",
        run: token_answer::run,
        shape: shape::PLAIN_BEHIND_2,
        words: token_answer::WORDS,
        bytes_max: 512,
        is_decoder: false,
    },
    Target {
        name: "tls_files",
        run: tls_files::run,
        shape: shape::LINES,
        words: tls_files::WORDS,
        bytes_max: 2048,
        is_decoder: false,
    },
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
