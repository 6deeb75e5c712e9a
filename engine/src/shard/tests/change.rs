//! Another configuration while clients publish: what is open ends as it was begun, what comes next goes by the new one.

use kafka::record_batch::{HEADER_LEN, Records};

use super::rig::{Rig, configured, publish};
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::config::{Config, Document, Loaded, Machine, Sources};
use crate::log::journal::{JournalDone, JournalId, JournalOp, JournalStart};
use crate::log::{DiskDone, DiskOp};
use crate::metrics::SinkCounters;
use crate::plan::Plan;
use crate::shard::control::{Command, ControlMsg, Preparation, SlotState, Snapshot, Step};
use crate::shard::io::{ConnKey, Input, Machine as _, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::roster::Roster;
use crate::sink::Writer;
use crate::sink::script::Script;
use crate::ticket::{FailReason, Outcome};

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

const FIRST: &str = "[sinks.one]\nconnector = \"c\"\nsource_topics = [\"#\"]\ntopic = \"one\"\nvalue = \"${payload}\"\n\
                     linger = \"0ms\"\n";
const SECOND: &str = "[sinks.two]\nconnector = \"c\"\nsource_topics = [\"two/#\"]\ntopic = \"two\"\nvalue = \"${payload}\"\n\
                      linger = \"0ms\"\n";

fn file(sinks: &str) -> String {
    format!("[node]\nshards = 1\n[connectors.c]\ntype = \"discard\"\n{sinks}")
}

fn read(sinks: &str) -> (Config, Plan) {
    let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
    let loaded =
        Loaded::load(&Sources::file(Document::new("a.toml", &file(sinks))), &machine).expect("a configuration");
    let plan = Plan::new(&loaded.config, &machine).expect("a plan");
    (loaded.config, plan)
}

/// A shard and who tells it of changes.
struct Changing {
    rig: Rig,
    roster: Roster,
}

impl Changing {
    fn new(sinks: &str) -> Self {
        Self::with_partitions(sinks, Some(1))
    }

    fn with_partitions(sinks: &str, partitions: Option<u32>) -> Self {
        let rig = Rig::with_writer(configured(&file(sinks)), Writer::Script(Script::new(partitions)));
        Self { rig, roster: Roster::new(&read(sinks).0) }
    }

    fn tell(&mut self, command: Command) {
        self.rig.shard.on(self.rig.now, Input::Command(command), &mut self.rig.world);
    }

    fn steps(&mut self) -> Vec<Step> {
        let all = std::mem::take(&mut self.rig.world.control);
        all.into_iter()
            .filter_map(|message| if let ControlMsg::Changed(step) = message { Some(step) } else { None })
            .collect()
    }

    fn prepare(&mut self, sinks: &str) -> Snapshot {
        self.prepare_with(sinks, Vec::new())
    }

    fn prepare_with(&mut self, sinks: &str, starts: Vec<JournalStart>) -> Snapshot {
        let (config, plan) = read(sinks);
        let snapshot = self.roster.next(&config, &plan).expect("a change");
        let preparation = Preparation { snapshot: snapshot.clone(), starts, nonce_key: [0; 32] };
        self.tell(Command::Prepare(Box::new(preparation)));
        for &connector in &snapshot.fresh_connectors {
            self.rig.shard.writers[usize::from(connector)] = Writer::Script(Script::new(Some(1)));
        }
        self.rig.round();
        snapshot
    }

    /// The whole way of a change.
    fn change(&mut self, sinks: &str) {
        self.change_with(sinks, Vec::new());
    }

    fn change_with(&mut self, sinks: &str, starts: Vec<JournalStart>) {
        let snapshot = self.prepare_with(sinks, starts);
        let number = snapshot.number;
        assert_eq!(self.steps(), [Step::Prepared(number)]);
        self.tell(Command::Apply { number });
        assert_eq!(self.steps(), [Step::Applied(number)]);
        self.roster.applied(snapshot);
        self.rig.round();
    }

    fn publish(&mut self, conn: ConnKey, id: u16, topic: &str, payload: &str) {
        self.rig.feed(conn, &publish(4, 1, id, topic, payload.as_bytes()));
        self.rig.round();
    }

    fn script(&mut self) -> &mut Script {
        self.script_of(0)
    }

    fn script_of(&mut self, connector: usize) -> &mut Script {
        let Writer::Script(script) = &mut self.rig.shard.writers[connector] else { panic!("a script") };
        script
    }

    /// Sinks and connectors that have nothing left are forgotten.
    fn forget(&mut self) {
        for step in self.steps() {
            let Step::Left { sink, .. } = step else { panic!("unexpected: {step:?}") };
            assert!(self.roster.left(sink));
            self.tell(Command::Forget { sink });
        }
        for connector in self.roster.close_connectors() {
            self.tell(Command::CloseConnector { connector });
        }
    }

    fn answer(&mut self, index: usize, outcome: Outcome) {
        self.script().answer(index, outcome);
        self.rig.round();
    }

    /// Slot and values of the batches at the writer.
    fn open(&mut self) -> Vec<(u16, Vec<String>)> {
        let batch = |batch: &Batch| (batch.part.sink, values(batch));
        self.script().open.iter().map(|b| batch(b)).collect()
    }

    /// The disk does what it was asked to.
    fn serve_disk(&mut self) {
        for op in std::mem::take(&mut self.rig.world.disk) {
            let DiskOp::Journal(op) = op else { panic!("unexpected: {op:?}") };
            let done = match op {
                JournalOp::Append { segment, batches, .. } => {
                    JournalDone::Appended { segment, batches, sync_ns: 1, result: Ok(()) }
                }
                JournalOp::Positions { journal, .. } => JournalDone::Positions { journal, result: Ok(()) },
                JournalOp::Delete { segment } => JournalDone::Deleted { segment, result: Ok(()) },
                other => panic!("unexpected: {other:?}"),
            };
            self.rig.shard.on(self.rig.now, Input::Disk(DiskDone::Journal(done)), &mut self.rig.world);
        }
        self.rig.round();
    }

    /// The counters of all slots.
    fn sample(&mut self) -> Vec<SinkCounters> {
        self.tell(Command::Scrape { token: 1 });
        self.rig.round();
        let Some(ControlMsg::Sample { sample, .. }) = self.rig.world.control.pop() else { panic!("a sample") };
        sample.sinks
    }

    fn audit(&mut self) {
        let outside_bytes = self.script().batches().map(|b| b.charge_bytes).sum();
        self.rig.shard.audit(outside_bytes);
    }

    /// Identifiers of PUBACKs.
    fn acks(&mut self, conn: ConnKey) -> Vec<u16> {
        let bytes = self.rig.sent(conn);
        bytes.chunks(4).map(|ack| u16::from_be_bytes([ack[2], ack[3]])).collect()
    }
}

fn values(batch: &Batch) -> Vec<String> {
    let records = Records::new(batch.records, &batch.bytes[HEADER_LEN..]).map(Result::unwrap);
    records.map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect()
}

fn one(slot: u16, value: &str) -> (u16, Vec<String>) {
    (slot, vec![value.to_owned()])
}

#[test]
fn a_client_stays_and_its_next_record_is_made_by_the_new_template() {
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "a/b", "old");
    changing.change(&FIRST.replace("${payload}", "${topic}"));
    changing.publish(conn, 2, "a/b", "new");
    assert_eq!(changing.open(), [one(0, "old"), one(0, "a/b")]);
    changing.answer(0, STORED);
    changing.answer(0, STORED);
    assert_eq!((changing.acks(conn), changing.rig.world.closed.len()), (vec![1, 2], 0));
    assert_eq!(changing.rig.shard.sink_counters[0].success, 2, "counters go on");
    changing.audit();
}

#[test]
fn nothing_changes_before_every_shard_is_ready_nor_when_it_is_taken_back() {
    let both = format!("{FIRST}{SECOND}");
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    let snapshot = changing.prepare(&both.replace("${payload}", "${topic}"));
    changing.publish(conn, 1, "two/x", "old");
    assert_eq!(changing.open(), [one(0, "old")], "neither the template nor the sink is there yet");
    changing.tell(Command::Withdraw { number: snapshot.number });
    changing.roster.withdrawn(snapshot);
    assert_eq!(changing.rig.shard.slots(), [SlotState::Active, SlotState::Vacant]);
    changing.steps();
    changing.change(&both);
    changing.publish(conn, 2, "two/x", "new");
    assert_eq!(changing.open(), [one(0, "old"), one(0, "new"), one(1, "new")]);
}

#[test]
fn a_shard_is_not_ready_before_it_knows_the_topic_of_a_new_sink() {
    let mut changing = Changing::with_partitions(FIRST, None);
    let snapshot = changing.prepare(&format!("{FIRST}{SECOND}"));
    assert_eq!(changing.steps(), []);
    changing.script().partitions = Some(1);
    changing.rig.round();
    assert_eq!(changing.steps(), [Step::Prepared(snapshot.number)]);
    changing.rig.round();
    assert_eq!(changing.steps(), [], "it is said once");
}

#[test]
fn a_batch_of_a_new_sink_is_taken_from_a_shard_that_works_by_it_already() {
    let mut changing = Changing::new(FIRST);
    changing.prepare(&format!("{FIRST}{SECOND}"));
    let mut pool = BatchPool::new(ShardId(1), 0);
    let batch = pool.take(PartKey { sink: 1, partition: 0 }, 0, changing.rig.now.mono);
    let message = Input::Mesh(ShardId(1), MeshMsg::HandOver(batch));
    changing.rig.shard.on(changing.rig.now, message, &mut changing.rig.world);
    assert_eq!(changing.script().open.len(), 1);
}

#[test]
fn a_ticket_that_waits_for_kafka_does_so_after_the_sink_became_asynchronous() {
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "t", "sync");
    changing.change(&format!("{FIRST}query_mode = \"async\"\n"));
    changing.publish(conn, 2, "t", "async");
    assert!(changing.acks(conn).is_empty(), "acknowledgements keep their order");
    changing.answer(0, STORED);
    assert_eq!(changing.acks(conn), [1, 2]);
    changing.change(FIRST);
    assert!(changing.rig.shard.sinks[0].promised_early, "the second is acknowledged and open");
    changing.answer(0, STORED);
    assert!(!changing.rig.shard.sinks[0].promised_early);
}

#[test]
fn no_batch_leaves_while_more_are_under_way_than_may_be() {
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    for id in 1..=3 {
        changing.publish(conn, id, "t", &format!("{id}"));
    }
    changing.change(&format!("{FIRST}max_inflight = 1\n"));
    changing.publish(conn, 4, "t", "4");
    for left in (1..=3).rev() {
        assert_eq!(changing.script().open.len(), left);
        changing.answer(0, STORED);
    }
    assert_eq!(changing.open(), [one(0, "4")]);
    changing.change(&format!("{FIRST}max_inflight = 2\n"));
    changing.publish(conn, 5, "t", "5");
    assert_eq!(changing.open(), [one(0, "4"), one(0, "5")]);
}

#[test]
fn a_smaller_limit_of_batches_counts_from_the_next_one_on() {
    let lingering = FIRST.replace("0ms", "1s");
    let mut changing = Changing::new(&lingering);
    let conn = changing.rig.connect("c", 4);
    let large = "x".repeat(3_000);
    changing.publish(conn, 1, "t", &large);
    changing.publish(conn, 2, "t", &large);
    changing.change(&format!("{lingering}max_batch_bytes = \"4KB\"\n"));
    changing.publish(conn, 3, "t", &large);
    changing.rig.after_ms(1_000);
    let records: Vec<usize> = changing.open().iter().map(|(_, values)| values.len()).collect();
    assert_eq!(records, [2, 1]);
    changing.audit();
}

#[test]
fn a_sink_that_left_takes_nothing_more_and_leaves_when_nothing_of_it_is_open() {
    let both = format!("{FIRST}{SECOND}");
    let mut changing = Changing::new(&both);
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "two/x", "before");
    changing.change(FIRST);
    changing.publish(conn, 2, "two/x", "after");
    assert_eq!(changing.open(), [one(0, "before"), one(1, "before"), one(0, "after")]);
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [], "a batch of it is open");
    changing.answer(1, STORED);
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [Step::Left { number: 1, sink: 1 }]);
    changing.answer(0, STORED);
    changing.answer(0, STORED);
    changing.rig.after_ms(200);
    assert_eq!(changing.acks(conn), [1, 2]);
    assert_eq!(changing.steps(), [], "it is said once");
    assert!(changing.roster.left(1));
    changing.tell(Command::Forget { sink: 1 });
    assert_eq!(changing.rig.shard.slots(), [SlotState::Active, SlotState::Vacant]);
    changing.change(&both);
    assert_eq!(changing.rig.shard.sink_counters[1].matched, 0, "who has the slot now counts anew");
    changing.publish(conn, 3, "two/x", "again");
    assert_eq!(changing.open(), [one(0, "again"), one(1, "again")]);
    changing.audit();
}

#[test]
fn a_sink_stays_as_long_as_a_publisher_goes_by_its_rules() {
    let mut changing = Changing::new(&format!("{FIRST}{SECOND}"));
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "two/x", "both");
    changing.change(SECOND);
    changing.answer(0, STORED);
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [], "the ticket is the first sink's, and waits for the second");
    changing.answer(0, STORED);
    changing.rig.after_ms(200);
    assert_eq!((changing.acks(conn), changing.steps()), (vec![1], vec![Step::Left { number: 1, sink: 0 }]));
}

#[test]
fn a_sink_that_comes_back_in_time_goes_on_where_it_was() {
    let both = format!("{FIRST}{SECOND}");
    let mut changing = Changing::new(&both);
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "two/x", "1");
    changing.change(FIRST);
    changing.change(&both);
    changing.publish(conn, 2, "two/x", "2");
    assert_eq!(changing.rig.shard.sink_counters[1].matched, 2);
    (0..4).for_each(|_| changing.answer(0, STORED));
    changing.rig.after_ms(200);
    assert_eq!((changing.acks(conn), changing.steps()), (vec![1, 2], vec![]));
}

#[test]
fn the_last_records_of_a_sink_that_left_still_find_their_grave() {
    let grave = "[sinks.lost]\nconnector = \"c\"\ntopic = \"lost\"\nlinger = \"0ms\"\n";
    let both = format!("{SECOND}dead_letter = \"lost\"\n{grave}");
    let mut changing = Changing::new(&format!("{FIRST}{both}"));
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "two/x", "poison");
    changing.change(FIRST);
    changing.answer(1, Outcome::Failed(FailReason::Invalid));
    assert_eq!(changing.open().last(), Some(&one(2, "poison")));
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [Step::Left { number: 1, sink: 1 }], "its last record is its grave's");
    changing.answer(1, STORED);
    changing.answer(0, STORED);
    changing.rig.after_ms(200);
    assert_eq!(
        (changing.acks(conn), changing.steps()),
        (vec![1], vec![]),
        "a grave stays as long as somebody names it"
    );
    assert!(changing.roster.left(1));
    changing.tell(Command::Forget { sink: 1 });
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [Step::Left { number: 1, sink: 2 }]);
}

#[test]
fn records_that_wait_for_a_grave_that_is_no_more_are_refused() {
    let grave = "[sinks.lost]\nconnector = \"c\"\ntopic = \"lost\"\nlinger = \"0ms\"\n";
    let lenient = format!("{FIRST}on_failed_v3 = \"ack\"\n");
    let mut changing = Changing::new(&format!("{lenient}dead_letter = \"lost\"\n{grave}"));
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "t", "poison");
    changing.script().partitions = None;
    changing.answer(0, Outcome::Failed(FailReason::Invalid));
    assert!(changing.acks(conn).is_empty(), "it waits for the topic of its grave");
    changing.change(&lenient);
    changing.rig.round();
    assert_eq!(changing.acks(conn), [1]);
    changing.audit();
}

fn journal(sink: u16) -> Vec<JournalStart> {
    vec![JournalStart::empty(sink, JournalId(7), 1)]
}

#[test]
fn a_sink_that_comes_with_a_buffer_on_disk_acknowledges_what_is_durable_and_leaves_when_all_has_been_sent() {
    let stored = format!("{SECOND}query_mode = \"async\"\nbuffer.mode = \"disk\"\n");
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    changing.change_with(&format!("{FIRST}{stored}"), journal(1));
    changing.change(&stored);
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [Step::Left { number: 2, sink: 0 }]);
    changing.publish(conn, 1, "two/x", "1");
    assert!(changing.acks(conn).is_empty(), "it is not durable");
    changing.serve_disk();
    assert_eq!((changing.acks(conn), changing.open()), (vec![1], vec![one(1, "1")]));
    changing.change(FIRST);
    changing.publish(conn, 2, "two/x", "2");
    changing.rig.after_ms(1_000);
    changing.serve_disk();
    assert_eq!(changing.steps(), [], "what was acknowledged has not been sent");
    changing.answer(0, STORED);
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [], "the disk does not know that it has");
    changing.rig.after_ms(1_000);
    changing.serve_disk();
    changing.rig.after_ms(200);
    assert_eq!(changing.steps(), [Step::Left { number: 3, sink: 1 }]);
    assert!(changing.roster.left(1));
    changing.tell(Command::Forget { sink: 1 });
    assert!(changing.rig.shard.sinks[1].journal.is_none());
    changing.rig.after_ms(1_000);
    assert!(changing.rig.world.disk.is_empty(), "its files may be anybody's");
    changing.audit();
}

#[test]
fn nothing_leaves_a_buffer_that_was_found_before_the_change_is_in_force() {
    let stored = format!("{SECOND}buffer.mode = \"disk\"\n");
    let mut changing = Changing::new(FIRST);
    let found = || vec![crate::log::journal::rig::found(1, JournalId(7), 3)];
    let both = format!("{FIRST}{stored}");
    let snapshot = changing.prepare_with(&both, found());
    changing.rig.after_ms(1_000);
    assert!(changing.rig.world.disk.is_empty() && changing.rig.shard.sink_counters[1].matched == 0);
    changing.tell(Command::Withdraw { number: snapshot.number });
    changing.roster.withdrawn(snapshot);
    changing.rig.after_ms(1_000);
    assert!(changing.rig.world.disk.is_empty() && changing.rig.shard.sinks[1].journal.is_none());
    changing.steps();
    changing.change_with(&both, found());
    changing.rig.after_ms(1_000);
    assert_eq!(changing.rig.shard.sink_counters[1].matched, 3);
    let reads = |op: &DiskOp| matches!(op, DiskOp::Journal(JournalOp::Read { .. }));
    assert!(changing.rig.world.disk.iter().any(reads));
    changing.audit();
}

const ELSEWHERE: &str = "[connectors.d]\ntype = \"discard\"\n[sinks.two]\nconnector = \"d\"\nsource_topics = [\"two/#\"]\n\
                         topic = \"two\"\nvalue = \"${payload}\"\nlinger = \"0ms\"\n";

#[test]
fn a_connector_comes_with_a_sink_and_goes_once_nothing_of_it_is_open() {
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    changing.change(&format!("{FIRST}{ELSEWHERE}"));
    changing.publish(conn, 1, "two/x", "both");
    assert_eq!(changing.open(), [one(0, "both")]);
    assert_eq!(changing.script_of(1).open.len(), 1);
    changing.change(FIRST);
    changing.publish(conn, 2, "two/x", "first");
    changing.forget();
    assert!(matches!(changing.rig.shard.writers[1], Writer::Script(_)), "it has a batch");
    changing.script_of(1).answer(0, STORED);
    (0..2).for_each(|_| changing.answer(0, STORED));
    assert_eq!(changing.acks(conn), [1, 2]);
    changing.rig.after_ms(200);
    changing.forget();
    assert!(matches!(changing.rig.shard.writers[1], Writer::Discard(_)), "it is gone");
    changing.audit();
    changing.change(&format!("{FIRST}{ELSEWHERE}"));
    changing.publish(conn, 3, "two/x", "again");
    assert_eq!(changing.script_of(2).open.len(), 1, "by another number");
}

#[test]
fn a_connector_whose_change_is_taken_back_is_gone() {
    let mut changing = Changing::new(FIRST);
    let snapshot = changing.prepare(&format!("{FIRST}{ELSEWHERE}"));
    changing.tell(Command::Withdraw { number: snapshot.number });
    changing.roster.withdrawn(snapshot);
    assert!(matches!(changing.rig.shard.writers[1], Writer::Discard(_)));
    changing.steps();
    changing.change(&format!("{FIRST}{ELSEWHERE}"));
    assert_eq!(changing.rig.shard.sinks.iter().map(|sink| sink.connector).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn what_is_refused_again_and_again_harms_no_later_change() {
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    for _ in 0..3 {
        let snapshot = changing.prepare(&format!("{FIRST}{ELSEWHERE}"));
        changing.tell(Command::Withdraw { number: snapshot.number });
        changing.roster.withdrawn(snapshot);
        changing.steps();
    }
    changing.change(&FIRST.replace("linger = \"0ms\"", "linger = \"1ms\""));
    changing.change(&format!("{FIRST}{ELSEWHERE}"));
    changing.publish(conn, 1, "two/x", "both");
    assert_eq!(changing.open(), [one(0, "both")]);
    assert_eq!(changing.script_of(4).open.len(), 1);
}

#[test]
fn counters_of_a_sink_that_goes_another_way_do_not_fall() {
    let moved = FIRST.replace("topic = \"one\"", "topic = \"other\"");
    let mut changing = Changing::new(FIRST);
    let conn = changing.rig.connect("c", 4);
    changing.publish(conn, 1, "t", "old");
    changing.script().counts.requests = 7;
    changing.change(&moved);
    changing.answer(0, STORED);
    changing.rig.after_ms(200);
    changing.script().counts.requests = 7;
    changing.forget();
    changing.script().counts.requests = 2;
    let sinks = changing.sample();
    assert_eq!((sinks[1].requests, sinks[1].success), (9, 1));
}
