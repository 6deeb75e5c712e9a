//! From a session's queue to its client's socket, and the acknowledgements that come back.
//!
//! What a client is sent in one round is bounded by its output: as long as the socket takes bytes the queue is emptied, and
//! while it does not, publications stay in the session's queue, where limits apply. Nothing here waits for a client.

use mqtt::Ack;
use mqtt::connection::Peer;

use super::Shard;
use super::io::Io;
use super::packet::Flow;
use crate::clock::Now;
use crate::listener::connection::{Connection, OUT_BYTES_MAX};
use crate::session::deliveries::{OnPubRec, Recipient, Sent};

/// Publications in flight to a client that cannot say how many it takes (MQTT 3.1.1); as in EMQX.
const WINDOW_V3: u16 = 32;
/// Publications in flight to any client: acknowledgements are looked up in what is in flight.
const WINDOW_MAX: u16 = 1024;
/// Output above which deliveries wait; half of what stops the reading of a client, so that a client that publishes too still
/// gets its acknowledgements.
const DELIVERY_BYTES_MAX: usize = OUT_BYTES_MAX / 2;

impl Shard {
    /// Sends to every session that has something to be sent.
    pub(super) fn send_due(&mut self, now: Now) {
        let mut due = std::mem::take(&mut self.deliver.due);
        for slot in due.drain(..) {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            session.due = false;
            let Some(key) = session.conn else { continue };
            let Some(mut conn) = self.take_conn(key) else { continue };
            self.send_deliveries(now, &mut conn);
            self.put_conn(conn);
        }
        self.deliver.due = due;
    }

    /// Sends to a session in the middle of a round, because its queue is full: outcomes come in bursts, and a client that
    /// keeps up is not to lose any of them.
    pub(super) fn send_now(&mut self, now: Now, slot: u32, io: &mut impl Io) {
        let Some(key) = self.sessions.get(slot).and_then(|session| session.conn) else { return };
        let Some(mut conn) = self.take_conn(key) else { return };
        self.send_deliveries(now, &mut conn);
        self.count_flush(&mut conn, io);
        self.send_backlog(now, &mut conn, io);
        self.put_conn(conn);
    }

    /// Sends on while the socket takes everything it is given.
    pub(super) fn send_backlog(&mut self, now: Now, conn: &mut Connection, io: &mut impl Io) {
        while conn.backlog && conn.out.is_empty() && !conn.blocked && conn.closing.is_none() {
            self.send_deliveries(now, conn);
            self.count_flush(conn, io);
        }
    }

    /// Moves deliveries of its session into the output of a connection.
    fn send_deliveries(&mut self, now: Now, conn: &mut Connection) {
        conn.backlog = false;
        if conn.answers_due > 0 || conn.closing.is_some() {
            // A SUBACK goes before what it announces; its arrival lists the session again.
            return;
        }
        let Some(session) = conn.session.and_then(|slot| self.sessions.get_mut(slot)) else { return };
        let Some(to) = conn.mqtt.peer().map(recipient) else { return };
        if conn.blocked {
            conn.backlog = true;
            return;
        }
        let limits = &self.settings.subscribers.queue;
        let sent = session.deliveries.send(now.mono, &mut self.deliver.shelf, &to, limits, &mut conn.out);
        let Sent { publications, expired, too_large, freed_bytes, more } = sent;
        conn.backlog = more;
        self.counters.deliveries += publications;
        self.counters.deliveries_dropped_expired += expired;
        self.counters.deliveries_dropped_too_large += too_large;
        self.release_delivered(freed_bytes);
        if !conn.out.is_empty() {
            Self::mark_dirty(&mut self.lists, conn);
        }
    }

    /// A client has a publication at QoS 1, or does not want it.
    pub(super) fn on_puback(&mut self, conn: &mut Connection, packet_id: u16) -> Flow {
        let Some((slot, session)) = conn.session.and_then(|slot| Some((slot, self.sessions.get_mut(slot)?))) else {
            return Flow::End;
        };
        let freed_bytes = session.deliveries.puback(packet_id, &mut self.deliver.shelf);
        self.after_ack(slot, freed_bytes);
        Flow::Next
    }

    /// A client has received a publication at QoS 2: PUBREL follows [MQTT-4.3.3-4].
    pub(super) fn on_pubrec(&mut self, conn: &mut Connection, ack: &Ack<'_>) -> Flow {
        let Some((slot, version)) = conn.session.zip(conn.mqtt.version()) else { return Flow::End };
        let Some(session) = self.sessions.get_mut(slot) else { return Flow::End };
        let refused = ack.reason.is_failure();
        let (answer, freed_bytes) = session.deliveries.pubrec(ack.packet_id, refused, &mut self.deliver.shelf);
        if let OnPubRec::Release(reason) = answer {
            mqtt::encode_pubrel(version, ack.packet_id, reason, None, &mut conn.out);
            Self::mark_dirty(&mut self.lists, conn);
        }
        self.after_ack(slot, freed_bytes);
        Flow::Next
    }

    /// A client has let go of a publication at QoS 2.
    pub(super) fn on_pubcomp(&mut self, conn: &mut Connection, packet_id: u16) -> Flow {
        let Some((slot, session)) = conn.session.and_then(|slot| Some((slot, self.sessions.get_mut(slot)?))) else {
            return Flow::End;
        };
        let freed_bytes = session.deliveries.pubcomp(packet_id, &mut self.deliver.shelf);
        self.after_ack(slot, freed_bytes);
        Flow::Next
    }

    /// An acknowledgement may have made room in the window.
    fn after_ack(&mut self, slot: u32, freed_bytes: usize) {
        self.release_delivered(freed_bytes);
        if self.sessions.get(slot).is_some_and(|session| !session.deliveries.is_idle()) {
            self.deliver.send_soon(&mut self.sessions, slot);
        }
    }
}

fn recipient(peer: &Peer) -> Recipient {
    Recipient {
        version: peer.version,
        window: if peer.version.is_v5() { peer.receive_maximum.min(WINDOW_MAX) } else { WINDOW_V3 },
        packet_bytes_max: peer.packet_bytes_max,
        out_bytes_max: DELIVERY_BYTES_MAX,
    }
}
