//! LeaveGroup, versions 0 to 5: a consumer that ends says so, and the others need not wait for its silence.
//!
//! 3: several members at once, with instance ids · 4: flexible · 5: reason.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::LeaveGroupResponse;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::code;
use super::read::list;

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (version, flexible, coordinator, r) = (call.version, call.flexible, &call.state.coordinator, &mut call.body);
    let group = r.string(flexible)?;
    let response = LeaveGroupResponse::default();
    if version < 3 {
        let member_id = r.string(flexible)?;
        return call.reply(&response.with_error_code(coordinator.leave(group, member_id)));
    }
    let members = list(r, flexible, |r| {
        let member_id = r.string(flexible)?;
        let instance = r.nullable_string(flexible)?;
        if version >= 5 {
            r.nullable_string(flexible)?; // reason
        }
        r.skip_tagged(flexible)?;
        Ok(MemberResponse::default()
            .with_member_id(StrBytes::from_string(member_id.to_owned()))
            .with_group_instance_id(instance.map(|id| StrBytes::from_string(id.to_owned())))
            .with_error_code(coordinator.leave(group, member_id)))
    })?;
    call.reply(&response.with_error_code(code::NONE).with_members(members))
}
