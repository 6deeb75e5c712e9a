//! A client's side of one MQTT connection, fed with what a server sends: `aqueduct pub`, `sub` and `demo` speak to any.
//!
//! ```text
//! choices u8 | publications u8 | the stream
//! ```
//!
//! Promises: no panic; no more is open than the server allows; what is written is whole packets of the client's version; nothing is
//! taken after the end; and however the stream is split into reads, the conversation is the same.

use aqueduct::client::{Connection, Happening, Options};
use mqtt::frame::{self, Split};
use mqtt::{QoS, Version};

use crate::trail;

// Bits of the choices.
const V5: u8 = 1;
const SUBSCRIBES: u8 = 2;
const EXACTLY_ONCE: u8 = 4;
const KEEPS: u8 = 8;
const SAYS_GOODBYE: u8 = 16;

/// Plays the conversation at once, byte by byte, and split at a place that the input itself decides.
pub(super) fn run(bytes: &[u8]) {
    let [choices, publications, stream @ ..] = bytes else { return };
    let play = |reads: &mut dyn Iterator<Item = &[u8]>| {
        let mut talk = Talk::new(*choices, *publications);
        reads.for_each(|read| talk.read(read));
        talk.end();
        (talk.heard, talk.over, talk.connection.output().to_vec())
    };
    let whole = play(&mut std::iter::once(stream));
    let split = crc32c::crc32c(stream) as usize % (stream.len() + 1);
    let (first, second) = stream.split_at(split);
    assert_eq!(play(&mut [first, second].into_iter()), whole, "split at {split}");
    assert_eq!(play(&mut stream.chunks(1)), whole, "byte by byte");
}

/// A conversation and what the client has heard.
struct Talk {
    connection: Connection,
    version: Version,
    choices: u8,
    publications: u8,
    /// Every happening and the end, in order, as a checksum of what they say.
    heard: u32,
    over: bool,
}

impl Talk {
    fn new(choices: u8, publications: u8) -> Self {
        let version = if choices & V5 == 0 { Version::V3_1_1 } else { Version::V5 };
        let options = Options {
            version,
            client_id: "c".to_owned(),
            keep_session: choices & KEEPS != 0,
            keep_alive_s: 60,
            username: None,
            password: None,
        };
        let connection = Connection::new(0, &options, None);
        Self { connection, version, choices, publications: publications % 8, heard: 0, over: false }
    }

    fn read(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        self.connection.receive(bytes);
        loop {
            match self.connection.poll(0) {
                Ok(Some(happening)) => self.happened(&happening),
                Ok(None) => break,
                Err(fault) => {
                    let text = fault.to_string();
                    assert!(!text.is_empty() && !self.connection.is_active());
                    trail::mark_text(12, &text);
                    self.hear(&text);
                    self.over = true;
                    break;
                }
            }
        }
        assert!(self.connection.deadline_ms().is_none_or(|deadline| deadline < u64::MAX / 2));
    }

    fn happened(&mut self, happening: &Happening) {
        self.hear(&format!("{happening:?}"));
        let kind = match happening {
            Happening::Connected { .. } => {
                assert!(self.connection.is_active());
                self.ask();
                0
            }
            Happening::Acknowledged { packet_id, reason, .. } => {
                assert!(*packet_id != 0);
                u64::from(reason.is_failure()) << 4 | 1
            }
            Happening::Subscribed { packet_id, reasons } => {
                assert!(*packet_id != 0);
                (reasons.len().min(3) as u64) << 4 | 2
            }
            Happening::Message(_) => 3,
        };
        trail::mark(13, kind << 1 | u64::from(self.version == Version::V5));
    }

    /// Opens what the server may acknowledge.
    fn ask(&mut self) {
        if self.choices & SUBSCRIBES != 0 {
            let filters = ["a/#".to_owned(), "+/b".to_owned()];
            assert!(self.connection.subscribe(0, &filters, QoS::ExactlyOnce).is_ok());
        }
        for n in 0..self.publications {
            let qos = if self.choices & EXACTLY_ONCE == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let (window, open) = (self.connection.window(), self.connection.open());
            let sent = self.connection.publish(0, "t", &[n], qos, false);
            assert!(sent.is_err() || (window > 0 && self.connection.open() == open + 1), "{sent:?} of {window}");
        }
    }

    fn hear(&mut self, text: &str) {
        self.heard = crc32c::crc32c_append(self.heard, text.as_bytes());
    }

    /// What was written is a series of whole packets of the version.
    fn end(&mut self) {
        if self.choices & SAYS_GOODBYE != 0 {
            self.connection.disconnect();
            assert!(!self.connection.is_active() && self.connection.deadline_ms().is_none());
        }
        let mut rest = self.connection.output();
        while !rest.is_empty() {
            let Ok(Split::Whole(frame)) = frame::split(rest, u32::MAX) else { panic!("{rest:02X?}") };
            assert!(mqtt::decode(self.version, frame).is_ok(), "{rest:02X?}");
            rest = &rest[frame.len..];
        }
    }
}
