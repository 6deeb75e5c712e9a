//! OffsetFetch, versions 1 to 8: what groups have committed; -1 where they have not.
//!
//! 2: null asks for everything, error for the whole group · 5: leader epoch · 6: flexible · 7: whether to wait for
//! transactions (there are none) · 8: several groups at once.

use std::collections::{BTreeMap, BTreeSet};

use kafka::Error;
use kafka::primitive::ReadKafka;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use wire::Reader;

use super::api::{Call, Refusal};
use super::offsets::{Committed, Positions};
use super::read::{each, list, nullable_list};

/// Topics and partitions, each once, because a number of four bytes is answered with what was committed for it; `None` asks
/// for all there are.
type Asked = Option<BTreeMap<String, BTreeSet<i32>>>;

/// The answer for a topic.
type Found = (String, Vec<(i32, Committed)>);

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (version, flexible, coordinator, r) = (call.version, call.flexible, &call.state.coordinator, &mut call.body);
    if version < 8 {
        let group = r.string(flexible)?;
        let asked = read_topics(r, flexible)?;
        // Version 1 has no null.
        let asked = if version < 2 { Some(asked.unwrap_or_default()) } else { asked };
        let found = find(&coordinator.positions(group), asked);
        return call.reply(&OffsetFetchResponse::default().with_topics(found.into_iter().map(topic).collect()));
    }
    let mut groups = BTreeMap::new();
    each(r, flexible, |r| {
        let group = r.string(flexible)?.to_owned();
        groups.insert(group, read_topics(r, flexible)?);
        r.skip_tagged(flexible)
    })?;
    let groups = groups.into_iter().map(|(group, asked)| {
        let found = find(&coordinator.positions(&group), asked);
        OffsetFetchResponseGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group)))
            .with_topics(found.into_iter().map(topic_of_group).collect())
    });
    call.reply(&OffsetFetchResponse::default().with_groups(groups.collect()))
}

fn read_topics(r: &mut Reader<'_>, flexible: bool) -> Result<Asked, Error> {
    let topics = nullable_list(r, flexible, |r| {
        let name = r.string(flexible)?;
        let partitions = list(r, flexible, |r| Ok(r.i32()?))?;
        r.skip_tagged(flexible)?;
        Ok((name, partitions))
    })?;
    Ok(topics.map(|topics| {
        let mut asked = BTreeMap::<String, BTreeSet<i32>>::new();
        for (name, partitions) in topics {
            asked.entry(name.to_owned()).or_default().extend(partitions);
        }
        asked
    }))
}

fn find(positions: &Positions, asked: Asked) -> Vec<Found> {
    let Some(asked) = asked else {
        let all = positions.iter().map(|(name, partitions)| {
            (name.clone(), partitions.iter().map(|(&index, committed)| (index, committed.clone())).collect())
        });
        return all.collect();
    };
    let nothing = || Committed { offset: -1, metadata: String::new() };
    let found = asked.into_iter().map(|(name, partitions)| {
        let known = positions.get(&name);
        let find = |index| known.and_then(|known| known.get(&index)).cloned().unwrap_or_else(nothing);
        let partitions = partitions.into_iter().map(|index| (index, find(index))).collect();
        (name, partitions)
    });
    found.collect()
}

fn topic((name, partitions): Found) -> OffsetFetchResponseTopic {
    let partitions = partitions.into_iter().map(|(index, committed)| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_metadata(Some(StrBytes::from_string(committed.metadata)))
    });
    let partitions = partitions.collect();
    OffsetFetchResponseTopic::default().with_name(TopicName(StrBytes::from_string(name))).with_partitions(partitions)
}

fn topic_of_group((name, partitions): Found) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, committed)| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_metadata(Some(StrBytes::from_string(committed.metadata)))
    });
    let partitions = partitions.collect();
    OffsetFetchResponseTopics::default().with_name(TopicName(StrBytes::from_string(name))).with_partitions(partitions)
}
