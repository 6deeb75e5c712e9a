//! Kafka brokers that store nothing and agree to everything. They read and write with `kafka-protocol`, so that a mistake of
//! our codec is not repeated here.

use std::collections::VecDeque;

use aqueduct::shard::io::{BrokerAddr, LinkKey, Request};
use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, ProducerId, RequestHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::PARTITIONS;

/// Broker `i` listens on this port + `i`.
const FIRST_PORT: u16 = 9000;

/// Metadata has topic ids and Produce has names, as in Kafka 3.1.
const VERSIONS: [(ApiKey, i16); 3] = [(ApiKey::Produce, 9), (ApiKey::Metadata, 12), (ApiKey::InitProducerId, 4)];

/// All brokers.
#[derive(Debug, Default)]
pub struct Brokers {
    count: u32,
    /// By index of the link: which broker it goes to.
    links: Vec<u32>,
    dialled: VecDeque<LinkKey>,
    /// Not answered, by link.
    requests: Vec<VecDeque<Request>>,
    /// These do not answer.
    stalled: Vec<u32>,
    /// Records that were sent to partitions.
    pub records: u64,
    /// Where the next batch is said to lie, whatever its partition: offsets only grow.
    next_offset: i64,
    /// Requests that carried them.
    pub produce_requests: u64,
}

impl Brokers {
    pub(super) fn new(count: u32) -> Self {
        Self { count, ..Self::default() }
    }

    /// The broker answers nothing any more.
    pub fn stall(&mut self, broker: u32) {
        self.stalled.push(broker);
    }

    /// Every broker answers.
    pub fn wake_all(&mut self) {
        self.stalled.clear();
    }

    pub(super) fn dial(&mut self, to: &BrokerAddr) -> LinkKey {
        let link = LinkKey { index: self.links.len() as u32, generation: 1 };
        self.links.push(u32::from(to.port - FIRST_PORT));
        self.requests.push(VecDeque::new());
        self.dialled.push_back(link);
        link
    }

    pub(super) fn next_dialled(&mut self) -> Option<LinkKey> {
        self.dialled.pop_front()
    }

    pub(super) fn request(&mut self, link: LinkKey, request: Request) {
        self.records += request.batches.iter().map(|batch| u64::from(batch.records)).sum::<u64>();
        self.produce_requests += u64::from(!request.batches.is_empty());
        self.requests[link.index as usize].push_back(request);
    }

    /// The next request that is answered now, and the answer's frame without its length.
    pub(super) fn next_answer(&mut self) -> Option<(LinkKey, Request, Vec<u8>)> {
        for (index, requests) in self.requests.iter_mut().enumerate() {
            if self.stalled.contains(&self.links[index]) {
                continue;
            }
            if let Some(request) = requests.pop_front() {
                let answer = answer(self.count, self.next_offset, &wire(&request));
                self.next_offset += request.batches.iter().map(|batch| i64::from(batch.records)).sum::<i64>();
                return Some((LinkKey { index: index as u32, generation: 1 }, request, answer));
            }
        }
        None
    }
}

/// A request as it is on the wire, without its length.
fn wire(request: &Request) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), 0);
    for (&cut, batch) in request.cuts.iter().zip(&request.batches) {
        bytes.extend_from_slice(&request.head[from..cut as usize]);
        bytes.extend_from_slice(&batch.bytes);
        from = cut as usize;
    }
    bytes.extend_from_slice(&request.head[from..]);
    bytes.split_off(4)
}

fn answer(brokers: u32, offset: i64, frame: &[u8]) -> Vec<u8> {
    let mut bytes = Bytes::copy_from_slice(frame);
    let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).expect("an API");
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let header = RequestHeader::decode(&mut bytes, key.request_header_version(version)).expect("a header");
    let mut out = header.correlation_id.to_be_bytes().to_vec();
    if key.response_header_version(version) == 1 {
        out.push(0);
    }
    let encoded = match key {
        ApiKey::ApiVersions => versions().encode(&mut out, version),
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut bytes, version).expect("a request");
            metadata(brokers, &request).encode(&mut out, version)
        }
        ApiKey::InitProducerId => {
            InitProducerIdResponse::default().with_producer_id(ProducerId(7)).encode(&mut out, version)
        }
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut bytes, version).expect("a request");
            produced(&request, offset).encode(&mut out, version)
        }
        other => panic!("{other:?} is not asked for"),
    };
    encoded.expect("encodes");
    out
}

fn versions() -> ApiVersionsResponse {
    let range = |(key, max): &(ApiKey, i16)| ApiVersion::default().with_api_key(*key as i16).with_max_version(*max);
    ApiVersionsResponse::default().with_api_keys(VERSIONS.iter().map(range).collect())
}

fn metadata(brokers: u32, request: &MetadataRequest) -> MetadataResponse {
    let broker = |id: u32| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id as i32))
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(i32::from(FIRST_PORT) + id as i32)
    };
    let partition = |index: u32| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId((index % brokers) as i32))
    };
    let asked = request.topics.as_ref().expect("topics by name");
    let topics = asked.iter().map(|topic| {
        MetadataResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id("00000000-0000-0000-0000-000000000001".parse().expect("an id"))
            .with_partitions((0..PARTITIONS).map(partition).collect())
    });
    MetadataResponse::default().with_brokers((0..brokers).map(broker).collect()).with_topics(topics.collect())
}

fn produced(request: &ProduceRequest, offset: i64) -> ProduceResponse {
    let answer = |index| PartitionProduceResponse::default().with_index(index).with_base_offset(offset);
    let topics = request.topic_data.iter().map(|topic| {
        let stored = topic.partition_data.iter().map(|data| answer(data.index));
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(stored.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}
