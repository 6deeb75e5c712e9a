//! Recounts what a shard counts as it goes: charges, gauges, lists, and the bonds between connections and sessions.
//!
//! For tests and the simulator, which call it between inputs; a release build has none of it.

use crate::buffer::Batch;
use crate::session::Will;
use crate::session::deliveries::ENTRY_BYTES;
use crate::shard::io::{ConnKey, Wait};
use crate::shard::settings::ROUND_WAIT_NS_MAX;
use crate::shard::will::DueWill;
use crate::shard::{Shard, ShardId};
use crate::sink::WriterCounts;

impl Shard {
    /// Charges of the batches of shard `home` that the writers of this shard hold.
    pub fn held_bytes(&self, home: ShardId) -> usize {
        let mut bytes = 0;
        let mut add = |batch: &Batch| {
            if batch.home == home {
                bytes += batch.charge_bytes;
            }
        };
        self.writers.iter().for_each(|writer| writer.each_batch(&mut add));
        bytes
    }

    /// Bytes charged for batches and what is read and not placed, and the most there may be.
    pub fn charged_bytes(&self) -> (usize, usize) {
        (self.budget.used_bytes(), self.budget.limit_bytes())
    }

    /// What the writers counted for a sink.
    pub fn written(&self, sink: u16) -> WriterCounts {
        let connector = self.sinks[usize::from(sink)].connector;
        self.writers[connector].counts(sink)
    }

    /// Records of a sink that an earlier start had left on disk.
    pub fn replayed(&self, sink: u16) -> u64 {
        self.sinks[usize::from(sink)].journal.as_ref().map_or(0, |stored| stored.journal.counts().replayed)
    }

    /// Records of a sink that failed and that no dead-letter sink took.
    pub fn given_up(&self, sink: u16) -> u64 {
        let counters = &self.sink_counters[usize::from(sink)];
        counters.failed - counters.dead_lettered
    }

    /// Records of a sink that were too old to be sent.
    pub fn expired(&self, sink: u16) -> u64 {
        self.sink_counters[usize::from(sink)].dropped_expired
    }

    /// Records of a sink that its dead-letter sink took.
    pub fn buried(&self, sink: u16) -> u64 {
        self.sink_counters[usize::from(sink)].dead_lettered
    }

    /// Records of a sink that made room for newer ones.
    pub fn displaced(&self, sink: u16) -> u64 {
        self.sink_counters[usize::from(sink)].dropped_queue_full
    }

    /// Shows what waits in the buffer on disk of a sink, partition by partition and oldest first, where all of it is in memory.
    pub fn each_backlog(&self, sink: u16, show: impl FnMut(&mut dyn Iterator<Item = &Batch>)) {
        if let Some(stored) = &self.sinks[usize::from(sink)].journal {
            stored.journal.each_backlog(show);
        }
    }

    /// Checks the shard between two inputs. `outside_bytes`: charges of its batches that writers or other shards hold.
    ///
    /// # Panics
    /// If a count is wrong; so do the other audits.
    pub fn audit(&self, outside_bytes: usize) {
        let conns = || self.conns.iter().flatten();
        let unread: usize = conns().map(|c| c.charged_bytes).sum();
        let batches: usize = self.sinks.iter().map(|s| s.accumulator.audit()).sum();
        let dead = self.dead.charged_bytes();
        let (stored, lists) = self.stored_bytes();
        assert_eq!(
            self.budget.used_bytes(),
            unread + batches + dead + stored + lists + outside_bytes,
            "{unread} unread, {batches} in batches, {dead} in dead letters, {stored} in journals, {lists} for their lists"
        );
        assert_eq!(self.counters.connections, conns().count() as u64, "connections");
        assert_eq!(self.counters.backpressure_paused, conns().filter(|c| c.held.is_some()).count() as u64, "paused");
        assert_eq!(self.counters.sessions, self.sessions.len() as u64, "sessions");
        self.audit_lists();
        for conn in conns() {
            let Some(slot) = conn.session else { continue };
            let session = self.sessions.get(slot).expect("the session of a connection lives");
            assert_eq!(session.conn, Some(conn.key), "a session has the connection that has it");
            if conn.closing.is_some() {
                continue;
            }
            let open = session.puback.len() + session.received.len();
            assert!(conn.mqtt.inbound_open() as usize <= open, "{} counted, {open} open", conn.mqtt.inbound_open());
        }
        for (settings, counters) in self.settings.sinks.iter().zip(&self.sink_counters) {
            assert!(counters.ended() <= counters.matched, "{}: {counters:?}", settings.name);
        }
    }

    /// Checks what is charged for deliveries, and that who has something to be sent is on a list or waits for its client.
    pub fn audit_deliveries(&self) {
        let deliver = &self.deliver;
        let sessions = || self.sessions.iter();
        let entries: usize = sessions().map(|(_, s)| s.deliveries.len() * ENTRY_BYTES).sum();
        let wills: usize = sessions().filter_map(|(_, s)| s.will.as_deref()).map(Will::bytes).sum();
        let due_wills: usize = deliver.wills.iter().map(DueWill::bytes).sum();
        let parts = [
            deliver.lanes.bytes(),
            deliver.shelf.bytes(),
            deliver.parcels_bytes(),
            self.filters.index_bytes(),
            entries,
            wills + due_wills,
        ];
        assert_eq!(deliver.budget.used_bytes(), parts.iter().sum::<usize>(), "{parts:?}");
        let subscriptions: usize = sessions().map(|(_, s)| s.subscriptions.len()).sum();
        assert_eq!(self.counters.subscriptions, subscriptions as u64);
        for (slot, session) in sessions() {
            assert_eq!(deliver.due.contains(&slot), session.due, "due: {slot}");
            if let Some(lane) = session.lane {
                assert_eq!(deliver.lanes.publisher(lane), Some(slot), "a lane knows its publisher");
            }
        }
    }

    /// Checks that nothing is left: for a shard whose clients have gone, whose sessions have expired and whose records all have
    /// their outcome.
    pub fn audit_empty(&self) {
        assert_eq!(self.conns.iter().flatten().count(), 0, "connections");
        assert_eq!(self.sessions.len(), 0, "sessions");
        assert_eq!(self.budget.used_bytes(), 0, "charged for what is received");
        assert_eq!(self.deliver.budget.used_bytes(), 0, "charged for deliveries");
        for (settings, counters) in self.settings.sinks.iter().zip(&self.sink_counters) {
            assert_eq!(counters.ended(), counters.matched, "{}: {counters:?}", settings.name);
        }
    }

    /// Charges for the lists of entries in journals: what lies on disk when a drain has ended is sent after the next start.
    pub fn index_bytes(&self) -> usize {
        self.stored_bytes().1
    }

    /// Charges of the batches in journals, and for their lists.
    fn stored_bytes(&self) -> (usize, usize) {
        let mut bytes = 0;
        let stored = || self.sinks.iter().filter_map(|sink| sink.journal.as_ref());
        stored().for_each(|stored| stored.journal.each_batch(&mut |batch| bytes += batch.charge_bytes));
        (bytes, stored().map(|stored| stored.charge_bytes).sum())
    }

    fn audit_lists(&self) {
        let times = |list: &[ConnKey], key| list.iter().filter(|&&k| k == key).count();
        for conn in self.conns.iter().flatten() {
            let key = conn.key;
            assert_eq!(times(&self.lists.held, key), usize::from(conn.held.is_some()), "held: {key:?}");
            assert_eq!(times(&self.lists.dirty, key), usize::from(conn.dirty), "dirty: {key:?}");
            assert!(times(&self.lists.ready, key) <= 1, "ready: {key:?}");
            let unheard = conn.session.is_some() && conn.readable && conn.held.is_none() && conn.closing.is_none();
            assert!(!unheard || self.lists.ready.contains(&key) || self.drain.is_draining(), "not read: {key:?}");
            assert!(conn.out.is_empty() || conn.blocked || conn.dirty, "not sent: {key:?}");
        }
    }

    /// Checks the shard after a round that ended with `wait`: whatever can go on without new input goes on at once.
    pub fn audit_wait(&self, now: crate::clock::Now, wait: &Wait) {
        let soon = wait.deadline.is_some_and(|at| at <= now.mono);
        let mut work = !self.round.discarded.is_empty() || !self.lists.ready.is_empty();
        work |= self.round.released && !self.lists.held.is_empty();
        work |= self.sinks.iter().any(|s| s.accumulator.can_seal(now.mono));
        assert!(soon || !work, "something to do, and no wake-up: {wait:?}, {:?}", self.round);
        let wakes = wait.deadline.is_some_and(|at| at <= now.mono + ROUND_WAIT_NS_MAX);
        assert!(wait.clients || wakes, "clients are left alone for too long: {wait:?}");
    }
}
