//! What waits behind a batch that was given up goes with it, where publishers wait for an outcome.

use super::mqtt_client::read;
use super::rig::{Rig, publish, settings, sink};
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::config::{BufferMode, OnFailedV3, QueryMode};
use crate::log::journal::{JournalDone, JournalId, JournalOp, JournalStart};
use crate::log::{DiskDone, DiskOp};
use crate::shard::io::{ConnKey, Input, Machine as _, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::placement::home_of;
use crate::shard::{Settings, SinkSettings};
use crate::sink::Writer;
use crate::sink::discard::Discard;
use crate::sink::script::Script;
use crate::ticket::{FailReason, Lane, Outcome, Refused, Run};

/// A shard that owns no partition it writes to, and has one batch of each away at a time.
fn rig(query_mode: QueryMode) -> Rig {
    rig_with(SinkSettings { query_mode, ..sink() })
}

fn rig_with(sink: SinkSettings) -> Rig {
    rig_of(settings(vec![sink]))
}

fn rig_of(mut settings: Settings) -> Rig {
    settings.sinks[0].limits.inflight_max = 1;
    // One partition, which is the first shard's.
    Rig::at(ShardId(1), Settings { shards: 2, ..settings }, Writer::Discard(Discard::new(1)))
}

fn handed_over(rig: &mut Rig) -> Box<Batch> {
    match rig.world.mesh.pop_front() {
        Some((ShardId(0), MeshMsg::HandOver(batch))) => batch,
        other => panic!("no batch for the owner: {other:?}"),
    }
}

fn connect(rig: &mut Rig, version: u8) -> ConnKey {
    let at_home = |id: &String| home_of(id, 2) == ShardId(1);
    rig.connect(&(0..).map(|n| format!("c{n}")).find(at_home).expect("one in so many"), version)
}

/// Three messages, of which the first is away when its batch fails for this reason; what the publisher hears.
fn failed(rig: &mut Rig, why: FailReason) -> Vec<String> {
    heard(rig, 5, |batch| (batch, Outcome::Failed(why)))
}

/// The same of a client of either version, where the batch comes back like this.
fn heard(rig: &mut Rig, version: u8, back: impl FnOnce(Box<Batch>) -> (Box<Batch>, Outcome)) -> Vec<String> {
    let conn = connect(rig, version);
    for id in 1..=3 {
        rig.feed(conn, &publish(version, 1, id, "t", b"x"));
        rig.round();
    }
    let batch = handed_over(rig);
    assert_eq!(batch.records, 1);
    assert!(rig.world.mesh.is_empty(), "the others wait for its outcome");
    let (batch, outcome) = back(batch);
    rig.shard.on(rig.now, Input::Mesh(ShardId(0), MeshMsg::Return(batch, outcome)), &mut rig.world);
    rig.round();
    read(version, &rig.sent(conn))
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

/// Somebody waits for its outcome.
const RUN: Run = Run { session: 0, lane_gen: 0, first: 0, record: 0, n: 1, lane: Lane::PubAck, cause: None };

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
        self.takes(home, vec![RUN])
    }

    fn takes(&mut self, home: u16, runs: Vec<Run>) -> bool {
        self.takes_one(home, |batch| batch.runs = runs)
    }

    fn takes_one(&mut self, home: u16, make: impl FnOnce(&mut Batch)) -> bool {
        let mut batch = BatchPool::new(ShardId(home), 0).take(PartKey { sink: 0, partition: 0 }, 0, self.0.now.mono);
        make(&mut batch);
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

#[test]
fn what_is_kept_on_disk_in_async_is_taken_behind_a_gap_whoever_waits_for_some_of_it() {
    let mut owner = Owner::new();
    assert!(owner.takes_from(1));
    owner.gives_up_the_first();
    let kept = |batch: &mut Batch| (batch.runs, batch.told_when_durable) = (vec![RUN], true);
    assert!(owner.takes_one(1, kept));
}

#[test]
fn a_piece_that_is_given_up_takes_the_tail_along() {
    let mut rig = rig(QueryMode::Sync);
    let back = |mut batch: Box<Batch>| {
        batch.refused = vec![Refused { first: 0, n: 1, why: FailReason::Expired }];
        (batch, Outcome::Stored { base_offset: -1 })
    };
    assert_eq!(heard(&mut rig, 5, back), ["puback 1 0x83", "puback 2 0x83", "puback 3 0x83"]);
    assert!(matches!(rig.world.mesh.pop_front(), Some((_, MeshMsg::GapKnown { .. }))));
    assert!(rig.world.mesh.is_empty());
}

#[test]
fn an_old_client_is_acknowledged_only_what_could_never_be_written() {
    for (why, acknowledged) in [(FailReason::Invalid, 1), (FailReason::Expired, 0), (FailReason::RetriesExhausted, 0)] {
        let mut rig = rig_with(SinkSettings { on_failed_v3: OnFailedV3::Ack, ..sink() });
        let heard = heard(&mut rig, 4, |batch| (batch, Outcome::Failed(why)));
        assert_eq!(heard.len(), acknowledged, "{why:?}: {heard:?}");
        assert_eq!(rig.world.closed.len(), 1 - acknowledged, "{why:?}");
    }
}

/// It is held for what it has open when that is refused: what it sent behind it and nobody has read goes with the connection.
#[test]
fn a_held_connection_that_ends_with_a_refusal_places_nothing_more() {
    let mut rig = rig_of(Settings { open_bytes_v3_max: 1, ..settings(vec![sink()]) });
    let heard = heard(&mut rig, 4, |batch| (batch, Outcome::Failed(FailReason::Expired)));
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!(rig.world.closed.len(), 1);
    assert_eq!(rig.shard.sinks[0].accumulator.open_records(), 0, "nothing is stored before what was refused");
}

/// What is asked of the disk was done.
fn serve_disk(rig: &mut Rig) {
    for op in std::mem::take(&mut rig.world.disk) {
        let done = match op {
            DiskOp::Journal(JournalOp::Append { segment, batches, .. }) => {
                JournalDone::Appended { segment, batches, sync_ns: 1, result: Ok(()) }
            }
            DiskOp::Journal(JournalOp::Positions { journal, .. }) => JournalDone::Positions { journal, result: Ok(()) },
            other => panic!("unexpected: {other:?}"),
        };
        rig.shard.on(rig.now, Input::Disk(DiskDone::Journal(done)), &mut rig.world);
    }
    rig.round();
}

#[test]
fn what_is_being_written_to_disk_goes_with_its_head() {
    let mut rig = rig_with(SinkSettings { buffer: BufferMode::Disk, ..sink() });
    rig.shard = rig.shard.with_journals(vec![JournalStart::empty(0, JournalId(7), 1)]);
    let conn = connect(&mut rig, 5);
    rig.feed(conn, &publish(5, 1, 1, "t", b"x"));
    rig.round();
    serve_disk(&mut rig);
    let head = handed_over(&mut rig);
    rig.feed(conn, &publish(5, 1, 2, "t", b"x"));
    rig.round();
    assert!(!rig.world.disk.is_empty(), "the second is being written");
    let back = MeshMsg::Return(head, Outcome::Failed(FailReason::Expired));
    rig.shard.on(rig.now, Input::Mesh(ShardId(0), back), &mut rig.world);
    rig.round();
    assert_eq!(read(5, &rig.sent(conn)), ["puback 1 0x83"]);
    assert!(matches!(rig.world.mesh.pop_front(), Some((_, MeshMsg::GapKnown { .. }))));
    serve_disk(&mut rig);
    assert_eq!(read(5, &rig.sent(conn)), ["puback 2 0x83"]);
    assert!(rig.world.mesh.is_empty(), "nothing goes on behind the gap");
    rig.feed(conn, &publish(5, 1, 3, "t", b"x"));
    rig.round();
    serve_disk(&mut rig);
    assert_eq!(handed_over(&mut rig).records, 1);
}
