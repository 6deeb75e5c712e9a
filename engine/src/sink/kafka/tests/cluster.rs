//! A Kafka cluster in a few hundred lines: leaders, logs, what brokers remember of producers, and errors on request.
//!
//! Requests are read and answers written with `kafka-protocol`, so that a mistake of our codec is not repeated here. Rules of
//! sequences are those of `ProducerAppendInfo` in Kafka 4.1: the last five batches of a producer are recognised (the last one by
//! brokers that speak Produce up to 3), an unknown producer may begin anywhere, a new epoch begins at 0.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kafka::compression::Compression;
use kafka::record_batch::{self, Header};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, DescribeConfigsRequest, DescribeConfigsResponse, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, ProducerId, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::sink::partitioning::Random;

/// First byte of a value that the cluster refuses as invalid.
pub(super) const POISON: u8 = 0xff;

const REMEMBERED: usize = 5;

/// What goes wrong, in chances of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// A batch is refused with a passing error, not stored.
    pub(super) passing: u32,
    /// A batch is stored and answered with a passing error.
    pub(super) after_append: u32,
    /// A partition forgets its producers.
    pub(super) amnesia: u32,
    /// A partition gets another leader before a request is handled.
    pub(super) moves: u32,
}

#[derive(Debug, Clone, Default)]
struct Remembered {
    epoch: i16,
    /// First and last sequence, offset, and checksum of its last batches.
    batches: VecDeque<(i32, i32, i64, u32, Compression)>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) leader: usize,
    pub(super) leader_epoch: i32,
    pub(super) values: Vec<Vec<u8>>,
    producers: BTreeMap<i64, Remembered>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: u128,
    pub(super) logs: Vec<Log>,
}

pub(super) struct Cluster {
    pub(super) random: Random,
    pub(super) brokers: usize,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) faults: Faults,
    pub(super) produce_version: i16,
    pub(super) batch_bytes_max: usize,
    /// Newest DescribeConfigs spoken.
    pub(super) configs_version: i16,
    /// Error for DescribeConfigs of any topic, 0 for none.
    pub(super) deny_configs: i16,
    /// The topics of each DescribeConfigs.
    pub(super) limits_asked: Vec<Vec<String>>,
    /// Error for InitProducerId, 0 for none.
    pub(super) deny_producer: i16,
    /// Error for Produce to any topic, 0 for none.
    pub(super) deny_produce: i16,
    next_producer: i64,
    /// Batches that came out of order although nothing had failed before them.
    pub(super) sequences_refused: u32,
    /// Batches refused for their size.
    pub(super) too_large: u32,
    /// Batches that were compressed.
    pub(super) packed: u32,
    /// What the newest Produce wanted acknowledged, and within how many milliseconds.
    pub(super) produce_terms: (i16, i32),
    /// Batches that bore a producer's number.
    pub(super) numbered: u32,
    /// Metadata that was asked for.
    pub(super) questions: u32,
    pub(super) produce_requests: u32,
    /// Batches in the largest request.
    pub(super) widest_request: usize,
    /// A broker that still tells a former id of every topic.
    pub(super) behind: Option<(usize, u128)>,
}

impl Cluster {
    pub(super) fn new(seed: u64, brokers: usize) -> Self {
        Self {
            random: Random::new(seed),
            brokers,
            topics: BTreeMap::new(),
            faults: Faults::default(),
            produce_version: 9,
            batch_bytes_max: 1 << 20,
            configs_version: 4,
            deny_configs: 0,
            limits_asked: Vec::new(),
            deny_producer: 0,
            deny_produce: 0,
            next_producer: 1000,
            sequences_refused: 0,
            too_large: 0,
            packed: 0,
            produce_requests: 0,
            questions: 0,
            numbered: 0,
            produce_terms: (0, 0),
            widest_request: 0,
            behind: None,
        }
    }

    pub(super) fn create(&mut self, name: &str, partitions: usize) {
        let logs = (0..partitions).map(|p| Log { leader: p % self.brokers, ..Log::default() }).collect();
        self.topics.insert(name.to_string(), Topic { id: u128::from(self.random.next_u64()) + 1, logs });
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.random.below(1000) < per_mille
    }

    /// Another broker leads the partition from now on.
    pub(super) fn move_leader(&mut self, topic: &str, partition: usize, to: usize) {
        let log = &mut self.topics.get_mut(topic).expect("a topic").logs[partition];
        log.leader = to;
        log.leader_epoch += 1;
    }

    /// The partition loses its newest records, and what it knew of those who wrote them, as when all replicas lose their memory.
    pub(super) fn truncate(&mut self, topic: &str, partition: usize, values: usize) {
        let log = &mut self.topics.get_mut(topic).expect("a topic").logs[partition];
        log.values.truncate(values);
        log.producers.clear();
    }

    /// Handles one request frame; the answer, without its length, if there is one.
    pub(super) fn handle(&mut self, broker: usize, frame: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Bytes::copy_from_slice(&frame[4..]);
        assert_eq!(frame.len() - 4, u32::from_be_bytes(frame[..4].try_into().expect("4 bytes")) as usize);
        let key = ApiKey::try_from(i16::from_be_bytes([bytes[0], bytes[1]])).expect("an API");
        let version = i16::from_be_bytes([bytes[2], bytes[3]]);
        let header = RequestHeader::decode(&mut bytes, key.request_header_version(version)).expect("a header");
        let mut out = header.correlation_id.to_be_bytes().to_vec();
        if key.response_header_version(version) == 1 {
            out.push(0);
        }
        match key {
            ApiKey::ApiVersions => self.versions().encode(&mut out, version).expect("encodes"),
            ApiKey::Metadata => {
                self.questions += 1;
                let request = MetadataRequest::decode(&mut bytes, version).expect("a request");
                self.metadata(broker, &request, version).encode(&mut out, version).expect("encodes");
            }
            ApiKey::DescribeConfigs => {
                let request = DescribeConfigsRequest::decode(&mut bytes, version).expect("a request");
                self.limits(&request).encode(&mut out, version).expect("encodes");
            }
            ApiKey::InitProducerId => {
                self.next_producer += 1;
                let (id, epoch) = if self.deny_producer == 0 { (self.next_producer, 0) } else { (-1, -1) };
                let response = InitProducerIdResponse::default()
                    .with_error_code(self.deny_producer)
                    .with_producer_id(ProducerId(id))
                    .with_producer_epoch(epoch);
                response.encode(&mut out, version).expect("encodes");
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut bytes, version).expect("a request");
                assert!(bytes.is_empty());
                let response = self.produce(broker, &request, version);
                if request.acks == 0 {
                    return None;
                }
                response.encode(&mut out, version).expect("encodes");
            }
            other => panic!("{other:?} is not asked for"),
        }
        Some(out)
    }

    fn versions(&self) -> ApiVersionsResponse {
        let range =
            |key: ApiKey, max| ApiVersion::default().with_api_key(key as i16).with_min_version(0).with_max_version(max);
        ApiVersionsResponse::default().with_api_keys(vec![
            range(ApiKey::Produce, self.produce_version),
            range(ApiKey::Metadata, 12),
            range(ApiKey::InitProducerId, 4),
            range(ApiKey::DescribeConfigs, self.configs_version),
        ])
    }

    fn limits(&mut self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        self.limits_asked.push(request.resources.iter().map(|asked| asked.resource_name.to_string()).collect());
        let result = |asked: &DescribeConfigsResource| {
            let answer =
                DescribeConfigsResult::default().with_resource_type(2).with_resource_name(asked.resource_name.clone());
            if self.deny_configs != 0 {
                return answer.with_error_code(self.deny_configs);
            }
            let setting = DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str("max.message.bytes"))
                .with_value(Some(StrBytes::from_string(self.batch_bytes_max.to_string())));
            answer.with_configs(vec![setting])
        };
        DescribeConfigsResponse::default().with_results(request.resources.iter().map(result).collect())
    }

    fn metadata(&self, broker: usize, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let former_id = self.behind.filter(|&(behind, _)| behind == broker).map(|(_, id)| id);
        let broker = |id: usize| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id as i32))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(9000 + id as i32)
        };
        let asked = request.topics.as_ref().expect("topics by name");
        let topics = asked.iter().map(|topic| {
            let name = topic.name.clone().expect("a name");
            let answer = MetadataResponseTopic::default().with_name(Some(name.clone()));
            let Some(known) = self.topics.get(name.0.as_str()) else { return answer.with_error_code(3) };
            let partition = |(index, log): (usize, &Log)| {
                MetadataResponsePartition::default()
                    .with_partition_index(index as i32)
                    .with_leader_id(BrokerId(log.leader as i32))
                    .with_leader_epoch(if version >= 7 { log.leader_epoch } else { -1 })
            };
            let id = if version >= 10 { former_id.unwrap_or(known.id) } else { 0 };
            answer
                .with_topic_id(format!("{id:032x}").parse().expect("an id"))
                .with_partitions(known.logs.iter().enumerate().map(partition).collect())
        });
        MetadataResponse::default().with_brokers((0..self.brokers).map(broker).collect()).with_topics(topics.collect())
    }

    fn produce(&mut self, broker: usize, request: &ProduceRequest, version: i16) -> ProduceResponse {
        self.produce_requests += 1;
        self.produce_terms = (request.acks, request.timeout_ms);
        let mut width = 0;
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut partitions = Vec::new();
            for data in &topic.partition_data {
                width += 1;
                let batch = data.records.as_ref().expect("a batch");
                let (code, offset, bad) = match version < 7 && is_zstd(batch) {
                    true => (76, -1, Vec::new()),
                    false => self.append(broker, &topic.name, data.index as usize, batch),
                };
                let bad = bad.into_iter().map(|at| BatchIndexAndErrorMessage::default().with_batch_index(at));
                let mut response = PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_error_code(code)
                    .with_base_offset(offset);
                if version >= 8 {
                    response = response.with_record_errors(bad.collect());
                }
                partitions.push(response);
            }
            responses.push(
                TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions),
            );
        }
        self.widest_request = self.widest_request.max(width);
        // Kafka's answer need not be in the order of the request.
        if self.chance(300) {
            responses.iter_mut().for_each(|topic| topic.partition_responses.reverse());
        }
        ProduceResponse::default().with_responses(responses)
    }

    /// Error code, offset, and places of bad records.
    fn append(&mut self, broker: usize, topic: &TopicName, partition: usize, batch: &[u8]) -> (i16, i64, Vec<i32>) {
        let header = Header::parse(batch).expect("a batch");
        header.check_crc(batch).expect("a right checksum");
        assert_eq!(header.batch_bytes, batch.len(), "one batch a partition");
        if self.deny_produce != 0 {
            return (self.deny_produce, -1, Vec::new());
        }
        let brokers = self.brokers as u32;
        if self.chance(self.faults.moves) {
            let to = self.random.below(brokers) as usize;
            self.move_leader(topic.0.as_str(), partition, to);
        }
        let (passing, after) = (self.chance(self.faults.passing), self.chance(self.faults.after_append));
        let (amnesia, pick) = (self.chance(self.faults.amnesia), self.random.below(100));
        let Some(log) = self.topics.get_mut(topic.0.as_str()).and_then(|t| t.logs.get_mut(partition)) else {
            return (3, -1, Vec::new());
        };
        if log.leader != broker {
            return (6, -1, Vec::new());
        }
        if amnesia {
            log.producers.clear();
        }
        if passing {
            return ([6, 19, 5, 56, 2, 3, -1][pick as usize % 7], -1, Vec::new());
        }
        if batch.len() > self.batch_bytes_max {
            self.too_large += 1;
            return (10, -1, Vec::new());
        }
        self.numbered += u32::from(header.producer_id >= 0);
        let remembered = if self.produce_version < 4 { 1 } else { REMEMBERED };
        self.packed += u32::from(header.compression().expect("a codec") != Compression::None);
        let Some(log) = self.topics.get_mut(topic.0.as_str()).and_then(|t| t.logs.get_mut(partition)) else {
            return (3, -1, Vec::new());
        };
        let values: Vec<Vec<u8>> = record_batch::decompressed_records(batch, &mut Vec::new(), 1 << 24)
            .expect("records")
            .map(|r| r.expect("a record").value.expect("a value").to_vec())
            .collect();
        let bad: Vec<i32> = (0..).zip(&values).filter(|(_, v)| v[0] == POISON).map(|(at, _)| at).collect();
        if !bad.is_empty() {
            return ([87, 32][pick as usize % 2], -1, bad);
        }
        let (code, offset) = log.append(&header, values, remembered);
        self.sequences_refused += u32::from(code == 45);
        if code == 0 && after {
            ([7, 20, 6, -1][pick as usize % 4], -1, Vec::new())
        } else {
            (code, offset, Vec::new())
        }
    }
}

fn is_zstd(batch: &[u8]) -> bool {
    Header::parse(batch).is_ok_and(|header| header.compression() == Ok(Compression::Zstd))
}

impl Log {
    fn append(&mut self, header: &Header, values: Vec<Vec<u8>>, remembered: usize) -> (i16, i64) {
        let offset = self.values.len() as i64;
        if header.producer_id >= 0 {
            let first = header.base_sequence;
            let last = record_batch::next_sequence(first, header.records - 1);
            let unknown = !self.producers.contains_key(&header.producer_id);
            let known = self.producers.entry(header.producer_id).or_default();
            if unknown {
                known.epoch = header.producer_epoch;
            }
            if header.producer_epoch < known.epoch {
                return (47, -1);
            }
            if header.producer_epoch > known.epoch {
                if first != 0 {
                    return (45, -1);
                }
                *known = Remembered { epoch: header.producer_epoch, batches: VecDeque::new() };
            } else if let Some(&(_, _, offset, crc, codec)) = known.batches.iter().find(|b| (b.0, b.1) == (first, last))
            {
                let unpacked = codec != header.compression().expect("a codec");
                assert!(unpacked || crc == header.crc, "what is sent again is byte for byte the same");
                return (0, offset);
            } else if let Some(&(_, newest, ..)) = known.batches.back()
                && first != record_batch::next_sequence(newest, 1)
            {
                return (45, -1);
            }
            known.batches.push_back((first, last, offset, header.crc, header.compression().expect("a codec")));
            if known.batches.len() > remembered {
                known.batches.pop_front();
            }
        }
        self.values.extend(values);
        (0, offset)
    }
}
