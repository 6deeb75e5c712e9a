//! The far ends of the connections: what the clients have said and may therefore be told.

use std::collections::{BTreeMap, BTreeSet};

use mqtt::frame::{self, Split};
use mqtt::{Packet, QoS, Version, topic};

use crate::trail;

/// Clients at a time.
pub(super) const SLOTS: usize = 2;

/// What a client's connection has said and was told.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Counts its connections.
    pub(super) generation: u32,
    pub(super) is_open: bool,
    /// For the shard to read.
    pub(super) outbox: Vec<u8>,
    /// From the shard, not yet cut into packets.
    pub(super) inbox: Vec<u8>,
    /// The client has finished sending.
    pub(super) is_over: bool,
    /// The shard was told that it must wait before it sends more.
    pub(super) is_full: bool,
    /// None before a CONNECT that can be read.
    version: Option<Version>,
    /// First byte of what the client said last.
    last_said: u8,
    /// Deliveries whose packet identifier is in use.
    open: BTreeMap<u16, QoS>,
}

/// All that was said by anybody, on whatever connection: sessions and publications outlive connections.
#[derive(Debug, Default)]
pub(super) struct Said {
    payloads: BTreeSet<Vec<u8>>,
    filters: BTreeSet<String>,
    /// By type of the answer and packet identifier, how often one is due.
    due: BTreeMap<(u8, u16), usize>,
}

impl Line {
    /// Begins another connection.
    pub(super) fn reopen(&mut self) {
        *self = Self { generation: self.generation + 1, is_open: true, ..Self::default() };
    }

    /// The client sends a packet, or rubbish.
    pub(super) fn say(&mut self, bytes: &[u8], said: &mut Said) {
        self.outbox.extend_from_slice(bytes);
        let Ok(Split::Whole(frame)) = frame::split(bytes, u32::MAX) else { return };
        self.last_said = frame.first;
        if let Ok(packet) = mqtt::decode(self.version.unwrap_or(Version::V5), frame) {
            if let (Packet::Connect(connect), None) = (&packet, self.version) {
                self.version = Some(connect.version);
            }
            self.forget(&packet);
            said.note(&packet);
        }
    }

    /// The client answers what it was told.
    pub(super) fn answer(&mut self, answers: &[u8], said: &mut Said) {
        let mut at = 0;
        while let Ok(Split::Whole(frame)) = frame::split(&answers[at..], u32::MAX) {
            self.say(&answers[at..at + frame.len], said);
            at += frame.len;
        }
    }

    /// What the client has finished with is no longer open: QoS 2 only by PUBCOMP, or by a PUBREC that refuses.
    fn forget(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => _ = self.open.remove(&ack.packet_id),
            Packet::PubRec(ack) => {
                let goes_on = self.open.get(&ack.packet_id) == Some(&QoS::ExactlyOnce) && !ack.reason.is_failure();
                if !goes_on {
                    self.open.remove(&ack.packet_id);
                }
            }
            _ => {}
        }
    }

    /// Takes whole packets from what the shard has sent, and returns what the client answers if it answers.
    ///
    /// # Panics
    /// If the shard may not say that.
    pub(super) fn hear(&mut self, said: &mut Said) -> Vec<u8> {
        let (mut at, mut answers) = (0, Vec::new());
        let inbox = std::mem::take(&mut self.inbox);
        while let Ok(Split::Whole(frame)) = frame::split(&inbox[at..], u32::MAX) {
            at += frame.len;
            let Some(version) = self.version else { continue };
            let packet = mqtt::decode(version, frame).unwrap_or_else(|error| panic!("{error}: {frame:02X?}"));
            let asked = u64::from(self.last_said) << 8;
            trail::mark(20, packet.packet_type() as u64 | asked | u64::from(version == Version::V5) << 16);
            self.told(version, &packet, said, &mut answers);
        }
        self.inbox = inbox[at..].to_vec();
        answers
    }

    fn told(&mut self, version: Version, packet: &Packet<'_>, said: &mut Said, answers: &mut Vec<u8>) {
        let ok = mqtt::ReasonCode::Success;
        match packet {
            Packet::ConnAck(ack) => trail::mark(21, u64::from(ack.session_present) << 8 | ack.reason as u64),
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                trail::mark(22, ack.reason as u64);
                said.take_due(packet.packet_type() as u8, ack.packet_id);
            }
            Packet::SubAck(ack) => said.take_due(packet.packet_type() as u8, ack.packet_id),
            Packet::UnsubAck(ack) => said.take_due(packet.packet_type() as u8, ack.packet_id),
            Packet::Publish(publish) => {
                assert!(said.payloads.contains(publish.payload), "nobody has published {:02X?}", publish.payload);
                assert!(said.is_wanted(publish.topic), "nobody has asked for {}", publish.topic);
                trail::mark(23, publish.qos as u64 | u64::from(publish.dup) << 2 | u64::from(publish.retain) << 3);
                if publish.qos != QoS::AtMostOnce {
                    let is_free = self.open.insert(publish.packet_id, publish.qos).is_none();
                    assert!(is_free || publish.dup, "{} is in use", publish.packet_id);
                }
                match publish.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => mqtt::encode_puback(version, publish.packet_id, ok, None, answers),
                    QoS::ExactlyOnce => mqtt::encode_pubrec(version, publish.packet_id, ok, None, answers),
                }
            }
            Packet::PubRel(ack) => mqtt::encode_pubcomp(version, ack.packet_id, ok, None, answers),
            Packet::PingResp => said.take_due(packet.packet_type() as u8, 0),
            Packet::Disconnect(_) => {}
            other => panic!("a server does not say {other:?}"),
        }
    }
}

impl Said {
    fn note(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) => {
                self.payloads.extend(connect.will.iter().map(|will| will.payload.to_vec()));
            }
            Packet::Publish(publish) => {
                self.payloads.insert(publish.payload.to_vec());
                match publish.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => self.add_due(4, publish.packet_id),
                    QoS::ExactlyOnce => self.add_due(5, publish.packet_id),
                }
            }
            Packet::PubRel(ack) => self.add_due(7, ack.packet_id),
            Packet::Subscribe(subscribe) => {
                self.add_due(9, subscribe.packet_id);
                self.filters.extend(subscribe.subscriptions().map(|one| one.filter.to_owned()));
            }
            Packet::Unsubscribe(unsubscribe) => self.add_due(11, unsubscribe.packet_id),
            Packet::PingReq => self.add_due(13, 0),
            _ => {}
        }
    }

    fn add_due(&mut self, answer: u8, packet_id: u16) {
        *self.due.entry((answer, packet_id)).or_default() += 1;
    }

    fn take_due(&mut self, answer: u8, packet_id: u16) {
        let due = self.due.get_mut(&(answer, packet_id)).filter(|due| **due > 0);
        *due.unwrap_or_else(|| panic!("answer {answer} for {packet_id} is due to nobody")) -= 1;
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.filters.iter().any(|filter| {
            let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
            topic::matches(shared.map_or(filter, |(_, filter)| filter), name)
        })
    }
}
