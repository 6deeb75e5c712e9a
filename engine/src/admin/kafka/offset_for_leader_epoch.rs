//! OffsetForLeaderEpoch, versions 2 to 4: a consumer asks whether the log was cut behind its back. It never is: there is one
//! leader with one epoch, 0, which ends where the next record goes.
//!
//! 2: the epoch the client believes in · 3: replica id · 4: flexible.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::code;
use super::read::list;

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (state, version, flexible, r) = (call.state, call.version, call.flexible, &mut call.body);
    if version >= 3 {
        r.i32()?; // replica id: a consumer
    }
    let topics = list(r, flexible, |r| {
        let name = r.string(flexible)?.to_owned();
        let partitions = list(r, flexible, |r| {
            let partition = r.i32()?;
            let (believed, epoch) = (r.i32()?, r.i32()?);
            r.skip_tagged(flexible)?;
            let answer = EpochEndOffset::default().with_partition(partition);
            Ok(match state.log(&name, partition) {
                None => answer.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION),
                Some(_) if believed > 0 => answer.with_error_code(code::UNKNOWN_LEADER_EPOCH),
                Some(log) if epoch == 0 => {
                    answer.with_leader_epoch(0).with_end_offset(state.catalogue.place(log).ends.next())
                }
                // An epoch that never was.
                Some(_) => answer,
            })
        })?;
        r.skip_tagged(flexible)?;
        let topic = TopicName(StrBytes::from_string(name));
        Ok(OffsetForLeaderTopicResult::default().with_topic(topic).with_partitions(partitions))
    })?;
    call.reply(&OffsetForLeaderEpochResponse::default().with_topics(topics))
}
