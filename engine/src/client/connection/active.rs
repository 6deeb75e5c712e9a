//! A connection whose server let the client in.

use mqtt::connection::PacketIds;
use mqtt::{Ack, ConnAckProperties, Packet, PacketType, Publish, QoS, ReasonCode, SubAck, UserProperties, Version};
use thiserror::Error;

use super::{Fault, Happening, OPEN_MAX, Output};

/// The least a server gets to answer a PINGREQ, however short the keep alive.
const PONG_MS_MIN: u64 = 5_000;

/// A publication for this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it was published to.
    pub topic: String,
    /// The message itself.
    pub payload: Vec<u8>,
    /// How it was delivered.
    pub qos: QoS,
    /// It was kept by the server, or is to be.
    pub retain: bool,
}

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The server has not let the client in, or the connection is over.
    #[error("not connected")]
    NotConnected,
    /// As many are open as the server takes; one has to be acknowledged first.
    #[error("as many publications are open as the server takes")]
    WindowFull,
    /// Longer than the server takes.
    #[error("the packet has {bytes} bytes, and the server takes at most {bytes_max}")]
    TooLarge {
        /// The packet's length.
        bytes: usize,
        /// What the server announced.
        bytes_max: u32,
    },
    /// The server takes only a lower QoS.
    #[error("the server takes QoS {} at most", .0.bits())]
    QoS(QoS),
    /// The server keeps nothing.
    #[error("the server does not keep publications (retain)")]
    Retain,
}

#[derive(Debug)]
pub(super) struct Active {
    keep_alive_ms: u64,
    /// When the last packet was sent.
    sent_ms: u64,
    /// When a PINGREQ was sent that is not answered.
    pinged_ms: Option<u64>,
    /// As the server announced them.
    receive_maximum: u16,
    packet_bytes_max: u32,
    qos_max: QoS,
    retain_available: bool,
    ids: PacketIds,
    /// At most `OPEN_MAX`, so that a search is short.
    open: Vec<Open>,
    /// Packet ids of the server's at QoS 2 whose PUBREL has not come.
    unreleased: PacketIds,
}

/// What the server owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    packet_id: u16,
    awaits: PacketType,
}

impl Active {
    pub(super) fn new(now_ms: u64, keep_alive_s: u16, server: &ConnAckProperties<'_>) -> Self {
        Self {
            keep_alive_ms: u64::from(keep_alive_s) * 1000,
            sent_ms: now_ms,
            pinged_ms: None,
            receive_maximum: server.receive_maximum,
            packet_bytes_max: server.packet_bytes_max,
            qos_max: server.qos_max,
            retain_available: server.retain_available,
            ids: PacketIds::new(),
            open: Vec::new(),
            unreleased: PacketIds::new(),
        }
    }

    pub(super) fn window(&self) -> usize {
        usize::from(self.receive_maximum.min(OPEN_MAX)).saturating_sub(self.open.len())
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Sends `publish`, whose packet id is chosen here.
    pub(super) fn publish(
        &mut self,
        now_ms: u64,
        publish: &mut Publish<'_>,
        output: &mut Output,
    ) -> Result<(), Refusal> {
        // [MQTT-3.2.2-11]
        if publish.qos > self.qos_max {
            return Err(Refusal::QoS(self.qos_max));
        }
        // [MQTT-3.2.2-14]
        if publish.retain && !self.retain_available {
            return Err(Refusal::Retain);
        }
        self.check_length(publish, output.version)?;
        let awaits = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(PacketType::PubAck),
            QoS::ExactlyOnce => Some(PacketType::PubRec),
        };
        if let Some(awaits) = awaits {
            publish.packet_id = self.take(awaits)?;
        }
        self.sent_ms = now_ms;
        output.put(&Packet::Publish(*publish));
        Ok(())
    }

    fn check_length(&self, publish: &Publish<'_>, version: Version) -> Result<(), Refusal> {
        let mut head = Vec::new();
        // The id does not change the length, but it must be one.
        let any_id = u16::from(publish.qos > QoS::AtMostOnce);
        Publish { packet_id: any_id, ..*publish }.encode_head(version, &mut head);
        let (bytes, bytes_max) =
            (head.len() + publish.payload.len(), self.packet_bytes_max.min(super::PACKET_BYTES_MAX));
        // [MQTT-3.2.2-15]
        if bytes > bytes_max as usize { Err(Refusal::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Takes the packet id of a SUBSCRIBE.
    pub(super) fn subscribe(&mut self, now_ms: u64) -> Result<u16, Refusal> {
        let packet_id = self.take(PacketType::SubAck)?;
        self.sent_ms = now_ms;
        Ok(packet_id)
    }

    fn take(&mut self, awaits: PacketType) -> Result<u16, Refusal> {
        // [MQTT-3.3.4-7]
        if self.window() == 0 {
            return Err(Refusal::WindowFull);
        }
        let packet_id = self.ids.allocate().ok_or(Refusal::WindowFull)?;
        self.open.push(Open { packet_id, awaits });
        Ok(packet_id)
    }

    pub(super) fn handle(
        &mut self,
        now_ms: u64,
        packet: &Packet<'_>,
        output: &mut Output,
    ) -> Result<Option<Happening>, Fault> {
        let queued = output.bytes.len();
        let happened = match packet {
            Packet::Publish(publish) => self.message(publish, output),
            Packet::PubAck(ack) => self.acknowledged(PacketType::PubAck, ack).map(Some),
            Packet::PubRec(ack) => self.half_acknowledged(ack, output),
            Packet::PubComp(ack) => self.acknowledged(PacketType::PubComp, ack).map(Some),
            Packet::PubRel(ack) => {
                self.released(ack.packet_id, output);
                Ok(None)
            }
            Packet::SubAck(ack) => self.subscribed(ack).map(Some),
            Packet::PingResp => {
                self.pinged_ms = None;
                Ok(None)
            }
            Packet::Disconnect(goodbye) => {
                let text = goodbye.reason_string.map(str::to_owned);
                Err(Fault::Ended { reason: goodbye.reason, text })
            }
            other => Err(Fault::Unexpected(other.packet_type())),
        };
        if output.bytes.len() > queued {
            self.sent_ms = now_ms;
        }
        happened
    }

    fn message(&mut self, publish: &Publish<'_>, output: &mut Output) -> Result<Option<Happening>, Fault> {
        // We announced no topic aliases, so the topic is there.
        if publish.properties.topic_alias != 0 {
            return Err(Fault::Unexpected(PacketType::Publish));
        }
        let again = publish.qos == QoS::ExactlyOnce && !self.unreleased.take(publish.packet_id);
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => output.put(&Packet::PubAck(answer(publish.packet_id))),
            QoS::ExactlyOnce => output.put(&Packet::PubRec(answer(publish.packet_id))),
        }
        // [MQTT-4.3.3-10]
        if again {
            return Ok(None);
        }
        let Publish { topic, payload, qos, retain, .. } = *publish;
        Ok(Some(Happening::Message(Message { topic: topic.to_owned(), payload: payload.to_vec(), qos, retain })))
    }

    /// PUBACK or PUBCOMP: the end of a publication.
    fn acknowledged(&mut self, packet: PacketType, ack: &Ack<'_>) -> Result<Happening, Fault> {
        self.settle(packet, ack.packet_id)?;
        let text = ack.reason_string.map(str::to_owned);
        Ok(Happening::Acknowledged { packet_id: ack.packet_id, reason: ack.reason, text })
    }

    /// PUBREC: the end of a publication that failed, the middle of one that did not.
    fn half_acknowledged(&mut self, ack: &Ack<'_>, output: &mut Output) -> Result<Option<Happening>, Fault> {
        if ack.reason.is_failure() {
            return self.acknowledged(PacketType::PubRec, ack).map(Some);
        }
        let packet_id = ack.packet_id;
        // A server that repeats its PUBREC gets its PUBREL again.
        let waits = |open: &&mut Open| {
            open.packet_id == packet_id && matches!(open.awaits, PacketType::PubRec | PacketType::PubComp)
        };
        let Some(open) = self.open.iter_mut().find(waits) else {
            return Err(Fault::NotOpen { packet: PacketType::PubRec, packet_id });
        };
        open.awaits = PacketType::PubComp;
        // [MQTT-4.3.3-4]
        output.put(&Packet::PubRel(answer(packet_id)));
        Ok(None)
    }

    fn released(&mut self, packet_id: u16, output: &mut Output) {
        let mut complete = answer(packet_id);
        // A session that was kept may release what an earlier process received.
        if !self.unreleased.release(packet_id) {
            complete.reason = ReasonCode::PacketIdentifierNotFound;
        }
        // [MQTT-4.3.3-11]
        output.put(&Packet::PubComp(complete));
    }

    fn subscribed(&mut self, ack: &SubAck<'_>) -> Result<Happening, Fault> {
        self.settle(PacketType::SubAck, ack.packet_id)?;
        Ok(Happening::Subscribed { packet_id: ack.packet_id, reasons: ack.reasons.iter().collect() })
    }

    fn settle(&mut self, packet: PacketType, packet_id: u16) -> Result<(), Fault> {
        let wanted = Open { packet_id, awaits: packet };
        let found = self.open.iter().position(|open| *open == wanted);
        let at = found.ok_or(Fault::NotOpen { packet, packet_id })?;
        self.open.swap_remove(at);
        self.ids.release(packet_id);
        Ok(())
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        if self.keep_alive_ms == 0 {
            return None;
        }
        Some(match self.pinged_ms {
            Some(pinged_ms) => pinged_ms.saturating_add(self.pong_ms()),
            None => self.sent_ms.saturating_add(self.keep_alive_ms),
        })
    }

    /// The deadline is over.
    pub(super) fn handle_timeout(&mut self, now_ms: u64, output: &mut Output) -> Result<(), Fault> {
        if self.pinged_ms.is_some() {
            return Err(Fault::Silent { to: PacketType::PingReq, ms: self.pong_ms() });
        }
        output.put(&Packet::PingReq);
        (self.sent_ms, self.pinged_ms) = (now_ms, Some(now_ms));
        Ok(())
    }

    fn pong_ms(&self) -> u64 {
        self.keep_alive_ms.max(PONG_MS_MIN)
    }
}

fn answer(packet_id: u16) -> Ack<'static> {
    Ack { packet_id, reason: ReasonCode::Success, reason_string: None, user: UserProperties::default() }
}
