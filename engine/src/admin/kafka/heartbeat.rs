//! Heartbeat, versions 0 to 4: a member is alive, and hears whether its group is in a new round.
//!
//! 3: instance id · 4: flexible.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::HeartbeatResponse;

use super::api::{Call, Refusal};

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (flexible, r) = (call.flexible, &mut call.body);
    let group = r.string(flexible)?;
    let generation = r.i32()?;
    let member_id = r.string(flexible)?;
    let error = call.state.coordinator.heartbeat(group, generation, member_id);
    call.reply(&HeartbeatResponse::default().with_error_code(error))
}
