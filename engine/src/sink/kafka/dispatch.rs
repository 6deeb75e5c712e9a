//! From the queues of partitions to requests: what can be sent in this round, one request a link as long as batches of
//! different partitions are there.

use kafka::compression::Compression;
use kafka::message::ApiKey;
use kafka::message::produce::{self, Acks, PartitionData};

use super::partition::Way;
use super::settings::Manner;
use super::{Cargo, Place, Produce, Shipment};
use crate::broker::Slot;
use crate::broker::link::Asked;
use crate::buffer::Batch;
use crate::clock::Mono;
use crate::shard::io::{Io, Request};
use crate::sink::packing::Packing;

/// Bytes after which a request is closed and the next begun. Brokers refuse what is above `socket.request.max.bytes`,
/// 100 MB unless changed; a smaller request is also answered sooner.
const REQUEST_BYTES: usize = 8 << 20;

/// The first version of Produce with which brokers take zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// The first version of Produce of brokers that recognise the last five batches of a producer when they are sent again (KAFKA-5494);
/// those before know the very last one.
const FIVE_REMEMBERED_FROM: i16 = 4;

/// A partition whose next batch can be sent; sorted, those that share a request stand side by side, by topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outgoing {
    way: Way,
    place: Place,
}

/// The parts of a request that is being written; kept for their capacity.
#[derive(Debug, Default)]
pub(super) struct Frame {
    partitions: Vec<PartitionData>,
    /// Topic, and the end of its partitions.
    topics: Vec<(u16, usize)>,
}

impl Produce {
    /// Sends everything that can be sent now.
    pub(super) fn dispatch(&mut self, now: Mono, io: &mut impl Io) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        loop {
            outgoing.clear();
            for at in 0..self.listed.len() {
                outgoing.extend(self.next_of(now, self.listed[at]));
            }
            outgoing.sort_unstable();
            let mut sent = false;
            for group in outgoing.chunk_by(|a, b| a.way == b.way) {
                sent |= self.send(now, group, io);
            }
            if !sent {
                break;
            }
        }
        self.outgoing = outgoing;
    }

    /// What the partition can send next, and where.
    fn next_of(&mut self, now: Mono, place: Place) -> Option<Outgoing> {
        let slot = self.cluster.slot(place.topic, place.partition)?;
        let link = self.cluster.link(slot)?;
        if !link.takes_requests(now) {
            return None;
        }
        let next = self.partition(place)?.queue.front()?;
        let (sink, seal) = (next.batch.as_ref()?.part.sink, next.seal);
        let terms = *self.terms_of(sink)?;
        let manner = seal.map_or(terms.manner(), |seal| seal.manner);
        let remembers_one = manner.idempotent && link.version(ApiKey::Produce)? < FIVE_REMEMBERED_FROM;
        let inflight_max = if remembers_one { 1 } else { terms.inflight_max };
        let producer = self.producer_id.known();
        let partition = self.partition_mut(place);
        let numbered = seal.is_some() || !terms.idempotent || partition.identify(producer);
        let way = Way { slot, manner };
        let can = numbered && partition.may_send(now, way, inflight_max);
        can.then_some(Outgoing { way, place })
    }

    /// Sends the next batch of each partition of `group` in one request; of those at its end only as many as fit.
    fn send(&mut self, now: Mono, group: &[Outgoing], io: &mut impl Io) -> bool {
        let Some(&Outgoing { way, .. }) = group.first() else { return false };
        let Manner { acks, ack_timeout_ms, .. } = way.manner;
        let acks = [Acks::AllIsr, Acks::None, Acks::LeaderOnly].into_iter().find(|a| *a as i16 == acks);
        let acks = acks.unwrap_or(Acks::AllIsr);
        let answered = acks != Acks::None;
        let link = self.cluster.link_mut(way.slot);
        let Some(begun) = link.and_then(|link| link.begin(now, ApiKey::Produce, Asked::Produce, answered)) else {
            return false;
        };
        let mut request = self.requests.pop().unwrap_or_else(empty_request);
        (request.correlation, request.answered) = (begun.correlation, answered);
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        let mut bytes = 0;
        for out in group {
            let Some(batch) = self.load(out.place, way, begun.version) else { continue };
            bytes += batch.bytes.len();
            frame.add(out.place, batch.bytes.len());
            request.batches.push(batch);
            if bytes >= REQUEST_BYTES {
                break;
            }
        }
        let cluster = &self.cluster;
        let name = |topic| cluster.topic(topic).map_or("", |topic| topic.name.as_str());
        let client_id = cluster.client_id();
        produce::encode_head(
            begun.version,
            begun.correlation,
            client_id,
            acks,
            ack_timeout_ms,
            frame.topics(name),
            &mut request.head,
            &mut request.cuts,
        );
        self.frame = frame;
        self.count_request(&request);
        io.request(begun.key, request);
        true
    }

    /// Takes the next shipment of a partition out of its queue, ready to be sent.
    fn load(&mut self, place: Place, way: Way, version: i16) -> Option<Box<Batch>> {
        let mut shipment = self.take_next(place)?;
        let sink = shipment.batch.as_ref()?.part.sink;
        let terms = self.terms.get(usize::from(sink)).copied().flatten()?;
        self.pack(&mut shipment, terms.packing, way.slot, version);
        self.counts[usize::from(sink)].sent_bytes += shipment.batch.as_ref()?.bytes.len() as u64;
        self.partition_mut(place).seal(&mut shipment, way.manner);
        self.count_departure(&shipment);
        self.partition_mut(place).depart(shipment, way)
    }

    /// Compresses a shipment as its sink wants it, unless a broker that speaks Produce up to `version` cannot read that.
    fn pack(&mut self, shipment: &mut Shipment, packing: Packing, slot: Slot, version: i16) {
        let Some(batch) = shipment.batch.as_deref_mut() else { return };
        let codec = batch.packed.unwrap_or(packing.codec);
        if codec != Compression::Zstd || version >= ZSTD_FROM {
            // What was sent before is sent again byte for byte, however its sink compresses now.
            if shipment.seal.is_none() {
                self.packer.pack(batch, packing);
            }
            return;
        }
        if batch.packed != Some(Compression::None) {
            // Compressed where it was filled, or sent before to a younger broker, under a number that it keeps.
            let unpacked = self.packer.unpack(batch);
            debug_assert!(unpacked.is_ok(), "what we compressed comes back: {unpacked:?}");
            batch.packed = Some(Compression::None);
            self.counts[usize::from(batch.part.sink)].uncompressed += 1;
            shipment.seal_again();
        }
        self.cluster.say_once_too_old_for(slot, "zstd", "2.1");
    }

    /// The next shipment of a partition; small batches that wait together become one.
    fn take_next(&mut self, place: Place) -> Option<Shipment> {
        let topic = self.topics.get_mut(usize::from(place.topic))?;
        let ceiling = topic.ceiling.bytes();
        let queue = &mut topic.partitions.get_mut(place.partition as usize)?.queue;
        let mut shipment = queue.pop_front()?;
        if !shipment.merges() {
            return Some(shipment);
        }
        let sink = shipment.batch.as_ref()?.part.sink;
        let terms = self.terms.get(usize::from(sink)).copied().flatten()?;
        let mut bytes = shipment.merged_bytes_max();
        while let Some(next) = queue.front() {
            let same = next.batch.as_ref().and_then(|b| self.terms.get(usize::from(b.part.sink))) == Some(&Some(terms));
            bytes += next.merged_bytes_max();
            if !same
                || !next.merges()
                || !shipment.shares_fate(next, &terms)
                || bytes > terms.batch_bytes_max.min(ceiling)
            {
                break;
            }
            let Some(next) = queue.pop_front() else { break };
            if let Err(next) = self.carriers.merge(&mut shipment, next) {
                queue.push_front(next);
                break;
            }
        }
        Some(shipment)
    }

    fn count_departure(&mut self, shipment: &Shipment) {
        let again = shipment.tries > 0;
        self.each_share(shipment, |writer, sink, home, records| {
            let at = writer.inflight_index(sink, home);
            writer.inflight[at] += u64::from(records);
            if again {
                writer.counts[usize::from(sink)].retried += u64::from(records);
            }
        });
    }

    /// A request counts once for each sink that has a batch in it.
    fn count_request(&mut self, request: &Request) {
        for (at, batch) in request.batches.iter().enumerate() {
            let sink = batch.part.sink;
            if !request.batches[..at].iter().any(|earlier| earlier.part.sink == sink) {
                self.counts[usize::from(sink)].requests += 1;
            }
        }
    }

    /// Tells which sinks' records a shipment holds, and which shards they belong to.
    pub(super) fn each_share(
        &mut self,
        shipment: &Shipment,
        mut tell: impl FnMut(&mut Self, u16, crate::shard::ShardId, u32),
    ) {
        match (&shipment.cargo, &shipment.batch) {
            (Cargo::Merged(sources), _) => {
                for source in sources {
                    tell(self, source.part.sink, source.home, source.records);
                }
            }
            (Cargo::Batch | Cargo::Piece { .. }, Some(batch)) => {
                tell(self, batch.part.sink, batch.home, shipment.records);
            }
            (Cargo::Batch | Cargo::Piece { .. }, None) => {}
        }
    }
}

impl Frame {
    fn clear(&mut self) {
        self.partitions.clear();
        self.topics.clear();
    }

    fn add(&mut self, place: Place, batch_len: usize) {
        let data = PartitionData { partition: place.partition as i32, batch_len: batch_len as u32 };
        self.partitions.push(data);
        let end = self.partitions.len();
        match self.topics.last_mut() {
            Some((topic, last)) if *topic == place.topic => *last = end,
            _ => self.topics.push((place.topic, end)),
        }
    }

    fn topics<'a>(
        &'a self,
        name: impl Fn(u16) -> &'a str + Clone,
    ) -> impl Iterator<Item = (&'a str, &'a [PartitionData])> + Clone {
        let mut from = 0;
        self.topics.iter().map(move |&(topic, end)| {
            let partitions = &self.partitions[from..end];
            from = end;
            (name(topic), partitions)
        })
    }
}

fn empty_request() -> Request {
    Request { correlation: 0, head: Vec::new(), cuts: Vec::new(), batches: Vec::new(), answered: true }
}
