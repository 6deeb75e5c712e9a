use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::buffer::{BatchPool, PartKey};
use crate::clock::Mono;
use crate::log::{LogLimits, TopicSpec, open};
use crate::shard::ShardId;

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("aqueduct-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A writer over fresh logs: one topic in `dir` with so many partitions.
fn writer(dir: &Path, partitions: u32) -> (Writer, Arc<Catalogue>) {
    let limits = LogLimits { segment_bytes: u64::MAX, retention_bytes: u64::MAX, retention_ms: u64::MAX };
    let opened = open(dir, &[TopicSpec { name: "t".to_string(), partitions, limits }]).expect("logs");
    (Writer::new(Some(Arc::clone(&opened.catalogue)), Journals::default()), opened.catalogue)
}

/// The file of a segment.
fn file(catalogue: &Catalogue, log: u32, base: i64) -> PathBuf {
    catalogue.place(LogId(log)).segment_path(base)
}

fn end(catalogue: &Catalogue, log: u32) -> i64 {
    catalogue.place(LogId(log)).ends.end()
}

fn batch(byte: u8, len: usize) -> Box<Batch> {
    let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 0, partition: 0 }, 0, Mono(0));
    batch.bytes = vec![byte; len];
    batch
}

fn append(log: u32, segment: i64, at: u64, end_offset: i64, bytes: u8, len: usize) -> DiskOp {
    DiskOp::Append { log: LogId(log), segment, at, end_offset, batches: vec![batch(bytes, len)] }
}

/// The results of one drain, in order: `Ok` or what it failed at.
fn run(writer: &mut Writer, ops: Vec<DiskOp>) -> Vec<Result<(), DiskError>> {
    let mut results = Vec::new();
    writer.run(ops.into_iter(), |done| {
        results.push(match done {
            DiskDone::Appended { result, .. } | DiskDone::Deleted { result, .. } => result,
            DiskDone::Journal(done) => panic!("no journal was asked for anything: {done:?}"),
        });
    });
    results
}

fn failed_at(result: &Result<(), DiskError>) -> &'static str {
    result.as_ref().expect_err("it fails").during
}

/// When the first append of a drain is answered, all of the drain have been written, in several files: one group commit.
#[test]
fn a_drain_is_one_group_commit() {
    let dir = Dir::new("group");
    let (mut writer, logs) = writer(&dir.0, 2);
    let mut ops = Vec::new();
    for i in 0..10u64 {
        ops.push(append(0, 0, i * 100, i as i64 + 1, i as u8, 100));
        ops.push(append(1, 7, i * 50, i as i64 + 8, i as u8, 50));
    }
    let mut order = Vec::new();
    writer.run(ops.into_iter(), |done| {
        let len = |log, base| fs::metadata(file(&logs, log, base)).map(|m| m.len()).unwrap_or_default();
        assert_eq!((len(0, 0), len(1, 7)), (1000, 500), "all is written before the first answer");
        match done {
            DiskDone::Appended { log, end_offset, batches, result: Ok(()), .. } => {
                assert_eq!(batches.len(), 1, "the buffers return");
                assert_eq!(end(&logs, log.0), end_offset, "published once durable, not before its turn");
                order.push((log.0, end_offset));
            }
            other => panic!("unexpected: {other:?}"),
        }
    });
    let expected: Vec<_> = (0..10).flat_map(|i| [(0, i + 1), (1, i + 8)]).collect();
    assert_eq!(order, expected);
    let written = fs::read(file(&logs, 0, 0)).expect("the segment");
    assert!(written.chunks(100).enumerate().all(|(i, chunk)| chunk.iter().all(|&byte| byte == i as u8)));
}

/// A new segment begins; the old one may go. Appending to a segment found at start cuts off what lies behind its valid end.
#[test]
fn segments_roll_resume_and_go() {
    let dir = Dir::new("roll");
    let (mut first, logs) = writer(&dir.0, 1);
    let ops = vec![append(0, 0, 0, 5, 1, 64), append(0, 5, 0, 9, 2, 64), DiskOp::Delete { log: LogId(0), segment: 0 }];
    assert_eq!(run(&mut first, ops), [Ok(()), Ok(()), Ok(())]);
    assert!(!file(&logs, 0, 0).exists() && file(&logs, 0, 5).exists());
    assert_eq!(run(&mut first, vec![DiskOp::Delete { log: LogId(0), segment: 0 }]), [Ok(())], "gone already is gone");

    let mut second = Writer::new(Some(Arc::clone(&logs)), Journals::default());
    assert_eq!(run(&mut second, vec![append(0, 5, 40, 10, 3, 8)]), [Ok(())]);
    let bytes = fs::read(file(&logs, 0, 5)).expect("the segment");
    assert_eq!(bytes, [vec![2; 40], vec![3; 8]].concat());
    let mut third = Writer::new(Some(Arc::clone(&logs)), Journals::default());
    assert_eq!(failed_at(&run(&mut third, vec![append(0, 5, 4000, 11, 4, 8)])[0]), "write", "a gap is refused");
}

/// After a failed sync the segment is dead; the next one works.
#[test]
fn a_failed_sync_kills_the_segment() {
    let dir = Dir::new("dead");
    let (mut writer, logs) = writer(&dir.0, 1);
    // The null device takes every write and refuses to sync.
    let null = File::options().write(true).open("/dev/null").expect("the null device");
    writer.open.insert(LogId(0), Segment::over(0, 100, null));
    let results = run(&mut writer, vec![append(0, 0, 100, 1, 1, 10), append(0, 0, 110, 2, 1, 10)]);
    assert_eq!(results.iter().map(failed_at).collect::<Vec<_>>(), ["sync", "sync"], "all of the drain are in doubt");
    assert_eq!(failed_at(&run(&mut writer, vec![append(0, 0, 120, 3, 1, 10)])[0]), "sync", "dead for ever");
    assert_eq!(end(&logs, 0), 0, "nothing was published");
    assert_eq!(run(&mut writer, vec![append(0, 3, 0, 4, 1, 10)]), [Ok(())], "the next segment is alive");
    assert_eq!(failed_at(&run(&mut writer, vec![append(0, 0, 120, 5, 1, 10)])[0]), "sync", "and the dead stays dead");
    assert_eq!(run(&mut writer, vec![append(0, 0, 0, 6, 1, 10)]), [Ok(())], "unless a new file takes its place");
}

/// A full disk fails the append and what was to follow it, leaves no torn bytes, and lets it be tried again.
#[test]
fn a_full_disk_fails_the_append_and_its_followers() {
    let dir = Dir::new("full");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&dir.0).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a_full_disk_fails_the_append_and_its_followers needs the right to mount a tmpfs");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let (mut writer, logs) = writer(&dir.0, 1);
        let ops =
            vec![append(0, 0, 0, 1, 1, 30_000), append(0, 0, 30_000, 2, 2, 60_000), append(0, 0, 90_000, 3, 3, 100)];
        let results = run(&mut writer, ops);
        assert_eq!(results[0], Ok(()));
        let full = results[1].as_ref().expect_err("the disk is full");
        assert_eq!((full.during, full.errno), ("write", rustix::io::Errno::NOSPC.raw_os_error()));
        assert_eq!(failed_at(&results[2]), "write", "it would lie behind a gap");
        assert_eq!(end(&logs, 0), 1);
        assert_eq!(fs::metadata(file(&logs, 0, 0)).expect("the segment").len(), 30_000, "no torn bytes");
        assert_eq!(run(&mut writer, vec![append(0, 0, 30_000, 2, 2, 20_000)]), [Ok(())], "a retry that fits");
    });
    let _ = Command::new("umount").arg(&dir.0).status();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
