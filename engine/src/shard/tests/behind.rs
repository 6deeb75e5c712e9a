//! What waits behind a batch that was given up goes with it, where publishers wait for an outcome.

use super::mqtt_client::read;
use super::rig::{Rig, publish, settings, sink};
use crate::buffer::Batch;
use crate::config::QueryMode;
use crate::shard::io::{Input, Machine as _, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::placement::home_of;
use crate::shard::{Settings, SinkSettings};
use crate::sink::Writer;
use crate::sink::accumulator::BatchLimits;
use crate::sink::discard::Discard;
use crate::ticket::{FailReason, Outcome};

/// A shard that owns no partition it writes to, and has one batch of each away at a time.
fn rig(query_mode: QueryMode) -> Rig {
    let limits = BatchLimits { inflight_max: 1, ..sink().limits };
    let settings = settings(vec![SinkSettings { limits, query_mode, ..sink() }]);
    // One partition, which is the first shard's.
    Rig::at(ShardId(1), Settings { shards: 2, ..settings }, Writer::Discard(Discard::new(1)))
}

fn handed_over(rig: &mut Rig) -> Box<Batch> {
    match rig.world.mesh.pop_front() {
        Some((ShardId(0), MeshMsg::HandOver(batch))) => batch,
        other => panic!("no batch for the owner: {other:?}"),
    }
}

/// Three messages, of which the first is away when its batch fails for this reason; what the publisher hears.
fn failed(rig: &mut Rig, why: FailReason) -> Vec<String> {
    let at_home = |id: &String| home_of(id, 2) == ShardId(1);
    let client = (0..).map(|n| format!("c{n}")).find(at_home).expect("one in so many");
    let conn = rig.connect(&client, 5);
    for id in 1..=3 {
        rig.feed(conn, &publish(5, 1, id, "t", b"x"));
        rig.round();
    }
    let batch = handed_over(rig);
    assert_eq!(batch.records, 1);
    assert!(rig.world.mesh.is_empty(), "the others wait for its outcome");
    let back = MeshMsg::Return(batch, Outcome::Failed(why));
    rig.shard.on(rig.now, Input::Mesh(ShardId(0), back), &mut rig.world);
    rig.round();
    read(5, &rig.sent(conn))
}

#[test]
fn with_its_head_the_tail_is_refused_in_order() {
    for why in [FailReason::Expired, FailReason::RetriesExhausted] {
        let mut rig = rig(QueryMode::Sync);
        assert_eq!(failed(&mut rig, why), ["puback 1 0x83", "puback 2 0x83", "puback 3 0x83"], "{why:?}");
        assert!(rig.world.mesh.is_empty(), "nothing goes on behind the gap");
        assert_eq!(rig.shard.sinks[0].accumulator.open_records(), 0);
    }
}

#[test]
fn a_record_that_is_itself_at_fault_takes_nothing_along() {
    let mut rig = rig(QueryMode::Sync);
    assert_eq!(failed(&mut rig, FailReason::Invalid), ["puback 1 0x83"]);
    assert_eq!(handed_over(&mut rig).records, 2);
}

#[test]
fn in_async_only_what_is_too_old_goes() {
    let mut rig = rig(QueryMode::Async);
    assert_eq!(failed(&mut rig, FailReason::Expired), ["puback 1 0x0", "puback 2 0x0", "puback 3 0x0"]);
    assert_eq!(handed_over(&mut rig).records, 2);
}
