//! DeleteGroups, versions 0 to 2: forgets what groups without members have committed.
//!
//! 2: flexible.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::read::list;

pub(super) async fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let flexible = call.flexible;
    let names = list(&mut call.body, flexible, |r| Ok(r.string(flexible)?.to_owned()))?;
    let mut results = Vec::with_capacity(names.len());
    for name in names {
        let error = call.state.coordinator.delete(&name).await;
        let group = GroupId(StrBytes::from_string(name));
        results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(error));
    }
    call.reply(&DeleteGroupsResponse::default().with_results(results))
}
