//! SyncGroup, versions 0 to 5: the leader hands in everyone's share, everyone else asks for theirs.
//!
//! 3: instance id · 4: flexible · 5: protocol type and name, both ways.

use bytes::Bytes;
use kafka::primitive::ReadKafka;
use kafka_protocol::messages::SyncGroupResponse;
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::group::Sync;
use super::read::{bytes, list};

pub(super) async fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (version, flexible, r) = (call.version, call.flexible, &mut call.body);
    let group = r.string(flexible)?.to_owned();
    let generation = r.i32()?;
    let member_id = r.string(flexible)?.to_owned();
    if version >= 3 {
        r.nullable_string(flexible)?; // instance id
    }
    let (mut protocol_type, mut protocol) = (None, None);
    if version >= 5 {
        protocol_type = r.nullable_string(flexible)?.map(str::to_owned);
        protocol = r.nullable_string(flexible)?.map(str::to_owned);
    }
    let assignments = list(r, flexible, |r| {
        let id = r.string(flexible)?.to_owned();
        let share = Bytes::copy_from_slice(bytes(r, flexible)?);
        r.skip_tagged(flexible)?;
        Ok((id, share))
    })?;
    let sync = Sync { group, generation, member_id, protocol_type, protocol, assignments };
    let synced = call.state.coordinator.sync(sync).await;
    let response = SyncGroupResponse::default().with_error_code(synced.error).with_assignment(synced.assignment);
    let response = match version {
        5.. => response
            .with_protocol_type(Some(StrBytes::from_string(synced.protocol_type)))
            .with_protocol_name(Some(StrBytes::from_string(synced.protocol))),
        _ => response,
    };
    call.reply(&response)
}
