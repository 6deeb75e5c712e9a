//! The sink against a disk made of a list.

use super::*;
use crate::buffer::{BatchPool, PartKey};
use crate::log::{LogLimits, Mark};
use crate::shard::control::ControlMsg;
use crate::shard::io::{BrokerAddr, CloseReason, ConnKey, LinkKey, LoginQuestion, Recv, Request};
use crate::shard::mesh::{MeshMsg, Moved};

/// An `Io` that keeps what is asked of the disk.
#[derive(Default)]
struct Disk {
    ops: Vec<DiskOp>,
}

impl Io for Disk {
    fn disk(&mut self, op: DiskOp) {
        self.ops.push(op);
    }
    fn control(&mut self, _: ControlMsg) {}
    fn recv(&mut self, _: ConnKey, _: &mut [u8]) -> Recv {
        Recv::Empty
    }
    fn send(&mut self, _: ConnKey, _: &[u8]) -> usize {
        0
    }
    fn close(&mut self, _: ConnKey, _: CloseReason) {}
    fn move_conn(&mut self, _: ConnKey, _: ShardId, _: Box<Moved>) {}
    fn dial(&mut self, _: &BrokerAddr) -> LinkKey {
        LinkKey { index: 0, generation: 0 }
    }
    fn request(&mut self, _: LinkKey, _: Request) {}
    fn drop_link(&mut self, _: LinkKey) {}
    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in here")
    }
    fn mesh(&mut self, _: ShardId, _: MeshMsg) {}
}

impl Disk {
    /// Carries out everything that was asked; appends end as `result` says.
    fn answer(&mut self, now: Now, embedded: &mut Embedded, result: Result<(), DiskError>) {
        for op in std::mem::take(&mut self.ops) {
            let done = match op {
                DiskOp::Append { log, segment, end_offset, batches, .. } => {
                    DiskDone::Appended { log, segment, end_offset, batches, result: result.clone() }
                }
                DiskOp::Delete { log, segment } => DiskDone::Deleted { log, segment, result: result.clone() },
                DiskOp::Journal(op) => panic!("no buffer asks here: {op:?}"),
            };
            assert!(embedded.owns(&done));
            embedded.on_disk(now, done);
        }
    }
}

const LIMITS: LogLimits = LogLimits { segment_bytes: 1 << 20, retention_bytes: 1 << 30, retention_ms: 600_000 };

fn now() -> Now {
    Now { mono: Mono::from_ms(1_000), wall_ms: 1_000_000 }
}

/// Shard 1 of 2; sinks 0 and 2 write topic `a` (4 partitions), sink 1 is of another kind, sink 3 writes `b` (1).
fn embedded() -> Embedded {
    let a = TopicLogs { name: "a".into(), first: LogId(0), partitions: 4 };
    let b = TopicLogs { name: "b".into(), first: LogId(4), partitions: 1 };
    let recovered: Vec<_> = (0..5)
        .map(|n| Recovered { log: LogId(n), mark: Mark(1), limits: LIMITS, segments: Vec::new(), next_offset: 0 })
        .collect();
    Embedded::new(ShardId(1), 2, vec![Some(a.clone()), None, Some(a), Some(b)], &recovered)
}

fn batch(sink: u16, partition: u32, home: u16, records: u32) -> Box<Batch> {
    let mut batch = BatchPool::new(ShardId(home), 0).take(PartKey { sink, partition }, 0, Mono(0));
    for n in 0..records {
        kafka::record_batch::append(&mut batch.bytes, n, 0, None, Some(b"v"), kafka::record_batch::RawHeaders::NONE);
    }
    batch.records = records;
    batch
}

fn outcomes(embedded: &mut Embedded) -> Vec<(u16, u32, Outcome)> {
    std::iter::from_fn(|| embedded.pop_answered())
        .map(|a| (a.batch.part.sink, a.batch.part.partition, a.outcome))
        .collect()
}

#[test]
fn the_outcome_is_the_sync() {
    let (mut embedded, mut disk) = (embedded(), Disk::default());
    assert_eq!([0, 1, 2, 3, 9].map(|sink| embedded.partitions(sink)), [Some(4), None, Some(4), Some(1), None]);
    embedded.submit(batch(0, 1, 0, 2));
    embedded.submit(batch(2, 1, 1, 3));
    embedded.submit(batch(0, 3, 1, 1));
    assert_eq!(embedded.inflight_records(0, ShardId(0)), 0);
    embedded.end_round(now(), &mut disk);
    assert_eq!(disk.ops.len(), 2, "one append for each log");
    assert_eq!((embedded.inflight_records(0, ShardId(0)), embedded.inflight_records(2, ShardId(1))), (2, 3));
    assert!(outcomes(&mut embedded).is_empty());
    assert!(!embedded.is_idle());
    disk.answer(now(), &mut embedded, Ok(()));
    let stored = |base_offset| Outcome::Stored { base_offset };
    assert_eq!(outcomes(&mut embedded), [(0, 1, stored(0)), (2, 1, stored(2)), (0, 3, stored(0))]);
    assert_eq!((embedded.inflight_records(0, ShardId(0)), embedded.inflight_records(0, ShardId(1))), (0, 0));
    assert!(embedded.is_idle());
}

#[test]
fn a_failed_sync_fails_its_batches_and_those_behind_them_wait_for_a_fresh_file() {
    let (mut embedded, mut disk) = (embedded(), Disk::default());
    embedded.submit(batch(0, 1, 0, 2));
    embedded.end_round(now(), &mut disk);
    embedded.submit(batch(0, 1, 0, 1));
    disk.answer(now(), &mut embedded, Err(DiskError { during: "sync", errno: 5, text: "Input/output error".into() }));
    assert_eq!(outcomes(&mut embedded), [(0, 1, Outcome::Failed(FailReason::Disk))]);
    assert_eq!(embedded.inflight_records(0, ShardId(0)), 0);
    let note = embedded.pop_note().expect("a line for the log").1;
    assert!(note.contains("a-1: sync failed: Input/output error"), "{note}");
    assert_eq!(embedded.pop_note(), None);
    let again = embedded.end_round(now(), &mut disk).expect("a deadline");
    assert!(disk.ops.is_empty());
    let later = Now { mono: again, ..now() };
    embedded.end_round(later, &mut disk);
    assert!(matches!(disk.ops[..], [DiskOp::Append { segment: 0, at: 0, .. }]), "{:?}", disk.ops);
    disk.answer(later, &mut embedded, Ok(()));
    assert_eq!(outcomes(&mut embedded), [(0, 1, Outcome::Stored { base_offset: 0 })]);
}

#[test]
fn an_idle_sink_asks_for_nothing() {
    let (mut embedded, mut disk) = (embedded(), Disk::default());
    assert_eq!(embedded.end_round(now(), &mut disk), None);
    assert_eq!(embedded.end_round(now(), &mut disk), None);
    assert!(disk.ops.is_empty());
}

#[test]
#[should_panic(expected = "handed to its partition's owner")]
fn a_batch_for_another_shard_is_our_own_mistake() {
    embedded().submit(batch(0, 2, 0, 1));
}
