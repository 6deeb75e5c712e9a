//! Records into batches: one filling batch per partition, at the shard that received the records.
//!
//! Partitions are named by slots. A sink with one topic has a slot for each of its partitions, of the same number; where
//! messages name the topic, [`super::live_topics`] gives slots to the partitions of those that are live.
//!
//! A record is copied once, from the receive buffer into the filling batch of its partition. A batch is sealed when fewer
//! than `inflight_max` of this shard's batches for the partition are unanswered and it has reached the target or its linger
//! ended; while all slots are taken it fills on to the cap, then the next begins. So the unanswered count is the feedback
//! that turns a slow partition into large batches, and nothing else needs to be told.
//!
//! ```text
//! reserve(partition, bytes) -> append(record, run)   per record
//! seal_due(now)             -> sealed batches        per round
//! answered(partition)       <- a batch came home
//! ```
//!
//! Left out: who owns a partition and how it is sent, encoding (codecs), and what an outcome means for a client.

use std::collections::VecDeque;

use kafka::record_batch::{self, HEADER_LEN, RawHeaders};

use crate::buffer::{Batch, BatchPool, PartKey, prefetch_behind};
use crate::clock::Mono;
use crate::shard::budget::Budget;
use crate::ticket::{FailReason, Lane, Run};

/// How large and how old batches get.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// No batch grows beyond this, unless a single record is larger.
    pub bytes_max: usize,
    /// A batch this large is sealed as soon as a slot is free.
    pub target_bytes: usize,
    /// Longest wait of a batch's first record, nanoseconds.
    pub linger_ns: u64,
    /// Unanswered batches of this shard per partition.
    pub inflight_max: u32,
    /// Bytes that may wait per partition before `overflow` acts.
    pub partition_bytes_max: usize,
    /// The same where this shard has taken over what an earlier start had left, perhaps of all its shards.
    pub partition_adopted_bytes_max: usize,
    /// Bytes that may wait at this shard while Kafka keeps up, before clients wait instead.
    pub ahead_bytes: usize,
}

/// A batch that has waited this long shows that Kafka does not keep up.
///
/// Clients that are faster than a working Kafka fill whatever there is to fill: a longer queue in front of it adds delay and
/// memory and nothing else, while what stays in the sockets costs nothing and slows the clients down. So beyond
/// `ahead_bytes` they wait, as long as batches leave. Once they do not, the buffer is there for just that, and takes records
/// up to its limits.
const KEEPS_UP_NS: u64 = 500_000_000;

/// Buffers grow through these capacities (and powers of two beyond), so that few sizes circulate and a quiet partition
/// stays small.
const SIZE_CLASSES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 896 << 10];

/// A record of this size may begin a batch that has room for nothing else, where memory is short.
const LARGE_BYTES: usize = 64 << 10;

/// Batches of one sink at one shard.
#[derive(Debug)]
pub struct Accumulator {
    sink: u16,
    limits: BatchLimits,
    partitions: Vec<Partition>,
    /// Slots of topics that gave up their place.
    free: Vec<u32>,
    /// Slots that hold a filling or waiting batch.
    open: Vec<u32>,
    open_records: u64,
    queued_bytes: usize,
    /// When a record that found `Room::Ahead` may come again, whatever Kafka does.
    ahead_until: Option<Mono>,
    /// Publishers of new batches are told as soon as the disk has them.
    told_when_durable: bool,
}

#[derive(Debug, Default)]
struct Partition {
    /// Kafka's number of it.
    partition: u32,
    /// The number of its topic, where topics follow from messages.
    live: u16,
    filling: Option<Box<Batch>>,
    /// Full batches that wait for a slot, oldest first.
    full: VecDeque<Box<Batch>>,
    unanswered: u32,
    waiting_bytes: usize,
    listed: bool,
}

/// The answer to a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The record fits.
    Ready,
    /// The memory budget is used up: hold the PUBLISH.
    NoMemory,
    /// The partition holds `partition_bytes_max`: `overflow` decides.
    PartitionFull,
    /// More memory is in use than the watermark: hold the PUBLISH.
    Overload,
    /// Clients are faster than a Kafka that keeps up: hold the PUBLISH until a batch is answered, or
    /// [`ahead_until`](Accumulator::ahead_until) has come.
    Ahead,
}

/// When a record is placed.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Now.
    pub now: Mono,
    /// From when a batch that begins with it counts its linger and its age: it may have waited in the kernel since then.
    pub opened: Mono,
}

/// One record to append; `key` and `value` are null when `None`.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Record key.
    pub key: Option<&'a [u8]>,
    /// Record value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Record timestamp, milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Record headers.
    pub headers: RawHeaders<'a>,
}

impl Record<'_> {
    /// An upper bound of the encoded size in bytes.
    #[inline]
    pub fn bytes_max(&self) -> usize {
        let key = self.key.map_or(0, <[u8]>::len);
        let value = self.value.map_or(0, <[u8]>::len);
        record_batch::record_bytes_max(key, value, self.headers.len())
    }

    /// Its encoded size in bytes where it is alone in a batch.
    pub fn lone_bytes(&self) -> usize {
        record_batch::lone_record_bytes(self.key, self.value, self.headers)
    }
}

impl Accumulator {
    /// An empty accumulator of the sink with this index.
    pub fn new(sink: u16, limits: BatchLimits) -> Self {
        Self {
            sink,
            limits,
            partitions: Vec::new(),
            free: Vec::new(),
            open: Vec::new(),
            open_records: 0,
            queued_bytes: 0,
            ahead_until: None,
            told_when_durable: false,
        }
    }

    /// Works by other limits from now on; `ceiling_bytes` is what no batch exceeds for now. A batch that is larger already
    /// travels as it is.
    pub fn configure(&mut self, limits: BatchLimits, ceiling_bytes: usize) {
        self.limits = BatchLimits { bytes_max: ceiling_bytes, ..limits };
        self.ahead_until = self.ahead_until.map(|_| Mono(0));
    }

    /// Whether publishers are told as soon as the disk has their records. Batches keep the word they were begun with: what
    /// fills is put aside.
    pub fn tell_when_durable(&mut self, yes: bool) {
        if std::mem::replace(&mut self.told_when_durable, yes) == yes {
            return;
        }
        for &index in &self.open {
            let slot = &mut self.partitions[index as usize];
            slot.full.extend(slot.filling.take_if(|batch| batch.records > 0));
        }
    }

    /// Makes room for a record of at most `bytes` in `partition`: after `Ready` one `append` of that size succeeds.
    #[inline]
    pub fn reserve(&mut self, partition: u32, bytes: usize, at: At, pool: &mut BatchPool, budget: &mut Budget) -> Room {
        let index = partition as usize;
        if index >= self.partitions.len() {
            self.add_slots(index);
        }
        let slot = &mut self.partitions[index];
        if let Some(batch) = &mut slot.filling {
            let needed = batch.bytes.len() + bytes;
            if needed <= batch.bytes.capacity() && needed <= self.limits.bytes_max {
                return Room::Ready;
            }
        }
        self.reserve_slow(index, bytes, at, pool, budget)
    }

    /// Slots up to `index`, for partitions of those numbers.
    #[cold]
    fn add_slots(&mut self, index: usize) {
        let from = self.partitions.len();
        let slots = (from..=index).map(|at| Partition { partition: at as u32, ..Partition::default() });
        self.partitions.extend(slots);
    }

    /// A slot for a partition of a topic that messages name.
    pub fn open_slot(&mut self, live: u16, partition: u32) -> u32 {
        let fresh = Partition { partition, live, ..Partition::default() };
        match self.free.pop() {
            Some(slot) => {
                self.partitions[slot as usize] = fresh;
                slot
            }
            None => {
                self.partitions.push(fresh);
                self.partitions.len() as u32 - 1
            }
        }
    }

    /// Kafka's number of the partition with this slot.
    pub fn partition_of(&self, slot: u32) -> u32 {
        // Slots that nothing was placed in yet have the numbers of their partitions.
        self.partitions.get(slot as usize).map_or(slot, |known| known.partition)
    }

    /// Takes a slot back that [`is_slot_idle`](Self::is_slot_idle).
    pub fn close_slot(&mut self, slot: u32) {
        assert!(self.is_slot_idle(slot), "a slot that is in use is not given away");
        self.free.push(slot);
    }

    /// The topic and the partition that a slot was opened for.
    pub fn place_of(&self, slot: u32) -> (u16, u32) {
        let slot = &self.partitions[slot as usize];
        (slot.live, slot.partition)
    }

    /// Whether nothing waits in a slot and nothing of it is unanswered.
    pub fn is_slot_idle(&self, slot: u32) -> bool {
        let slot = &self.partitions[slot as usize];
        slot.filling.is_none() && slot.full.is_empty() && slot.unanswered == 0 && !slot.listed
    }

    /// Grows the filling batch, or puts it aside and begins the next.
    #[cold]
    fn reserve_slow(&mut self, index: usize, bytes: usize, at: At, pool: &mut BatchPool, budget: &mut Budget) -> Room {
        let slot = &mut self.partitions[index];
        let beyond = slot.waiting_bytes + bytes > self.limits.partition_bytes_max;
        // A paused connection in its turn is read from the reserve, whatever it waits for.
        if beyond && slot.waiting_bytes > 0 && !budget.is_reserve_open() {
            return Room::PartitionFull;
        }
        if let Some(batch) = &mut slot.filling {
            let needed = batch.bytes.len() + bytes;
            if needed <= self.limits.bytes_max || batch.records == 0 {
                return grow(batch, needed, self.limits.bytes_max, budget);
            }
            if slot.unanswered >= self.limits.inflight_max
                && let Some(until) = slot.keeps_up_until(at.now)
                && self.queued_bytes > self.limits.ahead_bytes
                && !budget.is_reserve_open()
            {
                self.ahead_until = Some(self.ahead_until.map_or(until, |earliest| earliest.min(until)));
                return Room::Ahead;
            }
            slot.full.extend(slot.filling.take());
        }
        let key = PartKey { sink: self.sink, partition: slot.partition };
        let mut batch = pool.take(key, 0, at.opened);
        (batch.slot, batch.live) = (index as u32, slot.live);
        batch.told_when_durable = self.told_when_durable;
        if !budget.try_charge(batch.bytes.capacity()) {
            // A large buffer that was kept for reuse must not stand in the way of a small record.
            batch.bytes = Vec::new();
        }
        batch.charge_bytes = batch.bytes.capacity();
        let room = grow(&mut batch, HEADER_LEN + bytes, self.limits.bytes_max, budget);
        if batch.bytes.is_empty() {
            record_batch::begin(&mut batch.bytes);
        }
        if room == Room::Ready {
            slot.filling = Some(batch);
            if !slot.listed {
                slot.listed = true;
                self.open.push(index as u32);
            }
        } else {
            budget.release(std::mem::take(&mut batch.charge_bytes));
            pool.give(batch);
        }
        room
    }

    /// Gives up what was reserved in `partition` if nothing was written there: an empty batch would keep its charge for good.
    #[cold]
    pub fn cancel(&mut self, partition: u32, pool: &mut BatchPool, budget: &mut Budget) {
        let slot = self.partitions.get_mut(partition as usize);
        if let Some(mut batch) = slot.and_then(|slot| slot.filling.take_if(|b| b.records == 0)) {
            budget.release(std::mem::take(&mut batch.charge_bytes));
            pool.give(batch);
        }
    }

    /// Appends a record for which `reserve` said `Ready`. Returns its encoded size in bytes.
    #[inline]
    pub fn append(&mut self, partition: u32, record: &Record<'_>) -> u32 {
        let slot = &mut self.partitions[partition as usize];
        let batch = slot.filling.as_mut().expect("a record is appended after it was reserved");
        if batch.records == 0 {
            batch.base_timestamp_ms = record.timestamp_ms;
            batch.max_timestamp_ms = record.timestamp_ms;
        }
        let before = batch.bytes.len();
        let delta_ms = record.timestamp_ms - batch.base_timestamp_ms;
        record_batch::append(&mut batch.bytes, batch.records, delta_ms, record.key, record.value, record.headers);
        batch.max_timestamp_ms = batch.max_timestamp_ms.max(record.timestamp_ms);
        batch.records += 1;
        let bytes = batch.bytes.len() - before;
        prefetch_behind(&mut batch.bytes, bytes);
        batch.queued_bytes += bytes;
        slot.waiting_bytes += bytes;
        self.open_records += 1;
        self.queued_bytes += bytes;
        bytes as u32
    }

    /// Notes that the record appended last belongs to ticket `number` of a lane; `cause` as in [`Run`].
    #[inline]
    pub fn note_ticket(
        &mut self,
        partition: u32,
        session: u32,
        lane_gen: u32,
        number: u32,
        lane: Lane,
        cause: Option<FailReason>,
    ) {
        let Some(batch) = &mut self.partitions[partition as usize].filling else { return };
        let record = batch.records.saturating_sub(1);
        // A record may have a ticket and a publication: the runs of both grow side by side.
        for run in batch.runs.iter_mut().rev().take(2) {
            if run.session == session
                && run.lane == lane
                && run.lane_gen == lane_gen
                && run.first.wrapping_add(u32::from(run.n)) == number
                && run.record + u32::from(run.n) == record
                && run.n < u16::MAX
                && run.cause == cause
            {
                run.n += 1;
                return;
            }
        }
        batch.runs.push(Run { session, lane_gen, first: number, record, n: 1, lane, cause });
    }

    /// Takes out every batch that is due, oldest first within its partition. The caller sends each to its owner.
    pub fn seal_due(&mut self, now: Mono, drain: bool, mut send: impl FnMut(Box<Batch>)) {
        let limits = self.limits;
        let partitions = &mut self.partitions;
        let queued_bytes = &mut self.queued_bytes;
        let ahead_until = &mut self.ahead_until;
        self.open.retain(|&index| {
            let slot = &mut partitions[index as usize];
            while slot.unanswered < limits.inflight_max {
                let Some(batch) = slot.next_due(now, drain, &limits) else { break };
                slot.unanswered += 1;
                slot.waiting_bytes -= batch.queued_bytes;
                *queued_bytes -= batch.queued_bytes;
                // The queue is shorter: who waits for that is heard at once.
                *ahead_until = ahead_until.map(|_| Mono(0));
                send(batch);
            }
            slot.listed = slot.filling.is_some() || !slot.full.is_empty();
            slot.listed
        });
    }

    /// A batch of `partition` has its outcome: its slot is free.
    pub fn answered(&mut self, partition: u32) {
        let slot = &mut self.partitions[partition as usize];
        assert!(slot.unanswered > 0, "an outcome belongs to a batch that was sent");
        slot.unanswered -= 1;
    }

    /// When the next batch is due, unless its partition has no slot; in the past if one could go at once.
    pub fn deadline(&self) -> Option<Mono> {
        let due = |&index: &u32| {
            let slot = &self.partitions[index as usize];
            if slot.unanswered >= self.limits.inflight_max {
                return None;
            }
            let batch = slot.full.front().or(slot.filling.as_ref().filter(|b| b.records > 0))?;
            let large = batch.bytes.len() >= self.limits.target_bytes.min(self.limits.bytes_max);
            Some(if large || !slot.full.is_empty() { batch.opened } else { batch.opened + self.limits.linger_ns })
        };
        self.open.iter().filter_map(due).min()
    }

    /// When clients that were faster than Kafka are to be heard again though no batch was answered.
    pub fn ahead_until(&self) -> Option<Mono> {
        self.ahead_until
    }

    /// Whether that time has come; it then begins anew.
    pub fn take_ahead(&mut self, now: Mono) -> bool {
        self.ahead_until.take_if(|until| *until <= now).is_some()
    }

    /// Discards the oldest waiting batch of `partition` to make room; in-flight batches are not touched.
    pub fn drop_oldest(&mut self, partition: u32) -> Option<Box<Batch>> {
        let slot = self.partitions.get_mut(partition as usize)?;
        let batch = slot.full.pop_front().or_else(|| slot.filling.take_if(|b| b.records > 0))?;
        slot.waiting_bytes -= batch.queued_bytes;
        self.queued_bytes -= batch.queued_bytes;
        Some(batch)
    }

    /// Takes out what waits of all partitions, also where no slot is free: what is full, has reached its target, or is as old as `age_ns`
    /// and its linger. Oldest first within its partition.
    pub fn take_waiting(&mut self, now: Mono, age_ns: u64, mut take: impl FnMut(Box<Batch>)) {
        let limits = BatchLimits { linger_ns: self.limits.linger_ns.max(age_ns), ..self.limits };
        for &index in &self.open {
            let slot = &mut self.partitions[index as usize];
            while let Some(batch) = slot.next_due(now, false, &limits) {
                slot.waiting_bytes -= batch.queued_bytes;
                self.queued_bytes -= batch.queued_bytes;
                take(batch);
            }
        }
    }

    /// When [`take_waiting`](Self::take_waiting) will take something, if nothing fills up before.
    pub fn waits_until(&self, age_ns: u64) -> Option<Mono> {
        let age_ns = self.limits.linger_ns.max(age_ns);
        let filling = self.open.iter().filter_map(|&index| self.partitions[index as usize].filling.as_ref());
        filling.filter(|batch| batch.records > 0).map(|batch| batch.opened + age_ns).min()
    }

    /// The partition whose oldest waiting batch is the oldest of all, among those that may be it.
    pub fn oldest(&self, may_be: impl Fn(u32) -> bool) -> Option<u32> {
        let age = |&index: &u32| {
            let slot = &self.partitions[index as usize];
            let batch = slot.full.front().or(slot.filling.as_ref().filter(|b| b.records > 0))?;
            Some((batch.opened, index))
        };
        let ages = self.open.iter().filter(|&&index| may_be(index)).filter_map(age);
        ages.min().map(|(_, index)| index)
    }

    /// A partition of which more than `bytes_max` wait.
    pub fn fuller_than(&self, bytes_max: usize) -> Option<u32> {
        self.open.iter().copied().find(|&index| self.partitions[index as usize].waiting_bytes > bytes_max)
    }

    /// Records that an earlier start had left on disk are open from now on.
    pub fn adopt(&mut self, records: u64) {
        self.open_records += records;
    }

    /// A batch has come home with its outcome, or was given up: its records are open no longer.
    pub fn settled(&mut self, batch: &Batch) {
        self.open_records -= u64::from(batch.records);
    }

    /// Records appended and not settled: here, handed over, or on their way. Counted apart from what became of them, so
    /// that the sum of a sink's accounts can be wrong, and seen to be.
    pub fn open_records(&self) -> u64 {
        self.open_records
    }

    /// Bytes of records in batches that have not been sent.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes that wait for a slot of `partition`.
    pub fn waiting_bytes(&self, partition: u32) -> usize {
        self.partitions.get(partition as usize).map_or(0, |slot| slot.waiting_bytes)
    }

    /// Batches of `partition` that were sent and have no outcome.
    pub fn unanswered(&self, partition: u32) -> u32 {
        self.partitions.get(partition as usize).map_or(0, |slot| slot.unanswered)
    }

    /// The limits in force.
    #[inline]
    pub fn limits(&self) -> &BatchLimits {
        &self.limits
    }

    /// No batch that is begun or continued grows beyond `bytes` from now on, unless a single record is larger.
    pub fn set_bytes_max(&mut self, bytes: usize) {
        self.limits.bytes_max = bytes;
    }

    /// Whether nothing waits and nothing is unanswered.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.partitions.iter().all(|slot| slot.unanswered == 0)
    }
}

impl Partition {
    /// Until when batches of this partition count as leaving in time, if one waits and they do.
    fn keeps_up_until(&self, now: Mono) -> Option<Mono> {
        let until = self.full.front()?.opened + KEEPS_UP_NS;
        (now < until).then_some(until)
    }

    fn next_due(&mut self, now: Mono, drain: bool, limits: &BatchLimits) -> Option<Box<Batch>> {
        if let Some(batch) = self.full.pop_front() {
            return Some(batch);
        }
        self.filling.take_if(|batch| {
            let lingered = now >= batch.opened + limits.linger_ns;
            let large = batch.bytes.len() >= limits.target_bytes.min(limits.bytes_max);
            batch.records > 0 && (drain || large || lingered)
        })
    }
}

/// Gives `batch` the smallest size class that holds `needed` bytes, if the budget allows. A record that travels alone
/// because it is larger than `bytes_max` gets just its own size: nothing will follow it.
fn grow(batch: &mut Batch, needed: usize, bytes_max: usize, budget: &mut Budget) -> Room {
    if needed <= batch.bytes.capacity() {
        return Room::Ready;
    }
    let alone = needed > bytes_max;
    let beyond = || if alone { needed } else { needed.next_power_of_two().min(bytes_max) };
    let mut class = SIZE_CLASSES.into_iter().find(|&class| class >= needed).unwrap_or_else(beyond);
    if batch.records == 0 && needed > LARGE_BYTES && class - batch.charge_bytes > budget.free_bytes() {
        // A large record must fit wherever its own bytes do, or it could wait for ever.
        class = needed;
    }
    // While it is copied over, old and new exist side by side; the old one goes back at once.
    if !budget.try_charge(class - batch.charge_bytes) {
        return Room::NoMemory;
    }
    batch.bytes.reserve_exact(class - batch.bytes.len());
    let capacity = batch.bytes.capacity();
    budget.charge(capacity - class);
    batch.charge_bytes = capacity;
    Room::Ready
}

mod audit;
#[cfg(test)]
mod tests;
