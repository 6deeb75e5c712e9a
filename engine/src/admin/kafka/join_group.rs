//! JoinGroup, versions 0 to 9: a consumer says what it reads and waits for the round of its group.
//!
//! 1: rebalance timeout (before: the session timeout counts) · 4: someone new is named first · 5: instance id · 6: flexible ·
//! 7: protocol type in the answer · 8: reason · 9: the leader may be told to leave shares as they are (never done here).

use bytes::Bytes;
use kafka::primitive::ReadKafka;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::group::{Join, Joined};
use super::read::{bytes, list};

pub(super) async fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let join = read(call)?;
    let joined = call.state.coordinator.join(join).await;
    call.reply(&response(joined, call.version))
}

fn read(call: &mut Call<'_>) -> Result<Join, Refusal> {
    let (version, flexible, r) = (call.version, call.flexible, &mut call.body);
    let group = r.string(flexible)?.to_owned();
    let session_timeout_ms = r.i32()?;
    let rebalance_timeout_ms = if version >= 1 { r.i32()? } else { session_timeout_ms };
    let member_id = r.string(flexible)?.to_owned();
    if version >= 5 {
        r.nullable_string(flexible)?; // instance id
    }
    let protocol_type = r.string(flexible)?.to_owned();
    let protocols = list(r, flexible, |r| {
        let name = r.string(flexible)?.to_owned();
        let metadata = Bytes::copy_from_slice(bytes(r, flexible)?);
        r.skip_tagged(flexible)?;
        Ok((name, metadata))
    })?;
    Ok(Join {
        group,
        member_id,
        client_id: call.client_id.to_owned(),
        // With a slash in front, as Kafka shows addresses.
        client_host: format!("/{}", call.peer.ip()),
        session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type,
        protocols,
        named_first: version >= 4,
    })
}

fn response(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|(id, metadata)| {
        JoinGroupResponseMember::default().with_member_id(StrBytes::from_string(id)).with_metadata(metadata)
    });
    let response = JoinGroupResponse::default()
        .with_error_code(joined.error)
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(StrBytes::from_string(joined.protocol)))
        .with_leader(StrBytes::from_string(joined.leader))
        .with_member_id(StrBytes::from_string(joined.member_id))
        .with_members(members.collect());
    if version >= 7 { response.with_protocol_type(Some(StrBytes::from_string(joined.protocol_type))) } else { response }
}
