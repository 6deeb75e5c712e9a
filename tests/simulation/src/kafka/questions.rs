//! ApiVersions, Metadata, DescribeConfigs and InitProducerId: rare, so read and written with `kafka-protocol`.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, DescribeConfigsRequest, DescribeConfigsResponse,
    InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProducerId, RequestHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::faults::{self, code};
use super::{Cluster, HOST, PORT};

const MESSAGE_BYTES_MAX: &str = "max.message.bytes";

impl Cluster {
    /// Answers a question into `out`.
    ///
    /// # Panics
    /// If it is not what Kafka's protocol says, or nothing that was announced.
    pub(super) fn answer_question(&mut self, broker: usize, head: &[u8], out: &mut Vec<u8>) {
        let (length, frame) = head.split_first_chunk::<4>().expect("a frame begins with its length");
        assert_eq!(u32::from_be_bytes(*length) as usize, frame.len(), "the length of the frame");
        let mut bytes = Bytes::copy_from_slice(frame);
        let key = i16::from_be_bytes([bytes[0], bytes[1]]);
        let key = ApiKey::try_from(key).unwrap_or_else(|()| panic!("there is no API {key}"));
        let version = i16::from_be_bytes([bytes[2], bytes[3]]);
        let header = RequestHeader::decode(&mut bytes, key.request_header_version(version)).expect("a request header");
        out.extend_from_slice(&header.correlation_id.to_be_bytes());
        if key == ApiKey::ApiVersions {
            return self.answer_versions(version, bytes, out);
        }
        let newest = match key {
            ApiKey::Metadata => Some(self.plan.metadata_version),
            ApiKey::InitProducerId => self.plan.producer_id_version,
            ApiKey::DescribeConfigs => Some(self.plan.configs_version),
            _ => None,
        };
        assert!(newest.is_some_and(|newest| version <= newest), "{key:?} {version} was not announced");
        if key.response_header_version(version) == 1 {
            out.push(0);
        }
        if key == ApiKey::Metadata {
            let request = MetadataRequest::decode(&mut bytes, version).expect("a Metadata");
            self.metadata(broker, &request, version).encode(out, version).expect("an answer to Metadata");
        } else if key == ApiKey::DescribeConfigs {
            let request = DescribeConfigsRequest::decode(&mut bytes, version).expect("a DescribeConfigs");
            self.limits(broker, &request).encode(out, version).expect("an answer to DescribeConfigs");
        } else {
            let request = InitProducerIdRequest::decode(&mut bytes, version).expect("an InitProducerId");
            assert!(request.transactional_id.is_none(), "a transaction");
            self.producer_id().encode(out, version).expect("an answer to InitProducerId");
        }
        assert!(bytes.is_empty(), "bytes after the end of a {key:?}");
    }

    fn answer_versions(&mut self, version: i16, mut bytes: Bytes, out: &mut Vec<u8>) {
        let range = |key: ApiKey, least, newest| {
            ApiVersion::default().with_api_key(key as i16).with_min_version(least).with_max_version(newest)
        };
        let mut answer = ApiVersionsResponse::default().with_api_keys(vec![
            range(ApiKey::Produce, 0, self.plan.produce_version),
            range(ApiKey::Fetch, 4, 12),
            range(ApiKey::Metadata, 0, self.plan.metadata_version),
            range(ApiKey::ApiVersions, 0, self.plan.versions_version),
            range(ApiKey::DescribeConfigs, 0, self.plan.configs_version),
        ]);
        if let Some(newest) = self.plan.producer_id_version {
            answer.api_keys.push(range(ApiKey::InitProducerId, 0, newest));
        }
        // A version that is not spoken is answered in the form of version 0.
        let mut spoken = version;
        if version > self.plan.versions_version {
            (answer.error_code, spoken) = (code::UNSUPPORTED_VERSION, 0);
        } else {
            let request = ApiVersionsRequest::decode(&mut bytes, version).expect("an ApiVersions");
            assert!(bytes.is_empty(), "bytes after the end of an ApiVersions");
            let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
            for text in [&request.client_software_name, &request.client_software_version] {
                assert!(version < 3 || !text.is_empty() && text.bytes().all(allowed), "software {text:?} is refused");
            }
            if self.random.chance(self.faults.versions_error) {
                self.counts.question_errors += 1;
                answer.error_code = code::UNKNOWN_SERVER_ERROR;
            }
        }
        answer.encode(out, spoken).expect("an answer to ApiVersions");
    }

    fn producer_id(&mut self) -> InitProducerIdResponse {
        if self.random.chance(self.faults.producer_id_error) {
            self.counts.question_errors += 1;
            let error = self.random.one_of(&faults::PRODUCER_ID);
            return InitProducerIdResponse::default()
                .with_error_code(error)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
        }
        self.producer_id_next += 1;
        InitProducerIdResponse::default().with_producer_id(ProducerId(self.producer_id_next)).with_producer_epoch(0)
    }

    fn metadata(&mut self, broker: usize, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let up = self.brokers[broker].up;
        let node = |id: usize| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id as i32))
                .with_host(StrBytes::from_static_str(HOST))
                .with_port(i32::from(PORT) + id as i32)
        };
        let names: Vec<TopicName> = match &request.topics {
            Some(asked) => asked.iter().map(|topic| topic.name.clone().expect("asked by name")).collect(),
            None => {
                let named = |topic: &super::Topic| TopicName(StrBytes::from_string(topic.plan.name.clone()));
                self.topics.iter().map(named).collect()
            }
        };
        let topics = names.into_iter().map(|name| self.topic_metadata(broker, name, version)).collect();
        MetadataResponse::default()
            .with_brokers(nodes(up).map(node).collect())
            .with_cluster_id(Some(StrBytes::from_static_str("simulated")))
            .with_controller_id(BrokerId(nodes(up).next().map_or(-1, |id| id as i32)))
            .with_topics(topics)
    }

    /// What topics take: `max.message.bytes`, and no other setting.
    fn limits(&mut self, broker: usize, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let mut results = Vec::new();
        for asked in &request.resources {
            assert_eq!(asked.resource_type, 2, "the settings of topics are asked for");
            let keys = asked.configuration_keys.iter().flatten();
            assert!(keys.eq([MESSAGE_BYTES_MAX]), "{:?}", asked.configuration_keys);
            let name = &asked.resource_name;
            let topic = self.topics.iter().position(|topic| topic.plan.name == **name);
            let seen = topic.filter(|&topic| self.brokers[broker].topics[topic].is_some());
            let result = DescribeConfigsResult::default().with_resource_type(2).with_resource_name(name.clone());
            if self.random.chance(self.faults.topic_error) {
                self.counts.question_errors += 1;
                results.push(result.with_error_code(self.random.one_of(&faults::TOPIC)));
                continue;
            }
            let Some(topic) = seen else {
                results.push(result.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION));
                continue;
            };
            let value = self.topics[topic].batch_bytes_max.to_string();
            let setting = DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(MESSAGE_BYTES_MAX))
                .with_value(Some(StrBytes::from_string(value)));
            results.push(result.with_configs(vec![setting]));
        }
        self.counts.limits_told += results.iter().filter(|result| !result.configs.is_empty()).count() as u64;
        DescribeConfigsResponse::default().with_results(results)
    }

    fn topic_metadata(&mut self, broker: usize, name: TopicName, version: i16) -> MetadataResponseTopic {
        let topic = self.topics.iter().position(|topic| topic.plan.name == *name.0);
        let seen = topic.and_then(|topic| Some((topic, self.brokers[broker].topics[topic]?)));
        let mut answer = MetadataResponseTopic::default().with_name(Some(name));
        if self.random.chance(self.faults.topic_error) {
            self.counts.question_errors += 1;
            return answer.with_error_code(self.random.one_of(&faults::TOPIC));
        }
        let Some((topic, seen)) = seen else { return answer.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION) };
        if self.counts.renewed > 0 {
            self.told.lives.push((topic as u16, seen.life));
        }
        if version >= 10 {
            let id = self.topics[topic].lives[usize::from(seen.life)].id;
            answer.topic_id = format!("{id:032x}").parse().expect("32 digits");
        }
        for partition in 0..seen.partitions {
            let id = self.topics[topic].lives[usize::from(seen.life)].partitions[partition as usize];
            answer.partitions.push(self.partition_metadata(broker, id, version));
        }
        answer
    }

    fn partition_metadata(&mut self, broker: usize, id: u32, version: i16) -> MetadataResponsePartition {
        let led = self.brokers[broker].leds[id as usize];
        let up = self.brokers[broker].up;
        let hidden = self.random.chance(self.faults.leaderless);
        let leader = led.leader.filter(|leader| up >> leader & 1 == 1 && !hidden);
        let id_of = |broker: usize| BrokerId(broker as i32);
        let partition = &self.partitions[id as usize];
        let replicas = || partition.replicas.iter().map(|&broker| usize::from(broker));
        MetadataResponsePartition::default()
            .with_error_code(if leader.is_none() { code::LEADER_NOT_AVAILABLE } else { code::NONE })
            .with_partition_index(partition.place.partition as i32)
            .with_leader_id(leader.map_or(BrokerId(-1), id_of))
            .with_leader_epoch(if version >= 7 { led.epoch } else { -1 })
            .with_replica_nodes(replicas().map(id_of).collect())
            .with_isr_nodes(nodes(led.isr).map(id_of).collect())
            .with_offline_replicas(if version >= 5 {
                replicas().filter(|broker| up >> broker & 1 == 0).map(id_of).collect()
            } else {
                Vec::new()
            })
    }
}

/// The brokers in a set.
fn nodes(set: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |broker| set >> broker & 1 == 1)
}
