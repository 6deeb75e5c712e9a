//! Produce, versions 3 to 9, and InitProducerId, versions 0 to 4: refused. Records come over MQTT, where an acknowledgement
//! means what this engine says it means; a second way in would have none of its rules.
//!
//! Produce 8: an error message for people · 9: flexible.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{InitProducerIdResponse, ProduceResponse, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::code;
use super::read::{bytes, list};

const MESSAGE: &str = "this is Aqueduct's embedded log, which Kafka clients only read: publish over MQTT";

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (version, flexible, r) = (call.version, call.flexible, &mut call.body);
    r.nullable_string(flexible)?; // transactional id
    let acks = r.i16()?;
    r.i32()?; // timeout
    if acks == 0 {
        return Err(Refusal::Silent);
    }
    let message = (version >= 8).then(|| StrBytes::from_static_str(MESSAGE));
    let topics = list(r, flexible, |r| {
        let name = TopicName(StrBytes::from_string(r.string(flexible)?.to_owned()));
        let partitions = list(r, flexible, |r| {
            let index = r.i32()?;
            bytes(r, flexible)?;
            r.skip_tagged(flexible)?;
            Ok(PartitionProduceResponse::default()
                .with_index(index)
                .with_error_code(code::INVALID_REQUEST)
                .with_error_message(message.clone())
                .with_base_offset(-1))
        })?;
        r.skip_tagged(flexible)?;
        Ok(TopicProduceResponse::default().with_name(name).with_partition_responses(partitions))
    })?;
    call.reply(&ProduceResponse::default().with_responses(topics))
}

pub(super) fn answer_init(call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
    let response = InitProducerIdResponse::default()
        .with_error_code(code::CLUSTER_AUTHORIZATION_FAILED)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    call.reply(&response)
}
