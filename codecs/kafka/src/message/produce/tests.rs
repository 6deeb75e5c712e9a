//! Golden bytes, and `kafka-protocol` at the other end of every version.

use super::*;
use bytes::Bytes;
use kafka_protocol::messages::produce_request::ProduceRequest;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes};
use proptest::prelude::*;

type Topics = Vec<(String, Vec<(i32, Vec<u8>)>)>;

/// What the driver puts on the wire.
fn spliced(version: i16, topics: &Topics) -> Vec<u8> {
    let data: Vec<Vec<PartitionData>> = topics
        .iter()
        .map(|(_, parts)| {
            parts
                .iter()
                .map(|(partition, b)| PartitionData { partition: *partition, batch_len: b.len() as u32 })
                .collect()
        })
        .collect();
    let listed = topics.iter().zip(&data).map(|((name, _), parts)| (name.as_str(), &parts[..]));
    let (mut head, mut cuts) = (b"left over".to_vec(), vec![99]);
    let len = encode_head(version, 4711, "aqueduct", Acks::AllIsr, 30_000, listed, &mut head, &mut cuts);
    let batches: Vec<_> = topics.iter().flat_map(|(_, parts)| parts).collect();
    assert_eq!(batches.len(), cuts.len());
    let (mut wire, mut at) = (Vec::new(), 0);
    for (cut, (_, batch)) in cuts.iter().zip(batches) {
        wire.extend_from_slice(&head[at..*cut as usize]);
        wire.extend_from_slice(batch);
        at = *cut as usize;
    }
    wire.extend_from_slice(&head[at..]);
    assert_eq!(wire.len(), len);
    wire
}

#[test]
fn the_bytes_of_version_3() {
    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 47,                            // length
        0, 0, 0, 3, 0, 0, 0x12, 0x67,           // API, version, correlation id 4711
        0, 8, b'a', b'q', b'u', b'e', b'd', b'u', b'c', b't',
        0xff, 0xff,                             // no transactional id
        0xff, 0xff,                             // acks
        0, 0, 0x75, 0x30,                       // 30 s
        0, 0, 0, 1, 0, 1, b't',                 // one topic
        0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 8, 9,
    ];
    assert_eq!(spliced(3, &vec![("t".into(), vec![(5, vec![8, 9])])]), expected);
}

#[test]
fn the_bytes_of_version_9() {
    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 40,
        0, 0, 0, 9, 0, 0, 0x12, 0x67,
        0, 8, b'a', b'q', b'u', b'e', b'd', b'u', b'c', b't', 0,
        0,
        0xff, 0xff,
        0, 0, 0x75, 0x30,
        2, 2, b't',
        2, 0, 0, 0, 5, 3, 8, 9, 0,              // the batch, and the tags of its partition
        0, 0,                                   // tags of the topic and of the request
    ];
    assert_eq!(spliced(9, &vec![("t".into(), vec![(5, vec![8, 9])])]), expected);
}

fn any_topics() -> impl Strategy<Value = Topics> {
    let partition = (any::<i32>(), prop::collection::vec(any::<u8>(), 0..400));
    prop::collection::vec(("[a-z]{1,20}", prop::collection::vec(partition, 0..5)), 0..5)
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,20}")
}

prop_compose! {
    fn any_partition()(
        index: i32, error in -1i16..140, offset: i64, append_time: i64, start: i64,
        errors in prop::collection::vec((any::<i32>(), any_text()), 0..3),
        message in any_text(), leader in prop::option::of((any::<i32>(), any::<i32>())),
    ) -> PartitionProduceResponse {
        let errors = errors.into_iter().map(|(index, text)| BatchIndexAndErrorMessage::default()
            .with_batch_index(index).with_batch_index_error_message(text.map(StrBytes::from_string))).collect();
        let (leader, epoch) = leader.unwrap_or((-1, -1));
        PartitionProduceResponse::default().with_index(index).with_error_code(error).with_base_offset(offset)
            .with_log_append_time_ms(append_time).with_log_start_offset(start).with_record_errors(errors)
            .with_error_message(message.map(StrBytes::from_string))
            .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch))
    }
}

prop_compose! {
    fn any_response()(
        topics in prop::collection::vec(("[a-z]{1,20}", prop::collection::vec(any_partition(), 0..4)), 0..4),
        throttle: i32, version in 3i16..=12,
    ) -> (i16, ProduceResponse) {
        let topics = topics.into_iter().map(|(name, mut partitions)| {
            for p in &mut partitions {
                if version < 5 { p.log_start_offset = -1 }
                if version < 8 { p.record_errors.clear(); p.error_message = None }
                if version < 10 { p.current_leader = LeaderIdAndEpoch::default() }
            }
            TopicProduceResponse::default().with_name(TopicName(StrBytes::from_string(name))).with_partition_responses(partitions)
        }).collect();
        (version, ProduceResponse::default().with_responses(topics).with_throttle_time_ms(throttle))
    }
}

fn encoded((version, response): &(i16, ProduceResponse)) -> Vec<u8> {
    let mut body = Vec::new();
    response.encode(&mut body, *version).unwrap();
    body
}

proptest! {
    #[test]
    fn a_broker_reads_what_we_splice(topics in any_topics(), version in 3i16..=12) {
        let wire = spliced(version, &topics);
        prop_assert_eq!(u32::from_be_bytes(wire[..4].try_into().unwrap()) as usize, wire.len() - 4);
        let mut bytes = Bytes::from(wire).slice(4..);
        let header = RequestHeader::decode(&mut bytes, ProduceRequest::header_version(version)).unwrap();
        prop_assert_eq!((header.request_api_key, header.request_api_version, header.correlation_id), (0, version, 4711));
        prop_assert_eq!(header.client_id.as_deref(), Some("aqueduct"));
        let request = ProduceRequest::decode(&mut bytes, version).unwrap();
        prop_assert!(bytes.is_empty());
        prop_assert!(request.transactional_id.is_none());
        prop_assert_eq!((request.acks, request.timeout_ms), (-1, 30_000));
        let read: Topics = request.topic_data.iter().map(|t| (t.name.to_string(),
            t.partition_data.iter().map(|p| (p.index, p.records.as_ref().unwrap().to_vec())).collect())).collect();
        prop_assert_eq!(read, topics);
    }

    #[test]
    fn we_read_what_a_broker_answers(response in any_response()) {
        let body = encoded(&response);
        let (version, theirs) = response;
        let ours = decode_response(version, &body).unwrap();
        prop_assert_eq!(ours.throttle_time_ms, theirs.throttle_time_ms);
        let mut read = ours.partitions();
        for topic in &theirs.responses {
            for p in &topic.partition_responses {
                let r = read.next().unwrap();
                prop_assert_eq!((r.topic, r.partition, r.error_code.code()), (topic.name.as_str(), p.index, p.error_code));
                prop_assert_eq!((r.base_offset, r.log_append_time_ms, r.log_start_offset),
                    (p.base_offset, p.log_append_time_ms, p.log_start_offset));
                prop_assert_eq!(r.error_message, p.error_message.as_deref());
                let errors: Vec<_> = r.record_errors.map(|e| (e.batch_index, e.message.map(str::to_owned))).collect();
                let expected: Vec<_> = p.record_errors.iter()
                    .map(|e| (e.batch_index, e.batch_index_error_message.as_deref().map(str::to_owned))).collect();
                prop_assert_eq!(errors, expected);
                let leader = r.current_leader.map_or((-1, -1), |l| (l.id, l.epoch));
                prop_assert_eq!(leader, (*p.current_leader.leader_id, p.current_leader.leader_epoch));
            }
        }
        prop_assert!(read.next().is_none());
    }

    #[test]
    fn a_damaged_response_is_an_error_or_another_response_but_never_a_panic(
        response in any_response(), at in any::<prop::sample::Index>(), to: u8, cut: bool,
    ) {
        let mut body = encoded(&response);
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = to }
        let decoded = decode_response(response.0, &body);
        prop_assert!(!cut || decoded.is_err(), "a part is never taken for the whole");
        if let Ok(decoded) = decoded {
            let _ = decoded.partitions().map(|p| p.record_errors.count()).sum::<usize>();
        }
    }
}

#[test]
fn the_oracle_knows_every_version_we_speak() {
    let ours = ApiKey::Produce.api();
    assert!(ProduceRequest::VERSIONS.min <= ours.version_min && ours.version_max <= ProduceRequest::VERSIONS.max);
    for version in ours.version_min..=ours.version_max {
        assert_eq!(ProduceRequest::header_version(version) == 2, ApiKey::Produce.is_flexible(version));
        assert_eq!(ProduceResponse::header_version(version) == 1, ApiKey::Produce.has_response_tags(version));
    }
}
