//! Requests that `kafka-protocol` encodes, sent without a client, in every version there is.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, DeleteGroupsRequest, DescribeClusterRequest, DescribeGroupsRequest,
    FetchRequest, FetchResponse, FindCoordinatorRequest, GroupId, HeartbeatRequest, InitProducerIdRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, RequestHeader, RequestKind,
    ResponseKind, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::*;

/// Sends a frame and reads one.
pub(super) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(&(request.len() as i32).to_be_bytes()).await?;
    stream.write_all(request).await?;
    let len = stream.read_i32().await?;
    let mut answer = vec![0; len as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The frame of a request, without its length.
pub(super) fn request(key: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut frame = request_header(key, version);
    body.encode(&mut frame, version).unwrap();
    frame
}

fn request_header(key: ApiKey, version: i16) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("tester")));
    let mut frame = Vec::new();
    header.encode(&mut frame, key.request_header_version(version)).unwrap();
    frame
}

/// Asks and decodes; nothing may be left over.
pub(super) async fn ask<R: Decodable>(served: &Served, key: ApiKey, version: i16, body: &impl Encodable) -> R {
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let answer = exchange(&mut stream, &request(key, version, body)).await.unwrap();
    assert_eq!(answer[..4], 77i32.to_be_bytes());
    let mut rest = Bytes::from(answer).split_off(if key.response_header_version(version) >= 1 { 5 } else { 4 });
    let response = R::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty(), "{key:?} {version}: {rest:?}");
    response
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Error, timestamp and offset.
pub(super) async fn list_offset(served: &Served, version: i16, name: &str, index: i32, at: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default().with_partition_index(index).with_timestamp(at);
    let topics = vec![ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition])];
    let body = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
    let response: ListOffsetsResponse = ask(served, ApiKey::ListOffsets, version, &body).await;
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.timestamp, found.offset)
}

/// Fetches `t`-0 from `offset`; `session` is its id and epoch.
pub(super) async fn fetch(served: &Served, version: i16, session: (i32, i32), offset: i64) -> FetchResponse {
    ask(served, ApiKey::Fetch, version, &fetch_request(version, session, offset)).await
}

fn fetch_request(version: i16, session: (i32, i32), offset: i64) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topics = vec![FetchTopic::default().with_topic(topic("t")).with_partitions(vec![partition])];
    let body = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(topics);
    if version >= 7 { body.with_session_id(session.0).with_session_epoch(session.1) } else { body }
}

/// A sample of every API there is.
fn sample(key: ApiKey, version: i16) -> RequestKind {
    let name = StrBytes::from_static_str;
    // A group for each version, or members would wait for each other.
    let group = || GroupId(StrBytes::from_string(format!("g{version}")));
    match key {
        ApiKey::Produce => {
            let records = Some(Bytes::from_static(b"batch"));
            let partition = PartitionProduceData::default().with_records(records);
            let topics = vec![TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![partition])];
            RequestKind::Produce(ProduceRequest::default().with_acks(-1).with_topic_data(topics))
        }
        ApiKey::Fetch => RequestKind::Fetch(fetch_request(version, (0, -1), 0)),
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topics = vec![ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
            RequestKind::ListOffsets(ListOffsetsRequest::default().with_topics(topics))
        }
        ApiKey::Metadata => {
            let topics = ["t", "other", "../bad"].map(|t| MetadataRequestTopic::default().with_name(Some(topic(t))));
            RequestKind::Metadata(MetadataRequest::default().with_topics(Some(topics.into())))
        }
        ApiKey::OffsetCommit => {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
            let topics =
                vec![OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
            RequestKind::OffsetCommit(OffsetCommitRequest::default().with_group_id(group()).with_topics(topics))
        }
        ApiKey::OffsetFetch if version >= 8 => {
            let topics =
                vec![OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![0, 7])];
            let groups = vec![OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(topics))];
            RequestKind::OffsetFetch(OffsetFetchRequest::default().with_groups(groups))
        }
        ApiKey::OffsetFetch => {
            let topics =
                vec![OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0, 7])];
            RequestKind::OffsetFetch(OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(topics)))
        }
        ApiKey::FindCoordinator if version >= 4 => {
            let keys = vec![name("g"), name("h")];
            RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_coordinator_keys(keys))
        }
        ApiKey::FindCoordinator => RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_key(name("g"))),
        ApiKey::JoinGroup => {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(name("range"))
                .with_metadata(Bytes::from_static(b"subscription"));
            let join = JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(10_000)
                .with_protocol_type(name("consumer"))
                .with_protocols(vec![protocol]);
            RequestKind::JoinGroup(if version >= 1 { join.with_rebalance_timeout_ms(10_000) } else { join })
        }
        ApiKey::SyncGroup => {
            let share = SyncGroupRequestAssignment::default().with_assignment(Bytes::from_static(b"share"));
            RequestKind::SyncGroup(SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![share]))
        }
        ApiKey::Heartbeat => RequestKind::Heartbeat(HeartbeatRequest::default().with_group_id(group())),
        ApiKey::LeaveGroup if version >= 3 => {
            let members = vec![MemberIdentity::default().with_member_id(name("m"))];
            RequestKind::LeaveGroup(LeaveGroupRequest::default().with_group_id(group()).with_members(members))
        }
        ApiKey::LeaveGroup => RequestKind::LeaveGroup(LeaveGroupRequest::default().with_group_id(group())),
        ApiKey::DescribeGroups => {
            RequestKind::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        ApiKey::ListGroups => {
            let list = ListGroupsRequest::default();
            RequestKind::ListGroups(if version >= 4 { list.with_states_filter(vec![name("stable")]) } else { list })
        }
        ApiKey::ApiVersions => RequestKind::ApiVersions(ApiVersionsRequest::default()),
        ApiKey::InitProducerId => RequestKind::InitProducerId(InitProducerIdRequest::default()),
        ApiKey::OffsetForLeaderEpoch => {
            let partition = OffsetForLeaderPartition::default();
            let topics = vec![OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![partition])];
            RequestKind::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest::default().with_topics(topics))
        }
        ApiKey::DeleteGroups => {
            RequestKind::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(vec![group()]))
        }
        ApiKey::DescribeCluster => RequestKind::DescribeCluster(DescribeClusterRequest::default()),
        other => panic!("no sample of {other:?}: a new API needs one"),
    }
}

/// A request of every API in every version that ApiVersions lists.
pub(super) fn samples() -> Vec<(ApiKey, i16, Vec<u8>)> {
    let mut all = Vec::new();
    for api in api::APIS {
        for version in api.min..=api.max {
            let mut body = BytesMut::new();
            sample(api.key, version).encode(&mut body, version).unwrap();
            let mut frame = request_header(api.key, version);
            frame.extend_from_slice(&body);
            all.push((api.key, version, frame));
        }
    }
    all
}

/// Decodes an answer, correlation id first; nothing may be left over.
pub(super) fn decode(key: ApiKey, version: i16, answer: Vec<u8>) -> ResponseKind {
    assert_eq!(answer[..4], 77i32.to_be_bytes());
    let mut rest = Bytes::from(answer).split_off(if key.response_header_version(version) >= 1 { 5 } else { 4 });
    let response = ResponseKind::decode(key, &mut rest, version).unwrap();
    assert!(rest.is_empty(), "{key:?} {version}: {rest:?}");
    response
}
