//! Requests that `kafka-protocol` encodes, sent without a client, in every version there is.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, RequestHeader, TopicName,
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
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("tester")));
    let mut frame = Vec::new();
    header.encode(&mut frame, key.request_header_version(version)).unwrap();
    body.encode(&mut frame, version).unwrap();
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

/// One request of each kind and version, to be cut anywhere.
pub(super) fn samples() -> Vec<Vec<u8>> {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topics = vec![ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
    let list = ListOffsetsRequest::default().with_topics(topics);
    let lists = (1..=6).map(|version| request(ApiKey::ListOffsets, version, &list));
    let fetches = (4..=12).map(|version| request(ApiKey::Fetch, version, &fetch_request(version, (0, -1), 0)));
    lists.chain(fetches).collect()
}
