//! Records that can never be written: where they go, and what their publishers hear.

use kafka::record_batch::{HEADER_LEN, Records};

use super::rig::{Rig, publish, settings, sink};
use crate::buffer::Batch;
use crate::shard::SinkSettings;
use crate::sink::Writer;
use crate::sink::packing::{Packer, Packing};
use crate::sink::script::Script;
use crate::ticket::{FailReason, Outcome, Refused};

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

fn script(rig: &mut Rig) -> &mut Script {
    let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
    script
}

/// A shard whose first sink takes everything and whose second takes what that can never write.
fn rig() -> Rig {
    let first = SinkSettings { name: "main".to_string(), dead_letter: Some(1), ..sink() };
    let second = SinkSettings { route: super::rig::sink_with("never", "null").route, ..sink() };
    Rig::with_writer(settings(vec![first, second]), Writer::Script(Script::new(Some(1))))
}

fn acks(bytes: &[u8]) -> Vec<(u16, u8)> {
    let (mut rest, mut acks) = (bytes, Vec::new());
    while let [0x40, len, high, low, more @ ..] = rest {
        let reason = if *len > 2 { more[0] } else { 0 };
        acks.push((u16::from_be_bytes([*high, *low]), reason));
        rest = &rest[usize::from(*len) + 2..];
    }
    acks
}

/// Values and headers of a batch.
fn contents(batch: &Batch) -> Vec<(String, Vec<(String, String)>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let records = Records::new(batch.records, &batch.bytes[HEADER_LEN..]).map(Result::unwrap);
    records
        .map(|r| (text(r.value.unwrap()), r.headers.map(|h| (text(h.key), text(h.value.unwrap()))).collect()))
        .collect()
}

/// Three publications in one batch, the second of which is refused.
fn one_of_three(rig: &mut Rig, outcome: Outcome, refused: Vec<Refused>) -> crate::shard::io::ConnKey {
    let conn = rig.connect("c", 5);
    let bytes: Vec<u8> = (1..=3u16).flat_map(|id| publish(5, 1, id, "t", format!("value {id}").as_bytes())).collect();
    rig.feed(conn, &bytes);
    rig.round();
    script(rig).open[0].refused = refused;
    script(rig).answer(0, outcome);
    rig.round();
    let outside_bytes = script(rig).batches().map(|b| b.charge_bytes).sum();
    rig.shard.audit(outside_bytes);
    conn
}

const SECOND: Refused = Refused { first: 1, n: 1, why: FailReason::TooLarge };

#[test]
fn a_culprit_goes_there_and_is_acknowledged_once_it_is_stored() {
    let mut rig = rig();
    let conn = one_of_three(&mut rig, STORED, vec![SECOND]);
    assert_eq!(acks(&rig.sent(conn)), [(1, 0)], "the neighbours are stored, and wait only for their turn");
    let batch = &script(&mut rig).open[0];
    assert_eq!((batch.part.sink, batch.records), (1, 1));
    let headers = [
        ("aqueduct.cause", "too_large"),
        ("aqueduct.sink", "main"),
        ("aqueduct.topic", "t"),
        ("aqueduct.partition", "0"),
        ("aqueduct.timestamp", "1700000000000"),
    ];
    let headers = headers.map(|(k, v)| (k.to_string(), v.to_string())).to_vec();
    assert_eq!(contents(batch), [("value 2".to_string(), headers)]);
    script(&mut rig).answer(0, STORED);
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(2, 0), (3, 0)]);
    let [main, dead] = [rig.shard.sink_counters[0], rig.shard.sink_counters[1]];
    assert_eq!((main.matched, main.success, main.failed, main.dead_lettered), (3, 2, 1, 1));
    assert_eq!((dead.matched, dead.success, dead.failed), (1, 1, 0));
    rig.shard.audit(0);
    assert_eq!(rig.shard.charged_bytes().0, 0);
}

#[test]
fn where_that_fails_too_the_first_failure_is_told() {
    let mut rig = rig();
    let conn = one_of_three(&mut rig, STORED, vec![SECOND]);
    script(&mut rig).answer(0, Outcome::Failed(FailReason::Unauthorized));
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(1, 0), (2, 0x97), (3, 0)], "quota exceeded, not unauthorized");
    assert_eq!(rig.shard.sink_counters[1].failed, 1);
}

#[test]
fn a_batch_that_fails_as_a_whole_goes_there_as_a_whole() {
    let mut rig = rig();
    let third = Refused { first: 2, n: 1, why: FailReason::Invalid };
    let conn = one_of_three(&mut rig, Outcome::Failed(FailReason::Unauthorized), vec![third]);
    assert_eq!(acks(&rig.sent(conn)), []);
    let found = contents(&script(&mut rig).open[0]);
    let causes: Vec<_> = found.iter().map(|(value, headers)| (value.as_str(), headers[0].1.as_str())).collect();
    assert_eq!(causes, [("value 1", "unauthorized"), ("value 2", "unauthorized"), ("value 3", "invalid")]);
    script(&mut rig).answer(0, STORED);
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn what_is_no_fault_of_the_record_does_not_go_there() {
    let mut rig = rig();
    let conn = one_of_three(&mut rig, Outcome::Failed(FailReason::Disk), vec![SECOND]);
    assert_eq!(acks(&rig.sent(conn)), [(1, 0x83)]);
    assert_eq!(contents(&script(&mut rig).open[0]).len(), 1, "only the culprit");
    script(&mut rig).answer(0, STORED);
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(2, 0), (3, 0x83)]);
}

#[test]
fn records_of_a_compressed_batch_are_found() {
    let mut rig = rig();
    let conn = rig.connect("c", 5);
    let bytes: Vec<u8> = (1..=3u16).flat_map(|id| publish(5, 1, id, "t", &[b'0' + id as u8; 400])).collect();
    rig.feed(conn, &bytes);
    rig.round();
    let batch = &mut script(&mut rig).open[0];
    Packer::default().pack(batch, Packing { codec: kafka::compression::Compression::Lz4, level: None });
    assert!(batch.bytes.len() < 600);
    batch.refused = vec![SECOND];
    script(&mut rig).answer(0, STORED);
    rig.round();
    assert_eq!(contents(&script(&mut rig).open[0])[0].0, "2".repeat(400));
}

#[test]
fn it_waits_until_the_other_topic_is_known_and_there_is_memory() {
    let mut rig = rig();
    let conn = rig.connect("c", 5);
    rig.feed(conn, &publish(5, 1, 1, "t", b"x"));
    rig.round();
    script(&mut rig).partitions = None;
    script(&mut rig).answer(0, Outcome::Failed(FailReason::Invalid));
    rig.round();
    assert!(script(&mut rig).open.is_empty());
    rig.shard.audit(0);
    assert!(rig.shard.charged_bytes().0 > 0, "it keeps its charge");
    script(&mut rig).partitions = Some(1);
    // No memory is left, but nothing else is under way there that would make room.
    let free = rig.shard.budget.free_bytes();
    rig.shard.budget.charge(free);
    rig.round();
    rig.shard.budget.release(free);
    assert_eq!(script(&mut rig).open.len(), 1);
    script(&mut rig).answer(0, STORED);
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(1, 0)]);
}
