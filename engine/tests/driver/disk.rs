//! The way to the disk and back: operations given to `Io` come back as inputs, durable, in order.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use aqueduct::clock::Now;
use aqueduct::driver::Disk;
use aqueduct::log::journal::Journals;
use aqueduct::log::{DiskDone, DiskOp, LogId, LogLimits, TopicSpec, open};
use aqueduct::shard::control::Command;
use aqueduct::shard::io::{Input, Io, Machine, Wait};

use crate::rig::{self, Options, batch_of};

/// At each command hands all prepared operations to the disk, and tells the test what comes back.
struct Appender {
    ops: Arc<Mutex<Vec<DiskOp>>>,
    done: mpsc::Sender<DiskDone>,
}

impl Machine for Appender {
    fn on(&mut self, _: Now, input: Input<'_>, io: &mut impl Io) {
        match input {
            Input::Command(_) => self.ops.lock().expect("not poisoned").drain(..).for_each(|op| io.disk(op)),
            Input::Disk(done) => self.done.send(done).expect("the test listens"),
            other => panic!("not for an appender: {other:?}"),
        }
    }

    fn end_round(&mut self, _: Now, _: &mut impl Io) -> Wait {
        Wait { deadline: None, clients: true }
    }
}

#[test]
fn appends_come_back_durable_and_in_order() {
    let dir = std::env::temp_dir().join(format!("aqueduct-appends-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let limits = LogLimits { segment_bytes: u64::MAX, retention_bytes: u64::MAX, retention_ms: u64::MAX };
    let topic = TopicSpec { name: "t".to_string(), partitions: 1, limits };
    let logs = open(&dir, &[topic]).expect("a log").catalogue;
    let (ops, (sender, done)) = (Arc::new(Mutex::new(Vec::new())), mpsc::channel());
    let (shared, catalogue) = (Arc::clone(&ops), Arc::clone(&logs));
    let make = move |_| Appender { ops: Arc::clone(&shared), done: sender.clone() };
    let rig = rig::start_with_disk(Options::default(), make, move |shard, bell| {
        Some(Disk::start(shard, Some(Arc::clone(&catalogue)), Journals::default(), bell).expect("a writer thread"))
    });
    for turn in 0..20 {
        for i in turn * 5..turn * 5 + 5 {
            let batches = vec![batch_of(i, vec![i as u8; 1000]), batch_of(i, vec![i as u8; 24])];
            let op = DiskOp::Append { log: LogId(0), segment: 0, at: i as u64 * 1024, end_offset: i + 1, batches };
            ops.lock().expect("not poisoned").push(op);
        }
        rig.command_all(|| Command::Scrape { token: 0 });
    }
    for i in 0..100 {
        match done.recv_timeout(Duration::from_secs(10)).expect("an answer") {
            DiskDone::Appended { end_offset, batches, result, .. } => {
                assert_eq!((end_offset, batches.len(), result), (i + 1, 2, Ok(())));
                assert!(logs.place(LogId(0)).ends.end() > i, "published before it is told");
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    drop(rig);
    let bytes = std::fs::read(logs.place(LogId(0)).segment_path(0)).expect("the segment");
    assert!(bytes.len() == 102_400 && bytes.chunks(1024).enumerate().all(|(i, c)| c.iter().all(|&b| b == i as u8)));
    std::fs::remove_dir_all(&dir).expect("the directory goes");
}
