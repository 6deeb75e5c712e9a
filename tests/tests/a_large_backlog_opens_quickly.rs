//! How long a start takes does not depend on how much lies in a buffer on disk, and what lies there leaves at the speed of the disk.
//!
//! Setup: a buffer as the journal writes it, over 8 partitions; its pages dropped from the cache. Action: the buffer is opened; a node
//! whose sink discards is started on it. Expectation: both within 2 s; everything leaves. `AQUEDUCT_LONG=1` does it with 10 GiB and more
//! than a million records and demands 300 MB/s, else it is 200 MB and says how fast it was.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aqueduct::buffer::{BatchPool, PartKey};
use aqueduct::clock::{Mono, Now};
use aqueduct::log::journal::{
    Journal, JournalDone, JournalId, JournalLimits, JournalOp, JournalPlace, JournalSpec, open_journals,
};
use aqueduct::shard::ShardId;
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::wait;

const PARTITIONS: u32 = 8;
const VALUE_BYTES: usize = 10_000;
const RECORDS_OF_A_BATCH: u32 = 12;

/// Writes a backlog of `records` below `dir`; returns its bytes.
fn write_backlog(dir: &Path, records: u32) -> u64 {
    let opened =
        open_journals(&[JournalSpec { sink: 0, dir: dir.to_owned() }], 1, JournalId(0), || 0x5eed).expect("a folder");
    let place = opened.journals.place(JournalId(0)).clone();
    let start = opened.starts.into_iter().flatten().next().expect("one shard");
    let limits = JournalLimits {
        segment_bytes: 100 << 20,
        inflight_max: 0,
        topics_max: 0,
        merge_bytes: 0,
        loaded_bytes_max: 0,
        kept_bytes_max: 0,
    };
    let mut journal = Journal::new(limits, start);
    let mut pool = BatchPool::new(ShardId(0), 8 << 20);
    let value = vec![b'x'; VALUE_BYTES];
    let now = Now { mono: Mono(1), wall_ms: 1_700_000_000_000 };
    let (mut written, mut partition) = (0, 0);
    while written < records {
        partition = (partition + 1) % PARTITIONS;
        let mut batch = pool.take(PartKey { sink: 0, partition }, 0, Mono(1));
        for at in 0..RECORDS_OF_A_BATCH {
            kafka::record_batch::append(
                &mut batch.bytes,
                at,
                0,
                Some(&written.to_be_bytes()),
                Some(&value),
                kafka::record_batch::RawHeaders::NONE,
            );
            written += 1;
        }
        batch.records = RECORDS_OF_A_BATCH;
        journal.push(batch);
        let mut asked = Vec::new();
        journal.poll(now, false, |_, _| 0, |op| asked.push(op), |_| panic!("nothing leaves"));
        for op in asked {
            if let Some(done) = carry_out(&place, op) {
                journal.on_done(now, done, |_| {}, |batch| pool.give(batch));
            }
        }
    }
    journal.counts().bytes
}

/// What is to be read is not: nothing leaves.
fn carry_out(place: &JournalPlace, op: JournalOp) -> Option<JournalDone> {
    let open = |seq| OpenOptions::new().create(true).truncate(false).write(true).open(place.segment_path(seq));
    match op {
        JournalOp::Append { segment, mut at, batches } => {
            let file = open(segment.seq).expect("a file");
            for batch in &batches {
                file.write_all_at(&batch.bytes, at).expect("room on the disk");
                at += batch.bytes.len() as u64;
            }
            Some(JournalDone::Appended { segment, batches, sync_ns: 0, result: Ok(()) })
        }
        JournalOp::Finish { segment, at, footer } => {
            open(segment.seq).and_then(|file| file.write_all_at(&footer, at)).expect("room on the disk");
            Some(JournalDone::Finished { segment, result: Ok(()) })
        }
        _ => None,
    }
}

/// Every file below `dir` is written out and forgotten by the page cache.
fn make_cold(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            make_cold(&path);
            continue;
        }
        let file = File::open(&path).expect("a file");
        file.sync_all().expect("a disk that works");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("the kernel takes advice");
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_large_backlog_opens_quickly_and_leaves() {
    let long = std::env::var_os("AQUEDUCT_LONG").is_some();
    let records = if long { 1_080_000 } else { 21_600 };
    let base = std::env::var_os("AQUEDUCT_BACKLOG_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = Folder(base.join(format!("aqueduct-backlog-{}", std::process::id())));
    let dir = folder.0.join("stored");
    let bytes = write_backlog(&dir, records);
    make_cold(&folder.0);
    let begin = Instant::now();
    let opened = open_journals(&[JournalSpec { sink: 0, dir: dir.clone() }], 1, JournalId(0), || 1).expect("a folder");
    let took = begin.elapsed();
    assert_eq!(opened.starts[0][0].records(), u64::from(records));
    println!("{} MB, {records} records: opened cold in {took:?}", bytes >> 20);
    assert!(took < Duration::from_secs(2), "{took:?}");

    // The first who asks for the binary builds it.
    aqueduct_tests::support::node::binary();
    make_cold(&folder.0);
    let begin = Instant::now();
    let stored = format!(
        "[connectors.none]\ntype = \"discard\"\n[sinks.stored]\nconnector = \"none\"\nsource_topics = [\"never\"]\n\
         topic = \"t\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.dir = \"{}\"\n",
        folder.0.display()
    );
    let mut node = Plan::embedded().only_sink("enable = false\ntopic = \"t\"").section(&stored).start();
    let count = |node: &Node, name: &str| node.metrics().sum(&format!("aqueduct_sink_{name}"), &["sink=\"stored\""]);
    let listens = begin.elapsed();
    wait::until("everything has left", 120, || (count(&node, "buffer_disk_records") == 0.0).then_some(()));
    let took = begin.elapsed().as_secs_f64();
    let rate = bytes as f64 / 1e6 / took;
    println!("the node listened after {listens:?}; all had left after {took:.1} s: {rate:.0} MB/s from a cold disk");
    assert_eq!(count(&node, "success_total"), f64::from(records));
    assert!(listens < Duration::from_secs(2) && (!long || rate > 300.0));
    assert!(node.terminate().success());
}
