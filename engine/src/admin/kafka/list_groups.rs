//! ListGroups, versions 0 to 5: the groups there are, those that have members and those that have offsets alone.
//!
//! 3: flexible · 4: asks for states · 5: asks for types (all are classic).

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::read::list;

const TYPE: &str = "classic";

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (version, flexible, r) = (call.version, call.flexible, &mut call.body);
    let states = if version >= 4 { list(r, flexible, |r| r.string(flexible))? } else { Vec::new() };
    let types = if version >= 5 { list(r, flexible, |r| r.string(flexible))? } else { Vec::new() };
    // No wish is every wish; case does not count.
    let wished =
        |wishes: &[&str], is: &str| wishes.is_empty() || wishes.iter().any(|wish| wish.eq_ignore_ascii_case(is));
    let groups = call.state.coordinator.list();
    let groups = groups.into_iter().filter(|(_, group)| wished(&states, group.state) && wished(&types, TYPE));
    let groups = groups.map(|(name, group)| {
        let listed = ListedGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(name)))
            .with_protocol_type(StrBytes::from_string(group.protocol_type));
        let listed =
            if version >= 4 { listed.with_group_state(StrBytes::from_static_str(group.state)) } else { listed };
        if version >= 5 { listed.with_group_type(StrBytes::from_static_str(TYPE)) } else { listed }
    });
    let groups = groups.collect();
    call.reply(&ListGroupsResponse::default().with_groups(groups))
}
