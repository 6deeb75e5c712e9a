//! The beginning and the end of a connection: accept, CONNECT, takeover, timeouts, close.

use std::net::SocketAddr;

use mqtt::connection::{Accepted, ServerConnection};
use mqtt::{Connect, Disconnect, Frame, Packet, ReasonCode, Version};

use super::io::{CloseReason, ConnKey, Io, ListenerId};
use super::mesh::Moved;
use super::packet::Flow;
use super::placement::home_of;
use super::{SessionExpiry, Shard, ShardId};
use crate::clock::{Mono, Now};
use crate::listener::connection::{Connection, Held};
use crate::listener::receive::Unread;
use crate::plants::{Plant, is_planted};
use crate::session::Will;

impl Shard {
    pub(super) fn on_accepted(&mut self, now: Now, key: ConnKey, listener: ListenerId, peer: SocketAddr) {
        self.counters.connections_accepted += 1;
        self.add_connection(now, key, listener.0, peer);
    }

    /// A connection whose client lives here arrives with its CONNECT unread.
    pub(super) fn on_arrived(&mut self, now: Now, key: ConnKey, moved: Moved, io: &mut impl Io) {
        self.add_connection(now, key, moved.listener, moved.peer);
        let Some(mut conn) = self.take_conn(key) else { return };
        conn.unread.put_back(Unread::moved(moved.unread), 0, 0);
        conn.held = Some(Held::Publish);
        self.counters.backpressure_paused += 1;
        self.resume(now, conn, io);
    }

    fn add_connection(&mut self, now: Now, key: ConnKey, listener: u16, peer: SocketAddr) {
        let mqtt = ServerConnection::new(now.mono.as_ms(), &self.settings.mqtt);
        let mut conn = Box::new(Connection::new(key, listener, peer, mqtt));
        self.watch(&mut conn);
        self.counters.connections += 1;
        self.put_conn(conn);
    }

    /// The home of the client that `frame`, a first packet, names, if it is another shard.
    #[cold]
    pub(super) fn home_elsewhere(&self, conn: &Connection, frame: Frame<'_>) -> Option<ShardId> {
        if self.settings.shards == 1 || conn.mqtt.version().is_some() {
            return None;
        }
        // A packet that is not a good CONNECT is refused here.
        let Ok(Packet::Connect(connect)) = mqtt::decode(Version::V5, frame) else { return None };
        if connect.client_id.is_empty() {
            return None;
        }
        Some(home_of(connect.client_id, self.settings.shards)).filter(|&home| home != self.id)
    }

    pub(super) fn on_connect(
        &mut self,
        now: Now,
        conn: &mut Connection,
        connect: &Connect<'_>,
        io: &mut impl Io,
    ) -> Flow {
        if self.drain.is_draining() {
            return self.refuse(conn, ReasonCode::ServerShuttingDown, "this node is shutting down");
        }
        if connect.properties.auth_method.is_some() {
            return self.refuse(conn, ReasonCode::BadAuthenticationMethod, "enhanced authentication is not offered");
        }
        let assigned = connect.client_id.is_empty().then(|| self.assign_client_id());
        if assigned.is_some() && !connect.version.is_v5() && !connect.clean_start {
            // [MQTT-3.1.3-8] of 3.1.1
            return self.refuse(conn, ReasonCode::ClientIdentifierNotValid, "an empty client id needs a clean session");
        }
        let will = Will::of(connect, &conn.peer_text, now.mono);
        if !self.charge_will(will.as_deref()) {
            return self.refuse(conn, ReasonCode::QuotaExceeded, "no memory is left for the will");
        }
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let (slot, present) = self.open_session(now, client_id, connect, conn, will, io);
        conn.session = Some(slot);
        let accepted = Accepted {
            session_present: present,
            assigned_client_id: assigned.as_deref(),
            session_expiry_s: shortened_expiry_s(connect, self.settings.session_expiry),
            ..Accepted::default()
        };
        conn.mqtt.accept(now.mono.as_ms(), &accepted, &mut conn.out);
        self.watch(conn);
        Self::mark_dirty(&mut self.lists, conn);
        Flow::Next
    }

    fn refuse(&mut self, conn: &mut Connection, reason: ReasonCode, text: &str) -> Flow {
        conn.mqtt.refuse(reason, Some(text), &mut conn.out);
        self.close_after_flush(conn, CloseReason::Refused);
        Flow::End
    }

    /// An id whose home is this shard, for a client that brought none [MQTT-3.1.3-6].
    fn assign_client_id(&mut self) -> String {
        loop {
            let id = format!("aqueduct-{:016x}", self.random.next_u64());
            if home_of(&id, self.settings.shards) == self.id {
                return id;
            }
        }
    }

    /// Finds or creates the client's session and takes it over; whether one was present.
    fn open_session(
        &mut self,
        now: Now,
        client_id: &str,
        connect: &Connect<'_>,
        conn: &Connection,
        will: Option<Box<Will>>,
        io: &mut impl Io,
    ) -> (u32, bool) {
        if let Some(slot) = self.sessions.find(client_id) {
            self.take_over(now, slot, io);
            if connect.clean_start {
                self.remove_session(now, slot);
            }
        }
        let expiry_s = granted_expiry_s(connect, self.settings.session_expiry);
        let existing = self.sessions.find(client_id);
        let slot = existing.unwrap_or_else(|| self.sessions.create(client_id));
        // [MQTT-3.1.3-9]: it is back in time.
        if is_planted(Plant::WillInSpite) {
            self.publish_will(now, slot);
        }
        self.forget_will(slot);
        let generation = self.sessions.next_generation();
        if let Some(session) = self.sessions.get_mut(slot) {
            session.will = will;
            session.deliveries.resume();
            session.conn = Some(conn.key);
            session.username = connect.username.map(Into::into);
            session.puback.restart(generation);
            session.received.detach();
            session.expiry_s = expiry_s;
            session.expires = None;
        }
        // [MQTT-4.4.0-1]
        self.deliver.send_soon(&mut self.sessions, slot);
        self.counters.sessions = self.sessions.len() as u64;
        (slot, existing.is_some())
    }

    /// Ends the connection that a session has: another one came with the same client id [MQTT-3.1.4-3].
    fn take_over(&mut self, now: Now, slot: u32, io: &mut impl Io) {
        let Some(key) = self.sessions.get(slot).and_then(|s| s.conn) else { return };
        let Some(mut old) = self.take_conn(key) else { return };
        self.counters.takeovers += 1;
        old.mqtt.disconnect(ReasonCode::SessionTakenOver, None, &mut old.out);
        self.count_flush(&mut old, io);
        self.end_connection(now, old, CloseReason::TakenOver, io);
    }

    pub(super) fn on_disconnect(&mut self, conn: &mut Connection, disconnect: &Disconnect<'_>) -> Flow {
        // [MQTT-3.14.4-3]: the will is void, unless the client asks for it (0x04).
        conn.said_goodbye = disconnect.reason == ReasonCode::Success;
        if let (Some(expiry_s), Some(session)) =
            (disconnect.session_expiry_s, conn.session.and_then(|s| self.sessions.get_mut(s)))
        {
            session.expiry_s = expiry_s.min(self.settings.session_expiry.max_s);
        }
        self.close_after_flush(conn, CloseReason::Disconnect);
        Flow::End
    }

    pub(super) fn on_closed(&mut self, now: Now, key: ConnKey, io: &mut impl Io) {
        if let Some(conn) = self.take_conn(key) {
            self.end_connection(now, conn, CloseReason::Peer, io);
        }
    }

    /// Ends a connection: the socket goes, the session stays as long as it may, open QoS 1 tickets are forgotten.
    pub(super) fn end_connection(&mut self, now: Now, conn: Box<Connection>, why: CloseReason, io: &mut impl Io) {
        io.close(conn.key, why);
        self.counters.connections -= 1;
        self.counters.backpressure_paused -= u64::from(conn.held.is_some());
        self.release_unread(conn.charged_bytes);
        let Some(slot) = conn.session else { return };
        let generation = self.sessions.next_generation();
        let Some(session) = self.sessions.get_mut(slot).filter(|s| s.conn == Some(conn.key)) else { return };
        session.conn = None;
        session.puback.restart(generation);
        let expiry_s = session.expiry_s;
        let (dropped, freed_bytes) = session.deliveries.drop_qos0(&mut self.deliver.shelf);
        self.counters.deliveries_dropped_offline += dropped;
        self.release_delivered(freed_bytes);
        if let Some(due) = self.end_will(now, slot, conn.said_goodbye, why) {
            self.look_later(due);
        }
        match expiry_s {
            0 => self.remove_session(now, slot),
            seconds => self.expire_later(slot, now.mono.plus_ms(u64::from(seconds) * 1_000)),
        }
    }

    fn expire_later(&mut self, slot: u32, at: Mono) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.expires = Some(at);
        }
        self.look_later(at);
    }

    /// Sessions are to be looked at by `at`.
    fn look_later(&mut self, at: Mono) {
        self.round.next_expiry = Some(self.round.next_expiry.map_or(at, |next| next.min(at)));
    }

    /// Ends a session: its will is due, its subscriptions and its queue go. What it has published goes its way.
    pub(super) fn remove_session(&mut self, now: Now, slot: u32) {
        self.publish_will(now, slot);
        self.orphan_wills(slot);
        let Some(mut session) = self.sessions.remove(slot) else { return };
        self.unsubscribe_all(slot, &session.subscriptions);
        let freed_bytes = session.deliveries.clear(&mut self.deliver.shelf);
        self.release_delivered(freed_bytes);
        if let Some(lane) = session.lane {
            self.deliver.lanes.forget_publisher(lane, session.client_id);
        }
        self.counters.sessions = self.sessions.len() as u64;
    }

    /// Ends sessions whose time has passed and publishes wills whose delay has; looks at all sessions, once per expiry.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        if self.round.next_expiry.is_none_or(|at| now.mono < at) {
            return;
        }
        let mut next: Option<Mono> = None;
        let (mut ended, mut wills) = (Vec::new(), Vec::new());
        for (slot, session) in self.sessions.iter_mut() {
            for (due, at) in [(&mut ended, session.expires), (&mut wills, session.will_due)] {
                match at {
                    Some(at) if at <= now.mono => due.push(slot),
                    Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                    None => {}
                }
            }
        }
        wills.into_iter().for_each(|slot| self.publish_will(now, slot));
        ended.into_iter().for_each(|slot| self.remove_session(now, slot));
        // Not sooner than in a second: many expiries close together are looked for together.
        self.round.next_expiry = next.map(|at| at.max(now.mono.plus_ms(1_000)));
    }

    /// Looks at connections whose timers came due.
    pub(super) fn check_timeouts(&mut self, now: Now, io: &mut impl Io) {
        let mut due = std::mem::take(&mut self.lists.due);
        self.wheel.take_due(now.mono, &mut due);
        for key in due.drain(..) {
            self.check_timeout(now, key, io);
        }
        self.lists.due = due;
    }

    fn check_timeout(&mut self, now: Now, key: ConnKey, io: &mut impl Io) {
        let Some(mut conn) = self.take_conn(key) else { return };
        if conn.timer_ms.is_some_and(|at_ms| at_ms > now.mono.as_ms()) {
            // It was watched for a sooner time meanwhile, and stands in the wheel again since.
            return self.put_conn(conn);
        }
        conn.timer_ms = None;
        if conn.held.is_some_and(|why| why != Held::Output) {
            // We do not read it, so its silence is ours: the timer stands still. Not for one that does not read us.
            conn.mqtt.received(now.mono.as_ms());
        }
        if let Some(error) = conn.mqtt.handle_timeout(now.mono.as_ms()) {
            self.counters.timeouts += 1;
            conn.mqtt.fail(&error, &mut conn.out);
            self.count_flush(&mut conn, io);
            return self.end_connection(now, conn, CloseReason::Timeout, io);
        }
        self.watch(&mut conn);
        self.put_conn(conn);
    }

    /// Has the connection looked at by its deadline. One that stands in the wheel for sooner stays there: it is asked then.
    fn watch(&mut self, conn: &mut Connection) {
        let Some(deadline_ms) = conn.mqtt.deadline_ms() else { return };
        if conn.timer_ms.is_none_or(|at_ms| deadline_ms < at_ms) {
            conn.timer_ms = Some(self.wheel.add(conn.key, deadline_ms));
        }
    }
}

/// Seconds that a session outlives its connection: what its client asks for, within the limit.
fn granted_expiry_s(connect: &Connect<'_>, limits: SessionExpiry) -> u32 {
    match connect.version {
        Version::V5 => connect.properties.session_expiry_s.min(limits.max_s),
        _ if connect.clean_start => 0,
        _ => limits.v3_s,
    }
}

/// What CONNACK says of the session's expiry: something only if the client asked for more than it gets, MQTT 5.0 section
/// 3.2.2.3.2.
fn shortened_expiry_s(connect: &Connect<'_>, limits: SessionExpiry) -> Option<u32> {
    (connect.version.is_v5() && connect.properties.session_expiry_s > limits.max_s).then_some(limits.max_s)
}
