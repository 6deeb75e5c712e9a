//! Placing the records of one publication: partition, room, and the runs that wait for the outcome.
//!
//! Either all records of a publication are placed or none is: room is reserved for each before the first is written.

use kafka::record_batch::{HeaderBlock, RawHeaders};
use kafka::topic_name::is_topic_name;

use super::Shard;
use super::buffer::gone_batch;
use super::dead_letter::{self, Origin};
use super::deliver::Copied;
use super::round::Oversize;
use crate::buffer::Batch;
use crate::clock::Now;
use crate::config::{BufferMode, Overflow};
use crate::event::{Event, EventIds};
use crate::session::publications::LaneSeat;
use crate::session::table::SessionTable;
use crate::sink::accumulator::{Accumulator, At, Record, Room};
use crate::sink::live_topics::Aim;
use crate::sink::partitioning::Choice;
use crate::sink::route::{Chosen, MemoRoute, Never, RouteMemo, Scratch, Value};
use crate::sink::{Answered, Sink, target_of};
use crate::ticket::{FailReason, Lane, Outcome};

/// Where the ticket of a PUBLISH will stand, known before it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    /// Slot of the session.
    pub(super) session: u32,
    /// Its lane.
    pub(super) lane: Lane,
    /// Generation of the lane.
    pub(super) generation: u32,
    /// Number of the ticket in the lane.
    pub(super) number: u32,
    /// An earlier PUBLISH with its identifier stays without an answer of its own: this one's speaks for both.
    pub(super) silences: bool,
}

/// What became of a PUBLISH's records.
///
/// It is filled where it lies and never moved: its fields are written one by one, right behind a payload, and whoever copies it
/// as a whole at once waits until all of that has left the processor's store buffer. See docs/performance.md.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Records whose outcome the ticket waits for.
    pub(super) pending: u16,
    /// The first sink it waits for.
    pub(super) sink: u16,
    /// Bytes of all records.
    pub(super) bytes: u32,
    /// A sink refused its record.
    pub(super) refused: Option<FailReason>,
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
    /// What placing records needs, and apart from it what their events are made of.
    #[inline]
    pub(super) fn placing<'a>(&'a mut self, now: Now, copied: Option<&'a Copied>) -> Placing<'a> {
        let placer = Placer {
            at: At { now: now.mono, opened: self.round.opened(now.mono) },
            wall_ms: now.wall_ms,
            read: self.counters.reads,
            publication: copied.map(|c| &c.seat),
            sinks: &mut self.sinks,
            writers: &mut self.writers,
            settings: &self.settings,
            counters: &mut self.sink_counters,
            pool: &mut self.pool,
            budget: &mut self.budget,
            overloaded: self.overloaded,
            discarded: &mut self.round.discarded,
            oversize: &mut self.round.oversize,
        };
        Placing { placer, sessions: &self.sessions, ids: &mut self.event_ids, scratch: &mut self.scratch }
    }
}

/// The parts of a shard that work on a PUBLISH, side by side.
pub(super) struct Placing<'a> {
    pub(super) placer: Placer<'a>,
    pub(super) sessions: &'a SessionTable,
    pub(super) ids: &'a mut EventIds,
    pub(super) scratch: &'a mut Scratch,
}

/// The parts of a shard that placing records needs.
pub(super) struct Placer<'a> {
    at: At,
    /// Now, milliseconds since 1970-01-01 UTC.
    wall_ms: i64,
    /// Number of the read that brought the PUBLISH.
    read: u64,
    /// Where the publication stands whose subscribers wait for the outcomes.
    publication: Option<&'a LaneSeat>,
    sinks: &'a mut [Sink],
    writers: &'a mut [crate::sink::Writer],
    pub(super) settings: &'a super::Settings,
    counters: &'a mut [crate::metrics::SinkCounters],
    pool: &'a mut crate::buffer::BatchPool,
    budget: &'a mut super::budget::Budget,
    overloaded: bool,
    discarded: &'a mut Vec<Answered>,
    oversize: &'a mut Option<Oversize>,
}

impl Placer<'_> {
    pub(super) fn place_all(
        &mut self,
        memo: &mut RouteMemo,
        event: &Event<'_>,
        seat: Option<&Seat>,
        scratch: &mut Scratch,
        placed: &mut Placed,
    ) -> Result<(), NoPlace> {
        if let [route] = memo.routes.as_mut_slice() {
            self.choose(route, event, scratch)?;
            return self.place_one(route, event, seat, scratch, true, placed).inspect_err(|_| choose_anew(route));
        }
        // Several sinks: reserve for each first. Records are rendered twice, which costs less than keeping them.
        if let Err(why) = self.reserve_all(memo, event, scratch) {
            for route in &mut memo.routes {
                let sink = self.settings.sinks[usize::from(route.sink)].dead_letter.filter(|_| route.never.is_some());
                let accumulator = &mut self.sinks[usize::from(sink.unwrap_or(route.sink))].accumulator;
                accumulator.cancel(route.reserved, self.pool, self.budget);
                choose_anew(route);
            }
            return Err(why);
        }
        // Several records may meet in one dead-letter sink, where room was looked for each by itself.
        self.budget.open_beyond(memo.routes.iter().any(|route| route.never.is_some()));
        for route in &mut memo.routes {
            let written = self.place_one(route, event, seat, scratch, true, placed);
            assert!(written.is_ok(), "a record is written where room was reserved for it");
        }
        self.budget.open_beyond(false);
        Ok(())
    }

    fn reserve_all(&mut self, memo: &mut RouteMemo, event: &Event<'_>, scratch: &mut Scratch) -> Result<(), NoPlace> {
        // All of them, though one must wait: topics that are not known yet are asked for together.
        let mut chosen = Ok(());
        for route in &mut memo.routes {
            chosen = chosen.and(self.choose(route, event, scratch));
        }
        chosen?;
        for route in &mut memo.routes {
            self.place_one(route, event, None, scratch, false, &mut Placed::default())?;
        }
        Ok(())
    }

    /// Chooses the partition of one sink's record. Once a PUBLISH: some strategies would choose another one next time.
    #[inline]
    fn choose(&mut self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Scratch) -> Result<(), NoPlace> {
        if route.key.is_none() {
            self.remember_key(route, event, scratch);
        }
        if self.settings.sinks[usize::from(route.sink)].route.topic.is_some() {
            return self.aim(route, event, scratch);
        }
        route.reserved = self.partition(route, event, scratch)?;
        route.record_bytes_max = self.sinks[usize::from(route.sink)].record_bytes_max;
        Ok(())
    }

    /// Finds the topic that the message names, and a partition of it; or one of the dead-letter sink if there can be none.
    #[inline(never)]
    fn aim(&mut self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Scratch) -> Result<(), NoPlace> {
        let index = usize::from(route.sink);
        let direct = &self.settings.sinks[index].route;
        route.never = None;
        let name = direct.topic.as_ref().and_then(|topic| topic.render_whole(event, &mut scratch.topic));
        let name = name.filter(|name| is_topic_name(name)).and_then(|name| std::str::from_utf8(name).ok());
        let key = match &route.key {
            Some(key) => key.as_deref(),
            None => direct.key.render(event, &mut scratch.key),
        };
        let choice = Choice { key, client_id: event.client_id, topic: event.topic };
        let sink = &mut self.sinks[index];
        let writer = &mut self.writers[sink.connector];
        let aim = match name {
            Some(name) => sink.aim(route.sink, name, &choice, writer, self.at.now).ok_or(NoPlace::Hold)?,
            None => Aim::Never(FailReason::Invalid),
        };
        match aim {
            Aim::Slot { slot, batch_bytes_max } => {
                route.reserved = slot;
                route.record_bytes_max = self.settings.sinks[index].record_bytes_max(batch_bytes_max);
            }
            Aim::Later => return Err(NoPlace::Wait),
            Aim::Never(why) => {
                route.never = Some(Never { why, partition: None });
                if let Some(partition) = self.grave(index, key)? {
                    route.reserved = partition;
                }
            }
        }
        Ok(())
    }

    /// The partition of the dead-letter sink of `index` for a record with this key, if there is such a sink.
    #[cold]
    fn grave(&mut self, index: usize, key: Option<&[u8]>) -> Result<Option<u32>, NoPlace> {
        let Some(grave) = self.settings.sinks[index].dead_letter else { return Ok(None) };
        let sink = &mut self.sinks[usize::from(grave)];
        let writer = &self.writers[sink.connector];
        let partition = sink.choose(grave, &dead_letter::choice(key), writer, self.at.now);
        partition.map(Some).ok_or(NoPlace::Hold)
    }

    /// Whether a record that may be larger than its topic takes is: then it never has a place in `slot`, and this is its partition
    /// among the dead letters, where there are any.
    #[cold]
    fn oversize(
        &mut self,
        index: usize,
        slot: u32,
        record: &Record<'_>,
        record_bytes_max: usize,
    ) -> Result<Option<(Never, u32)>, NoPlace> {
        let bytes = record.lone_bytes();
        if bytes <= record_bytes_max {
            return Ok(None);
        }
        let grave = self.grave(index, record.key)?.unwrap_or(slot);
        *self.oversize = Some(Oversize { sink: index as u16, bytes });
        let partition = self.sinks[index].accumulator.partition_of(slot);
        Ok(Some((Never { why: FailReason::TooLarge, partition: Some(partition) }, grave)))
    }

    /// Renders the record of one sink and reserves room for it in the chosen partition; appends it if `write`.
    #[inline]
    fn place_one(
        &mut self,
        route: &mut MemoRoute,
        event: &Event<'_>,
        seat: Option<&Seat>,
        scratch: &mut Scratch,
        write: bool,
        placed: &mut Placed,
    ) -> Result<(), NoPlace> {
        let index = usize::from(route.sink);
        let direct = &self.settings.sinks[index].route;
        let mut headers = RawHeaders::NONE;
        if !direct.headers.are_none() {
            let sound = direct.headers.render(event, &mut scratch.headers, &mut scratch.text);
            self.counters[index].headers_ignored += u64::from(write && !sound);
            headers = scratch.headers.raw();
        }
        let key = match &route.key {
            Some(key) => key.as_deref(),
            None => direct.key.render(event, &mut scratch.key),
        };
        let timestamp_ms = direct.timestamp_ms(event, &mut scratch.text);
        let value = match direct.render_value(event, key, &mut scratch.value) {
            Value::Is(value) => value,
            Value::Dropped => return Ok(()),
        };
        let record = Record { key, value, timestamp_ms, headers };
        if record.bytes_max() > route.record_bytes_max
            && route.never.is_none()
            && let Some((never, grave)) = self.oversize(index, route.reserved, &record, route.record_bytes_max)?
        {
            (route.never, route.reserved) = (Some(never), grave);
        }
        let partition = route.reserved;
        if let Some(never) = route.never {
            route.never = route.never.filter(|_| !write);
            let topic = self.topic_of(index, event, &mut scratch.topic);
            return self.never(index, partition, &record, &topic, never, seat, write, placed);
        }
        let room = self.reserve(index, partition, record.bytes_max());
        if room != Room::Ready
            && let Err(why) = make_room(self, index, partition, record.bytes_max(), room)
        {
            let NoPlace::Refuse(reason) = why else { return Err(why) };
            if write {
                self.counters[index].matched += 1;
                self.counters[index].dropped_rejected += 1;
                self.refuse(index, reason, placed);
            }
            return Ok(());
        }
        if write {
            self.write(index, partition, &record, seat, placed);
        }
        Ok(())
    }

    /// Makes room for a record; what waits on disk counts against the partition's limit.
    #[inline]
    fn reserve(&mut self, index: usize, partition: u32, bytes: usize) -> Room {
        let sink = &mut self.sinks[index];
        if self.overloaded
            && self.settings.sinks[index].must_wait(sink.accumulator.waiting_bytes(partition) + bytes)
            && !self.budget.is_reserve_open()
        {
            return Room::Overload;
        }
        if sink.is_full_on_disk(partition, bytes) && !self.budget.is_reserve_open() {
            return Room::PartitionFull;
        }
        sink.accumulator.reserve(partition, bytes, self.at, self.pool, self.budget)
    }

    #[inline]
    fn write(&mut self, index: usize, partition: u32, record: &Record<'_>, seat: Option<&Seat>, placed: &mut Placed) {
        let accumulator = &mut self.sinks[index].accumulator;
        let bytes = accumulator.append(partition, record);
        self.counters[index].matched += 1;
        placed.bytes += bytes;
        if let Some(seat) = seat
            && self.settings.sinks[index].withholds()
        {
            if placed.pending == 0 {
                placed.sink = index as u16;
            }
            placed.pending += 1;
            accumulator.note_ticket(partition, seat.session, seat.generation, seat.number, seat.lane, None);
        }
        if let Some(seat) = self.publication
            && self.settings.sinks[index].delivers_after_kafka()
        {
            placed.awaited += 1;
            accumulator.note_ticket(partition, seat.lane, seat.generation, seat.number, Lane::Publication, None);
        }
    }

    /// The topic of a record, as far as it has one.
    #[cold]
    fn topic_of(&self, index: usize, event: &Event<'_>, scratch: &mut Vec<u8>) -> String {
        let Some(template) = &self.settings.sinks[index].route.topic else {
            return self.settings.sinks[index].topic.clone();
        };
        // Where a placeholder finds nothing, what stands before it is all there is to tell.
        let _ = template.render_whole(event, scratch);
        String::from_utf8_lossy(scratch).into_owned()
    }

    /// A record that can never be written, because of its size or its topic: it goes to `partition` of the dead-letter sink with its
    /// tickets, or its publisher is refused.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "what placing a record needs, and why it has no place")]
    fn never(
        &mut self,
        index: usize,
        partition: u32,
        record: &Record<'_>,
        topic: &str,
        never: Never,
        seat: Option<&Seat>,
        write: bool,
        placed: &mut Placed,
    ) -> Result<(), NoPlace> {
        let Never { why, partition: own } = never;
        let Some(grave) = self.settings.sinks[index].dead_letter else {
            if write {
                self.count_never(index, why);
                self.refuse(index, why, placed);
            }
            return Ok(());
        };
        let origin =
            Origin { sink: &self.settings.sinks[index].name, topic, partition: own, timestamp_ms: record.timestamp_ms };
        let mut headers = HeaderBlock::default();
        origin.put(record.headers, why, &mut headers);
        let copy = Record { timestamp_ms: self.wall_ms, headers: headers.raw(), ..*record };
        let sink = &mut self.sinks[usize::from(grave)];
        let room = sink.accumulator.reserve(partition, copy.bytes_max(), self.at, self.pool, self.budget);
        if room != Room::Ready {
            return Err(NoPlace::Hold);
        }
        if write {
            self.count_never(index, why);
            self.counters[index].dead_lettered += 1;
            self.write_dead(index, usize::from(grave), partition, &copy, why, seat, placed);
        }
        Ok(())
    }

    fn count_never(&mut self, index: usize, why: FailReason) {
        let counters = &mut self.counters[index];
        counters.matched += 1;
        counters.failed += 1;
        counters.too_large += u64::from(why == FailReason::TooLarge);
    }

    /// As [`write`](Self::write), into the dead-letter sink of `index`, whose promises hold.
    #[expect(
        clippy::too_many_arguments,
        reason = "what writing a record needs, and why it is not written where it belongs"
    )]
    fn write_dead(
        &mut self,
        index: usize,
        grave: usize,
        partition: u32,
        record: &Record<'_>,
        why: FailReason,
        seat: Option<&Seat>,
        placed: &mut Placed,
    ) {
        let accumulator = &mut self.sinks[grave].accumulator;
        placed.bytes += accumulator.append(partition, record);
        self.counters[grave].matched += 1;
        if let Some(seat) = seat
            && self.settings.sinks[index].withholds()
        {
            if placed.pending == 0 {
                placed.sink = index as u16;
            }
            placed.pending += 1;
            accumulator.note_ticket(partition, seat.session, seat.generation, seat.number, seat.lane, Some(why));
        }
        if let Some(seat) = self.publication
            && self.settings.sinks[index].delivers_after_kafka()
        {
            placed.awaited += 1;
            accumulator.note_ticket(partition, seat.lane, seat.generation, seat.number, Lane::Publication, Some(why));
        }
    }

    /// The publisher is refused, and nobody gets what it published after Kafka has it.
    fn refuse(&self, index: usize, why: FailReason, placed: &mut Placed) {
        placed.refused = Some(why);
        placed.withheld |= self.settings.sinks[index].delivers_after_kafka();
        if placed.pending == 0 {
            placed.sink = index as u16;
        }
    }

    /// Keeps the key where it is the same for all PUBLISHes of the memo.
    fn remember_key(&self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Scratch) {
        let direct = &self.settings.sinks[usize::from(route.sink)].route;
        if direct.key_is_fixed() {
            route.key = Some(direct.key.render(event, &mut scratch.key).map(Into::into));
        }
    }

    /// The record's partition: from the memo if it is fixed there and the count is still the same.
    #[inline]
    fn partition(&mut self, route: &mut MemoRoute, event: &Event<'_>, scratch: &mut Scratch) -> Result<u32, NoPlace> {
        let index = usize::from(route.sink);
        let sink = &mut self.sinks[index];
        let writer = &self.writers[sink.connector];
        let mut count = sink.partitions(route.sink, writer).ok_or(NoPlace::Hold)?;
        if sink.partitioner.is_by_key() {
            count = sink.partitions_for_keys(count, self.at.now).ok_or(NoPlace::Wait)?;
        }
        if let Some(chosen) = route.partition
            && chosen.count == count
            && chosen.read.is_none_or(|read| read == self.read)
        {
            return Ok(chosen.partition);
        }
        let key = match &route.key {
            Some(key) => key.as_deref(),
            None => self.settings.sinks[index].route.key.render(event, &mut scratch.key),
        };
        let choice = Choice { key, client_id: event.client_id, topic: event.topic };
        let fixed = route.key.is_some() && sink.partitioner.is_fixed(key.is_none_or(<[u8]>::is_empty));
        let for_a_read = sink.partitioner.holds_for_a_read();
        let partition = sink.choose(route.sink, &choice, writer, self.at.now).ok_or(NoPlace::Hold)?;
        if fixed || for_a_read {
            route.partition = Some(Chosen { partition, count, read: for_a_read.then_some(self.read) });
        }
        Ok(partition)
    }
}

/// A partition that was chosen for a read and has no room is not waited for: another may have. What a topic takes may have changed
/// by then.
#[cold]
fn choose_anew(route: &mut MemoRoute) {
    route.never = None;
    route.partition.take_if(|chosen| chosen.read.is_some());
}

/// Applies `overflow` where a record has no room; `Ok` if it has now.
#[cold]
fn make_room(placer: &mut Placer<'_>, index: usize, partition: u32, bytes: usize, room: Room) -> Result<(), NoPlace> {
    match placer.settings.sinks[index].overflow {
        _ if room == Room::Ahead => Err(NoPlace::Wait),
        _ if room == Room::Overload => Err(NoPlace::Hold),
        Overflow::Backpressure => Err(NoPlace::Hold),
        // There is room on disk, or will be: memory is what everything goes through on its way there.
        Overflow::Reject if room == Room::NoMemory && placer.settings.sinks[index].buffer != BufferMode::Memory => {
            Err(NoPlace::Hold)
        }
        Overflow::Reject => Err(NoPlace::Refuse(FailReason::Rejected)),
        Overflow::DropOldest => {
            let mut room = room;
            while room != Room::Ready {
                if room == Room::Ahead {
                    return Err(NoPlace::Wait);
                }
                let Some(mut batch) = displace(placer, index, partition, room) else {
                    return Err(NoPlace::Hold);
                };
                placer.budget.release(std::mem::take(&mut batch.charge_bytes));
                placer.discarded.push(Answered { batch, outcome: Outcome::Failed(FailReason::QueueFull) });
                room = placer.reserve(index, partition, bytes);
            }
            Ok(())
        }
    }
}

/// Takes out the oldest records that are not on their way: of the partition, or of the sink where memory is short. What lies on
/// disk gives no memory back, so that what fills behind it stays, too.
fn displace(placer: &mut Placer<'_>, index: usize, partition: u32, room: Room) -> Option<Box<Batch>> {
    let is_on_disk = placer.settings.sinks[index].buffer == BufferMode::Disk;
    let Sink { journal, accumulator, live, .. } = &mut placer.sinks[index];
    let target = |accumulator: &Accumulator, slot| target_of(live.as_deref(), accumulator, slot);
    if room == Room::PartitionFull
        && let Some(stored) = journal
    {
        let (topic, number) = target(accumulator, partition);
        if let Some(gone) = stored.journal.drop_oldest(placer.at.now, topic, number) {
            return Some(gone_batch(index as u16, gone, placer.pool, placer.at.now));
        }
    }
    let may_go = |slot: u32| {
        let (topic, number) = target(accumulator, slot);
        journal.as_ref().is_none_or(|stored| !is_on_disk && !stored.journal.holds(topic, number))
    };
    let victim = match room {
        Room::PartitionFull => Some(partition).filter(|&slot| may_go(slot)),
        _ => accumulator.oldest(may_go),
    };
    victim.and_then(|slot| accumulator.drop_oldest(slot))
}
