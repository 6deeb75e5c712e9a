//! Whole packets: each to the room that understands it.

use mqtt::{Frame, Packet, ReasonCode};

use super::control::Level;
use super::io::{CloseReason, Io};
use super::{Shard, ShardId};
use crate::clock::Now;
use crate::listener::connection::{Connection, Held};
use crate::session::qos2::Received;

/// What follows from a packet for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// The packet was handled.
    Next,
    /// It does not fit now: keep it and stop reading.
    Hold(Held),
    /// The conversation is over; send what there is to send, then close.
    End,
    /// The client's home is another shard; the packet, its CONNECT, is to be handled there.
    Move(ShardId),
}

impl Shard {
    #[inline]
    pub(super) fn on_frame(&mut self, now: Now, conn: &mut Connection, frame: Frame<'_>, io: &mut impl Io) -> Flow {
        if conn.session.is_none()
            && let Some(home) = self.home_elsewhere(conn, frame)
        {
            return Flow::Move(home);
        }
        // Looked at where it was written: to move a packet costs more than to decode one.
        let handled = conn.mqtt.handle_frame(frame);
        let packet = match &handled {
            Ok(packet) => packet,
            Err(error) => {
                self.protocol_error(now, conn, error, io);
                return Flow::End;
            }
        };
        self.counters.received_packets += 1;
        match packet {
            Packet::Publish(publish) => self.on_publish(now, conn, publish, io),
            Packet::PingReq => {
                mqtt::encode_pingresp(&mut conn.out);
                Self::mark_dirty(&mut self.lists, conn);
                Flow::Next
            }
            Packet::PubRel(ack) => self.on_pubrel(conn, ack.packet_id),
            Packet::PubAck(ack) => self.on_puback(conn, ack.packet_id),
            Packet::PubRec(ack) => self.on_pubrec(conn, ack),
            Packet::PubComp(ack) => self.on_pubcomp(conn, ack.packet_id),
            Packet::Subscribe(subscribe) => self.on_subscribe(conn, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(conn, unsubscribe),
            Packet::Connect(connect) => self.on_connect(now, conn, connect, io),
            Packet::Disconnect(disconnect) => self.on_disconnect(conn, disconnect),
            _ => self.on_rare_packet(now, conn, packet, io),
        }
    }

    #[cold]
    fn on_rare_packet(&mut self, now: Now, conn: &mut Connection, packet: &Packet<'_>, io: &mut impl Io) -> Flow {
        let what = match packet {
            Packet::Auth(_) => "re-authentication is not offered",
            _ => "this packet is not expected here",
        };
        let error = mqtt::Error::protocol("MQTT5 4.13", what);
        self.protocol_error(now, conn, &error, io);
        Flow::End
    }

    /// PUBREL ends a QoS 2 publication; answered whether or not its identifier is known [MQTT-4.3.3-11].
    fn on_pubrel(&mut self, conn: &mut Connection, packet_id: u16) -> Flow {
        let Some((session, version)) = conn.session.and_then(|s| self.sessions.get_mut(s)).zip(conn.mqtt.version())
        else {
            return Flow::End;
        };
        let reason = match session.received.get(packet_id) {
            Some(Received::Stored) => {
                conn.mqtt.inbound_done(u32::from(session.received.is_here(packet_id)));
                session.received.remove(packet_id);
                ReasonCode::Success
            }
            // A PUBREL cannot be meant for a publication whose PUBREC has not left: the publication stays pending.
            Some(Received::Pending(_)) | None => ReasonCode::PacketIdentifierNotFound,
        };
        mqtt::encode_pubcomp(version, packet_id, reason, None, &mut conn.out);
        Self::mark_dirty(&mut self.lists, conn);
        Flow::Next
    }

    /// Tells the client which clause it broke, and the log too.
    #[cold]
    pub(super) fn protocol_error(&mut self, now: Now, conn: &mut Connection, error: &mqtt::Error, io: &mut impl Io) {
        self.counters.protocol_errors += 1;
        let peer = conn.peer;
        self.notes.say(now.mono, Level::Info, io, || format!("client at {peer} broke the protocol: {error}"));
        conn.mqtt.fail(error, &mut conn.out);
        self.close_after_flush(conn, CloseReason::Protocol);
    }

    /// Closes a connection once what is in its output was offered to the socket.
    pub(super) fn close_after_flush(&mut self, conn: &mut Connection, why: CloseReason) {
        conn.closing = Some(why);
        Self::mark_dirty(&mut self.lists, conn);
    }
}
