//! Another configuration while the shard runs.
//!
//! ```text
//! Prepare ─ slots, terms and topics of new sinks are there, nothing uses them ─ Prepared   (every shard)
//! Apply   ─ routes, limits and terms are the new ones ────────────────────────── Applied    (once every shard has prepared)
//!           a sink that left takes nothing more; once nothing of it is open ──── Left
//! Forget  ─ its slot is vacant ───────────────────────────────────────────────── (once it has left every shard)
//! ```
//!
//! A connector comes with its writer at `Prepare`, and is closed once no slot is a way over it.
//!
//! A shard that works by the new configuration may hand over batches of a new sink to one that does not yet, which is why
//! there are two steps. Nothing is rebuilt: connections, sessions, filling batches, queues and links stay where they are, and
//! what is under way keeps the promise it was taken with.

use super::buffer::{self, journal};
use super::control::{ControlMsg, Level, Preparation, SlotState, Snapshot, Step};
use super::io::Io;
use super::settings::SinkSettings;
use super::{Settings, Shard};
use crate::clock::Mono;
use crate::log::journal::JournalCounts;
use crate::metrics::{Latency, SinkCounters};
use crate::sink::mapping::Mapping;
use crate::sink::{Sink, Stored, Writer, WriterCounts};

/// How often it is looked whether a sink that left has anything open.
const LOOK_MS: u64 = 100;

/// Where changes stand.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Number of the one that was applied last.
    number: u64,
    /// What was prepared.
    next: Option<Next>,
    /// Slots of sinks that have left, and of which that was not said yet.
    leaving: Vec<u16>,
    look_at: Mono,
}

#[derive(Debug)]
struct Next {
    snapshot: Snapshot,
    settings: Settings,
    /// It was said that it is prepared.
    said: bool,
}

impl Changes {
    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.leaving.is_empty()).then_some(self.look_at)
    }
}

impl Shard {
    /// Makes slots for new sinks, and has the writers know them.
    pub(super) fn prepare_change(&mut self, now: Mono, preparation: Preparation, io: &mut impl Io) {
        let Preparation { snapshot, starts, nonce_key } = preparation;
        let settings = match Settings::of(&snapshot, self.settings.sizes) {
            Ok(settings) => settings,
            // It was compiled before it was sent here.
            Err(error) => return self.notes.say(now, Level::Error, io, || error.to_string()),
        };
        for &sink in &snapshot.fresh {
            self.take_slot(sink, &settings.sinks[usize::from(sink)]);
        }
        for start in starts {
            let sink = usize::from(start.sink);
            self.sinks[sink].mapping = Mapping::of(start.topic_partitions);
            self.sinks[sink].journal = Some(Stored::held(journal(start, &settings.sinks[sink])));
        }
        self.share_journal_memory();
        self.shares.grow(self.sinks.len());
        for (connector, writer) in self.writers.iter_mut().enumerate() {
            writer.prepare(connector, &snapshot);
        }
        for &connector in &snapshot.fresh_connectors {
            assert!(self.writers.len() == usize::from(connector), "numbers have no gap");
            let (shards, config) = (self.settings.shards, &snapshot.config);
            let writer = Writer::new(self.id, shards, usize::from(connector), config, nonce_key);
            self.writers.push(writer.expect("the embedded log does not come while a node runs"));
        }
        self.changes.next = Some(Next { snapshot, settings, said: false });
    }

    /// A sink that takes nothing yet.
    fn take_slot(&mut self, slot: u16, settings: &SinkSettings) {
        let index = usize::from(slot);
        let sink = settings.build(slot, self.id, self.settings.shards, &mut self.random);
        let mut settings = settings.clone();
        settings.route.close();
        if index == self.sinks.len() {
            self.sinks.push(sink);
            self.settings.sinks.push(settings);
            self.sink_counters.push(SinkCounters::default());
            self.latency.push(Latency::default());
            return;
        }
        assert!(self.settings.sinks[index].state == SlotState::Vacant, "a slot is taken when nobody has it");
        self.sinks[index] = sink;
        self.settings.sinks[index] = settings;
        self.sink_counters[index] = SinkCounters::default();
        self.latency[index] = Latency::default();
    }

    /// Works by what was prepared from now on.
    pub(super) fn apply_change(&mut self, now: Mono, number: u64, io: &mut impl Io) {
        let Some(next) = self.changes.next.take_if(|next| next.snapshot.number == number) else { return };
        let Next { snapshot, settings, .. } = next;
        for index in 0..settings.sinks.len() {
            self.configure_sink(now, index, &settings.sinks[index]);
        }
        for (connector, writer) in self.writers.iter_mut().enumerate() {
            writer.apply(connector, &snapshot);
        }
        self.settings = settings;
        self.learn_limits();
        self.route_generation += 1;
        self.round.configure(self.settings.round_wait_ns());
        let sinks = &self.settings.sinks;
        self.packer.keep(|packing| sinks.iter().any(|sink| sink.packing == *packing));
        // What is held may have room now, or nowhere to go any more.
        self.round.released = true;
        let leaving = |(_, sink): &(u16, &SinkSettings)| sink.state == SlotState::Leaving;
        self.changes.leaving = (0..).zip(&self.settings.sinks).filter(leaving).map(|(slot, _)| slot).collect();
        self.changes.number = number;
        self.changes.look_at = now;
        io.control(ControlMsg::Changed(Step::Applied(number)));
    }

    /// Gives one sink its new settings. What it has open stays.
    fn configure_sink(&mut self, now: Mono, index: usize, new: &SinkSettings) {
        let Sink { accumulator, partitioner, mapping, ceiling, journal, live, promised_early, connector, .. } =
            &mut self.sinks[index];
        let old = &self.settings.sinks[index];
        assert!(*connector == new.connector && live.is_some() == new.route.topic.is_some(), "a slot is a way to Kafka");
        ceiling.configure(new.limits.bytes_max);
        accumulator.configure(new.limits, ceiling.bytes());
        *promised_early |= !old.is_sync() && new.is_sync() && accumulator.open_records() > 0;
        accumulator.tell_when_durable(!new.is_sync());
        if partitioner.configure(new.partition_strategy, new.key_hash) {
            mapping.renew(now);
        }
        if let Some(live) = live {
            live.repartition(now, new.partition_strategy, new.key_hash);
            for evicted in live.configure(new.live_topics_max, accumulator) {
                self.writers[*connector].close_topic(evicted.writer_topic);
            }
        }
        if let Some(stored) = journal {
            stored.journal.configure(new.segment_bytes, new.inflight_max, new.live_topics_max);
            stored.ready = true;
            if std::mem::take(&mut stored.held) {
                let records = stored.journal.counts().replayed;
                accumulator.adopt(records);
                self.sink_counters[index].matched += records;
            }
        }
    }

    /// Forgets what was prepared; nothing has used it.
    pub(super) fn withdraw_change(&mut self, number: u64, io: &mut impl Io) {
        let Some(next) = self.changes.next.take_if(|next| next.snapshot.number == number) else { return };
        for &sink in &next.snapshot.fresh {
            self.forget_sink(sink);
        }
        for &connector in &next.snapshot.fresh_connectors {
            self.close_connector(connector, io);
        }
    }

    /// No sink writes over a connector any more: its links end. Its number stays its own.
    pub(super) fn close_connector(&mut self, connector: u16, io: &mut impl Io) {
        let Some(writer) = self.writers.get_mut(usize::from(connector)) else { return };
        assert!(writer.is_idle(), "a connector is closed when nothing of its sinks is open");
        self.logins_before += writer.logins();
        writer.close(io);
    }

    /// No batch of a sink is anywhere: its slot is vacant.
    pub(super) fn forget_sink(&mut self, slot: u16) {
        let index = usize::from(slot);
        let Some(settings) = self.settings.sinks.get_mut(index) else { return };
        settings.state = SlotState::Vacant;
        settings.route.close();
        settings.dead_letter = None;
        let settings = &self.settings.sinks[index];
        let sink = &mut self.sinks[index];
        assert!(sink.accumulator.open_records() == 0, "a sink is forgotten when nothing of it is open");
        for topic in sink.live.iter().flat_map(|live| live.writer_topics()) {
            self.writers[sink.connector].close_topic(topic);
        }
        if let Some(stored) = &sink.journal {
            // Its counters go on, its files do not.
            buffer::show(&mut self.sink_counters[index], &JournalCounts { segments: 0, ..stored.journal.counts() });
            self.budget.release(stored.charge_bytes);
        }
        let mut carried = self.writers[sink.connector].counts(slot);
        carried += sink.carried;
        let evicted = sink.live.as_ref().map_or(0, |live| live.evicted);
        *sink = settings.build(slot, self.id, self.settings.shards, &mut self.random);
        self.writers[sink.connector].forget(slot);
        self.share_journal_memory();
        self.hand_counts_on(index, carried, evicted);
    }

    /// What a sink has counted in a slot that it leaves goes on in the slot that it has now: its counters do not fall.
    fn hand_counts_on(&mut self, from: usize, written: WriterCounts, evicted: u64) {
        let sinks = &self.settings.sinks;
        let goes_on = |sink: &SinkSettings| sink.state != SlotState::Vacant && sink.name == sinks[from].name;
        let Some(to) = sinks.iter().position(goes_on) else { return };
        self.sinks[to].carried += written;
        if let Some(live) = &mut self.sinks[to].live {
            live.evicted += evicted;
        }
        let mut counters = std::mem::take(&mut self.sink_counters[from]);
        counters.live_topics = 0;
        self.sink_counters[to].add(&counters);
        let latency = std::mem::take(&mut self.latency[from]);
        self.latency[to].merge(&latency);
    }

    /// Says what has been reached.
    pub(super) fn step_change(&mut self, now: Mono, io: &mut impl Io) {
        if let Some(Next { snapshot, settings, said }) = self.changes.next.as_mut().filter(|next| !next.said) {
            let known = |&sink: &u16| {
                let settings = &settings.sinks[usize::from(sink)];
                let writer = &self.writers[settings.connector];
                settings.route.topic.is_some() || self.sinks[usize::from(sink)].partitions(sink, writer).is_some()
            };
            if snapshot.fresh.iter().all(known) {
                *said = true;
                io.control(ControlMsg::Changed(Step::Prepared(snapshot.number)));
            }
        }
        if self.changes.leaving.is_empty() || now < self.changes.look_at {
            return;
        }
        self.changes.look_at = now.plus_ms(LOOK_MS);
        let number = self.changes.number;
        for at in (0..self.changes.leaving.len()).rev() {
            let sink = self.changes.leaving[at];
            if self.has_left(sink) {
                self.changes.leaving.swap_remove(at);
                io.control(ControlMsg::Changed(Step::Left { number, sink }));
            }
        }
    }

    /// Whether nothing of a sink is open here: no batch of it is anywhere, and nobody speaks of it.
    fn has_left(&self, slot: u16) -> bool {
        let Sink { accumulator, journal, .. } = &self.sinks[usize::from(slot)];
        let is_idle = accumulator.is_idle() && accumulator.open_records() == 0 && !self.dead.has_batch_of(slot);
        let is_idle = is_idle && journal.as_ref().is_none_or(|stored| stored.journal.is_at_rest());
        let others = || self.settings.sinks.iter().filter(|sink| sink.state != SlotState::Vacant);
        // The last records of a sink that left may still end there.
        is_idle && !others().any(|sink| sink.dead_letter == Some(slot)) && !self.has_ticket_of(slot)
    }

    /// Whether a ticket has this sink's rules.
    fn has_ticket_of(&self, slot: u16) -> bool {
        let sessions = self.lists.open_sessions.iter().filter_map(|&session| self.sessions.get(session));
        let mut tickets = sessions.flat_map(|session| session.puback.iter().chain(session.pubrec.iter()));
        tickets.any(|ticket| ticket.sink == slot)
    }

    /// What is open of sinks that were asynchronous before may have been acknowledged, until none of that is open.
    pub(super) fn forget_early_promises(&mut self) {
        for sink in &mut self.sinks {
            sink.promised_early = sink.promised_early && sink.accumulator.open_records() > 0;
        }
    }

    /// Sinks in their slots: who has them.
    pub fn slots(&self) -> Vec<SlotState> {
        self.settings.sinks.iter().map(|sink| sink.state).collect()
    }
}
