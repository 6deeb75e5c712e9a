//! DescribeGroups, versions 0 to 5: state, members and shares of groups. One that is not known is dead, which is no error.
//!
//! 3: may ask for authorized operations (not told) · 4: instance ids · 5: flexible.

use std::collections::BTreeSet;

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::group::{Described, DescribedMember};
use super::read::list;

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (flexible, coordinator, r) = (call.flexible, &call.state.coordinator, &mut call.body);
    // Each once: a name of a few bytes is answered with all that its members said.
    let names = BTreeSet::from_iter(list(r, flexible, |r| r.string(flexible))?);
    let groups = names.into_iter().map(|name| {
        let group = DescribedGroup::default().with_group_id(GroupId(StrBytes::from_string(name.to_owned())));
        match coordinator.describe(name) {
            Some(described) => describe(group, described),
            None => group.with_group_state(StrBytes::from_static_str("Dead")),
        }
    });
    call.reply(&DescribeGroupsResponse::default().with_groups(groups.collect()))
}

fn describe(group: DescribedGroup, described: Described) -> DescribedGroup {
    group
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_protocol_type(StrBytes::from_string(described.protocol_type))
        .with_protocol_data(StrBytes::from_string(described.protocol))
        .with_members(described.members.into_iter().map(member).collect())
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(StrBytes::from_string(member.id))
        .with_client_id(StrBytes::from_string(member.client_id))
        .with_client_host(StrBytes::from_string(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
