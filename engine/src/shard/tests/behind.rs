//! What waits behind a batch that was given up goes with it, where publishers wait for an outcome.

use super::mqtt_client::read;
use super::rig::{Rig, publish, settings, sink};
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::config::QueryMode;
use crate::shard::io::{Input, Machine as _, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::placement::home_of;
use crate::shard::{Settings, SinkSettings};
use crate::sink::Writer;
use crate::sink::accumulator::BatchLimits;
use crate::sink::discard::Discard;
use crate::sink::script::Script;
use crate::ticket::{FailReason, Lane, Outcome, Run};

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
        match rig.world.mesh.pop_front() {
            Some((ShardId(0), MeshMsg::GapKnown { sink: 0, partition: 0, topic })) if topic.is_empty() => {}
            other => panic!("the owner is told that the gap is known: {other:?}"),
        }
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
    assert!(matches!(rig.world.mesh.pop_front(), Some((_, MeshMsg::GapKnown { .. }))));
    assert_eq!(handed_over(&mut rig).records, 2);
}

/// The owner of a partition of shard 1's sinks, which sends what is in its script.
struct Owner(Rig);

impl Owner {
    fn new() -> Self {
        let writer = Writer::Script(Script::new(Some(1)));
        Self(Rig::at(ShardId(0), Settings { shards: 3, ..settings(vec![sink()]) }, writer))
    }

    fn script(&mut self) -> &mut Script {
        let Writer::Script(script) = &mut self.0.shard.writers[0] else { panic!("a script") };
        script
    }

    fn mesh(&mut self, from: ShardId, message: MeshMsg) {
        self.0.shard.on(self.0.now, Input::Mesh(from, message), &mut self.0.world);
        self.0.round();
    }

    /// A batch comes from this shard, whose publisher waits for its outcome; whether it is the writer's now.
    fn takes_from(&mut self, home: u16) -> bool {
        self.takes(
            home,
            vec![Run { session: 0, lane_gen: 0, first: 0, record: 0, n: 1, lane: Lane::PubAck, cause: None }],
        )
    }

    fn takes(&mut self, home: u16, runs: Vec<Run>) -> bool {
        let mut batch = BatchPool::new(ShardId(home), 0).take(PartKey { sink: 0, partition: 0 }, 0, self.0.now.mono);
        batch.runs = runs;
        let before = self.script().open.len();
        self.mesh(ShardId(home), MeshMsg::HandOver(batch));
        self.script().open.len() > before
    }

    fn gives_up_the_first(&mut self) {
        self.script().answer(0, Outcome::Failed(FailReason::Expired));
        self.0.round();
    }

    /// The home of a batch that went back says that it knows of the gap.
    fn is_told(&mut self, home: u16) {
        match self.0.world.mesh.pop_front() {
            Some((to, MeshMsg::Return(_, Outcome::Failed(FailReason::Expired)))) if to == ShardId(home) => {}
            other => panic!("no batch goes back to {home}: {other:?}"),
        }
        self.mesh(ShardId(home), MeshMsg::GapKnown { sink: 0, topic: "".into(), partition: 0 });
    }
}

#[test]
fn what_was_on_its_way_when_the_head_was_given_up_goes_with_it() {
    let mut owner = Owner::new();
    assert!(owner.takes_from(1));
    owner.gives_up_the_first();
    assert!(!owner.takes_from(1), "its home had not heard of the gap");
    assert!(owner.takes_from(2), "another home has none");
    owner.is_told(1);
    assert!(!owner.takes_from(1), "it was sent before the second came home");
    owner.is_told(1);
    owner.is_told(1);
    assert!(owner.takes_from(1), "it was filled later");
    assert!(owner.0.world.mesh.is_empty());
}

#[test]
fn what_nobody_waits_for_is_taken_behind_a_gap() {
    let mut owner = Owner::new();
    assert!(owner.takes_from(1));
    owner.gives_up_the_first();
    assert!(owner.takes(1, Vec::new()));
    assert!(!owner.takes_from(1));
}
