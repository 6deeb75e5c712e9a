//! Records that are larger than their topic takes are refused before they are sent.

use kafka::compression::Compression;
use kafka::record_batch::{HEADER_LEN, RawHeaders, Records, lone_record_bytes};

use super::rig::{Rig, publish, settings, sink, sink_with};
use crate::rule::{Columns, Template};
use crate::shard::SinkSettings;
use crate::shard::io::ConnKey;
use crate::sink::Writer;
use crate::sink::packing::Packing;
use crate::sink::script::Script;
use crate::ticket::Outcome;

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

/// What the topics take, header included.
const BATCH_BYTES_MAX: usize = 1_000;

fn script(rig: &mut Rig) -> &mut Script {
    let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
    script
}

fn rig(sinks: Vec<SinkSettings>) -> Rig {
    let mut rig = Rig::with_writer(settings(sinks), Writer::Script(Script::new(Some(3))));
    set_limit(&mut rig, Some(BATCH_BYTES_MAX));
    rig
}

fn set_limit(rig: &mut Rig, bytes: Option<usize>) {
    (script(rig).batch_bytes_max, script(rig).limits_changed) = (bytes, true);
    rig.round();
}

fn with_grave(first: SinkSettings) -> Vec<SinkSettings> {
    let second = SinkSettings { route: sink_with("never", "null").route, ..sink() };
    vec![SinkSettings { name: "main".to_string(), dead_letter: Some(1), ..first }, second]
}

fn say(rig: &mut Rig, conn: ConnKey, id: u16, len: usize) {
    rig.feed(conn, &publish(5, 1, id, "t", &vec![b'x'; len]));
    rig.round();
}

/// Stores whatever waits.
fn store_all(rig: &mut Rig) {
    for _ in 0..4 {
        while !script(rig).open.is_empty() {
            script(rig).answer(0, STORED);
        }
        rig.round();
    }
}

fn audit(rig: &mut Rig) {
    let outside_bytes = script(rig).batches().map(|b| b.charge_bytes).sum();
    rig.shard.audit(outside_bytes);
}

/// Identifier and reason of each PUBACK.
fn acks(bytes: &[u8]) -> Vec<(u16, u8)> {
    let (mut rest, mut acks) = (bytes, Vec::new());
    while let [0x40, len, high, low, more @ ..] = rest {
        acks.push((u16::from_be_bytes([*high, *low]), if *len > 2 { more[0] } else { 0 }));
        rest = &rest[usize::from(*len) + 2..];
    }
    acks
}

/// The longest payload of client `c` that a batch of one has room for.
fn longest() -> usize {
    let alone = |len| HEADER_LEN + lone_record_bytes(Some(b"c"), Some(&vec![0; len]), RawHeaders::NONE);
    (0..BATCH_BYTES_MAX).rev().find(|&len| alone(len) <= BATCH_BYTES_MAX).expect("one")
}

#[test]
fn the_publisher_is_refused_and_its_neighbours_are_stored() {
    let mut rig = rig(vec![sink()]);
    let conn = rig.connect("c", 5);
    for (id, len) in (1..).zip([10, longest(), longest() + 1, 10]) {
        say(&mut rig, conn, id, len);
    }
    let records: u32 = script(&mut rig).open.iter().map(|batch| batch.records).sum();
    assert_eq!(records, 3, "the same byte is the first too many for us and for Kafka");
    audit(&mut rig);
    store_all(&mut rig);
    let sent = rig.sent(conn);
    assert_eq!(acks(&sent), [(1, 0), (2, 0), (3, 0x97), (4, 0)]);
    assert!(String::from_utf8_lossy(&sent).contains("max.message.bytes"), "the reason names the limit");
    let counters = rig.shard.sink_counters[0];
    assert_eq!((counters.matched, counters.success, counters.failed, counters.too_large), (4, 3, 1, 1));
    assert_eq!(rig.shard.charged_bytes().0, 0);
}

#[test]
fn a_limit_that_was_raised_or_that_nobody_tells_refuses_nothing() {
    for limit in [Some(4 * BATCH_BYTES_MAX), None] {
        let mut rig = rig(vec![sink()]);
        let conn = rig.connect("c", 5);
        say(&mut rig, conn, 1, longest() + 1);
        set_limit(&mut rig, limit);
        say(&mut rig, conn, 2, longest() + 1);
        store_all(&mut rig);
        assert_eq!(acks(&rig.sent(conn)), [(1, 0x97), (2, 0)], "{limit:?}");
    }
}

#[test]
fn what_is_compressed_is_left_to_kafka() {
    let packing = Packing { codec: Compression::Lz4, level: None };
    let mut rig = rig(vec![SinkSettings { packing, ..sink() }]);
    let conn = rig.connect("c", 5);
    say(&mut rig, conn, 1, longest() + 1);
    store_all(&mut rig);
    assert_eq!(acks(&rig.sent(conn)), [(1, 0)]);
}

#[test]
fn a_client_of_mqtt_3_is_closed() {
    let mut rig = rig(vec![sink()]);
    let conn = rig.connect("c", 4);
    rig.feed(conn, &publish(4, 1, 1, "t", &vec![b'x'; longest() + 1]));
    rig.round();
    assert!(script(&mut rig).open.is_empty() && acks(&rig.sent(conn)).is_empty());
    assert_eq!(rig.shard.sink_counters[0].too_large, 1);
}

/// The value of the only batch that waits, and what its headers say.
fn dead(rig: &mut Rig) -> (usize, Vec<(String, String)>) {
    let [batch] = script(rig).open.as_slice() else { panic!("one batch") };
    assert_eq!((batch.part.sink, batch.records), (1, 1));
    let record = Records::new(1, &batch.bytes[HEADER_LEN..]).next().expect("a record").expect("whole");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let headers = record.headers.map(|header| (text(header.key), text(header.value.expect("a value"))));
    (record.value.expect("a value").len(), headers.collect())
}

#[test]
fn it_goes_to_the_dead_letters_with_cause_and_origin() {
    let mut rig = rig(with_grave(sink()));
    let conn = rig.connect("c", 5);
    say(&mut rig, conn, 1, longest() + 1);
    assert_eq!(acks(&rig.sent(conn)), [], "not before it is stored");
    let (len, headers) = dead(&mut rig);
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["aqueduct.cause", "aqueduct.sink", "aqueduct.topic", "aqueduct.partition", "aqueduct.timestamp"];
    assert_eq!((len, names.as_slice()), (longest() + 1, expected.as_slice()));
    let told: Vec<&str> = headers[..3].iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(told, ["too_large", "main", "t"]);
    store_all(&mut rig);
    assert_eq!(acks(&rig.sent(conn)), [(1, 0)]);
    let counters = rig.shard.sink_counters[0];
    assert_eq!((counters.failed, counters.dead_lettered, counters.too_large), (1, 1, 1));
    // The next one of the same client is placed where it belongs.
    say(&mut rig, conn, 2, 10);
    assert_eq!(script(&mut rig).open[0].part.sink, 0);
    audit(&mut rig);
}

#[test]
fn each_of_several_sinks_judges_for_itself() {
    // One takes the payload, and one what is short whatever the payload.
    let mut short = sink();
    short.route.value = Template::compile("short", Columns::Publish).expect("a template");
    let mut sinks = with_grave(sink());
    sinks.push(short);
    let mut rig = rig(sinks);
    let conn = rig.connect("c", 5);
    for id in 1..=3 {
        say(&mut rig, conn, id, longest() + usize::from(id));
    }
    let mut by_sink = [0; 3];
    script(&mut rig).open.iter().for_each(|batch| by_sink[usize::from(batch.part.sink)] += batch.records);
    assert_eq!(by_sink, [0, 3, 3]);
    audit(&mut rig);
    store_all(&mut rig);
    assert_eq!(acks(&rig.sent(conn)), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(rig.shard.charged_bytes().0, 0);
}

#[test]
fn topics_that_messages_name_have_limits_too() {
    let mut first = SinkSettings { live_topics_max: 2, ..sink() };
    first.route.topic = Some(Template::compile("t-${topic}", Columns::Publish).expect("a template"));
    let mut rig = rig(with_grave(first));
    let conn = rig.connect("c", 5);
    say(&mut rig, conn, 1, longest() + 1);
    let (_, headers) = dead(&mut rig);
    assert_eq!(headers[2], ("aqueduct.topic".to_string(), "t-t".to_string()));
    store_all(&mut rig);
    say(&mut rig, conn, 2, 10);
    assert_eq!(script(&mut rig).open[0].topic_name, "t-t");
    store_all(&mut rig);
    assert_eq!(acks(&rig.sent(conn)), [(1, 0), (2, 0)]);
    audit(&mut rig);
}
