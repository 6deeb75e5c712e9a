//! One PUBLISH: from the decoded packet to records in batches and a ticket in a lane.
//!
//! Either all records of a PUBLISH are placed or none is: room is reserved for each before the first is written. A PUBLISH
//! without room is held with its connection, byte for byte, and looked at again when something is released.

use mqtt::{Publish, QoS, ReasonCode};

use super::Shard;
use super::deliver::Copied;
use super::io::Io;
use super::packet::Flow;
use crate::clock::Now;
use crate::config::{Overflow, Qos0OnFull};
use crate::event::{Event, EventIds};
use crate::listener::connection::{Connection, Held};
use crate::plants::{Plant, is_planted};
use crate::session::publications::LaneSeat;
use crate::session::qos2::Received;
use crate::session::table::SessionTable;
use crate::session::tickets::{Ticket, Verdict};
use crate::sink::accumulator::{At, Record, Room};
use crate::sink::partitioning::Choice;
use crate::sink::route::{Chosen, MemoRoute, RouteMemo, Value};
use crate::sink::{Answered, Sink};
use crate::ticket::{FailReason, Lane, Outcome};

/// Where the ticket of a PUBLISH will stand, known before it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    session: u32,
    lane: Lane,
    generation: u32,
    number: u32,
}

/// What became of a PUBLISH's records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Placed {
    /// Records whose outcome the ticket waits for.
    pending: u16,
    /// The first sink it waits for.
    sink: u16,
    /// Bytes of all records.
    bytes: u32,
    /// A sink refused its record.
    refused: Option<FailReason>,
    /// Records whose outcome subscribers wait for.
    pub(super) awaited: u16,
    /// A sink that subscribers wait for refused its record.
    pub(super) withheld: bool,
}

/// Why there is no place for a record now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Hold the PUBLISH: memory, a full partition under back-pressure, or a topic that is not known yet.
    Hold,
    /// As `Hold`, for a moment: its client is faster than a Kafka that keeps up. Nothing is full, so nothing is dropped.
    Wait,
    /// The sink refuses it.
    Refuse(FailReason),
}

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
                self.seat(slot, qos)
            }
        };
        let placed = match self.place(now, conn, publish, slot, version, seat.as_ref()) {
            Ok(placed) => placed,
            Err(NoPlace::Hold) if publish.qos == QoS::AtMostOnce && self.settings.qos0_on_full == Qos0OnFull::Drop => {
                self.drop_qos0(conn);
                Placed::default()
            }
            Err(_) => {
                if publish.qos > QoS::AtMostOnce {
                    conn.mqtt.inbound_done(1);
                }
                return Flow::Hold(Held::Publish);
            }
        };
        self.round.messages += 1;
        match publish.qos {
            QoS::AtMostOnce => self.counters.received_publishes_qos0 += 1,
            QoS::AtLeastOnce => self.counters.received_publishes_qos1 += 1,
            QoS::ExactlyOnce => self.counters.received_publishes_qos2 += 1,
        }
        let unmatched = conn.memo.routes.is_empty() && !conn.memo.subscribed;
        self.counters.unmatched_publishes += u64::from(unmatched);
        match seat {
            Some(seat) => self.write_ticket(now, conn, publish, &seat, &placed, unmatched, silences),
            None => Flow::Next,
        }
    }

    #[inline]
    fn seat(&self, slot: u32, qos: QoS) -> Option<Seat> {
        let session = self.sessions.get(slot)?;
        let (lane, tickets) = match qos {
            QoS::ExactlyOnce => (Lane::PubRec, &session.pubrec),
            _ => (Lane::PubAck, &session.puback),
        };
        Some(Seat { session: slot, lane, generation: tickets.generation(), number: tickets.next_number() })
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
        unmatched: bool,
        silences: bool,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(seat.session) else { return Flow::End };
        let ticket = Ticket {
            packet_id: publish.packet_id,
            pending: if is_planted(Plant::AckEarly) { 0 } else { placed.pending },
            verdict: placed.refused.map_or(Verdict::Good, Verdict::Bad),
            unmatched,
            silent: false,
            late: false,
            sink: placed.sink,
            opened_ms: now.mono.as_ms() as u32,
            bytes: placed.bytes,
        };
        if silences {
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
    fn place(
        &mut self,
        now: Now,
        conn: &mut Connection,
        publish: &Publish<'_>,
        slot: u32,
        version: mqtt::Version,
        seat: Option<&Seat>,
    ) -> Result<Placed, NoPlace> {
        let Connection { mqtt, memo, peer_text, .. } = conn;
        let topic = mqtt.topic(publish);
        if !memo.knows(topic, self.route_generation) {
            self.remember_route(memo, topic);
        }
        if memo.routes.is_empty() && !memo.subscribed {
            return Ok(Placed::default());
        }
        let copied = if memo.subscribed { self.copy_publication(now, Some(slot), topic, publish)? } else { None };
        let mut scratch = std::mem::take(&mut self.scratch);
        let (mut placer, sessions, ids) = self.placer(now, copied.as_ref());
        let placed = sessions.get(slot).ok_or(NoPlace::Hold).and_then(|session| {
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
                properties: publish.properties,
                received_ms: now.wall_ms,
                node: &placer.settings.node,
            };
            placer.place_all(memo, &event, seat, &mut scratch)
        });
        self.scratch = scratch;
        if let Some(copied) = copied {
            self.hold_publication(copied, placed.as_ref().ok());
        }
        placed
    }

    /// What placing records needs, and apart from it the sessions and the numbers of events.
    #[inline]
    pub(super) fn placer(&mut self, now: Now, copied: Option<&Copied>) -> (Placer<'_>, &SessionTable, &mut EventIds) {
        let placer = Placer {
            at: At { now: now.mono, opened: self.round.opened(now.mono) },
            read: self.counters.reads,
            publication: copied.map(|c| c.seat),
            sinks: &mut self.sinks,
            writers: &self.writers,
            settings: &self.settings,
            counters: &mut self.sink_counters,
            pool: &mut self.pool,
            budget: &mut self.budget,
            discarded: &mut self.round.discarded,
        };
        (placer, &self.sessions, &mut self.event_ids)
    }

    /// Finds the sinks that take `topic`, and whether subscribers do.
    #[cold]
    pub(super) fn remember_route(&mut self, memo: &mut RouteMemo, topic: &str) {
        memo.begin(topic, self.route_generation);
        memo.subscribed = self.filters.matches(topic);
        let takers = self.settings.sinks.iter().enumerate().filter(|(_, sink)| sink.route.takes(topic));
        memo.routes.extend(takers.map(|(i, _)| MemoRoute { sink: i as u16, key: None, partition: None, reserved: 0 }));
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

/// The parts of a shard that placing records needs.
pub(super) struct Placer<'a> {
    at: At,
    /// Number of the read that brought the PUBLISH.
    read: u64,
    /// Where the publication stands whose subscribers wait for the outcomes.
    publication: Option<LaneSeat>,
    sinks: &'a mut [Sink],
    writers: &'a [crate::sink::Writer],
    pub(super) settings: &'a super::Settings,
    counters: &'a mut [crate::metrics::SinkCounters],
    pool: &'a mut crate::buffer::BatchPool,
    budget: &'a mut super::budget::Budget,
    discarded: &'a mut Vec<Answered>,
}

impl Placer<'_> {
    pub(super) fn place_all(
        &mut self,
        memo: &mut RouteMemo,
        event: &Event<'_>,
        seat: Option<&Seat>,
        scratch: &mut Vec<u8>,
    ) -> Result<Placed, NoPlace> {
        let mut placed = Placed::default();
        if let [route] = memo.routes.as_mut_slice() {
            self.choose(route, event, scratch)?;
            let result = self.place_one(route, event, seat, scratch, true, &mut placed);
            return result.map(|()| placed).inspect_err(|_| choose_anew(route));
        }
        // Several sinks: reserve for each first. Records are rendered twice, which costs less than keeping them.
        if let Err(why) = self.reserve_all(memo, event, scratch) {
            for route in &mut memo.routes {
                let accumulator = &mut self.sinks[usize::from(route.sink)].accumulator;
                accumulator.cancel(route.reserved, self.pool, self.budget);
                choose_anew(route);
            }
            return Err(why);
        }
        for route in &mut memo.routes {
            let written = self.place_one(route, event, seat, scratch, true, &mut placed);
            assert!(written.is_ok(), "a record is written where room was reserved for it");
        }
        Ok(placed)
    }

    fn reserve_all(&mut self, memo: &mut RouteMemo, event: &Event<'_>, scratch: &mut Vec<u8>) -> Result<(), NoPlace> {
        for route in &mut memo.routes {
            self.choose(route, event, scratch)?;
            self.place_one(route, event, None, scratch, false, &mut Placed::default())?;
        }
        Ok(())
    }

    /// Chooses the partition of one sink's record. Once a PUBLISH: some strategies would choose another one next time.
    #[inline]
    fn choose(&mut self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Vec<u8>) -> Result<(), NoPlace> {
        if route.key.is_none() {
            self.remember_key(route, event, scratch);
        }
        route.reserved = self.partition(route, event, scratch).ok_or(NoPlace::Hold)?;
        Ok(())
    }

    /// Renders the record of one sink and reserves room for it in the chosen partition; appends it if `write`.
    #[inline]
    fn place_one(
        &mut self,
        route: &MemoRoute,
        event: &Event<'_>,
        seat: Option<&Seat>,
        scratch: &mut Vec<u8>,
        write: bool,
        placed: &mut Placed,
    ) -> Result<(), NoPlace> {
        let index = usize::from(route.sink);
        let partition = route.reserved;
        let direct = &self.settings.sinks[index].route;
        let mut key_scratch = Vec::new();
        let key = match &route.key {
            Some(key) => key.as_deref(),
            None => direct.key.render(event, &mut key_scratch),
        };
        let timestamp_ms = direct.timestamp_ms(event, scratch);
        let value = match direct.render_value(event, scratch) {
            Value::Is(value) => value,
            Value::Dropped => return Ok(()),
        };
        let record = Record { key, value, timestamp_ms, headers: &[] };
        let accumulator = &mut self.sinks[index].accumulator;
        let room = accumulator.reserve(partition, record.bytes_max(), self.at, self.pool, self.budget);
        if room != Room::Ready
            && let Err(why) = make_room(self, index, partition, record.bytes_max(), room)
        {
            let NoPlace::Refuse(reason) = why else { return Err(why) };
            if write {
                self.counters[index].matched += 1;
                self.counters[index].dropped_rejected += 1;
                placed.refused = Some(reason);
                placed.withheld |= self.settings.sinks[index].delivers_after_kafka();
                if placed.pending == 0 {
                    placed.sink = index as u16;
                }
            }
            return Ok(());
        }
        if write {
            self.write(index, partition, &record, seat, placed);
        }
        Ok(())
    }

    #[inline]
    fn write(&mut self, index: usize, partition: u32, record: &Record<'_>, seat: Option<&Seat>, placed: &mut Placed) {
        let accumulator = &mut self.sinks[index].accumulator;
        let bytes = accumulator.append(partition, record);
        self.counters[index].matched += 1;
        placed.bytes += bytes;
        if let Some(seat) = seat
            && self.settings.sinks[index].is_sync()
        {
            if placed.pending == 0 {
                placed.sink = index as u16;
            }
            placed.pending += 1;
            accumulator.note_ticket(partition, seat.session, seat.generation, seat.number, seat.lane);
        }
        if let Some(seat) = self.publication
            && self.settings.sinks[index].delivers_after_kafka()
        {
            placed.awaited += 1;
            accumulator.note_ticket(partition, seat.lane, seat.generation, seat.number, Lane::Publication);
        }
    }

    /// Keeps the key where it is the same for all PUBLISHes of the memo.
    fn remember_key(&self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Vec<u8>) {
        let direct = &self.settings.sinks[usize::from(route.sink)].route;
        if direct.key_is_fixed() {
            route.key = Some(direct.key.render(event, scratch).map(Into::into));
        }
    }

    /// The record's partition: from the memo if it is fixed there and the count is still the same.
    #[inline]
    fn partition(&mut self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Vec<u8>) -> Option<u32> {
        let index = usize::from(route.sink);
        let sink = &mut self.sinks[index];
        let writer = &self.writers[sink.connector];
        let count = writer.partitions(route.sink)?;
        if let Some(chosen) = route.partition
            && chosen.count == count
            && chosen.read.is_none_or(|read| read == self.read)
        {
            return Some(chosen.partition);
        }
        let key = match &route.key {
            Some(key) => key.as_deref(),
            None => self.settings.sinks[index].route.key.render(event, scratch),
        };
        let choice = Choice { key, client_id: event.client_id, topic: event.topic };
        let fixed = route.key.is_some() && sink.partitioner.is_fixed(key.is_none_or(<[u8]>::is_empty));
        let for_a_read = sink.partitioner.holds_for_a_read();
        let partition = sink.choose(route.sink, &choice, writer, self.at.now)?;
        if fixed || for_a_read {
            route.partition = Some(Chosen { partition, count, read: for_a_read.then_some(self.read) });
        }
        Some(partition)
    }
}

/// A partition that was chosen for a read and has no room is not waited for: another may have.
#[cold]
fn choose_anew(route: &mut MemoRoute) {
    route.partition.take_if(|chosen| chosen.read.is_some());
}

/// Applies `overflow` where a record has no room; `Ok` if it has now.
#[cold]
fn make_room(placer: &mut Placer<'_>, index: usize, partition: u32, bytes: usize, room: Room) -> Result<(), NoPlace> {
    match placer.settings.sinks[index].overflow {
        _ if room == Room::Ahead => Err(NoPlace::Wait),
        Overflow::Backpressure => Err(NoPlace::Hold),
        Overflow::Reject => Err(NoPlace::Refuse(FailReason::Rejected)),
        Overflow::DropOldest => {
            let accumulator = &mut placer.sinks[index].accumulator;
            let mut room = room;
            while room != Room::Ready {
                if room == Room::Ahead {
                    return Err(NoPlace::Wait);
                }
                let victim = if room == Room::PartitionFull { Some(partition) } else { accumulator.oldest() };
                let Some(mut batch) = victim.and_then(|p| accumulator.drop_oldest(p)) else {
                    return Err(NoPlace::Hold);
                };
                placer.budget.release(std::mem::take(&mut batch.charge_bytes));
                placer.discarded.push(Answered { batch, outcome: Outcome::Failed(FailReason::QueueFull) });
                room = accumulator.reserve(partition, bytes, placer.at, placer.pool, placer.budget);
            }
            Ok(())
        }
    }
}
