//! Outcomes: from an answered batch to the tickets of its runs, from ready tickets to acknowledgements.

use mqtt::{ReasonCode, Version};

use super::io::{CloseReason, Input, Io};
use super::mesh::MeshMsg;
use super::refusals::Refusals;
use super::settings::SinkSettings;
use super::{Shard, conn_mut};
use crate::buffer::Batch;
use crate::clock::Now;
use crate::config::{OnFailedV3, OnSyncTimeout};
use crate::listener::connection::Connection;
use crate::metrics::SinkCounters;
use crate::plants::{Plant, is_planted};
use crate::session::Session;
use crate::session::qos2::Received;
use crate::session::tickets::{Ticket, Verdict};
use crate::ticket::{FailReason, Lane, Outcome, Run};

/// How often sessions with open tickets are looked at for `sync_timeout`.
const LATE_CHECK_MS: u64 = 100;

impl Shard {
    /// Gives a sealed batch to the writer of its connector; this shard owns its partition.
    pub(super) fn submit(&mut self, now: Now, batch: Box<Batch>) {
        let connector = self.sinks[usize::from(batch.part.sink)].connector;
        self.writers[connector].submit(now, batch);
    }

    /// Links and disks speak to the writer that uses them.
    pub(super) fn on_writer_input(&mut self, now: Now, input: Input<'_>, io: &mut impl Io) {
        let mut left = Some(input);
        for writer in &mut self.writers {
            let Some(input) = left.take() else { return };
            left = writer.on_input(now, input, io);
        }
    }

    /// Takes the answers of all writers.
    pub(super) fn settle_answered(&mut self, now: Now, io: &mut impl Io) {
        for index in 0..self.writers.len() {
            while let Some(answered) = self.writers[index].pop_answered() {
                self.settle(now, answered.batch, answered.outcome, io);
            }
        }
    }

    /// A batch that was sent has its outcome: it goes home, or is settled here if this is its home.
    pub(super) fn settle(&mut self, now: Now, batch: Box<Batch>, outcome: Outcome, io: &mut impl Io) {
        if batch.home != self.id {
            self.gaps.note(&batch, outcome);
            return io.mesh(batch.home, MeshMsg::Return(batch, outcome));
        }
        match batch.journal {
            0 => self.sinks[usize::from(batch.part.sink)].accumulator.answered(batch.slot),
            // It stays on disk until its records are safe elsewhere.
            _ if self.has_dead_letters(&batch, outcome) => {}
            _ => self.pass(now, &batch),
        }
        if is_planted(Plant::FailNeighbour) && batch.journal > 0 && matches!(outcome, Outcome::Failed(_)) {
            self.fail_neighbour(now, &batch);
        }
        let behind = self.behind(&batch, outcome);
        self.settle_at_home(now, batch, outcome);
        if let Some(behind) = behind {
            self.fail_behind(now, &behind);
        }
    }

    /// Counts a batch of this shard, resolves its tickets, and takes its buffer back.
    pub(super) fn settle_at_home(&mut self, now: Now, mut batch: Box<Batch>, outcome: Outcome) {
        let sink = usize::from(batch.part.sink);
        count_outcome(&mut self.sink_counters[sink], &batch, outcome);
        self.sinks[sink].accumulator.settled(&batch);
        let stored = matches!(outcome, Outcome::Stored { .. });
        self.sinks[sink].learn_size(&batch, stored);
        if stored {
            let records = batch.records - refused_records(&batch);
            self.latency[sink].record(now.mono.since(batch.opened), u64::from(records));
        }
        if self.has_dead_letters(&batch, outcome) {
            return self.bury(now, batch, outcome);
        }
        let verdict = match outcome {
            Outcome::Stored { .. } => Verdict::Good,
            Outcome::Failed(reason) => Verdict::Bad(reason),
        };
        if batch.refused.is_empty() {
            for run in batch.runs.drain(..) {
                self.settle_run(sink, run, verdict);
            }
        } else {
            self.settle_each(&mut batch, verdict);
        }
        self.release(batch);
    }

    /// Takes the buffer of a batch back, all of whose tickets have their verdict or wait elsewhere.
    pub(super) fn release(&mut self, mut batch: Box<Batch>) {
        self.budget.release(std::mem::take(&mut batch.charge_bytes));
        self.pool.give(batch);
        self.round.released = true;
    }

    /// Some records have an outcome of their own: their tickets are resolved one by one.
    #[cold]
    fn settle_each(&mut self, batch: &mut Batch, verdict: Verdict) {
        let sink = usize::from(batch.part.sink);
        let refused = std::mem::take(&mut batch.refused);
        for run in batch.runs.drain(..) {
            for i in 0..u32::from(run.n) {
                let record = run.record + i;
                let own = refused.iter().find(|r| (r.first..r.first + r.n).contains(&record));
                let verdict = own.map_or(verdict, |r| Verdict::Bad(r.why));
                self.settle_run(sink, Run { first: run.first.wrapping_add(i), record, n: 1, ..run }, verdict);
            }
        }
    }

    pub(super) fn settle_run(&mut self, sink: usize, run: Run, verdict: Verdict) {
        let verdict = match (verdict, run.cause) {
            (Verdict::Bad(_), Some(cause)) => Verdict::Bad(cause),
            (verdict, _) => verdict,
        };
        if run.lane == Lane::Entry {
            return self.dead.settle(run);
        }
        if run.lane == Lane::Publication {
            return self.settle_publications(run, verdict == Verdict::Good);
        }
        let Some(session) = self.sessions.get_mut(run.session) else { return };
        let swapped = is_planted(Plant::LaneSwap);
        let lane = if (run.lane == Lane::PubRec) != swapped { &mut session.pubrec } else { &mut session.puback };
        if lane.generation() == run.lane_gen || swapped {
            let answered = lane.settle(run.first, run.n, verdict);
            if verdict == Verdict::Good {
                // Those whose clients were told, by `on_sync_timeout = "reject"`, that it took too long.
                self.sink_counters[sink].late_success += u64::from(answered);
            }
            self.answer(run.session);
        }
    }

    /// Writes every acknowledgement of a session whose turn has come.
    pub(super) fn answer(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let conns = &mut self.conns;
        let conn = session.conn.and_then(|key| conn_mut(conns, key));
        let mut desk = Desk {
            sinks: &self.settings.sinks,
            counters: &mut self.sink_counters,
            refusals: &mut self.refusals,
            closed: None,
        };
        match conn {
            Some(conn) => {
                if desk.answer(session, Some(conn)) {
                    Self::mark_dirty(&mut self.lists, conn);
                }
            }
            None => {
                desk.answer(session, None);
            }
        }
    }

    /// As [`answer`](Self::answer) for a connection that is out of its slot because it is being read.
    #[inline]
    pub(super) fn answer_to(&mut self, slot: u32, conn: &mut Connection) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let mut desk = Desk {
            sinks: &self.settings.sinks,
            counters: &mut self.sink_counters,
            refusals: &mut self.refusals,
            closed: None,
        };
        if desk.answer(session, Some(conn)) {
            Self::mark_dirty(&mut self.lists, conn);
        }
    }

    /// Looks for tickets that have waited longer than their sink's `sync_timeout`.
    pub(super) fn check_late(&mut self, now: Now) {
        if self.lists.open_sessions.is_empty() || now.mono < self.round.next_late_check {
            return;
        }
        self.round.next_late_check = now.mono.plus_ms(LATE_CHECK_MS);
        let mut open = std::mem::take(&mut self.lists.open_sessions);
        // A slot stands here twice if its session ended and the next one in it was listed as well.
        open.sort_unstable();
        open.dedup();
        open.retain(|&slot| self.check_late_session(now, slot));
        self.lists.open_sessions = open;
    }

    /// Whether the session still has open tickets.
    fn check_late_session(&mut self, now: Now, slot: u32) -> bool {
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let now_ms = now.mono.as_ms() as u32;
        let mut close = false;
        let mut failed = false;
        for ticket in session.puback.iter_mut().chain(session.pubrec.iter_mut()) {
            let Some(sink) = self.settings.sinks.get(usize::from(ticket.sink)) else { continue };
            if ticket.late || ticket.pending == 0 {
                continue;
            }
            if u64::from(now_ms.wrapping_sub(ticket.opened_ms)) < sink.sync_timeout_ms {
                continue;
            }
            ticket.late = true;
            self.sink_counters[usize::from(ticket.sink)].late += 1;
            match sink.on_sync_timeout {
                OnSyncTimeout::Wait => {}
                OnSyncTimeout::Reject => {
                    // Outcomes that still come find the ticket gone and are counted with their batch.
                    ticket.pending = 0;
                    ticket.verdict = Verdict::Bad(FailReason::TimedOut);
                    failed = true;
                }
                OnSyncTimeout::Close => close = true,
            }
        }
        let open = !session.puback.is_empty() || !session.pubrec.is_empty();
        session.listed = open;
        let conn = session.conn;
        if failed {
            self.round.released = true;
            self.answer(slot);
        }
        if close && let Some(key) = conn {
            self.close_busy(key);
        }
        open
    }

    /// `on_sync_timeout = "close"`: MQTT 5 clients are told that the server is busy.
    fn close_busy(&mut self, key: super::io::ConnKey) {
        let Some(conn) = conn_mut(&mut self.conns, key) else { return };
        conn.mqtt.disconnect(ReasonCode::ServerBusy, Some("Kafka did not answer in time"), &mut conn.out);
        conn.closing = Some(CloseReason::Timeout);
        Self::mark_dirty(&mut self.lists, conn);
    }
}

fn count_outcome(counters: &mut SinkCounters, batch: &Batch, outcome: Outcome) {
    let refused = u64::from(refused_records(batch));
    let records = u64::from(batch.records) - refused;
    counters.failed += refused;
    match outcome {
        Outcome::Stored { .. } => {
            counters.success += records;
            counters.batches += 1;
            counters.batch_bytes += batch.queued_bytes as u64;
        }
        Outcome::Failed(FailReason::QueueFull) => counters.dropped_queue_full += records,
        Outcome::Failed(FailReason::Rejected) => counters.dropped_rejected += records,
        Outcome::Failed(FailReason::Expired) => counters.dropped_expired += records,
        Outcome::Failed(FailReason::Shutdown) => counters.dropped_shutdown += records,
        Outcome::Failed(_) => counters.failed += records,
    }
}

fn refused_records(batch: &Batch) -> u32 {
    batch.refused.iter().map(|r| r.n).sum()
}

/// Where acknowledgements are written: the settings and counters they need.
struct Desk<'a> {
    sinks: &'a [SinkSettings],
    counters: &'a mut [SinkCounters],
    refusals: &'a mut Refusals,
    /// The client is closed: the sink that its message was for, and why.
    closed: Option<(u16, FailReason)>,
}

impl Desk<'_> {
    /// Answers every ticket at the front of both lanes that is ready; whether anything was written.
    fn answer(&mut self, session: &mut Session, mut conn: Option<&mut Connection>) -> bool {
        let mut written = false;
        while let Some(ticket) = session.puback.pop_ready() {
            self.count_late(&ticket);
            if let Some(conn) = conn.as_deref_mut().filter(|c| c.closing.is_none()) {
                self.puback(conn, &ticket);
                written = true;
            }
        }
        while let Some(ticket) = session.pubrec.pop_ready() {
            self.count_late(&ticket);
            let is_here = session.received.is_here(ticket.packet_id);
            let stored = match conn.as_deref_mut().filter(|c| is_here && c.closing.is_none()) {
                Some(conn) => {
                    written = true;
                    self.pubrec(conn, &ticket)
                }
                None => ticket.verdict == Verdict::Good,
            };
            if stored {
                session.received.set(ticket.packet_id, Received::Stored);
            } else {
                session.received.remove(ticket.packet_id);
            }
        }
        if let Some((sink, why)) = self.closed.take() {
            self.refusals.close(&session.client_id, sink, why);
        }
        written
    }

    fn count_late(&mut self, ticket: &Ticket) {
        if ticket.late
            && ticket.verdict == Verdict::Good
            && let Some(counters) = self.counters.get_mut(usize::from(ticket.sink))
        {
            counters.late_success += 1;
        }
    }

    #[inline]
    fn puback(&mut self, conn: &mut Connection, ticket: &Ticket) {
        let Some(version) = conn.mqtt.version() else { return };
        if ticket.silent {
            // The later PUBACK speaks for both: where this one is a no, it must not be sent.
            self.word(version, ticket, conn);
            return conn.mqtt.inbound_done(1);
        }
        if let Some((reason, text)) = self.word(version, ticket, conn) {
            mqtt::encode_puback(version, ticket.packet_id, reason, text, &mut conn.out);
            conn.mqtt.inbound_done(1);
        }
    }

    /// Whether the client was told that its publication is stored, so that its PUBREL will come.
    fn pubrec(&mut self, conn: &mut Connection, ticket: &Ticket) -> bool {
        let Some(version) = conn.mqtt.version() else { return false };
        let Some((reason, text)) = self.word(version, ticket, conn) else { return false };
        mqtt::encode_pubrec(version, ticket.packet_id, reason, text, &mut conn.out);
        let stored = reason.value() < 0x80;
        conn.mqtt.inbound_done(u32::from(!stored));
        stored
    }

    /// The reason code that tells a ticket's verdict. `None`: a 3.1.1 client is closed instead, its ack cannot say no.
    #[inline]
    fn word(
        &mut self,
        version: Version,
        ticket: &Ticket,
        conn: &mut Connection,
    ) -> Option<(ReasonCode, Option<&'static str>)> {
        let Verdict::Bad(why) = ticket.verdict else {
            let unmatched = ticket.unmatched && version.is_v5();
            let reason = if unmatched { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
            return Some((reason, None));
        };
        if version.is_v5() {
            let (reason, text) = refusal(why);
            return Some((reason, Some(text)));
        }
        let lenient = self.sinks.get(usize::from(ticket.sink)).is_some_and(|s| s.on_failed_v3 == OnFailedV3::Ack);
        if lenient && why.is_final() {
            return Some((ReasonCode::Success, None));
        }
        conn.closing = Some(CloseReason::Refused);
        self.closed = Some((ticket.sink, why));
        None
    }
}

/// What an MQTT 5 client is told of a failure (spec section 2.1).
pub(super) fn refusal(why: FailReason) -> (ReasonCode, &'static str) {
    match why {
        FailReason::TooLarge => {
            (ReasonCode::QuotaExceeded, "the record is larger than max.message.bytes of its Kafka topic allows")
        }
        FailReason::QueueFull => (ReasonCode::QuotaExceeded, "discarded: the buffer was full"),
        FailReason::Rejected => (ReasonCode::QuotaExceeded, "refused: the buffer is full"),
        FailReason::Unauthorized => (ReasonCode::NotAuthorized, "Kafka denies writing to the topic"),
        FailReason::Invalid => (ReasonCode::ImplementationSpecificError, "Kafka refuses the record as invalid"),
        FailReason::UnknownTopic => (ReasonCode::ImplementationSpecificError, "the Kafka topic does not exist"),
        FailReason::Expired => (ReasonCode::ImplementationSpecificError, "the record is too old to be sent"),
        FailReason::RetriesExhausted => {
            (ReasonCode::ImplementationSpecificError, "Kafka refused the record as often as max_retries allows")
        }
        FailReason::TimedOut => (ReasonCode::ImplementationSpecificError, "Kafka did not answer in time"),
        FailReason::Disk => (ReasonCode::ImplementationSpecificError, "the local disk refused the record"),
        FailReason::Shutdown => (ReasonCode::ImplementationSpecificError, "this node is shutting down"),
    }
}
