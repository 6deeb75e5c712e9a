//! A server's side of one MQTT connection, fed with a stream of bytes.
//!
//! ```text
//! choices u8 | pause u8 | the stream
//! ```
//!
//! Promises: no panic; the counters stay within what was announced; nothing is taken after the end; what is written is whole packets
//! of the client's version; and however the stream is split into reads, the conversation is the same.

use mqtt::connection::{Accepted, Limits, ServerConnection};
use mqtt::frame::{self, Split};
use mqtt::{Error, Packet, ReasonCode, Version, topic};

use crate::trail;

// Bits of the choices.
const REFUSES: u8 = 1;
const ACKNOWLEDGES: u8 = 2;
const TELLS_LITTLE: u8 = 4;
const LIMITS: u8 = 8;

/// Plays the conversation with every way of splitting it that is tried: at once, byte by byte, and in two at a place that the input
/// itself decides, so that over many inputs it is every place.
pub(super) fn run(bytes: &[u8]) {
    let [choices, pause, stream @ ..] = bytes else { return };
    let play = |reads: &mut dyn Iterator<Item = &[u8]>| {
        let mut talk = Talk::new(*choices, *pause);
        reads.for_each(|read| talk.read(read));
        talk.end();
        talk
    };
    let whole = play(&mut std::iter::once(stream));
    let split = crc32c::crc32c(stream) as usize % (stream.len() + 1);
    let (first, second) = stream.split_at(split);
    assert_eq!(play(&mut [first, second].into_iter()), whole, "split at {split}");
    assert_eq!(play(&mut stream.chunks(1)), whole, "byte by byte");
}

/// A conversation and what has come of it.
#[derive(Debug, PartialEq)]
struct Talk {
    connection: ServerConnection,
    choices: u8,
    pause_ms: u64,
    now_ms: u64,
    /// Received and not yet a whole packet.
    unread: Vec<u8>,
    /// What the client is told.
    out: Vec<u8>,
    /// Every packet and error in order, told as text would be and as short as a checksum.
    heard: u32,
    alias_generation: u32,
    over: bool,
}

impl Talk {
    fn new(choices: u8, pause: u8) -> Self {
        let strict = Limits {
            receive_maximum: 3,
            topic_alias_maximum: 2,
            topic_bytes_max: 20,
            topic_levels_max: 4,
            retain_available: false,
            shared_subscription_available: false,
            ..limits()
        };
        let limits = if choices & LIMITS == 0 { limits() } else { strict };
        Self {
            connection: ServerConnection::new(0, &limits),
            choices,
            pause_ms: u64::from(pause) * 100,
            now_ms: 0,
            unread: Vec::new(),
            out: Vec::new(),
            heard: 0,
            alias_generation: 0,
            over: false,
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut at = 0;
        while !self.over {
            let max = self.connection.limits().packet_bytes_max;
            match frame::split(&unread[at..], max) {
                Ok(Split::Whole(frame)) => {
                    at += frame.len;
                    self.now_ms += self.pause_ms;
                    self.packet(frame);
                }
                Ok(Split::Need(_)) => break,
                Err(error) => self.fail(&error),
            }
        }
        self.unread = unread.split_off(at);
        if self.over {
            // What comes after the end is nobody's.
            self.unread.clear();
        }
    }

    fn packet(&mut self, frame: mqtt::Frame<'_>) {
        assert!(self.connection.wants_frames());
        if let Some(error) = self.connection.handle_timeout(self.now_ms) {
            return self.fail(&error);
        }
        let wire = [&[frame.first][..], frame.body].concat();
        match self.connection.handle_frame(frame) {
            Ok(packet) => {
                self.hear(&wire);
                trail::mark(10, packet.packet_type() as u64 | u64::from(self.connection.is_active()) << 8);
                self.accepted(&packet);
            }
            Err(error) => self.fail(&error),
        }
        self.check();
    }

    fn accepted(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) => {
                assert!(!self.connection.is_active() && self.connection.version() == Some(connect.version));
                if self.choices & REFUSES != 0 {
                    self.connection.refuse(ReasonCode::ServerBusy, Some("busy"), &mut self.out);
                    assert!(self.connection.is_closing());
                    self.over = true;
                    return;
                }
                self.connection.accept(self.now_ms, &Accepted::default(), &mut self.out);
                assert!(self.connection.is_active());
            }
            Packet::Publish(publish) => {
                let limits = self.connection.limits();
                let name = self.connection.topic(publish);
                assert!(
                    topic::valid_name(name) && topic::within(name, limits.topic_bytes_max, limits.topic_levels_max)
                );
                let heard = crc32c::crc32c_append(self.heard, name.as_bytes());
                self.heard = heard;
                self.connection.received(self.now_ms);
            }
            Packet::Disconnect(_) => {
                assert!(self.connection.is_closing());
                self.over = true;
            }
            _ => self.connection.received(self.now_ms),
        }
    }

    fn fail(&mut self, error: &Error) {
        assert!(error.reason.is_failure() && !error.clause.is_empty() && !error.what.is_empty());
        trail::mark_text(11, error.what);
        self.hear(error.what.as_bytes());
        self.connection.fail(error, &mut self.out);
        assert!(self.connection.is_closing());
        self.over = true;
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.heard = crc32c::crc32c_append(self.heard, bytes);
    }

    /// What holds after every packet.
    fn check(&mut self) {
        let connection = &mut self.connection;
        let is_v5 = connection.version() == Some(Version::V5);
        assert!(!is_v5 || connection.inbound_open() <= u32::from(connection.limits().receive_maximum));
        assert!(connection.alias_generation() >= self.alias_generation || connection.is_closing());
        self.alias_generation = connection.alias_generation();
        assert_eq!(connection.is_closing(), self.over);
        assert_eq!(connection.wants_frames(), !self.over);
        if self.choices & ACKNOWLEDGES != 0 && connection.inbound_open() > 1 {
            connection.inbound_done(1);
        }
        assert!(connection.deadline_ms().is_none_or(|deadline| deadline < u64::MAX / 2));
    }

    /// What was written is a series of whole packets of the version.
    fn end(&mut self) {
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let Ok(Split::Whole(frame)) = frame::split(rest, u32::MAX) else { panic!("{:02X?}", self.out) };
            if let Some(version) = self.connection.version() {
                assert!(mqtt::decode(version, frame).is_ok(), "{:02X?}", self.out);
            }
            rest = &rest[frame.len..];
        }
        if self.choices & TELLS_LITTLE != 0 {
            let told = self.out.len();
            self.connection.disconnect(ReasonCode::ServerShuttingDown, None, &mut self.out);
            assert!(self.connection.is_closing());
            assert!(!self.over || self.out.len() == told, "nothing is said after the end");
        }
    }
}

fn limits() -> Limits {
    Limits { topic_alias_maximum: 16, ..Limits::default() }
}
