//! A consumer group over the wire, in every version of its requests, and its offsets over a restart.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::*;

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

/// Joins; where a name comes first, joins again with it.
async fn join(served: &Served, version: i16, member_id: StrBytes) -> JoinGroupResponse {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"subscription"));
    let request = JoinGroupRequest::default()
        .with_group_id(group())
        .with_member_id(member_id)
        .with_session_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let request = if version >= 1 { request.with_rebalance_timeout_ms(10_000) } else { request };
    let joined: JoinGroupResponse = raw::ask(served, ApiKey::JoinGroup, version, &request).await;
    match joined.error_code {
        code::MEMBER_ID_REQUIRED => Box::pin(join(served, version, joined.member_id)).await,
        _ => joined,
    }
}

async fn sync(served: &Served, version: i16, member: &JoinGroupResponse, share: &'static [u8]) -> SyncGroupResponse {
    let share = SyncGroupRequestAssignment::default()
        .with_member_id(member.member_id.clone())
        .with_assignment(Bytes::from_static(share));
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone())
        .with_assignments(vec![share]);
    raw::ask(served, ApiKey::SyncGroup, version, &request).await
}

async fn commit(served: &Served, version: i16, member: Option<&JoinGroupResponse>, partition: i32, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::from_static_str("note")));
    let topics = vec![OffsetCommitRequestTopic::default().with_name(raw::topic("t")).with_partitions(vec![partition])];
    let request = OffsetCommitRequest::default().with_group_id(group()).with_topics(topics);
    let request = match member {
        Some(member) => {
            request.with_generation_id_or_member_epoch(member.generation_id).with_member_id(member.member_id.clone())
        }
        None => request,
    };
    let response: OffsetCommitResponse = raw::ask(served, ApiKey::OffsetCommit, version, &request).await;
    response.topics[0].partitions[0].error_code
}

/// Offset and metadata of `t`-0.
async fn committed(served: &Served, version: i16) -> (i64, Option<String>) {
    let request = OffsetFetchRequest::default();
    if version >= 8 {
        let groups = vec![OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None)];
        let request = request.with_groups(groups);
        let response: OffsetFetchResponse = raw::ask(served, ApiKey::OffsetFetch, version, &request).await;
        let found = &response.groups[0].topics[0].partitions[0];
        return (found.committed_offset, found.metadata.as_ref().map(|text| text.to_string()));
    }
    let topics = vec![OffsetFetchRequestTopic::default().with_name(raw::topic("t")).with_partition_indexes(vec![0])];
    let request = request.with_group_id(group()).with_topics(Some(topics));
    let response: OffsetFetchResponse = raw::ask(served, ApiKey::OffsetFetch, version, &request).await;
    let found = &response.topics[0].partitions[0];
    (found.committed_offset, found.metadata.as_ref().map(|text| text.to_string()))
}

async fn beat(served: &Served, version: i16, member: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone());
    let response: HeartbeatResponse = raw::ask(served, ApiKey::Heartbeat, version, &request).await;
    response.error_code
}

async fn leave(served: &Served, version: i16, member: &JoinGroupResponse) -> i16 {
    let request = LeaveGroupRequest::default().with_group_id(group());
    if version >= 3 {
        let members = vec![MemberIdentity::default().with_member_id(member.member_id.clone())];
        let request = request.with_members(members);
        let response: LeaveGroupResponse = raw::ask(served, ApiKey::LeaveGroup, version, &request).await;
        return response.members[0].error_code;
    }
    let request = request.with_member_id(member.member_id.clone());
    let response: LeaveGroupResponse = raw::ask(served, ApiKey::LeaveGroup, version, &request).await;
    response.error_code
}

async fn state(served: &Served) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let response: DescribeGroupsResponse = raw::ask(served, ApiKey::DescribeGroups, 5, &request).await;
    response.groups[0].group_state.to_string()
}

#[tokio::test]
async fn a_member_lives_through_its_group_in_every_version() {
    let served = serve_log(LogRig::new("groups-life", 1, 300)).await;
    for n in 0..=9i16 {
        let joined = join(&served, n, StrBytes::default()).await;
        assert_eq!((joined.error_code, joined.generation_id, &joined.leader), (0, 1, &joined.member_id), "round {n}");
        assert_eq!(joined.members[0].metadata.as_ref(), b"subscription");
        let synced = sync(&served, n.min(5), &joined, b"share").await;
        assert_eq!((synced.error_code, synced.assignment.as_ref()), (0, &b"share"[..]));
        assert_eq!(beat(&served, n.min(4), &joined).await, 0);
        assert_eq!(commit(&served, n.clamp(2, 8), Some(&joined), 0, i64::from(n)).await, 0);
        assert_eq!(committed(&served, n.clamp(1, 8)).await, (i64::from(n), Some("note".into())));
        assert_eq!(state(&served).await, "Stable");
        assert_eq!(leave(&served, n.min(5), &joined).await, 0);
        assert_eq!(state(&served).await, "Empty");
    }
}

#[tokio::test]
async fn a_second_member_waits_for_the_first_and_the_leader_divides() {
    let served = serve_log(LogRig::new("groups-two", 1, 300)).await;
    let first = join(&served, 9, StrBytes::default()).await;
    sync(&served, 5, &first, b"all").await;
    let (second, rejoined) = tokio::join!(join(&served, 9, StrBytes::default()), async {
        while beat(&served, 4, &first).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        join(&served, 9, first.member_id.clone()).await
    });
    assert_eq!((rejoined.generation_id, second.generation_id), (2, 2));
    assert_eq!((rejoined.members.len(), second.members.len()), (2, 0));
    let (waited, led) = tokio::join!(sync(&served, 5, &second, b""), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        sync(&served, 5, &rejoined, b"mine").await
    });
    assert_eq!((led.assignment.as_ref(), waited.assignment.as_ref()), (&b"mine"[..], &b""[..]));
}

#[tokio::test]
async fn a_silent_member_is_gone_after_its_session_timeout() {
    let served = serve_log(LogRig::new("groups-silent", 1, 300)).await;
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(1_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let joined: JoinGroupResponse = raw::ask(&served, ApiKey::JoinGroup, 0, &request).await;
    assert_eq!(joined.error_code, 0);
    let begun = std::time::Instant::now();
    while state(&served).await != "Dead" {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody keeps the time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(900));
}

#[tokio::test]
async fn offsets_outlive_a_restart_and_can_be_deleted() {
    let served = serve_log(LogRig::new("groups-restart", 1, 300)).await;
    assert_eq!(commit(&served, 8, None, 0, 42).await, 0);
    assert_eq!(commit(&served, 8, None, 9, 42).await, code::UNKNOWN_TOPIC_OR_PARTITION);
    let Served { rig, _server: server, .. } = served;
    drop(server);
    let served = serve_log(rig).await;
    assert_eq!(committed(&served, 7).await, (42, Some("note".into())));
    let listed: ListGroupsResponse = raw::ask(&served, ApiKey::ListGroups, 5, &ListGroupsRequest::default()).await;
    let group_of = |n: usize| (listed.groups[n].group_id.to_string(), listed.groups[n].group_state.to_string());
    assert_eq!((listed.groups.len(), group_of(0)), (1, ("g".into(), "Empty".into())));
    let delete = || async {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        let response: DeleteGroupsResponse = raw::ask(&served, ApiKey::DeleteGroups, 2, &request).await;
        response.results[0].error_code
    };
    let member = join(&served, 9, StrBytes::default()).await;
    assert_eq!(delete().await, code::NON_EMPTY_GROUP);
    leave(&served, 5, &member).await;
    assert_eq!((delete().await, delete().await), (0, code::GROUP_ID_NOT_FOUND));
    assert_eq!(committed(&served, 7).await.0, -1);
}
