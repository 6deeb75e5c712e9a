//! A cluster, a clock, and somebody who asks.

use std::collections::BTreeMap;

use ::kafka::message::produce::{self, Acks, PartitionData};
use ::kafka::record_batch::{self, Span, Stamp};
use aqueduct::clock::{Mono, Now};

use crate::kafka::{Cluster, ClusterPlan, Faults, Released, Reply, Token, TopicPlan};
use crate::random::Random;

/// 2025-11-21.
pub(super) const WALL_MS: i64 = 1_763_700_000_000;

pub(super) const TOPIC: &str = "t";

pub(super) struct Rig {
    pub(super) cluster: Cluster,
    pub(super) now: Mono,
    pub(super) version: i16,
    released: BTreeMap<Token, Released>,
    correlation: i32,
    pub(super) out: Vec<u8>,
}

/// Code and offset, by partition, in the order of the request.
pub(super) type Results = Vec<(i16, i64)>;

/// A topic with copies at all of `brokers`.
pub(super) fn plan(brokers: usize, partitions: u32, insync_min: usize) -> ClusterPlan {
    let topic = TopicPlan { name: TOPIC.to_owned(), partitions, replicas: brokers, insync_min, takes_poison: false };
    ClusterPlan { brokers, topics: vec![topic], ..ClusterPlan::default() }
}

impl Rig {
    pub(super) fn new(plan: ClusterPlan) -> Self {
        Self::seeded(plan, 1)
    }

    pub(super) fn seeded(plan: ClusterPlan, seed: u64) -> Self {
        let version = plan.produce_version;
        let cluster = Cluster::new(plan, Random::new(seed));
        let now = Mono(1_000_000_000);
        let mut rig = Self { cluster, now, version, released: BTreeMap::new(), correlation: 0, out: Vec::new() };
        rig.run_ms(0);
        rig
    }

    pub(super) fn time(&self) -> Now {
        Now { mono: self.now, wall_ms: WALL_MS + self.now.as_ms() as i64 }
    }

    /// What has been released under `token`.
    pub(super) fn released(&mut self, token: Token) -> Option<Released> {
        self.released.remove(&token)
    }

    pub(super) fn run_until(&mut self, until: Mono) {
        let mut released = Vec::new();
        while let Some(at) = self.cluster.next_event().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.cluster.tick(self.time(), &mut released);
            self.released.extend(released.drain(..).map(|released| (released.token, released)));
        }
        self.now = self.now.max(until);
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_until(self.now.plus_ms(ms));
    }

    /// Sends batches for partitions of the first topic.
    pub(super) fn send(&mut self, broker: usize, acks: Acks, timeout_ms: i32, batches: &[(i32, Vec<u8>)]) -> Reply {
        let data: Vec<PartitionData> = batches
            .iter()
            .map(|(partition, bytes)| PartitionData { partition: *partition, batch_len: bytes.len() as u32 })
            .collect();
        let (mut head, mut cuts) = (Vec::new(), Vec::new());
        self.correlation += 1;
        let topics = [(TOPIC, &data[..])].into_iter();
        produce::encode_head(self.version, self.correlation, "c", acks, timeout_ms, topics, &mut head, &mut cuts);
        let (now, mut out) = (self.time(), std::mem::take(&mut self.out));
        let reply = self.cluster.receive(now, broker, &head, &cuts, batches.iter().map(|(_, b)| &b[..]), &mut out);
        self.out = out;
        reply
    }

    /// Sends one batch to partition 0 with acks = all, and waits for the answer.
    #[track_caller]
    pub(super) fn store(&mut self, broker: usize, batch: &Batch) -> (i16, i64) {
        self.store_all(broker, &[(0, batch.seal())])[0]
    }

    /// Sends batches with acks = all, and waits for the answer.
    #[track_caller]
    pub(super) fn store_all(&mut self, broker: usize, batches: &[(i32, Vec<u8>)]) -> Results {
        match self.send(broker, Acks::AllIsr, 30_000, batches) {
            Reply::At(at) => {
                self.run_until(at);
                self.results(&self.out, batches)
            }
            Reply::Held(token) => self.await_results(token, batches),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn await_results(&mut self, token: Token, batches: &[(i32, Vec<u8>)]) -> Results {
        for _ in 0..60_000 {
            if let Some(released) = self.released(token) {
                assert!(matches!(released.reply, Reply::At(_)), "{released:?}");
                return self.results(&released.frame, batches);
            }
            self.run_ms(1);
        }
        panic!("no answer within a minute");
    }

    #[track_caller]
    pub(super) fn results(&self, frame: &[u8], batches: &[(i32, Vec<u8>)]) -> Results {
        let (correlation, body) = frame.split_first_chunk::<4>().expect("a frame");
        assert_eq!(i32::from_be_bytes(*correlation), self.correlation);
        let body = if self.version >= 9 { &body[1..] } else { body };
        let response = produce::decode_response(self.version, body).expect("a response");
        let all: Vec<_> = response.partitions().collect();
        assert_eq!(all.len(), batches.len());
        let of =
            |partition: i32| *all.iter().find(|r| (r.topic, r.partition) == (TOPIC, partition)).expect("an answer");
        batches.iter().map(|(p, _)| (of(*p).error_code.code(), of(*p).base_offset)).collect()
    }

    /// Puts a question to a broker; the body of its answer, without correlation id.
    pub(super) fn ask(&mut self, broker: usize, frame: &[u8]) -> Vec<u8> {
        let (now, mut out) = (self.time(), Vec::new());
        let reply = self.cluster.receive(now, broker, frame, &[], std::iter::empty(), &mut out);
        assert!(matches!(reply, Reply::At(_)), "{reply:?}");
        out[4..].to_vec()
    }

    pub(super) fn leader(&self, partition: usize) -> Option<usize> {
        self.cluster.controller.leds[partition].leader
    }

    /// Values in the log of the first topic, by partition.
    pub(super) fn values(&self) -> Vec<Vec<Vec<u8>>> {
        let mut values = vec![Vec::new(); self.cluster.partitions.len()];
        self.cluster.for_each_batch(0, |batch| {
            let of = &mut values[batch.place.partition as usize];
            of.extend(batch.records().map(|record| record.value.expect("a value").to_vec()));
        });
        values
    }

    pub(super) fn faults(&mut self, faults: Faults) {
        self.cluster.set_faults(faults);
    }
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) producer: (i64, i16),
    pub(super) sequence: i32,
    pub(super) values: Vec<Vec<u8>>,
    pub(super) time_ms: i64,
}

pub(super) fn batch(epoch: i16, sequence: i32, values: &[&[u8]]) -> Batch {
    let values = values.iter().map(|value| value.to_vec()).collect();
    Batch { producer: (7, epoch), sequence, values, time_ms: WALL_MS }
}

impl Batch {
    pub(super) fn seal(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        record_batch::begin(&mut bytes);
        for (at, value) in (0..).zip(&self.values) {
            record_batch::append(
                &mut bytes,
                at,
                i64::from(at),
                Some(b"key"),
                Some(value),
                record_batch::RawHeaders::NONE,
            );
        }
        let records = self.values.len() as u32;
        let max_timestamp_ms = self.time_ms + i64::from(records) - 1;
        let span = Span { base_timestamp_ms: self.time_ms, max_timestamp_ms, records };
        let (producer_id, producer_epoch) = self.producer;
        let stamp = Stamp { producer_id, producer_epoch, base_sequence: self.sequence, ..Stamp::plain(&span) };
        record_batch::seal(&mut bytes, &stamp);
        bytes
    }
}
