//! A bare connection to a broker: requests go out when they are told to, answers are taken as they come.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aqueduct_tests::support::wait;
use kafka::message::produce::{self, Acks, PartitionData};
use kafka::message::{ApiKey, init_producer_id, metadata};
use kafka::record_batch::{self, Span, Stamp};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::{RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};

pub(crate) use kafka::message::init_producer_id::Producer;
pub(crate) use kafka::message::metadata::Metadata;

/// Versions that any Kafka has that speaks of idempotent producers; all brokers here are 4.1.
const PRODUCE: i16 = 9;
const METADATA: i16 = 9;
const INIT_PRODUCER_ID: i16 = 3;
const FETCH: i16 = 4;

const CLIENT_ID: &str = "aqueduct-assumptions";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// One connection.
#[derive(Debug)]
pub(crate) struct Broker {
    stream: TcpStream,
    correlation_next: i32,
}

/// A batch for a partition, and what the broker said to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) partition: i32,
    pub(crate) producer: Producer,
    pub(crate) base_sequence: i32,
}

impl Broker {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, correlation_next: 0 }
    }

    fn send(&mut self, encode: impl FnOnce(i32, &mut Vec<u8>)) -> i32 {
        let (id, mut frame) = (self.correlation_next, Vec::new());
        self.correlation_next += 1;
        encode(id, &mut frame);
        self.stream.write_all(&frame).expect("the connection stands");
        id
    }

    /// Asks for leaders; returns the correlation id.
    pub(crate) fn send_metadata(&mut self, topic: &str) -> i32 {
        self.send(|id, out| metadata::encode_request(METADATA, id, CLIENT_ID, Some(&[topic]), false, out))
    }

    /// Writes batches of one record each with acks = all; returns the correlation id.
    pub(crate) fn send_produce(&mut self, topic: &str, batches: &[Batch]) -> i32 {
        let sealed: Vec<Vec<u8>> = batches.iter().map(Batch::seal).collect();
        let data: Vec<PartitionData> = batches
            .iter()
            .zip(&sealed)
            .map(|(batch, bytes)| PartitionData { partition: batch.partition, batch_len: bytes.len() as u32 })
            .collect();
        let (mut head, mut cuts) = (Vec::new(), Vec::new());
        self.send(|id, out| {
            let topics = [(topic, &data[..])].into_iter();
            produce::encode_head(PRODUCE, id, CLIENT_ID, Acks::AllIsr, 30_000, topics, &mut head, &mut cuts);
            let mut from = 0;
            for (&cut, batch) in cuts.iter().zip(&sealed) {
                out.extend_from_slice(&head[from..cut as usize]);
                out.extend_from_slice(batch);
                from = cut as usize;
            }
            out.extend_from_slice(&head[from..]);
        })
    }

    /// Reads from the end of a partition, where there is nothing, and is ready to wait `wait_ms`; returns the correlation id.
    pub(crate) fn send_long_poll(&mut self, topic: &str, partition: i32, wait_ms: i32) -> i32 {
        let partition = FetchPartition::default().with_partition(partition).with_partition_max_bytes(1024);
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let topic = FetchTopic::default().with_topic(name).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1024)
            .with_topics(vec![topic]);
        self.send(|id, out| {
            let header = RequestHeader::default()
                .with_request_api_key(1)
                .with_request_api_version(FETCH)
                .with_correlation_id(id)
                .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
            let mut body = bytes::BytesMut::new();
            header.encode(&mut body, 1).expect("a header");
            request.encode(&mut body, FETCH).expect("a request");
            out.extend_from_slice(&(body.len() as u32).to_be_bytes());
            out.extend_from_slice(&body);
        })
    }

    /// The next answer: its correlation id, and what follows.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> (i32, Vec<u8>) {
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("an answer");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).expect("a whole answer");
        let body = frame.split_off(4);
        (i32::from_be_bytes(frame.try_into().expect("four bytes")), body)
    }

    /// Whether an answer begins to come within `wait`. It stays to be read.
    pub(crate) fn answers_within(&self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).expect("a socket option");
        match self.stream.peek(&mut [0]) {
            Ok(n) => n > 0,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// A fresh producer id. A broker that has just started has none to give for a while.
    #[track_caller]
    pub(crate) fn producer(&mut self) -> Producer {
        wait::until("a producer id", 20, || {
            self.send(|id, out| init_producer_id::encode_request(INIT_PRODUCER_ID, id, CLIENT_ID, out));
            let (_, body) = self.answer();
            let body = without_tags(ApiKey::InitProducerId, INIT_PRODUCER_ID, &body);
            init_producer_id::decode_response(INIT_PRODUCER_ID, body).expect("an answer").producer.ok()
        })
    }

    /// Who leads what.
    #[track_caller]
    pub(crate) fn metadata(&mut self, topic: &str) -> Metadata {
        self.send_metadata(topic);
        let (_, body) = self.answer();
        metadata::decode_response(METADATA, without_tags(ApiKey::Metadata, METADATA, &body)).expect("an answer")
    }

    /// Writes batches and returns the error code of each, in order; 0 = stored.
    #[track_caller]
    pub(crate) fn produce(&mut self, topic: &str, batches: &[Batch]) -> Vec<i16> {
        self.send_produce(topic, batches);
        let (_, body) = self.answer();
        produce_codes(&body, batches)
    }
}

/// The error code of each batch in a Produce response, in order; 0 = stored.
#[track_caller]
pub(crate) fn produce_codes(body: &[u8], batches: &[Batch]) -> Vec<i16> {
    let body = without_tags(ApiKey::Produce, PRODUCE, body);
    let answer = produce::decode_response(PRODUCE, body).expect("an answer");
    let results: Vec<(i32, i16)> =
        answer.partitions().map(|result| (result.partition, result.error_code.code())).collect();
    let code = |batch: &Batch| results.iter().find(|(partition, _)| *partition == batch.partition).expect("a result").1;
    batches.iter().map(code).collect()
}

/// The tagged fields of a flexible response header; there are none.
fn without_tags(api: ApiKey, version: i16, body: &[u8]) -> &[u8] {
    if !api.has_response_tags(version) {
        return body;
    }
    let (tags, rest) = body.split_first().expect("a header");
    assert_eq!(*tags, 0);
    rest
}

impl Batch {
    fn seal(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        record_batch::begin(&mut bytes);
        record_batch::append(&mut bytes, 0, 0, None, Some(b"assumed"), record_batch::RawHeaders::NONE);
        // 2025-11-21.
        let time_ms = 1_763_700_000_000;
        let span = Span { base_timestamp_ms: time_ms, max_timestamp_ms: time_ms, records: 1 };
        let stamp = Stamp {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.base_sequence,
            ..Stamp::plain(&span)
        };
        record_batch::seal(&mut bytes, &stamp);
        bytes
    }
}
