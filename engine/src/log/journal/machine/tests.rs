//! The journal over a disk in memory.

use std::collections::BTreeMap;

use super::*;
use crate::buffer::PartKey;
use crate::log::DiskError;
use crate::log::journal::op::{JournalDone, ReadBack};
use crate::log::journal::positions::{Position, Positions};
use crate::log::journal::read::{copy_entries, read_back};
use crate::log::journal::rig::{self, part};
use crate::shard::ShardId;
use crate::ticket::{FailReason, Lane};

mod forward;

const OWN: JournalId = JournalId(0);
const MARK: u32 = 77;

fn limits() -> JournalLimits {
    JournalLimits {
        segment_bytes: 1_000,
        inflight_max: 2,
        topics_max: 2,
        merge_bytes: 128 << 10,
        loaded_bytes_max: 1 << 20,
        kept_bytes_max: 1 << 20,
    }
}

fn now(ms: u64) -> Now {
    Now { mono: Mono::from_ms(1_000 + ms), wall_ms: 1_700_000_000_000 }
}

/// A journal and its disk. What the journal asks for is done when the test says so.
struct Rig {
    journal: Journal,
    files: BTreeMap<SegmentId, Vec<u8>>,
    positions: BTreeMap<JournalId, Vec<u8>>,
    asked: VecDeque<JournalOp>,
    /// Handed over and not answered, oldest first.
    away: VecDeque<Box<Batch>>,
    released: usize,
    fails: bool,
    /// What the disk says to positions, and to reads.
    positions_fail: Option<i32>,
    copies_fail: bool,
    reads_fail: Option<i32>,
    /// The file that each positions went to.
    slots: Vec<u8>,
    /// What was copied from where to where: so many entries.
    copied: Vec<(SegmentId, SegmentId, usize)>,
    now: Now,
}

impl Rig {
    fn new(limits: JournalLimits) -> Self {
        Self::with(Journal::new(limits, JournalStart::empty(0, OWN, MARK)))
    }

    fn with(journal: Journal) -> Self {
        Self {
            journal,
            files: BTreeMap::new(),
            positions: BTreeMap::new(),
            asked: VecDeque::new(),
            away: VecDeque::new(),
            released: 0,
            fails: false,
            positions_fail: None,
            copies_fail: false,
            reads_fail: None,
            slots: Vec::new(),
            copied: Vec::new(),
            now: now(0),
        }
    }

    fn push(&mut self, partition: u32, value: &str) {
        self.journal.push(rig::batch(partition, value.as_bytes()));
    }

    fn poll(&mut self) -> Option<Mono> {
        let (asked, away) = (&mut self.asked, &mut self.away);
        self.journal.poll(self.now, false, |_, _| 0, |op| asked.push_back(op), |batch| away.push_back(batch))
    }

    /// Does everything that is asked for, and what that leads to.
    fn work(&mut self) {
        self.poll();
        while let Some(op) = self.asked.pop_front() {
            self.finish(op);
        }
    }

    /// Does this, and lets the journal know.
    fn finish(&mut self, op: JournalOp) {
        let done = self.carry_out(op);
        let (asked, released) = (&mut self.asked, &mut self.released);
        self.journal.on_done(self.now, done, |op| asked.push_back(op), |_| *released += 1);
        self.poll();
    }

    fn carry_out(&mut self, op: JournalOp) -> JournalDone {
        let error = |errno| DiskError { during: "write", errno, text: "no".to_string() };
        let result = if self.fails { Err(error(28)) } else { Ok(()) };
        match op {
            JournalOp::Append { segment, at, batches } => {
                if result.is_ok() {
                    let file = self.files.entry(segment).or_default();
                    file.truncate(at as usize);
                    batches
                        .iter()
                        .flat_map(|batch| entry::pieces(batch))
                        .for_each(|bytes| file.extend_from_slice(bytes));
                }
                JournalDone::Appended { segment, batches, sync_ns: 1, result }
            }
            JournalOp::Finish { segment, at, footer } => {
                let file = self.files.entry(segment).or_default();
                assert_eq!(file.len() as u64, at);
                file.extend(footer);
                JournalDone::Finished { segment, result }
            }
            JournalOp::Read { segment, backlog, partition, mut wanted } => {
                let part = PartKey { sink: 0, partition };
                let mark = if segment.journal == OWN { MARK } else { 1 };
                let read = |w: &mut Wanted| read_back(&self.files[&segment][..], mark, ShardId(0), part, w, |_| {});
                let read = |w: &mut Wanted| match self.reads_fail {
                    None => read(w),
                    Some(errno) => ReadBack::Failed(error(errno)),
                };
                let entries: Vec<(u64, ReadBack)> = wanted.iter_mut().map(|w| (w.number, read(w))).collect();
                JournalDone::Read { segment, backlog, entries }
            }
            JournalOp::Copy { from, to, at, entries } => {
                let mark = if from.journal == OWN { MARK } else { 1 };
                let copies = copy_entries(&self.files[&from][..], mark, &entries).expect("memory reads");
                let result = if self.copies_fail { Err(error(28)) } else { result };
                if result.is_ok() {
                    let file = self.files.entry(to).or_default();
                    file.truncate(at as usize);
                    copies.iter().flatten().for_each(|bytes| file.extend_from_slice(bytes));
                    self.copied.push((from, to, entries.len()));
                }
                let result = result.map(|()| copies.iter().map(Option::is_some).collect());
                JournalDone::Copied { from, to, result }
            }
            JournalOp::Positions { journal, slot, bytes } => {
                self.slots.push(slot);
                let result = self.positions_fail.map_or(Ok(()), |errno| Err(error(errno)));
                if result.is_ok() {
                    self.positions.insert(journal, bytes);
                }
                JournalDone::Positions { journal, result }
            }
            JournalOp::Delete { segment } => {
                self.files.remove(&segment);
                JournalDone::Deleted { segment, result }
            }
        }
    }

    /// Kafka answers the oldest; its value.
    fn answer(&mut self) -> Option<String> {
        let batch = self.away.pop_front()?;
        assert!(self.pass(&batch));
        Some(value(&batch))
    }

    fn pass(&mut self, batch: &Batch) -> bool {
        self.journal.passed(self.now.mono, &batch.topic_name, batch.part.partition, batch.journal)
    }

    /// Everything that leaves, answered as it comes.
    fn drain(&mut self) -> Vec<String> {
        let mut values = Vec::new();
        self.work();
        while let Some(value) = self.answer() {
            values.push(value);
            self.work();
        }
        values
    }
}

fn value(batch: &Batch) -> String {
    let body = &batch.bytes[kafka::record_batch::HEADER_LEN..];
    let record = kafka::record_batch::Records::new(1, body).next().expect("a record").expect("a whole record");
    String::from_utf8_lossy(record.value.expect("a value")).into_owned()
}

fn values(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("value {n}")).collect()
}

#[test]
fn what_cannot_leave_is_forgotten_and_read_back_in_order() {
    let mut rig = Rig::new(limits());
    (0..40).for_each(|n| rig.push(n % 2, &format!("value {n}")));
    rig.poll();
    assert!(rig.away.is_empty(), "nothing leaves before it is durable");
    assert_eq!(rig.asked.len(), 1, "one write for all partitions");
    let sent = rig.drain();
    assert!(rig.released >= 30, "{} were forgotten", rig.released);
    for partition in 0..2 {
        let of = |n: &String| n.trim_start_matches("value ").parse::<u32>().expect("a number") % 2 == partition;
        let own: Vec<String> = sent.iter().filter(|n| of(n)).cloned().collect();
        assert_eq!(own, values(0..40).into_iter().filter(of).collect::<Vec<_>>());
    }
    assert!(rig.journal.is_empty());
    assert_eq!(rig.journal.counts().records, 0);
    assert_eq!((rig.journal.loaded_bytes, rig.journal.kept_bytes, rig.journal.entries), (0, 0, 0));
}

#[test]
fn with_a_fast_kafka_nothing_is_read() {
    let mut rig = Rig::new(limits());
    for n in 0..10 {
        rig.push(0, &format!("value {n}"));
        rig.work();
        assert_eq!(rig.answer(), Some(format!("value {n}")));
    }
    assert_eq!(rig.released, 0);
}

#[test]
fn files_go_once_positions_say_that_they_have_been_passed() {
    let mut rig = Rig::new(limits());
    (0..40).for_each(|n| rig.push(0, &format!("value {n}")));
    rig.drain();
    assert!(rig.files.len() > 3 && rig.positions.is_empty(), "not before positions were written");
    rig.now = now(500);
    rig.work();
    let positions = Positions::decode(&rig.positions[&OWN], MARK).expect("whole positions");
    assert_eq!(positions.partitions[&0], Position { resume: 40, open: Vec::new() });
    assert_eq!(rig.files.len(), 1, "the one that takes appends stays");
    assert!(rig.journal.is_safe());
}

/// A disk that refuses positions once, behind a sink that is quiet from then on.
#[test]
fn positions_that_failed_are_written_again_and_no_file_goes_before() {
    let mut rig = Rig::new(limits());
    (0..40).for_each(|n| rig.push(0, &format!("value {n}")));
    rig.drain();
    let files = rig.files.len();
    (rig.positions_fail, rig.now) = (Some(5), now(500));
    rig.work();
    assert_eq!((rig.files.len(), rig.journal.is_safe()), (files, false));
    let asked = &mut rig.asked;
    let hurried = rig.journal.poll(rig.now, true, |_, _| 0, |op| asked.push_back(op), |_| {});
    assert_eq!((hurried, rig.asked.len()), (Some(now(1_000).mono), 0), "after a pause, even in a hurry");
    (rig.positions_fail, rig.now) = (None, now(1_000));
    rig.work();
    assert_eq!((rig.files.len(), rig.journal.is_safe()), (1, true));
    assert_eq!(rig.slots, [1, 1], "the other file is the one that is whole");
}

/// Positions may need room, too, which there is again when a file goes.
#[test]
fn a_full_disk_gets_a_file_back_though_it_does_not_take_the_positions() {
    let mut rig = Rig::new(limits());
    (0..40).for_each(|n| rig.push(0, &format!("value {n}")));
    rig.drain();
    let files = rig.files.len();
    (rig.positions_fail, rig.now) = (Some(28), now(500));
    rig.work();
    assert_eq!((rig.files.len(), rig.journal.is_safe()), (files - 1, false));
}

#[test]
fn what_the_system_cannot_read_just_now_is_not_given_up() {
    let mut rig = Rig::new(JournalLimits { kept_bytes_max: 0, ..limits() });
    (0..3).for_each(|n| rig.push(0, &format!("value {n}")));
    rig.reads_fail = Some(24);
    for n in 0..20 {
        rig.now = now(500 * n);
        rig.work();
    }
    (rig.reads_fail, rig.now) = (None, now(20_000));
    assert_eq!(rig.drain(), values(0..3));
    assert!(rig.journal.pop_gone().is_none());
}

/// An entry that is read back by a process which began later than it was written.
#[test]
fn an_entry_is_as_old_as_it_is() {
    let hour = 3_600_000;
    let mut rig = Rig::new(limits());
    rig.now.mono = Mono::from_ms(100 * hour);
    (0..4).for_each(|n| rig.push(0, &format!("value {n}")));
    rig.poll();
    // An append keeps the time at which it was begun.
    rig.now.wall_ms += 2 * hour as i64;
    rig.work();
    assert_eq!((rig.released, rig.away.len()), (2, 4), "the last was read back");
    let batch = rig.away.pop_back().expect("it was read back");
    assert_eq!(rig.now.mono.since(batch.opened), 2 * hour * 1_000_000);
}

#[test]
fn positions_name_what_is_on_its_way() {
    let mut rig = Rig::new(limits());
    (0..4).for_each(|n| rig.push(0, &"x".repeat(70_000 + n)));
    rig.work();
    assert_eq!(rig.away.len(), 2, "large batches keep to max_inflight");
    let newer = rig.away.pop_back().expect("two are away");
    assert!(rig.pass(&newer));
    rig.now = now(500);
    rig.work();
    let positions = Positions::decode(&rig.positions[&OWN], MARK).expect("whole positions");
    assert!(!positions.partitions[&0].has_passed(0) && positions.partitions[&0].has_passed(1));
}

#[test]
fn after_a_failed_append_the_same_goes_to_a_new_file() {
    let mut rig = Rig::new(limits());
    rig.push(0, "value 0");
    rig.work();
    rig.fails = true;
    (1..3).for_each(|n| rig.push(0, &format!("value {n}")));
    rig.work();
    assert_eq!(rig.away.len(), 1, "what is not durable does not leave");
    assert!(rig.journal.pop_note().is_some());
    rig.fails = false;
    assert!(rig.poll().is_some_and(|at| at > rig.now.mono), "it is tried again");
    assert!(rig.asked.is_empty(), "after a pause");
    rig.now = now(500);
    assert_eq!(rig.drain(), values(0..3));
    rig.now = now(1_000);
    rig.work();
    let files: Vec<u32> = rig.files.keys().map(|segment| segment.seq).collect();
    assert_eq!(files, [1], "the file in doubt takes nothing more, and goes when it was passed");
}

#[test]
fn the_oldest_gives_way_and_is_not_sent() {
    let mut rig = Rig::new(JournalLimits { inflight_max: 1, ..limits() });
    (0..6).for_each(|n| rig.push(0, &format!("{n}{}", "x".repeat(200_000))));
    rig.work();
    assert_eq!(rig.away.len(), 1);
    let held = rig.journal.held_bytes("", 0);
    let gone = rig.journal.drop_oldest(rig.now.mono, "", 0).expect("five wait");
    assert_eq!((gone.records, rig.journal.held_bytes("", 0)), (1, held - u64::from(gone.bytes)));
    rig.journal.drop_oldest(rig.now.mono, "", 0).expect("four wait");
    let sent: Vec<String> = rig.drain().iter().map(|value| value[..1].to_string()).collect();
    assert_eq!(sent, ["0", "3", "4", "5"]);
    assert!(rig.journal.drop_oldest(rig.now.mono, "", 0).is_none());
}

#[test]
fn tickets_wait_for_batches_that_are_on_disk_only() {
    let mut rig = Rig::new(JournalLimits { inflight_max: 1, ..limits() });
    for n in 0..3 {
        let mut batch = rig::batch(0, &vec![b'x'; 200_000]);
        batch.runs.push(Run { session: 9, lane_gen: 1, first: n, record: 0, n: 1, lane: Lane::PubAck, cause: None });
        rig.journal.push(batch);
    }
    for n in 0..3 {
        rig.work();
        assert_eq!(rig.away[0].runs[0].first, n);
        rig.answer();
    }
}

#[test]
fn a_damaged_entry_is_lost_and_those_behind_it_are_sent() {
    let mut rig = Rig::new(JournalLimits { segment_bytes: 1 << 20, inflight_max: 1, ..limits() });
    (0..4).for_each(|n| rig.push(0, &format!("{n}{}", "x".repeat(200_000))));
    rig.poll();
    let append = rig.asked.pop_front().expect("an append");
    let done = rig.carry_out(append);
    rig.files.values_mut().next().expect("a file")[250_000] ^= 1;
    rig.journal.on_done(rig.now, done, |_| {}, |_| {});
    let sent: Vec<String> = rig.drain().iter().map(|value| value[..1].to_string()).collect();
    assert_eq!(sent, ["0", "2", "3"]);
    let (gone, why) = rig.journal.pop_gone().expect("one is lost");
    assert_eq!(why, FailReason::Disk);
    assert_eq!((gone.records, rig.journal.counts().damaged), (1, 1));
    assert!(rig.journal.is_empty());
}

/// What earlier starts left goes first, the oldest start's before all; other shards hear when it has been passed.
#[test]
fn what_was_taken_over_goes_first() {
    let adopted = |journal: u32, first: u32, files: &mut BTreeMap<SegmentId, Vec<u8>>| {
        let segment = SegmentId { journal: JournalId(journal), seq: 3 };
        let (mut bytes, mut items) = (Vec::new(), Vec::new());
        for number in 0..3u64 {
            let entry = rig::entry(number, 0, format!("value {}", first + number as u32).as_bytes(), 1);
            let (at, len) = (bytes.len() as u32, entry.len() as u32);
            items.push((3, Item { number, at, bytes: len, partition: 0, records: 1, topic: 0 }));
            bytes.extend(entry);
        }
        files.insert(segment, bytes);
        crate::log::journal::open::Adopted {
            journal: segment.journal,
            mark: 1,
            positions: Positions::default(),
            segments: vec![(3, 0)],
            entries: BTreeMap::from([(part("", 0), items)]),
            named_end: 0,
        }
    };
    let mut files = BTreeMap::new();
    let mut start = JournalStart::empty(0, OWN, MARK);
    start.adopted = vec![adopted(1, 0, &mut files), adopted(2, 3, &mut files)];
    assert_eq!((start.entries(), start.records()), (6, 6));
    let mut rig = Rig::with(Journal::new(limits(), start));
    rig.files = files;
    (6..9).for_each(|n| rig.push(0, &format!("value {n}")));
    assert_eq!(rig.drain(), values(0..9));
    assert_eq!((rig.journal.pop_unblocked(), rig.journal.pop_unblocked()), (Some(part("", 0)), None));
    rig.now = now(500);
    rig.work();
    assert!(rig.files.keys().all(|segment| segment.journal == OWN), "their files are gone");
    let positions = Positions::decode(&rig.positions[&JournalId(2)], 1).expect("positions of the second");
    assert_eq!(positions.partitions[&0].resume, 3);
}

#[test]
fn a_partition_waits_for_the_shard_that_took_it_over() {
    let mut start = JournalStart::empty(0, OWN, MARK);
    start.waits_for = vec![part("", 0)];
    let mut rig = Rig::with(Journal::new(limits(), start));
    (0..2).for_each(|n| rig.push(n, &format!("value {n}")));
    rig.work();
    assert_eq!(rig.away.iter().map(|batch| batch.part.partition).collect::<Vec<_>>(), [1]);
    assert!(rig.journal.holds("", 0) && rig.journal.is_safe());
    rig.journal.unblock("", 0);
    rig.work();
    assert_eq!(rig.away.len(), 2);
}

/// A partition whose broker is away does not keep the others' batches, or what may be read ahead.
#[test]
fn a_stalled_partition_stalls_only_itself() {
    let mut rig = Rig::new(JournalLimits { loaded_bytes_max: 100_000, kept_bytes_max: 0, ..limits() });
    for n in 0..30 {
        rig.push(0, &format!("{n}{}", "x".repeat(60_000)));
        rig.push(1, &format!("{n}{}", "y".repeat(60_000)));
    }
    rig.work();
    let mut sent = 0;
    while let Some(at) = rig.away.iter().position(|batch| batch.part.partition == 1) {
        let batch = rig.away.remove(at).expect("it is there");
        assert!(rig.pass(&batch));
        sent += 1;
        rig.work();
    }
    assert_eq!(sent, 30);
}

impl Rig {
    fn push_to(&mut self, topic: &str, partition: u32, value: &str) {
        self.journal.push(rig::batch_to(topic, partition, value.as_bytes()));
    }

    /// Topic and value of everything that leaves, answered as it comes.
    fn drain_named(&mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        self.work();
        while let Some(batch) = self.away.pop_front() {
            assert!(self.pass(&batch));
            all.push((batch.topic_name.clone(), value(&batch)));
            self.work();
        }
        all
    }

    /// What the positions on disk say.
    fn positions(&mut self) -> Positions {
        self.now = Now { mono: self.now.mono.plus_ms(500), ..self.now };
        self.work();
        Positions::decode(&self.positions[&OWN], MARK).expect("whole positions")
    }
}

fn numbers_of(sent: &[(String, String)], topic: &str) -> Vec<String> {
    sent.iter().filter(|(of, _)| of == topic).map(|(_, value)| value.clone()).collect()
}

#[test]
fn each_topic_gets_its_own_in_order_and_leaves_nothing_behind() {
    let mut rig = Rig::new(JournalLimits { kept_bytes_max: 0, topics_max: 1, ..limits() });
    for n in 0..40 {
        rig.push_to(["a", "b", "c", ""][n % 4], 0, &format!("{n}"));
    }
    rig.work();
    let topics: std::collections::BTreeSet<_> = rig.away.iter().map(|batch| batch.topic_name.clone()).collect();
    assert_eq!(topics.len(), 2, "one named topic at a time, and the sink's own: {topics:?}");
    assert!(rig.journal.index_bytes() > 40 * ENTRY_BYTES, "topics are charged");
    let sent = rig.drain_named();
    for (first, topic) in ["a", "b", "c", ""].into_iter().enumerate() {
        let expected: Vec<String> = (first..40).step_by(4).map(|n| n.to_string()).collect();
        assert_eq!(numbers_of(&sent, topic), expected, "{topic}");
    }
    assert!(rig.journal.is_empty() && !rig.journal.holds("a", 0));
    assert_eq!((rig.journal.index_bytes(), rig.journal.loaded_bytes), (0, 0));
    rig.push_to("b", 0, "again");
    assert_eq!(rig.drain_named(), [("b".to_string(), "again".to_string())]);
}

/// A topic that never rests does not keep another from its turn.
#[test]
fn topics_take_turns() {
    let mut rig = Rig::new(JournalLimits { kept_bytes_max: 0, topics_max: 1, segment_bytes: 1 << 20, ..limits() });
    (0..5_000).for_each(|n| rig.push_to("busy", n % 3, &format!("{n}")));
    rig.push_to("rare", 0, "it");
    let sent = rig.drain_named();
    let at = sent.iter().position(|(topic, _)| topic == "rare").expect("it comes");
    assert!((256..2_000).contains(&at), "after {at} of the busy one");
    assert_eq!(sent.len(), 5_001);
    for partition in 0..3 {
        let own: Vec<u32> = sent.iter().filter_map(|(_, value)| value.parse().ok()).collect();
        let own: Vec<u32> = own.into_iter().filter(|n| n % 3 == partition).collect();
        assert!(own.is_sorted() && own.len() > 1_000, "partition {partition}");
    }
}

#[test]
fn positions_name_topics_that_hold_something_and_no_others() {
    let mut rig = Rig::new(JournalLimits { kept_bytes_max: 0, inflight_max: 1, merge_bytes: 0, ..limits() });
    for n in 0..6 {
        rig.push_to(["a", "b"][n % 2], 7, &format!("{n}"));
    }
    rig.work();
    for _ in 0..3 {
        let at = rig.away.iter().position(|batch| batch.topic_name == "b").expect("one of b is away");
        let batch = rig.away.remove(at).expect("it is there");
        assert!(rig.pass(&batch));
        rig.work();
    }
    let positions = rig.positions();
    assert_eq!(positions.passed, 6);
    assert_eq!(positions.topics.keys().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
    let left = |positions: &Positions, topic: &str| -> Vec<u64> {
        (0..8).filter(|&number| !positions.position(topic, 7).has_passed(number)).collect()
    };
    assert_eq!(
        left(&positions, "a"),
        [0, 2, 3, 4, 5, 6, 7],
        "0 is on its way, 2 and 4 wait, 1, 3 and 5 are none of its own"
    );
    assert_eq!(left(&positions, "b"), [6, 7], "all of it");
    // What is not durable yet, or newer than the positions, has not been passed.
    rig.push_to("c", 7, "6");
    rig.poll();
    assert_eq!(rig.journal.positions(0).passed, 6);
    rig.work();
    assert_eq!((rig.journal.positions(0).passed, left(&rig.journal.positions(0), "c")), (7, vec![6, 7]));
}

/// Memory: of many topics that wait for brokers not each may have something read back.
#[test]
fn many_topics_read_no_more_than_they_may() {
    let loaded_bytes_max = 200_000;
    let mut rig = Rig::new(JournalLimits { loaded_bytes_max, kept_bytes_max: 0, topics_max: 100, ..limits() });
    for n in 0..100 {
        rig.push_to(&format!("site-{n}"), 0, &"x".repeat(20_000));
    }
    rig.work();
    assert!(rig.journal.loaded_bytes <= loaded_bytes_max + 25_000, "{}", rig.journal.loaded_bytes);
    assert_eq!(rig.drain_named().len(), 100);
}

/// Memory: where each of many partitions has an entry read back, though its broker is away, others have less to fill.
#[test]
fn what_is_read_back_beyond_the_spare_memory_is_charged() {
    let loaded_bytes_max = 200_000;
    let mut rig = Rig::new(JournalLimits { loaded_bytes_max, inflight_max: 0, ..limits() });
    (0..50).for_each(|partition| rig.push(partition, &"x".repeat(20_000)));
    rig.work();
    assert_eq!(rig.away.len(), 50, "each partition goes on");
    assert!(rig.journal.loaded_bytes > 1_000_000);
    let beyond = rig.journal.charged_bytes() - rig.journal.index_bytes();
    assert_eq!(beyond, rig.journal.loaded_bytes - loaded_bytes_max);
    rig.drain();
    assert_eq!(rig.journal.charged_bytes(), 0);
}

#[test]
fn a_topic_waits_for_the_shard_that_took_it_over() {
    let mut start = JournalStart::empty(0, OWN, MARK);
    start.waits_for = vec![part("a", 0)];
    let mut rig = Rig::with(Journal::new(limits(), start));
    ["a", "b"].into_iter().for_each(|topic| rig.push_to(topic, 0, "value"));
    rig.work();
    assert_eq!(rig.away.iter().map(|batch| &*batch.topic_name).collect::<Vec<_>>(), ["b"]);
    assert!(rig.journal.holds("a", 0));
    rig.journal.unblock("a", 0);
    rig.work();
    assert_eq!(rig.away.len(), 2);
}
