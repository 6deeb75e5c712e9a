//! Requests that ask for the same thing again and again, in few bytes each, and clients that do not read what they asked for.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, FetchRequest, FetchResponse, GroupId, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::raw::{ask, exchange, request, topic};
use super::*;

/// How often everything is asked for.
const TIMES: usize = 500;

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

#[tokio::test]
async fn names_are_answered_once_however_often_they_stand_there() {
    let served = serve_log(LogRig::new("greedy-names", 2, 300)).await;
    let again = vec![MetadataRequestTopic::default().with_name(Some(topic("t"))); TIMES];
    let body = MetadataRequest::default().with_topics(Some(again));
    let metadata: MetadataResponse = ask(&served, ApiKey::Metadata, 9, &body).await;
    assert_eq!(metadata.topics.iter().map(|topic| topic.partitions.len()).collect::<Vec<_>>(), [2]);
    let body = DescribeGroupsRequest::default().with_groups(vec![group(); TIMES]);
    let described: DescribeGroupsResponse = ask(&served, ApiKey::DescribeGroups, 5, &body).await;
    assert_eq!(described.groups.len(), 1);
}

#[tokio::test]
async fn committed_offsets_are_answered_once() {
    let served = serve_log(LogRig::new("greedy-committed", 2, 300)).await;
    let topics =
        || vec![OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![1; 9]); 9];
    let body = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(topics()));
    let found: OffsetFetchResponse = ask(&served, ApiKey::OffsetFetch, 7, &body).await;
    assert_eq!(found.topics.iter().map(|topic| topic.partitions.len()).collect::<Vec<_>>(), [1]);
    let topics = vec![OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![1; 9]); 9];
    let again = vec![OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(topics)); TIMES];
    let found: OffsetFetchResponse =
        ask(&served, ApiKey::OffsetFetch, 8, &OffsetFetchRequest::default().with_groups(again)).await;
    assert_eq!(found.groups.len(), 1);
    assert_eq!(found.groups[0].topics.iter().map(|topic| topic.partitions.len()).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_partition_is_read_once() {
    let mut rig = LogRig::new("greedy-read", 1, 300);
    rig.append(0, &[1], b"v");
    let served = serve_log(rig).await;
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let again = vec![FetchTopic::default().with_topic(topic("t")).with_partitions(vec![partition; 3]); TIMES];
    let body = FetchRequest::default().with_min_bytes(1).with_max_bytes(1 << 20).with_topics(again);
    let found: FetchResponse = ask(&served, ApiKey::Fetch, 6, &body).await;
    assert_eq!(found.responses.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 1);
    let partition = ListOffsetsPartition::default().with_timestamp(1);
    let again = vec![ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition; 3])];
    let found: ListOffsetsResponse =
        ask(&served, ApiKey::ListOffsets, 6, &ListOffsetsRequest::default().with_topics(again)).await;
    let errors: Vec<i16> = found.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(errors, [code::NONE, code::INVALID_REQUEST, code::INVALID_REQUEST]);
}

/// Long answers share the memory that Fetch has; where it is taken, short ones still go out.
#[tokio::test]
async fn a_long_answer_needs_room() {
    let served = serve_log(LogRig::new("greedy-room", 1, 300)).await;
    let names = (0..20_000).map(|n| MetadataRequestTopic::default().with_name(Some(topic(&format!("x{n}")))));
    let long = request(ApiKey::Metadata, 9, &MetadataRequest::default().with_topics(Some(names.collect())));
    let short = request(ApiKey::Metadata, 9, &MetadataRequest::default());
    let asked = async |request: &[u8]| {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        exchange(&mut stream, request).await.map(|answer| answer.len())
    };
    assert!(asked(&long).await.unwrap() > 100_000);
    // The room comes back when the answer is sent.
    let whole = (ANSWER_BYTES_MAX >> 10) as u32;
    let taken = tokio::time::timeout(Duration::from_secs(5), served.state.answers.acquire_many(whole)).await;
    let taken = taken.expect("nobody holds it").unwrap();
    assert!(asked(&long).await.is_err());
    assert!(asked(&short).await.is_ok());
    drop(taken);
    assert!(asked(&long).await.is_ok());
}
