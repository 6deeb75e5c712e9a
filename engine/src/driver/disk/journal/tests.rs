use std::path::PathBuf;

use super::*;
use crate::log::journal::{JournalSpec, open_journals, rig};

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("aqueduct-buffer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self) -> (JournalFiles, Journals) {
        let spec = JournalSpec { sink: 0, dir: self.0.join("s") };
        let opened = open_journals(&[spec], 1, JournalId(0), || 5).expect("a writable directory");
        (JournalFiles::new(opened.journals.clone()), opened.journals)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn segment(journals: &Journals, seq: u32) -> SegmentId {
    let (journal, _) = journals.places().last().expect("a journal");
    SegmentId { journal, seq }
}

fn entry(number: u64) -> Box<Batch> {
    let mut batch = rig::batch(0, b"");
    batch.bytes = rig::entry(number, 0, format!("value {number}").as_bytes(), 5);
    batch
}

fn run(files: &mut JournalFiles, ops: Vec<JournalOp>) -> Vec<JournalDone> {
    let mut all = Vec::new();
    let mut done = |done: DiskDone| match done {
        DiskDone::Journal(done) => all.push(done),
        other => panic!("unexpected: {other:?}"),
    };
    ops.into_iter().for_each(|op| files.take(op, &mut done));
    files.commit(&mut done);
    while files.has_reads() {
        files.read_next(&mut done);
    }
    all
}

#[test]
fn entries_are_written_finished_read_back_and_removed() {
    let dir = Dir::new("life");
    let (mut files, journals) = dir.files();
    let (first, second) = (segment(&journals, 0), segment(&journals, 1));
    let bytes = entry(0).bytes.len() as u32;
    let ops = vec![
        JournalOp::Append { segment: first, at: 0, batches: vec![entry(0), entry(1)] },
        JournalOp::Finish { segment: first, at: 2 * u64::from(bytes), footer: b"footer".to_vec() },
        JournalOp::Append { segment: second, at: 0, batches: vec![entry(2)] },
    ];
    for done in run(&mut files, ops) {
        let (JournalDone::Appended { result, .. } | JournalDone::Finished { result, .. }) = done else {
            panic!("unexpected: {done:?}")
        };
        assert_eq!(result, Ok(()));
    }
    let wanted = vec![Wanted::new(1, bytes, bytes), Wanted::new(1, 0, bytes)];
    let read = run(&mut files, vec![JournalOp::Read { segment: first, backlog: BacklogId(0), partition: 0, wanted }]);
    let [JournalDone::Read { entries, .. }] = &read[..] else { panic!("unexpected: {read:?}") };
    let [(1, ReadBack::Whole(batch, _)), (1, ReadBack::Damaged)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(batch.bytes, entry(1).bytes);
    assert_eq!(fs::read_dir(&journals.place(first.journal).quarantine).expect("a directory").count(), 1);
    let path = journals.place(first.journal).segment_path(0);
    assert!(fs::read(&path).expect("the file").ends_with(b"footer"));
    run(&mut files, vec![JournalOp::Delete { segment: first }, JournalOp::Delete { segment: first }]);
    assert!(!path.exists());
}

#[test]
fn appends_are_answered_by_one_sync_and_reads_come_last() {
    let dir = Dir::new("group");
    let (mut files, journals) = dir.files();
    let (id, bytes) = (segment(&journals, 0), entry(0).bytes.len() as u64);
    let wanted = vec![Wanted::new(0, 0, bytes as u32)];
    let mut ops = vec![JournalOp::Append { segment: id, at: 0, batches: vec![entry(0)] }];
    ops.push(JournalOp::Read { segment: id, backlog: BacklogId(0), partition: 0, wanted });
    ops.extend((1..5).map(|n| JournalOp::Append { segment: id, at: n * bytes, batches: vec![entry(n)] }));
    let done = run(&mut files, ops);
    assert!(matches!(done[..5], [JournalDone::Appended { result: Ok(()), .. }, ..]));
    assert!(matches!(done[5], JournalDone::Read { .. }), "{done:?}");
    let gap = run(&mut files, vec![JournalOp::Append { segment: id, at: 9_999, batches: vec![entry(9)] }]);
    assert!(matches!(gap[0], JournalDone::Appended { result: Err(_), .. }));
}

#[test]
fn positions_are_replaced_whole() {
    let dir = Dir::new("positions");
    let (mut files, journals) = dir.files();
    let journal = segment(&journals, 0).journal;
    for bytes in [&b"longer than the next"[..], b"short"] {
        let done = run(&mut files, vec![JournalOp::Positions { journal, slot: 1, bytes: bytes.to_vec() }]);
        assert!(matches!(done[0], JournalDone::Positions { result: Ok(()), .. }));
        assert_eq!(fs::read(journals.place(journal).positions_path(1)).expect("the file"), bytes);
    }
}

/// On a file that cannot grow the group fails as a whole, and what was there stays.
#[test]
fn a_full_disk_fails_the_group() {
    let dir = Dir::new("full");
    let (mut files, journals) = dir.files();
    let id = segment(&journals, 0);
    let full = OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return eprintln!("skipped: this system has no /dev/full") };
    files.open.insert(id, Segment::over(0, 0, full));
    let done = run(&mut files, vec![JournalOp::Append { segment: id, at: 0, batches: vec![entry(0)] }]);
    // `at` = 0 begins a new file, so the full one is not written to.
    assert!(matches!(&done[0], JournalDone::Appended { result: Ok(()), .. }), "{done:?}");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("it was there");
    files.open.insert(id, Segment::over(0, 100, full));
    let done = run(&mut files, vec![JournalOp::Append { segment: id, at: 100, batches: vec![entry(1)] }]);
    let [JournalDone::Appended { result: Err(error), batches, .. }] = &done[..] else { panic!("{done:?}") };
    assert_eq!((error.during, error.errno, batches.len()), ("write", 28, 1));
}

/// A disk that was too full for a directory when the node began takes one later.
#[test]
fn a_directory_that_is_not_there_is_made() {
    let dir = Dir::new("make");
    let (mut files, journals) = dir.files();
    let segment = segment(&journals, 0);
    let place = journals.place(segment.journal);
    for op in [
        JournalOp::Append { segment, at: 0, batches: vec![entry(0)] },
        JournalOp::Positions { journal: segment.journal, slot: 1, bytes: b"positions".to_vec() },
    ] {
        let _ = fs::remove_dir_all(&place.dir);
        let done = run(&mut files, vec![op]);
        assert!(
            matches!(
                done[0],
                JournalDone::Appended { result: Ok(()), .. } | JournalDone::Positions { result: Ok(()), .. }
            ),
            "{done:?}"
        );
    }
}

fn copied(number: u64, bytes: u32) -> Copied {
    Copied { number, at: number as u32 * bytes, bytes }
}

/// What is whole comes to the other file as it is, in its order, and behind everything else that is queued.
#[test]
fn entries_are_copied_as_they_are() {
    let dir = Dir::new("copy");
    let (mut files, journals) = dir.files();
    let (from, to) = (segment(&journals, 0), segment(&journals, 1));
    let bytes = entry(0).bytes.len() as u32;
    run(&mut files, vec![JournalOp::Append { segment: from, at: 0, batches: (0..6).map(entry).collect() }]);
    let path = |segment: SegmentId| journals.place(segment.journal).segment_path(segment.seq);
    let mut damaged = fs::read(path(from)).expect("the file");
    damaged[2 * bytes as usize + 70] ^= 1;
    fs::write(path(from), damaged).expect("the file");

    let first = vec![copied(1, bytes), copied(2, bytes), copied(3, bytes)];
    let more = u64::from(6 * bytes);
    let ops = vec![
        JournalOp::Copy { from, to, at: 0, entries: first },
        JournalOp::Append { segment: from, at: more, batches: vec![entry(6)] },
    ];
    let done = run(&mut files, ops);
    let [JournalDone::Appended { result: Ok(()), .. }, JournalDone::Copied { result: Ok(whole), .. }] = &done[..]
    else {
        panic!("{done:?}")
    };
    assert_eq!(whole, &[true, false, true], "the second is damaged");
    let next =
        JournalOp::Copy { from, to, at: u64::from(2 * bytes), entries: vec![copied(6, bytes), copied(9, bytes)] };
    let footer = |at: u32| JournalOp::Finish { segment: to, at: u64::from(at * bytes), footer: b"footer".to_vec() };
    let done = run(&mut files, vec![next]);
    assert!(matches!(&done[0], JournalDone::Copied { result: Ok(whole), .. } if *whole == [true, false]), "{done:?}");
    run(&mut files, vec![footer(3)]);
    let expected: Vec<u8> = [1, 3, 6].into_iter().flat_map(|n| entry(n).bytes).chain(*b"footer").collect();
    assert_eq!(fs::read(path(to)).expect("the file"), expected);
}

/// A file of copies that the disk refuses takes nothing more, and the one that entries go to is not concerned.
#[test]
fn a_full_disk_fails_a_copy_as_a_whole() {
    let dir = Dir::new("copy-full");
    let (mut files, journals) = dir.files();
    let (from, to) = (segment(&journals, 0), segment(&journals, 1));
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { return eprintln!("skipped: no /dev/full") };
    let bytes = entry(0).bytes.len() as u32;
    run(&mut files, vec![JournalOp::Append { segment: from, at: 0, batches: vec![entry(0), entry(1)] }]);
    files.open.insert(to, Segment::over(1, 100, full));
    let done = run(&mut files, vec![JournalOp::Copy { from, to, at: 100, entries: vec![copied(1, bytes)] }]);
    let [JournalDone::Copied { result: Err(error), .. }] = &done[..] else { panic!("{done:?}") };
    assert_eq!((error.during, error.errno), ("write", 28));
    let at = u64::from(2 * bytes);
    let done = run(&mut files, vec![JournalOp::Append { segment: from, at, batches: vec![entry(2)] }]);
    assert!(matches!(done[0], JournalDone::Appended { result: Ok(()), .. }), "{done:?}");
}

/// A file that takes no more copies is not kept open, whatever failed; what the disk did not confirm is not found by a start.
#[test]
fn a_copy_that_fails_leaves_nothing_open_and_nothing_in_doubt() {
    let dir = Dir::new("copy-fails");
    let (mut files, journals) = dir.files();
    let (from, to, unread) = (segment(&journals, 0), segment(&journals, 1), segment(&journals, 2));
    let bytes = entry(0).bytes.len() as u32;
    let path = |segment: SegmentId| journals.place(segment.journal).segment_path(segment.seq);
    run(&mut files, vec![JournalOp::Append { segment: from, at: 0, batches: (0..3).map(entry).collect() }]);
    run(&mut files, vec![JournalOp::Copy { from, to, at: 0, entries: vec![copied(0, bytes)] }]);
    fs::create_dir(path(unread)).expect("a directory, which does not read");
    let at = u64::from(bytes);
    let done = run(&mut files, vec![JournalOp::Copy { from: unread, to, at, entries: vec![copied(1, bytes)] }]);
    assert!(matches!(done[..], [JournalDone::Copied { result: Err(_), .. }]), "{done:?}");
    assert!(!files.open.contains_key(&to), "it takes nothing more");

    let file = OpenOptions::new().write(true).open(path(to)).expect("the file");
    files.open.insert(to, Segment::over(1, at, file).in_missing(&dir.0.join("missing")));
    files.take(JournalOp::Copy { from, to, at, entries: vec![copied(2, bytes)] }, &mut |_| {});
    let mut failed = None;
    files.read_next(&mut |done| match done {
        DiskDone::Journal(JournalDone::Copied { result: Err(error), .. }) => failed = Some(error.during),
        other => panic!("unexpected: {other:?}"),
    });
    assert_eq!(failed, Some("sync"));
    assert_eq!(fs::read(path(to)).expect("the file"), entry(0).bytes);
}

/// Deletions do not wait for copies, and what goes before its turn is not needed any more: no fault of the disk.
#[test]
fn nothing_is_copied_of_a_file_that_has_gone() {
    let dir = Dir::new("copy-gone");
    let (mut files, journals) = dir.files();
    let (from, to) = (segment(&journals, 0), segment(&journals, 1));
    let bytes = entry(0).bytes.len() as u32;
    let copy = |at: u64, n: u64| JournalOp::Copy { from, to, at, entries: vec![copied(n, bytes)] };
    run(&mut files, vec![JournalOp::Append { segment: from, at: 0, batches: (0..3).map(entry).collect() }]);
    run(&mut files, vec![copy(0, 0)]);
    let done = run(&mut files, vec![copy(u64::from(bytes), 1), JournalOp::Delete { segment: from }]);
    let [JournalDone::Deleted { .. }, JournalDone::Copied { result, .. }] = &done[..] else { panic!("{done:?}") };
    assert_eq!(result.as_deref(), Ok(&[false][..]));
    assert!(files.open.contains_key(&to), "it takes the next");
}
