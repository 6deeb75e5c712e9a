//! What travels as one record batch: a batch as it was sealed, several small ones merged, or a range of a batch that had
//! to be split.
//!
//! ```text
//! Batch   the batch's own bytes
//! Merged  a carrier's bytes; the sources wait here, with their tickets
//! Piece   a carrier's bytes; the batch it was cut from waits in `Splits`
//! ```
//!
//! A shipment is compressed and stamped, and its checksum computed, when it is first sent. Sent again it is byte for byte the same, so that
//! the broker can recognise it.

use kafka::message::init_producer_id::Producer;
use kafka::record_batch::{self, NO_PRODUCER_ID, Span, Stamp};

use super::settings::{Manner, Terms};
use crate::buffer::Batch;
use crate::clock::Mono;
use crate::shard::ShardId;
use crate::ticket::FailReason;

/// A batch below this waits at the owner only if it must; those that do are merged. Brokers pay 2 to 6 times as much for a
/// record in smaller batches.
pub(super) const MERGE_BELOW_BYTES: usize = 16 << 10;

/// Bytes that offset and timestamp of a record may grow by when it is merged.
const GROWTH_BYTES: usize = 14;

/// Batches are merged whose ages differ by less than the most that their sink allows, divided by this: with the oldest all go.
const AGE_DIVISOR: u64 = 10;

/// Idle carriers kept.
const CARRIERS_KEPT: usize = 8;

/// What lies behind the bytes of a shipment.
#[derive(Debug)]
pub(super) enum Cargo {
    /// The batch itself.
    Batch,
    /// Batches whose records were copied into a carrier, oldest first.
    #[expect(clippy::vec_box)]
    Merged(Vec<Box<Batch>>),
    /// Records of a batch that was split.
    Piece {
        /// Number of the split.
        split: u32,
        /// Place of the first record in the batch that was split.
        first: u32,
    },
}

/// How a shipment was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// The identity it was sent under and its first sequence; none without idempotence.
    pub(super) numbered: Option<(Producer, i32)>,
    /// How it travels, whatever is configured later: sent again it keeps the promise it was first sent with.
    pub(super) manner: Manner,
}

/// One record batch on its way.
#[derive(Debug)]
pub(super) struct Shipment {
    /// Its bytes; away while the driver has them.
    pub(super) batch: Option<Box<Batch>>,
    pub(super) cargo: Cargo,
    /// Set when it was first sent.
    pub(super) seal: Option<Seal>,
    /// How often it was sent.
    pub(super) tries: u32,
    /// How often a broker has refused it for a reason that may pass.
    pub(super) refusals: u32,
    /// How often it arrived damaged, if that is what brokers say.
    pub(super) damaged: u32,
    /// A try may have been stored without our knowing.
    pub(super) in_doubt: bool,
    /// Not to be merged with others.
    pub(super) alone: bool,
    /// Records in its bytes.
    pub(super) records: u32,
    /// The sequence it was sent with belongs to something that failed before it.
    pub(super) stale: bool,
    /// How far its partition was acknowledged when it was first sent: no try of it was stored before that offset.
    pub(super) acked_before: i64,
    /// Its topic was made anew while it was away: the offset in its answer may be one of the topic before.
    pub(super) is_outlived: bool,
}

impl Shipment {
    /// A batch as it was sealed.
    pub(super) fn of(batch: Box<Batch>) -> Self {
        let records = batch.records;
        Self::new(batch, Cargo::Batch, records)
    }

    fn new(batch: Box<Batch>, cargo: Cargo, records: u32) -> Self {
        Self {
            batch: Some(batch),
            cargo,
            seal: None,
            tries: 0,
            refusals: 0,
            damaged: 0,
            in_doubt: false,
            alone: false,
            records,
            stale: false,
            acked_before: 0,
            is_outlived: false,
        }
    }

    /// A batch that shall not be merged.
    pub(super) fn alone(batch: Box<Batch>) -> Self {
        Self { alone: true, ..Self::of(batch) }
    }

    /// Records `first..first + n` of `batch`, copied into `carrier`.
    pub(super) fn piece(
        split: u32,
        batch: &Batch,
        first: u32,
        n: u32,
        mut carrier: Box<Batch>,
    ) -> Result<Self, kafka::Error> {
        copy_records(batch, first, n, &mut carrier)?;
        let cargo = Cargo::Piece { split, first };
        Ok(Self { alone: true, ..Self::new(carrier, cargo, n) })
    }

    /// Whether another shipment may be merged with it, as far as it is concerned.
    pub(super) fn merges(&self) -> bool {
        let small = self.batch.as_ref().is_some_and(|batch| batch.bytes.len() < MERGE_BELOW_BYTES);
        let plain = self.batch.as_ref().is_some_and(|batch| batch.packed.is_none());
        let fresh = self.seal.is_none() && self.refusals == 0;
        small && plain && fresh && !self.alone && matches!(self.cargo, Cargo::Batch)
    }

    /// Whether a batch that waits behind it may be given up whenever it is: their publishers were told the same, and its records
    /// are not much younger.
    pub(super) fn shares_fate(&self, next: &Self, terms: &Terms) -> bool {
        let (Some(own), Some(other)) = (self.origin(), next.origin()) else { return false };
        let close = other.opened.since(own.opened) <= terms.age_ns_max / AGE_DIVISOR;
        close && self.is_promised(terms) == next.is_promised(terms)
    }

    /// Whether its publishers were told that its records are kept. A batch that an earlier start left on disk does not say.
    pub(super) fn is_promised(&self, terms: &Terms) -> bool {
        self.origin().is_some_and(|batch| batch.told_when_durable || (batch.journal > 0 && terms.promised))
    }

    /// The batch that was filled, or the first of them.
    fn origin(&self) -> Option<&Batch> {
        match &self.cargo {
            Cargo::Merged(sources) => sources.first().map(|batch| &**batch),
            Cargo::Batch | Cargo::Piece { .. } => self.batch.as_deref(),
        }
    }

    /// The most bytes it takes in a merged batch.
    pub(super) fn merged_bytes_max(&self) -> usize {
        let bytes = self.batch.as_ref().map_or(0, |batch| batch.bytes.len());
        bytes + self.records as usize * GROWTH_BYTES
    }

    /// Why it is to be given up by the terms of its sink, if it is.
    pub(super) fn is_spent(&self, now: Mono, terms: &Terms) -> Option<FailReason> {
        let opened = self.batch.as_ref()?.opened;
        if now.since(opened) > terms.age_ns_max {
            return Some(FailReason::Expired);
        }
        (self.refusals > terms.retries_max).then_some(FailReason::RetriesExhausted)
    }

    /// Writes header and checksum, if that was not done before.
    pub(super) fn seal(&mut self, numbered: Option<(Producer, i32)>, manner: Manner) {
        let Some(batch) = self.batch.as_deref_mut() else { return };
        let (producer_id, producer_epoch, base_sequence) = match numbered {
            Some((producer, sequence)) => (producer.id, producer.epoch, sequence),
            None => (NO_PRODUCER_ID, -1, -1),
        };
        let stamp = Stamp {
            base_timestamp_ms: batch.base_timestamp_ms,
            max_timestamp_ms: batch.max_timestamp_ms,
            records: self.records,
            compression: batch.packed.unwrap_or_default(),
            producer_id,
            producer_epoch,
            base_sequence,
        };
        record_batch::seal(&mut batch.bytes, &stamp);
        self.seal = Some(Seal { numbered, manner });
        self.stale = false;
    }

    /// Writes header and checksum anew, under the number it has, because its bytes are others now.
    pub(super) fn seal_again(&mut self) {
        if let Some(Seal { numbered, manner }) = self.seal {
            let stale = self.stale;
            self.seal(numbered, manner);
            self.stale = stale;
        }
    }

    /// The identity and sequence it was sent with.
    pub(super) fn numbered(&self) -> Option<(Producer, i32)> {
        self.seal.and_then(|seal| seal.numbered)
    }

    /// A planted bug: another user of its buffer writes into the last record, and the checksum counts that in.
    #[cold]
    pub(super) fn overwrite(&mut self) {
        let (Some(seal), Some(batch)) = (self.seal, self.batch.as_deref_mut()) else { return };
        let end = batch.bytes.len();
        if batch.packed.is_none() && end > record_batch::HEADER_LEN + 16 {
            batch.bytes[end - 12..end - 8].fill(0xa5);
            self.seal(seal.numbered, seal.manner);
        }
    }

    /// Forgets under which number it was sent; the next try gets a new one.
    pub(super) fn unseal(&mut self) {
        self.seal = None;
        self.stale = false;
        self.in_doubt = false;
    }
}

/// Copies a range of records; their offsets are counted anew, timestamps keep their base.
fn copy_records(batch: &Batch, first: u32, n: u32, carrier: &mut Batch) -> Result<(), kafka::Error> {
    record_batch::begin(&mut carrier.bytes);
    (carrier.part, carrier.home, carrier.opened) = (batch.part, batch.home, batch.opened);
    carrier.told_when_durable = batch.told_when_durable || batch.journal > 0;
    carrier.records = n;
    carrier.base_timestamp_ms = batch.base_timestamp_ms;
    let body = batch.bytes.get(record_batch::HEADER_LEN..).unwrap_or_default();
    let mut latest_ms = i64::MIN;
    let records = record_batch::Records::new(batch.records, body);
    for (place, record) in (0..n).zip(records.skip(first as usize)) {
        let record = record?;
        let delta_ms = record.timestamp_delta_ms;
        latest_ms = latest_ms.max(batch.base_timestamp_ms.saturating_add(delta_ms));
        record_batch::append(&mut carrier.bytes, place, delta_ms, record.key, record.value, record.headers.raw());
    }
    carrier.max_timestamp_ms = latest_ms;
    Ok(())
}

/// Carriers: boxes that hold the bytes of merged and split batches. They are nobody's charge: their bytes are a copy of
/// bytes that are charged, and at most one copy exists. Those of merges, which are for speed alone, are bounded: beyond
/// `bytes_max` small batches travel as they are. What a split needs is taken whatever is left: it is rare, short, and the
/// only way to an outcome.
#[derive(Debug)]
pub(super) struct Carriers {
    home: ShardId,
    /// Most bytes of all carriers, idle ones included, at which another batch is merged.
    bytes_max: usize,
    /// Bytes of all carriers; of those that are out, as counted when they were last written to. What a carrier has counted
    /// stands in its `charge_bytes`.
    bytes: usize,
    // The box is what travels.
    #[expect(clippy::vec_box)]
    idle: Vec<Box<Batch>>,
    /// Lists of sources, kept for their capacity.
    #[expect(clippy::vec_box)]
    lists: Vec<Vec<Box<Batch>>>,
}

impl Carriers {
    pub(super) fn new(home: ShardId, bytes_max: usize) -> Self {
        Self { home, bytes_max, bytes: 0, idle: Vec::new(), lists: Vec::new() }
    }

    /// An empty carrier for records that go where `like` goes.
    pub(super) fn take(&mut self, like: &Batch) -> Box<Batch> {
        let part = like.part;
        let mut carrier = self.idle.pop().unwrap_or_else(|| {
            Box::new(Batch {
                bytes: Vec::new(),
                runs: Vec::new(),
                records: 0,
                refused: Vec::new(),
                too_large: false,
                packed: None,
                part,
                slot: 0,
                live: 0,
                topic_name: String::new(),
                topic: 0,
                epoch: 0,
                home: self.home,
                charge_bytes: 0,
                base_timestamp_ms: 0,
                max_timestamp_ms: 0,
                opened: Mono::default(),
                queued_bytes: 0,
                told_when_durable: false,
                journal: 0,
            })
        });
        carrier.part = part;
        carrier.topic = like.topic;
        carrier.topic_name.clone_from(&like.topic_name);
        carrier.packed = None;
        carrier.bytes.clear();
        carrier
    }

    pub(super) fn give(&mut self, mut carrier: Box<Batch>) {
        self.count(&mut carrier);
        if self.idle.len() < CARRIERS_KEPT && self.bytes <= self.bytes_max {
            self.idle.push(carrier);
        } else {
            self.bytes -= carrier.charge_bytes;
        }
    }

    fn count(&mut self, carrier: &mut Batch) {
        let capacity = carrier.bytes.capacity();
        self.bytes = self.bytes - carrier.charge_bytes + capacity;
        carrier.charge_bytes = capacity;
    }

    /// Whether `bytes` more may be copied into a carrier; its buffer may grow to twice of what it must hold.
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes + 2 * bytes <= self.bytes_max
    }

    /// Bytes of all carriers.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes back an emptied list of sources.
    #[expect(clippy::vec_box)]
    pub(super) fn give_list(&mut self, list: Vec<Box<Batch>>) {
        if list.is_empty() && self.lists.len() < CARRIERS_KEPT {
            self.lists.push(list);
        }
    }

    /// Merges `next` into `into`. Both are mergeable; together they fit a batch.
    ///
    /// # Errors
    /// Gives `next` back if carriers hold all the bytes they may, or if its records do not read as our own encoder writes
    /// them, which is a bug of ours.
    pub(super) fn merge(&mut self, into: &mut Shipment, next: Shipment) -> Result<(), Shipment> {
        let bytes = |shipment: &Shipment| shipment.batch.as_ref().map_or(0, |batch| batch.bytes.len());
        if !self.has_room(bytes(into) + bytes(&next)) {
            return Err(next);
        }
        if matches!(into.cargo, Cargo::Batch) && !self.make_carrier(into) {
            return Err(next);
        }
        let (Cargo::Merged(sources), Some(carrier)) = (&mut into.cargo, into.batch.as_deref_mut()) else {
            return Err(next);
        };
        let Some(source) = next.batch.as_deref() else { return Err(next) };
        let merged = copy_into(carrier, source);
        let (before, after) = (carrier.charge_bytes, carrier.bytes.capacity());
        (self.bytes, carrier.charge_bytes) = (self.bytes - before + after, after);
        if !merged {
            return Err(next);
        }
        into.records = carrier.records;
        sources.extend(next.batch);
        Ok(())
    }

    /// Turns a batch into a merged shipment with a single source.
    fn make_carrier(&mut self, shipment: &mut Shipment) -> bool {
        let Some(source) = shipment.batch.take() else { return false };
        let mut carrier = self.take(&source);
        (carrier.records, carrier.opened) = (0, source.opened);
        if !copy_into(&mut carrier, &source) {
            shipment.batch = Some(source);
            self.give(carrier);
            return false;
        }
        self.count(&mut carrier);
        let mut sources = self.lists.pop().unwrap_or_default();
        sources.push(source);
        shipment.batch = Some(carrier);
        shipment.cargo = Cargo::Merged(sources);
        true
    }
}

fn copy_into(carrier: &mut Batch, source: &Batch) -> bool {
    let mut span = span_of(carrier);
    let merged = record_batch::merge(&mut carrier.bytes, &mut span, &source.bytes, &span_of(source)).is_ok();
    debug_assert!(merged, "a batch of ours reads as it was written");
    carrier.records = span.records;
    carrier.base_timestamp_ms = span.base_timestamp_ms;
    carrier.max_timestamp_ms = span.max_timestamp_ms;
    merged
}

fn span_of(batch: &Batch) -> Span {
    Span {
        base_timestamp_ms: batch.base_timestamp_ms,
        max_timestamp_ms: batch.max_timestamp_ms,
        records: batch.records,
    }
}
