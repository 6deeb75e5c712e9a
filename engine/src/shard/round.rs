//! The end of a round: seal, send, answer, and say what to wait for.
//!
//! After a busy round the client sockets are left alone for a while: the kernel's socket buffers are the linger, and what
//! one wake-up costs is shared by more messages. Links, mesh and disk are always served at once.

use super::buffer;
use super::control::{ControlMsg, Level};
use super::io::{ConnKey, Io, Wait};
use super::mesh::MeshMsg;
use super::placement::{owner_in, owner_of};
use super::refusals::Refusal;
use super::settle::refusal;
use super::shares::Token;
use super::{Shard, ShardId, conn_mut};
use crate::clock::{self, Mono, Now};
use crate::listener::connection::{Connection, Held};
use crate::metrics::ShardSample;
use crate::plants::{Plant, is_planted};
use crate::sink::{Answered, Sink};

/// A round with fewer messages does not predict another one.
const BUSY_MESSAGES_MIN: u64 = 8;

/// How often held connections are looked at for their turn.
const RATION_CHECK_MS: u64 = 100;

/// What one round has seen, and what the next waits for.
#[derive(Debug)]
pub(super) struct Round {
    /// PUBLISHes placed in this round.
    pub(super) messages: u64,
    /// Bytes read in this round.
    pub(super) bytes: usize,
    /// A read filled its slice: there is more than we take.
    pub(super) filled: bool,
    /// Something was released that held connections may wait for.
    pub(super) released: bool,
    /// Batches that `overflow = "drop_oldest"` took out, to be settled.
    pub(super) discarded: Vec<Answered>,
    /// One of the records that were refused for their size in this round.
    pub(super) oversize: Option<Oversize>,
    /// When clients were read the time before: since then, messages may have waited in the kernel.
    pub(super) linger_from: Mono,
    /// When clients were last read.
    last_read: Mono,
    /// Clients are left alone until then.
    quiet_until: Mono,
    /// Longest time to leave them alone.
    wait_ns_max: u64,
    pub(super) next_late_check: Mono,
    next_ration: Mono,
    pub(super) next_expiry: Option<Mono>,
}

/// A record that is larger than its topic takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oversize {
    /// The sink it was made for.
    pub(super) sink: u16,
    /// Its size.
    pub(super) bytes: usize,
}

impl Round {
    pub(super) fn new(now: Mono, wait_ns_max: u64) -> Self {
        Self {
            messages: 0,
            bytes: 0,
            filled: false,
            released: false,
            discarded: Vec::new(),
            oversize: None,
            linger_from: now,
            last_read: now,
            quiet_until: now,
            wait_ns_max,
            next_late_check: now,
            next_ration: now,
            next_expiry: None,
        }
    }

    /// From when a record that is placed now counts its linger and its age: it may have waited in the kernel for as long as
    /// clients are left alone, but not since before they were last read.
    #[inline]
    pub(super) fn opened(&self, now: Mono) -> Mono {
        self.linger_from.max(Mono(now.0.saturating_sub(self.wait_ns_max)))
    }

    /// Clients are left alone for so long at the most, from now on.
    pub(super) fn configure(&mut self, wait_ns_max: u64) {
        self.wait_ns_max = wait_ns_max;
    }

    /// Decides how long clients are left alone after this round, and starts the next.
    fn turn(&mut self, now: Mono, target_bytes: usize) {
        if self.bytes > 0 {
            if self.messages >= BUSY_MESSAGES_MIN && !self.filled && self.wait_ns_max > 0 {
                self.quiet_until = now + self.quiet_ns(now, target_bytes);
            }
            self.last_read = now;
        }
        self.messages = 0;
        self.bytes = 0;
        self.filled = false;
    }

    /// Until the bytes expected at the present rate reach the target, at most `wait_ns_max`.
    fn quiet_ns(&self, now: Mono, target_bytes: usize) -> u64 {
        let elapsed_ns = now.since(self.last_read).max(1);
        let to_target = (target_bytes as u128 * u128::from(elapsed_ns) / self.bytes.max(1) as u128) as u64;
        to_target.min(self.wait_ns_max)
    }
}

impl Shard {
    pub(super) fn finish_round(&mut self, now: Now, io: &mut impl Io) -> Wait {
        self.continue_reading(now, io);
        self.settle_answered(now, io);
        self.settle_discarded(now);
        self.bury_waiting(now);
        self.shed_overload();
        self.seal_and_send(now, io);
        self.run_journals(now, io);
        let writers_deadline = self.end_writers(now, io);
        self.settle_answered(now, io);
        self.release_publications(now, io);
        for sink in &mut self.sinks {
            self.round.released |= sink.accumulator.take_ahead(now.mono);
            self.round.released |= sink.settle_mappings(now.mono);
        }
        self.forget_early_promises();
        if self.round.released {
            self.round.released = false;
            self.resume_held(now, io);
        }
        self.ration_held(now, io);
        self.settle_discarded(now);
        self.check_timeouts(now, io);
        self.check_late(now);
        self.expire_sessions(now);
        self.publish_wills(now);
        self.release_publications(now, io);
        self.send_due(now);
        self.flush_dirty(now, io);
        self.tell_filters(io);
        self.compare_shares(now, io);
        self.return_credits(io);
        self.step_change(now.mono, io);
        self.step_drain(now, io);
        self.counters.rounds += 1;
        self.answer_scrapes(now.mono, io);
        self.round.turn(now.mono, self.settings.round_target_bytes());
        self.wait(now, writers_deadline)
    }

    /// Connections that had more than one turn's worth of bytes.
    fn continue_reading(&mut self, now: Now, io: &mut impl Io) {
        let mut ready = std::mem::take(&mut self.lists.ready);
        for key in ready.drain(..) {
            if let Some(conn) = self.take_conn(key) {
                self.serve(now, conn, io);
            }
        }
        // What was pushed meanwhile waits for the next round.
        if self.lists.ready.is_empty() {
            self.lists.ready = ready;
        }
    }

    fn settle_discarded(&mut self, now: Now) {
        while let Some(Answered { batch, outcome }) = self.round.discarded.pop() {
            self.settle_at_home(now, batch, outcome);
        }
    }

    /// Seals what is due and gives each batch to the owner of its partition.
    fn seal_and_send(&mut self, now: Now, io: &mut impl Io) {
        let drain = self.drain.is_draining();
        let is_short = self.budget.is_half_used();
        let (id, shards) = (self.id, self.settings.shards);
        let (shares, budget, packer) = (&mut self.shares, &mut self.budget, &mut self.packer);
        for (index, sink) in self.sinks.iter_mut().enumerate() {
            let writer = &mut self.writers[sink.connector];
            // What was placed by the old number of partitions is waited for.
            let hurry = drain || sink.remapped_until().is_some();
            let (partitioner, live) = (&mut sink.partitioner, &mut sink.live);
            let stored = &mut sink.journal;
            let settings = &self.settings.sinks[index];
            self.stored_now.clear();
            sink.accumulator.seal_due(now.mono, hurry, |mut batch| {
                Sink::sealed(partitioner, live.as_deref_mut(), &batch);
                let mut owner = owner_of(batch.part.partition, shards);
                if let Some(live) = live.as_deref() {
                    let (name, base) = live.name(batch.live);
                    name.clone_into(&mut batch.topic_name);
                    owner = owner_in(base, batch.part.partition, shards);
                }
                if is_planted(Plant::FreeEarly) {
                    budget.release(batch.charge_bytes);
                }
                shares.note(now.mono, index, batch.queued_bytes);
                if batch.bytes.len() >= settings.pack_from_bytes {
                    packer.pack(&mut batch, settings.packing);
                }
                let batch = match stored {
                    Some(stored) => {
                        let spills = drain || is_short && !stored.journal.is_refused();
                        match buffer::store(stored, settings.buffer, spills, batch, &mut self.stored_now) {
                            Some(batch) => batch,
                            None => return,
                        }
                    }
                    None => batch,
                };
                if owner == id {
                    writer.submit(now, batch);
                } else {
                    io.mesh(owner, MeshMsg::HandOver(batch));
                }
            });
            self.stored_now.iter().for_each(|&slot| sink.accumulator.answered(slot));
        }
        // The next record's linger counts from the read that has just ended.
        if self.round.bytes > 0 {
            self.round.linger_from = now.mono;
        }
    }

    fn end_writers(&mut self, now: Now, io: &mut impl Io) -> Option<Mono> {
        let deadlines = self.writers.iter_mut().map(|w| w.end_round(now, io));
        let deadline = deadlines.flatten().min();
        let mut limits_changed = false;
        for writer in &mut self.writers {
            while let Some((level, text)) = writer.pop_note() {
                self.notes.say(now.mono, level, io, || text);
            }
            self.round.released |= writer.take_changed();
            limits_changed |= writer.take_limits_changed();
        }
        if limits_changed {
            self.learn_limits();
        }
        if let Some(Oversize { sink, bytes }) = self.round.oversize.take() {
            let name = &self.settings.sinks[usize::from(sink)].name;
            self.notes.say(now.mono, Level::Warn, io, || {
                format!(
                    "sink {name}: a record of {bytes} bytes is refused, Kafka never takes it: with the batch header it exceeds \
                     max.message.bytes of its topic; let devices publish less, or raise the topic's limit, which is noticed within \
                     partition_count_refresh_interval"
                )
            });
        }
        self.say_who_is_refused(now, io);
        deadline
    }

    /// Says which MQTT 3.1.1 clients are closed again and again.
    fn say_who_is_refused(&mut self, now: Now, io: &mut impl Io) {
        while let Some(Refusal { name, sink, why, .. }) = self.refusals.pop_alarm(now.mono) {
            self.counters.clients_refused += 1;
            let Some(sink) = self.settings.sinks.get(usize::from(sink)) else { continue };
            let remedy = match why.is_final() {
                true => "give the sink a dead_letter, or set on_failed_v3 = \"ack\"",
                false => "it is stored once that reason is gone",
            };
            self.notes.say(now.mono, Level::Warn, io, || {
                format!(
                    "client {name} was closed three times within a minute: MQTT 3.1.1 has no other word for a message that sink {} \
                     does not store in topic {}, last because: {}. It will go on with the same message; {remedy}",
                    sink.name,
                    sink.topic,
                    refusal(why).1
                )
            });
        }
    }

    /// Takes up how large records may be.
    #[cold]
    pub(super) fn learn_limits(&mut self) {
        for (index, (sink, settings)) in self.sinks.iter_mut().zip(&self.settings.sinks).enumerate() {
            let batch_bytes_max = self.writers[sink.connector].batch_bytes_max(index as u16);
            sink.record_bytes_max = settings.record_bytes_max(batch_bytes_max);
        }
    }

    /// Lets held connections try again, the longest held first.
    fn resume_held(&mut self, now: Now, io: &mut impl Io) {
        let mut held = std::mem::take(&mut self.lists.held);
        for key in held.drain(..) {
            if let Some(conn) = self.take_conn(key) {
                match conn.held {
                    Some(_) => self.resume(now, conn, io),
                    None => self.put_conn(conn),
                }
            }
        }
        if self.lists.held.is_empty() {
            self.lists.held = held;
        }
    }

    /// Reads one packet of each connection that has been held for long, from the reserve of the budget.
    fn ration_held(&mut self, now: Now, io: &mut impl Io) {
        if now.mono < self.round.next_ration || self.lists.held.is_empty() {
            return;
        }
        self.round.next_ration = now.mono.plus_ms(RATION_CHECK_MS);
        let mut held = std::mem::take(&mut self.lists.held);
        self.budget.open_reserve(true);
        self.deliver.budget.open_reserve(true);
        held.retain(|&key| {
            let Some(conn) = conn_mut(&mut self.conns, key).filter(|c| c.held.is_some()) else { return false };
            if conn.turn() > now.mono {
                return true;
            }
            if let Some(mut conn) = self.take_conn(key) {
                conn.rationed = true;
                self.resume(now, conn, io);
            }
            if let Some(conn) = conn_mut(&mut self.conns, key) {
                conn.rationed = false;
            }
            false
        });
        self.budget.open_reserve(false);
        self.deliver.budget.open_reserve(false);
        // Those that had their turn are held again and stand in the new list.
        self.lists.held.append(&mut held);
    }

    /// One send per connection per round.
    pub(super) fn flush_dirty(&mut self, now: Now, io: &mut impl Io) {
        let mut dirty = std::mem::take(&mut self.lists.dirty);
        for key in dirty.drain(..) {
            let Some(mut conn) = self.take_conn(key) else { continue };
            self.count_flush(&mut conn, io);
            self.send_backlog(now, &mut conn, io);
            conn.dirty = false;
            match conn.closing {
                Some(why) => self.end_connection(now, conn, why, io),
                None => self.put_conn(conn),
            }
        }
        self.lists.dirty = dirty;
    }

    pub(super) fn count_flush(&mut self, conn: &mut Connection, io: &mut impl Io) {
        if conn.out.is_empty() || conn.blocked {
            return;
        }
        self.counters.sends += 1;
        self.counters.sent_bytes += conn.flush(io) as u64;
        self.round.released |= conn.held == Some(Held::Output) && conn.out.is_empty();
    }

    /// Once a second: tells the other shards what this one brings, and has `sticky` know whether it brings its share.
    fn compare_shares(&mut self, now: Now, io: &mut impl Io) {
        if self.shares.look(now.mono, |to, token| io.mesh(to, MeshMsg::Share(token))) {
            self.spread_or_keep();
        }
    }

    pub(super) fn on_share(&mut self, from: ShardId, token: Token) {
        self.shares.heard(from, token);
        self.spread_or_keep();
    }

    fn spread_or_keep(&mut self) {
        for (index, sink) in self.sinks.iter_mut().enumerate() {
            let even = self.shares.is_even(index);
            sink.partitioner.prefer_owned(even);
            let live = sink.live.as_mut().map(|live| live.partitioners());
            live.into_iter().flatten().for_each(|partitioner| partitioner.prefer_owned(even));
        }
    }

    fn answer_scrapes(&mut self, now: Mono, io: &mut impl Io) {
        while let Some(token) = self.scrapes.pop() {
            let sample = Box::new(self.sample(now));
            io.control(ControlMsg::Sample { token, sample });
        }
    }

    /// A copy of all counters. For every sink the parts add up to `matched`.
    fn sample(&mut self, now: Mono) -> ShardSample {
        self.counters.memory_bytes = (self.budget.used_bytes() + self.deliver.budget.used_bytes()) as u64;
        self.counters.memory_budget_bytes = (self.budget.limit_bytes() + self.deliver.budget.limit_bytes()) as u64;
        self.counters.notes_suppressed = self.notes.suppressed;
        let mut logins = self.logins_before;
        self.writers.iter().for_each(|writer| logins += writer.logins());
        (self.counters.logins_succeeded, self.counters.logins_failed) = (logins.succeeded, logins.failed);
        let mut health = Vec::with_capacity(self.sinks.len());
        for (index, counters) in self.sink_counters.iter_mut().enumerate() {
            let sink = &self.sinks[index];
            let writer = &self.writers[sink.connector];
            let state = writer.health(index as u16, now);
            counters.set_health(&state);
            health.push(state);
            counters.inflight = writer.inflight_records(index as u16, self.id);
            let mut written = writer.counts(index as u16);
            written += sink.carried;
            (counters.retried, counters.requests) = (written.retried, written.requests);
            (counters.possible_duplicate, counters.sent_bytes) = (written.possible_duplicate, written.sent_bytes);
            (counters.acked_loss, counters.uncompressed) = (written.acked_loss, written.uncompressed);
            if let Some(live) = &sink.live {
                (counters.live_topics, counters.live_topics_evicted) = (live.len() as u64, live.evicted);
            }
            counters.queuing = sink.accumulator.open_records() - counters.inflight;
            counters.queuing_bytes = sink.accumulator.queued_bytes() as u64;
            if let Some(stored) = &sink.journal {
                buffer::show(counters, &stored.journal.counts());
            }
        }
        ShardSample {
            shard: self.id.0,
            own: self.counters,
            sinks: self.sink_counters.clone(),
            health,
            connectors: self.writers.iter().map(|writer| writer.connector_health(now)).collect(),
            ack_latency: self.latency.clone(),
        }
    }

    fn wait(&mut self, now: Now, writers: Option<Mono>) -> Wait {
        let late = (!self.lists.open_sessions.is_empty()).then_some(self.round.next_late_check);
        let ration = (!self.lists.held.is_empty()).then_some(self.round.next_ration);
        let news = self.filters.has_news(self.settings.subscribers.notice_credits);
        let try_again = self.round.released && !self.lists.held.is_empty();
        // A will that was published when its client was closed may have taken the place of older records.
        let discarded = !self.round.discarded.is_empty() || self.dead.has_safe();
        let work = try_again || discarded || !self.lists.ready.is_empty() || self.deliver.has_work() || news;
        let again = work.then_some(now.mono);
        let clients = now.mono >= self.round.quiet_until || self.drain.is_draining();
        let quiet = (!clients).then_some(self.round.quiet_until);
        let sinks = self.sinks.iter().filter_map(|s| s.accumulator.deadline()).min();
        let ahead = self.sinks.iter().filter_map(|s| s.accumulator.ahead_until()).min();
        let mapping = self.sinks.iter().filter_map(Sink::remapped_until).min();
        let stored = self.journals_deadline(now.mono);
        let deadlines = [
            late,
            stored,
            ahead,
            mapping,
            ration,
            again,
            quiet,
            sinks,
            writers,
            self.wheel.deadline(),
            self.round.next_expiry,
            self.shares.deadline(),
            self.changes.deadline(),
            self.drain.deadline(),
        ];
        Wait { deadline: clock::earliest(deadlines), clients }
    }

    /// All connections there are.
    pub(super) fn all_conns(&self) -> Vec<ConnKey> {
        self.conns.iter().filter_map(|c| c.as_ref().map(|c| c.key)).collect()
    }
}
