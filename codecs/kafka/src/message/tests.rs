//! The messages beside Produce, with `kafka-protocol` at the other end of every version.

use super::*;
use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, DescribeConfigsRequest, DescribeConfigsResponse,
    InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProducerId,
    RequestHeader, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use proptest::prelude::*;

/// Decodes a request frame as a broker would, checking everything around the body.
fn as_broker<R: Request>(version: i16, frame: &[u8]) -> R {
    assert_eq!(frame.len() - 4, u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize);
    let mut bytes = Bytes::copy_from_slice(&frame[4..]);
    let header = RequestHeader::decode(&mut bytes, R::header_version(version)).unwrap();
    assert_eq!((header.request_api_key, header.request_api_version, header.correlation_id), (R::KEY, version, 7));
    assert_eq!(header.client_id.as_deref(), Some("me"));
    let request = R::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "{} bytes more than a broker reads", bytes.len());
    request
}

fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode(&mut body, version).unwrap();
    body
}

fn check_table<R: Request>(key: ApiKey)
where
    R::Response: HeaderVersion,
{
    let api = key.api();
    assert_eq!((api.key, key as i16), (key, R::KEY));
    assert!(R::VERSIONS.min <= api.version_min && api.version_max <= R::VERSIONS.max, "{key:?}");
    for version in api.version_min..=api.version_max {
        assert_eq!(R::header_version(version) == 2, key.is_flexible(version), "{key:?} {version}");
        assert_eq!(R::Response::header_version(version) == 1, key.has_response_tags(version), "{key:?} {version}");
    }
}

#[test]
fn the_table_agrees_with_kafkas_schemas() {
    check_table::<ProduceRequest>(ApiKey::Produce);
    check_table::<MetadataRequest>(ApiKey::Metadata);
    check_table::<ApiVersionsRequest>(ApiKey::ApiVersions);
    check_table::<InitProducerIdRequest>(ApiKey::InitProducerId);
    check_table::<SaslHandshakeRequest>(ApiKey::SaslHandshake);
    check_table::<SaslAuthenticateRequest>(ApiKey::SaslAuthenticate);
    check_table::<DescribeConfigsRequest>(ApiKey::DescribeConfigs);
}

#[test]
fn requests_read_as_what_they_ask() {
    let mut out = Vec::new();
    for version in 0..=3 {
        api_versions::encode_request(version, 7, "me", "aqueduct", "1.2.3", &mut out);
        let request: ApiVersionsRequest = as_broker(version, &out);
        let expected = if version >= 3 { ("aqueduct", "1.2.3") } else { ("", "") };
        assert_eq!((&*request.client_software_name, &*request.client_software_version), expected);
    }
    for version in 0..=4 {
        init_producer_id::encode_request(version, 7, "me", &mut out);
        let request: InitProducerIdRequest = as_broker(version, &out);
        assert_eq!((request.transactional_id, request.producer_id, request.producer_epoch), (None, ProducerId(-1), -1));
    }
    sasl_handshake::encode_request(1, 7, "me", "PLAIN", &mut out);
    assert_eq!(&*as_broker::<SaslHandshakeRequest>(1, &out).mechanism, "PLAIN");
    for version in 0..=2 {
        sasl_authenticate::encode_request(version, 7, "me", b"hello", &mut out);
        assert_eq!(&*as_broker::<SaslAuthenticateRequest>(version, &out).auth_bytes, b"hello");
    }
    for version in 1..=4 {
        describe_configs::encode_request(version, 7, "me", &["a", "b"], &["x"], &mut out);
        let request: DescribeConfigsRequest = as_broker(version, &out);
        let names: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.to_string())).collect();
        assert_eq!(names, [(2, "a".to_string()), (2, "b".to_string())]);
        assert_eq!(request.resources[0].configuration_keys.as_ref().unwrap().len(), 1);
    }
    for version in 8..=12 {
        metadata::encode_request_for_rights(version, 7, "me", &["a"], &mut out);
        assert!(as_broker::<MetadataRequest>(version, &out).include_topic_authorized_operations);
    }
}

#[test]
fn sasl_answers_read_as_they_were_given() {
    let offered = SaslHandshakeResponse::default().with_error_code(33).with_mechanisms(vec![text("PLAIN".into())]);
    let ours = sasl_handshake::decode_response(&encoded(&offered, 1)).unwrap();
    assert_eq!((ours.error.code(), ours.mechanisms), (33, vec!["PLAIN".to_string()]));
    for version in 0..=2 {
        let theirs = SaslAuthenticateResponse::default()
            .with_error_code(58)
            .with_error_message(Some(text("no".into())))
            .with_auth_bytes(Bytes::from_static(b"v=x"))
            .with_session_lifetime_ms(if version >= 1 { 9_000 } else { 0 });
        let body = encoded(&theirs, version);
        let ours = sasl_authenticate::decode_response(version, &body).unwrap();
        assert_eq!((ours.error.code(), ours.words, ours.bytes), (58, Some("no"), &b"v=x"[..]));
        assert_eq!(ours.session_lifetime_ms, theirs.session_lifetime_ms);
    }
}

#[test]
fn settings_read_as_they_were_given() {
    use kafka_protocol::messages::describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
    };
    for version in 1..=4 {
        let synonym = DescribeConfigsSynonym::default().with_name(text("s".into())).with_value(None).with_source(5);
        let setting = DescribeConfigsResourceResult::default()
            .with_name(text("min.insync.replicas".into()))
            .with_value(Some(text("2".into())))
            .with_config_source(1)
            .with_synonyms(vec![synonym]);
        let topic = DescribeConfigsResult::default()
            .with_resource_type(2)
            .with_resource_name(text("t".into()))
            .with_error_message(None)
            .with_configs(vec![setting]);
        let body = encoded(&DescribeConfigsResponse::default().with_results(vec![topic]), version);
        let [topic] = describe_configs::decode_response(version, &body).unwrap().try_into().unwrap();
        assert_eq!((topic.name.as_str(), topic.error.is_ok()), ("t", true));
        assert_eq!(topic.settings, [("min.insync.replicas".to_string(), Some("2".to_string()))]);
    }
}

#[test]
fn metadata_asks_for_all_some_or_no_topics() {
    let mut out = Vec::new();
    for version in 4..=12 {
        for (topics, create) in [(None, false), (Some(&["a", "b.c"][..]), true), (Some(&[][..]), false)] {
            metadata::encode_request(version, 7, "me", topics, create, &mut out);
            let request: MetadataRequest = as_broker(version, &out);
            let names = request.topics.map(|t| t.into_iter().map(|t| t.name.unwrap().to_string()).collect::<Vec<_>>());
            assert_eq!(names, topics.map(|t| t.iter().map(|t| t.to_string()).collect()));
            assert_eq!(request.allow_auto_topic_creation, create);
            assert!(!request.include_topic_authorized_operations && !request.include_cluster_authorized_operations);
        }
    }
}

fn text(s: String) -> StrBytes {
    StrBytes::from_string(s)
}

prop_compose! {
    fn any_broker()(id: i32, host in "[a-z.]{0,20}", port: u16, rack in prop::option::of("[a-z]{0,5}")) -> MetadataResponseBroker {
        MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_host(text(host)).with_port(port.into())
            .with_rack(rack.map(text))
    }
}

prop_compose! {
    fn any_partition()(
        error in 0i16..10, index: i32, leader: i32, epoch: i32,
        replicas in prop::collection::vec(any::<i32>(), 0..4), isr in prop::collection::vec(any::<i32>(), 0..4),
        offline in prop::collection::vec(any::<i32>(), 0..3),
    ) -> MetadataResponsePartition {
        let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect::<Vec<_>>();
        MetadataResponsePartition::default().with_error_code(error).with_partition_index(index)
            .with_leader_id(BrokerId(leader)).with_leader_epoch(epoch).with_replica_nodes(ids(replicas))
            .with_isr_nodes(ids(isr)).with_offline_replicas(ids(offline))
    }
}

prop_compose! {
    fn any_topic()(
        error in 0i16..10, name in "[a-z]{1,9}", id: u128, internal: bool,
        partitions in prop::collection::vec(any_partition(), 0..5),
    ) -> MetadataResponseTopic {
        let mut topic = MetadataResponseTopic::default().with_error_code(error).with_name(Some(TopicName(text(name))))
            .with_is_internal(internal).with_partitions(partitions);
        // The id's type comes from a crate that is not among our dependencies; its text form does not need naming.
        topic.topic_id = format!("{id:032x}").parse().unwrap();
        topic
    }
}

prop_compose! {
    fn any_metadata()(
        version in 4i16..=12, throttle: i32, cluster in prop::option::of("[a-zA-Z0-9]{22}"), controller: i32,
        brokers in prop::collection::vec(any_broker(), 0..4), mut topics in prop::collection::vec(any_topic(), 0..4),
    ) -> (i16, MetadataResponse) {
        for topic in &mut topics {
            if version < 10 { topic.topic_id = Default::default() }
            for partition in &mut topic.partitions {
                if version < 7 { partition.leader_epoch = -1 }
                if version < 5 { partition.offline_replicas.clear() }
            }
        }
        (version, MetadataResponse::default().with_throttle_time_ms(throttle).with_cluster_id(cluster.map(text))
            .with_controller_id(BrokerId(controller)).with_brokers(brokers).with_topics(topics))
    }
}

fn ours(theirs: &MetadataResponse) -> metadata::Metadata {
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let partition = |p: &MetadataResponsePartition| metadata::Partition {
        index: p.partition_index,
        leader: p.leader_id.0,
        leader_epoch: p.leader_epoch,
        error: p.error_code.into(),
        replicas: ids(&p.replica_nodes),
        in_sync: ids(&p.isr_nodes),
    };
    let topic = |t: &MetadataResponseTopic| metadata::Topic {
        name: t.name.as_ref().unwrap().to_string(),
        id: *t.topic_id.as_bytes(),
        error: t.error_code.into(),
        is_internal: t.is_internal,
        partitions: t.partitions.iter().map(partition).collect(),
        rights: None,
    };
    let broker = |b: &MetadataResponseBroker| metadata::Broker {
        id: b.node_id.0,
        host: b.host.to_string(),
        port: b.port as u16,
        rack: b.rack.as_ref().map(ToString::to_string),
    };
    metadata::Metadata {
        throttle_time_ms: theirs.throttle_time_ms,
        cluster_id: theirs.cluster_id.as_ref().map(ToString::to_string),
        controller_id: theirs.controller_id.0,
        brokers: theirs.brokers.iter().map(broker).collect(),
        topics: theirs.topics.iter().map(topic).collect(),
    }
}

proptest! {
    #[test]
    fn metadata_reads_as_it_was_answered((version, theirs) in any_metadata()) {
        prop_assert_eq!(metadata::decode_response(version, &encoded(&theirs, version)), Ok(ours(&theirs)));
    }

    #[test]
    fn api_versions_read_as_they_were_answered(
        version in 0i16..=3, ranges in prop::collection::vec((0i16..100, 0i16..5, 5i16..20), 0..60), throttle: i32,
    ) {
        let keys = ranges.iter().map(|r| ApiVersion::default().with_api_key(r.0).with_min_version(r.1).with_max_version(r.2));
        let throttle = if version >= 1 { throttle } else { 0 };
        let theirs = ApiVersionsResponse::default().with_api_keys(keys.collect()).with_throttle_time_ms(throttle);
        let ours = api_versions::decode_response(version, &encoded(&theirs, version)).unwrap();
        prop_assert_eq!((ours.error.code(), ours.throttle_time_ms), (0, throttle));
        let read: Vec<_> = ours.ranges.iter().map(|r| (r.key, r.version_min, r.version_max)).collect();
        prop_assert_eq!(read, ranges);
    }

    #[test]
    fn producer_ids_read_as_they_were_answered(version in 0i16..=4, error in 1i16..60, id in 0i64.., epoch in 0i16.., throttle: i32) {
        let theirs = InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
            .with_throttle_time_ms(throttle);
        let read = |theirs: &InitProducerIdResponse| init_producer_id::decode_response(version, &encoded(theirs, version));
        let producer = Ok(init_producer_id::Producer { id, epoch });
        prop_assert_eq!(read(&theirs), Ok(init_producer_id::Response { producer, throttle_time_ms: throttle }));
        // Beside an error the id is worth nothing, and without one it is required.
        let refused = theirs.clone().with_error_code(error).with_producer_id(ProducerId(-1)).with_producer_epoch(-1);
        prop_assert_eq!(read(&refused).unwrap().producer, Err(error.into()));
        prop_assert!(read(&refused.with_error_code(0)).is_err());
    }

    #[test]
    fn damaged_answers_are_errors_or_other_answers_but_never_a_panic(
        (version, theirs) in any_metadata(), at in any::<prop::sample::Index>(), to: u8, cut: bool,
    ) {
        let mut body = encoded(&theirs, version);
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = to }
        let read = metadata::decode_response(version, &body);
        prop_assert!(!cut || read.is_err());
        // The same bytes as answers they are not.
        for version in 0..=3 {
            let _ = api_versions::decode_response(version, &body);
            let _ = init_producer_id::decode_response(version, &body);
        }
    }
}

#[test]
fn an_unsupported_version_is_answered_in_the_form_of_version_0() {
    let ranges = vec![ApiVersion::default().with_api_key(18).with_max_version(2)];
    let theirs = ApiVersionsResponse::default().with_error_code(35).with_api_keys(ranges);
    let ours = api_versions::decode_response(3, &encoded(&theirs, 0)).unwrap();
    assert_eq!((ours.error, ours.ranges.len()), (crate::ErrorCode::UNSUPPORTED_VERSION, 1));
}

#[test]
fn an_announced_count_costs_nothing_before_its_bytes_are_there() {
    let body = [0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(metadata::decode_response(4, &body), Err(crate::Error::Truncated));
}
