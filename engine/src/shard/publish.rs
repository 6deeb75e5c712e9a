//! One PUBLISH: from the decoded packet to records in batches and a ticket in a lane.
//!
//! A PUBLISH whose records have no room is held with its connection, byte for byte, and looked at again when something is
//! released. How records find their room is [`place`](super::place)'s.

use mqtt::{Publish, QoS, ReasonCode};

use super::Shard;
use super::io::Io;
use super::packet::Flow;
use super::place::{NoPlace, Placed, Placing, Seat};
use crate::clock::Now;
use crate::config::Qos0OnFull;
use crate::event::Event;
use crate::listener::connection::{Connection, Held};
use crate::plants::{Plant, is_planted};
use crate::session::qos2::Received;
use crate::session::tickets::{Ticket, Verdict};
use crate::sink::route::{MemoRoute, RouteMemo};
use crate::ticket::Lane;

impl Shard {
    pub(super) fn on_publish(
        &mut self,
        now: Now,
        conn: &mut Connection,
        publish: &Publish<'_>,
        io: &mut impl Io,
    ) -> Flow {
        let Some(slot) = conn.session else { return Flow::End };
        let Some(version) = conn.mqtt.version() else { return Flow::End };
        let is_v5 = version.is_v5();
        let mut silences = false;
        let seat = match publish.qos {
            QoS::AtMostOnce => None,
            qos => {
                let Some(session) = self.sessions.get_mut(slot) else { return Flow::End };
                if !is_v5 && !conn.rationed && session.open_bytes() >= self.settings.open_bytes_v3_max {
                    conn.mqtt.inbound_done(1);
                    return Flow::Hold(Held::Tickets);
                }
                if qos == QoS::ExactlyOnce {
                    if let Some(flow) = self.on_known_qos2(now, conn, slot, publish.packet_id, io) {
                        return flow;
                    }
                } else if session.puback.holds(publish.packet_id) {
                    if is_v5 {
                        let what = "a PUBLISH with a packet identifier whose PUBACK has not been sent";
                        let error = mqtt::Error::protocol("MQTT-2.2.1-3", what);
                        self.protocol_error(now, conn, &error, io);
                        return Flow::End;
                    }
                    silences = true;
                }
                self.seat(slot, qos, silences)
            }
        };
        let mut placed = Placed::default();
        let done = match publish.dup && is_planted(Plant::SkipDup) {
            true => Ok(()),
            false => self.place(now, conn, publish, slot, version, seat.as_ref(), &mut placed),
        };
        match done {
            Ok(()) => {}
            Err(NoPlace::Hold) if publish.qos == QoS::AtMostOnce && self.settings.qos0_on_full == Qos0OnFull::Drop => {
                self.drop_qos0(conn);
            }
            Err(_) => {
                if publish.qos > QoS::AtMostOnce {
                    conn.mqtt.inbound_done(1);
                }
                return Flow::Hold(Held::Publish);
            }
        }
        self.round.messages += 1;
        match publish.qos {
            QoS::AtMostOnce => self.counters.received_publishes_qos0 += 1,
            QoS::AtLeastOnce => self.counters.received_publishes_qos1 += 1,
            QoS::ExactlyOnce => self.counters.received_publishes_qos2 += 1,
        }
        self.counters.unmatched_publishes += u64::from(conn.memo.is_unmatched());
        match seat {
            Some(seat) => self.write_ticket(now, conn, publish, &seat, &placed),
            None => Flow::Next,
        }
    }

    #[inline]
    fn seat(&self, slot: u32, qos: QoS, silences: bool) -> Option<Seat> {
        let session = self.sessions.get(slot)?;
        let (lane, tickets) = match qos {
            QoS::ExactlyOnce => (Lane::PubRec, &session.pubrec),
            _ => (Lane::PubAck, &session.puback),
        };
        Some(Seat { session: slot, lane, generation: tickets.generation(), number: tickets.next_number(), silences })
    }

    /// A QoS 2 PUBLISH whose identifier is known makes no record: it attaches to the first, or is answered at once
    /// [MQTT-4.3.3-10].
    #[cold]
    fn on_known_qos2(
        &mut self,
        now: Now,
        conn: &mut Connection,
        slot: u32,
        packet_id: u16,
        io: &mut impl Io,
    ) -> Option<Flow> {
        let session = self.sessions.get_mut(slot)?;
        let known = session.received.get(packet_id);
        if known.is_some() && !session.received.attach(packet_id) {
            // It is counted already.
            conn.mqtt.inbound_done(1);
        }
        match known {
            Some(Received::Pending(_)) => Some(Flow::Next),
            Some(Received::Stored) => {
                let version = conn.mqtt.version()?;
                mqtt::encode_pubrec(version, packet_id, ReasonCode::Success, None, &mut conn.out);
                Self::mark_dirty(&mut self.lists, conn);
                Some(Flow::Next)
            }
            // A 3.1.1 client knows no receive maximum and sends what it has at once. Closing it would make it come back and
            // send all of it again; its identifiers are bounded by their sixteen bits.
            None if conn.mqtt.version()?.is_v5() && session.received.len() >= self.settings.qos2_max => {
                let what = "more QoS 2 publications wait for PUBREL than this server keeps";
                let error = mqtt::Error::limit(ReasonCode::ReceiveMaximumExceeded, "MQTT5 4.9", what);
                self.protocol_error(now, conn, &error, io);
                Some(Flow::End)
            }
            None => None,
        }
    }

    fn write_ticket(
        &mut self,
        now: Now,
        conn: &mut Connection,
        publish: &Publish<'_>,
        seat: &Seat,
        placed: &Placed,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(seat.session) else { return Flow::End };
        let ticket = Ticket {
            packet_id: publish.packet_id,
            pending: if is_planted(Plant::AckEarly) { 0 } else { placed.pending },
            verdict: placed.refused.map_or(Verdict::Good, Verdict::Bad),
            unmatched: conn.memo.is_unmatched(),
            silent: false,
            late: false,
            sink: placed.sink,
            opened_ms: now.mono.as_ms() as u32,
            bytes: placed.bytes,
        };
        if seat.silences {
            session.puback.silence(publish.packet_id);
        }
        let number = if seat.lane == Lane::PubRec {
            session.received.set(publish.packet_id, Received::Pending(seat.number));
            session.pubrec.push(ticket)
        } else {
            session.puback.push(ticket)
        };
        assert!(number == seat.number, "a ticket stands where its runs say");
        if ticket.pending == 0 {
            self.answer_to(seat.session, conn);
            // A refused PUBLISH of a 3.1.1 client ends its connection.
            return if conn.closing.is_some() { Flow::End } else { Flow::Next };
        }
        if !session.listed {
            session.listed = true;
            self.lists.open_sessions.push(seat.session);
        }
        Flow::Next
    }

    /// Places every record of a PUBLISH, or none.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "who publishes what, and where the answer lies")]
    fn place(
        &mut self,
        now: Now,
        conn: &mut Connection,
        publish: &Publish<'_>,
        slot: u32,
        version: mqtt::Version,
        seat: Option<&Seat>,
        placed: &mut Placed,
    ) -> Result<(), NoPlace> {
        let Connection { mqtt, memo, peer_text, .. } = conn;
        let topic = mqtt.topic(publish);
        if !memo.knows(topic, self.route_generation) {
            self.remember_route(memo, topic);
        }
        if memo.is_unmatched() {
            return Ok(());
        }
        let copied = if memo.subscribed { self.copy_publication(now, Some(slot), topic, publish)? } else { None };
        let Placing { mut placer, sessions, ids, scratch } = self.placing(now, copied.as_ref());
        let done = sessions.get(slot).ok_or(NoPlace::Hold).and_then(|session| {
            let event = Event {
                id: ids.next(now.wall_ms),
                client_id: &session.client_id,
                username: session.username.as_deref(),
                peer: peer_text,
                topic,
                payload: publish.payload,
                qos: publish.qos,
                retain: publish.retain,
                dup: publish.dup,
                packet_id: publish.packet_id,
                version,
                properties: &publish.properties,
                received_ms: now.wall_ms,
                node: &placer.settings.node,
            };
            placer.place_all(memo, &event, seat, scratch, placed)
        });
        if let Some(copied) = copied {
            self.hold_publication(copied, done.is_ok().then_some(placed));
        }
        done
    }

    /// Finds the sinks that take `topic`, and whether subscribers do.
    #[cold]
    pub(super) fn remember_route(&mut self, memo: &mut RouteMemo, topic: &str) {
        memo.begin(topic, self.route_generation);
        memo.subscribed = self.filters.matches(topic);
        let takers = self.settings.sinks.iter().enumerate().filter(|(_, sink)| sink.route.takes(topic));
        memo.routes.extend(takers.map(|(i, _)| MemoRoute::to(i as u16)));
    }

    /// `qos0_on_full = "drop"`: counted for every sink that would have taken it, and for subscribers.
    fn drop_qos0(&mut self, conn: &Connection) {
        self.counters.deliveries_dropped_queue_full += u64::from(conn.memo.subscribed);
        for route in &conn.memo.routes {
            let counters = &mut self.sink_counters[usize::from(route.sink)];
            counters.matched += 1;
            counters.dropped_queue_full += 1;
        }
    }
}
