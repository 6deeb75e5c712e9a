use super::*;
use crate::log::journal::footer::Footer;
use crate::log::journal::rig::{self, part};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("aqueduct-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn spec(&self) -> JournalSpec {
        JournalSpec { sink: 0, dir: self.0.join("s") }
    }

    fn open(&self, shards: u16, mark: u32) -> OpenedJournals {
        open_journals(&[self.spec()], shards, JournalId(0), || mark).expect("a writable directory")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes entries, given by number and partition, as a journal does; with a footer if `finished`.
fn write(place: &JournalPlace, seq: u32, entries: &[(u64, u32)], finished: bool) {
    let own: Vec<_> = entries.iter().map(|&(number, partition)| (number, "", partition)).collect();
    write_named(place, seq, &own, finished);
}

/// As [`write`], of entries with topics that messages named.
fn write_named(place: &JournalPlace, seq: u32, entries: &[(u64, &str, u32)], finished: bool) {
    let (mut bytes, mut footer) = (Vec::new(), Footer::default());
    for &(number, topic, partition) in entries {
        let entry = rig::entry_to(topic, number, partition, format!("value {number}").as_bytes(), place.mark);
        let (at, len) = (bytes.len() as u32, entry.len() as u32);
        footer.push(&Item { number, at, bytes: len, partition, records: 1, topic: 0 }, topic);
        bytes.extend(entry);
    }
    if finished {
        let at = bytes.len() as u64;
        bytes.extend(footer.finish(at, place.mark));
    }
    fs::write(place.segment_path(seq), bytes).expect("a file");
}

fn left(start: &JournalStart) -> Vec<(u32, Vec<u64>)> {
    let mut left: Vec<(u32, Vec<u64>)> = Vec::new();
    for adopted in &start.adopted {
        for (part, entries) in &adopted.entries {
            left.push((part.partition, entries.iter().map(|(_, item)| item.number).collect()));
        }
    }
    left
}

#[test]
fn entries_that_have_not_been_passed_are_taken_over_in_order() {
    let dir = Dir::new("order");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write(&place, 0, &[(0, 0), (1, 1), (2, 0), (3, 0)], true);
    // Written again after an error: the same numbers in the next file.
    write(&place, 1, &[(3, 0), (4, 1), (5, 0)], false);
    let partitions = BTreeMap::from([(0, Position { resume: 3, open: vec![0] })]);
    for (slot, count) in [(0, 4), (1, 3)] {
        let positions = Positions {
            count,
            partitions: if count == 4 { partitions.clone() } else { BTreeMap::new() },
            ..Positions::default()
        };
        fs::write(place.positions_path(slot), positions.encode(11)).expect("a file");
    }
    let second = dir.open(1, 12);
    let start = &second.starts[0][0];
    assert_eq!(left(start), [(0, vec![0, 3, 5]), (1, vec![1, 4])]);
    assert_eq!(start.adopted[0].entries[&part("", 0)][1].0, 1, "of two copies the later");
    assert_eq!((start.entries(), start.records(), start.damaged), (5, 5, 0));
    assert!(second.notes.is_empty() && start.waits_for.is_empty());
}

#[test]
fn what_has_been_passed_goes_with_its_directory() {
    let dir = Dir::new("passed");
    let first = dir.open(2, 11);
    let place = first.journals.place(first.starts[1][0].own).clone();
    write(&place, 0, &[(0, 0)], true);
    let positions = Positions {
        count: 1,
        partitions: BTreeMap::from([(0, Position { resume: 1, open: Vec::new() })]),
        ..Positions::default()
    };
    fs::write(place.positions_path(1), positions.encode(11)).expect("a file");
    let second = dir.open(2, 12);
    assert!(!place.dir.exists());
    assert_eq!(second.starts.iter().map(|s| s[0].entries()).sum::<usize>(), 0);
    assert_eq!(fs::read_dir(dir.spec().dir).expect("a directory").count(), 2, "those of this start");
}

#[test]
fn each_shard_takes_over_its_own_or_one_takes_over_all() {
    let dir = Dir::new("shards");
    let first = dir.open(2, 11);
    for (shard, partition) in [(0, 0), (1, 3)] {
        let place = first.journals.place(first.starts[shard][0].own);
        write(place, 0, &[(0, partition)], true);
    }
    let same = dir.open(2, 12);
    assert_eq!(left(&same.starts[0][0]), [(0, vec![0])]);
    assert_eq!(left(&same.starts[1][0]), [(3, vec![0])]);
    assert!(same.starts.iter().all(|starts| starts[0].waits_for.is_empty()));
    // Nothing was passed, so the first start's is there still; and the second's, which is empty, goes.
    let other = dir.open(3, 13);
    assert_eq!(left(&other.starts[0][0]), [(0, vec![0]), (3, vec![0])]);
    assert_eq!(other.starts[1][0].waits_for, [part("", 0), part("", 3)]);
    assert_eq!(other.starts[2][0].waits_for, [part("", 0), part("", 3)]);
    assert!(other.starts[0][0].waits_for.is_empty());
    let marks: Vec<u32> = other.starts[0][0].adopted.iter().map(|adopted| adopted.mark).collect();
    assert_eq!(marks, [11, 11]);
}

#[test]
fn damage_is_set_aside_and_the_rest_is_taken_over() {
    let dir = Dir::new("damage");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write(&place, 0, &[(0, 0), (1, 0), (2, 0)], false);
    let path = place.segment_path(0);
    let mut bytes = fs::read(&path).expect("the file");
    let third = bytes.len() / 3;
    bytes[third + 70] ^= 4;
    fs::write(&path, &bytes).expect("the file");
    let second = dir.open(1, 12);
    assert_eq!(left(&second.starts[0][0]), [(0, vec![0, 2])]);
    assert_eq!((second.starts[0][0].damaged, second.notes.len()), (1, 1));
    let aside: Vec<_> = fs::read_dir(&place.quarantine).expect("a directory").flatten().collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(aside[0].path()).expect("a file"), bytes[third..2 * third]);
}

#[test]
fn other_files_are_left_alone() {
    let dir = Dir::new("others");
    fs::create_dir_all(dir.spec().dir.join("notes")).expect("a directory");
    fs::write(dir.spec().dir.join("000001.1.0.zz"), "x").expect("a file");
    assert!(dir.open(1, 1).starts[0][0].adopted.is_empty());
    assert!(dir.spec().dir.join("notes").exists());
}

#[test]
fn what_was_known_of_the_topic_is_handed_from_start_to_start() {
    let dir = Dir::new("topic");
    let first = dir.open(2, 11);
    assert_eq!(first.starts[0][0].topic_partitions, 0, "nobody has said it yet");
    // One shard has heard of more partitions, the other has not written it down.
    for (shard, topic_partitions) in [(0, 6), (1, 4)] {
        let place = first.journals.place(first.starts[shard][0].own);
        let positions = Positions { count: 9, topic_partitions, ..Positions::default() };
        fs::write(place.positions_path(1), positions.encode(place.mark)).expect("a file");
    }
    let own = first.journals.place(first.starts[0][0].own).dir.clone();
    for mark in 12..15 {
        // Each start is killed before it has written anything by itself.
        let next = dir.open(1, mark);
        assert_eq!(next.starts[0][0].topic_partitions, 6);
        assert!(!own.exists(), "what has been passed goes");
    }
    let last = dir.open(1, 15);
    let place = last.journals.place(last.starts[0][0].own);
    let positions = Positions { count: 1, topic_partitions: 3, ..Positions::default() };
    fs::write(place.positions_path(1), positions.encode(place.mark)).expect("a file");
    assert_eq!(dir.open(1, 16).starts[0][0].topic_partitions, 3, "the newest counts: the topic was made anew");
}

#[test]
fn what_a_sink_that_is_gone_has_passed_gives_its_space_back_and_nothing_else_goes() {
    let dir = Dir::new("gone");
    let first = dir.open(2, 11);
    let [passed, left] = [0, 1].map(|shard| first.journals.place(first.starts[shard][0].own).clone());
    write(&passed, 0, &[(0, 0)], false);
    write(&left, 0, &[(0, 1)], false);
    let partitions = BTreeMap::from([(0, Position { resume: 1, open: Vec::new() })]);
    let positions = Positions { count: 1, topic_partitions: 6, partitions, ..Positions::default() };
    fs::write(passed.positions_path(1), positions.encode(11)).expect("a file");
    remove_passed(&dir.spec()).expect("a writable directory");
    assert!(!passed.segment_path(0).exists() && left.segment_path(0).exists());
    let second = dir.open(2, 12);
    assert_eq!((second.starts[0][0].entries(), second.starts[1][0].entries()), (0, 1));
    assert_eq!(second.starts[0][0].topic_partitions, 6, "what is known of the topic stays");
}

#[test]
fn journals_that_come_later_have_numbers_of_their_own() {
    let dir = Dir::new("numbers");
    let mut all = dir.open(2, 11).journals;
    let other = JournalSpec { sink: 1, dir: dir.0.join("other") };
    let later = open_journals(&[other], 2, JournalId(2), || 12).expect("a writable directory");
    assert_eq!(later.starts.iter().map(|starts| starts[0].own).collect::<Vec<_>>(), [JournalId(2), JournalId(3)]);
    all.add(later.journals);
    assert_eq!(all.places().count(), 4);
    all.remove(0);
    assert_eq!(all.places().map(|(journal, _)| journal).collect::<Vec<_>>(), [JournalId(2), JournalId(3)]);
}

/// What is left of topics that messages named.
fn left_of(start: &JournalStart) -> Vec<(String, u32, Vec<u64>)> {
    let entries = start.adopted.iter().flat_map(|adopted| &adopted.entries);
    let numbers = |entries: &[(u32, Item)]| entries.iter().map(|(_, item)| item.number).collect();
    entries.map(|(part, entries)| (part.topic.to_string(), part.partition, numbers(entries))).collect()
}

/// Two files, one with a footer and one without; one topic holds something, one has been passed, one is newer than the positions.
#[test]
fn each_topic_gets_back_what_has_not_been_passed_of_it() {
    let dir = Dir::new("topics");
    let first = dir.open(2, 11);
    let place = first.journals.place(first.starts[1][0].own).clone();
    write_named(&place, 0, &[(0, "a", 0), (1, "b", 0), (2, "a", 1), (3, "", 0), (4, "a", 0)], true);
    write_named(&place, 1, &[(5, "b", 0), (6, "a", 0), (7, "b", 1), (8, "c", 2)], false);
    let a = BTreeMap::from([(0, Position { resume: 6, open: vec![0] })]);
    let positions = Positions {
        count: 1,
        partitions: BTreeMap::from([(0, Position { resume: 4, open: Vec::new() })]),
        passed: 7,
        topics: BTreeMap::from([("a".into(), a)]),
        ..Positions::default()
    };
    fs::write(place.positions_path(0), positions.encode(11)).expect("a file");
    let second = dir.open(2, 12);
    let left = |topic: &str, partition, numbers: &[u64]| (topic.to_string(), partition, numbers.to_vec());
    assert_eq!(left_of(&second.starts[1][0]), [left("a", 0, &[0, 6]), left("b", 1, &[7]), left("c", 2, &[8])]);
    assert!(!second.starts[1][0].has_unnamed() && second.starts[0][0].adopted.is_empty());
    assert_eq!(second.starts[1][0].adopted[0].named_end, 9);
    // With another number of shards one takes over all of it, and the others wait for it topic by topic.
    let third = dir.open(3, 13);
    assert_eq!(left_of(&third.starts[0][0]).len(), 3);
    assert_eq!(third.starts[2][0].waits_for, [part("a", 0), part("b", 1), part("c", 2)]);
}

#[test]
fn entries_without_a_name_are_seen() {
    let dir = Dir::new("unnamed");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write_named(&place, 0, &[(0, "a", 0), (1, "", 0)], true);
    assert!(dir.open(1, 12).starts[0][0].has_unnamed());
}

/// A file that cannot be read at one start, and can at the next: nothing of it may go meanwhile, and nothing pass it by.
#[test]
fn a_file_that_cannot_be_read_stops_the_start_and_stays() {
    let dir = Dir::new("unread");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write(&place, 0, &[(0, 0)], true);
    write(&place, 1, &[(1, 0), (2, 0)], true);
    let (path, away) = (place.segment_path(0), dir.0.join("away"));
    fs::rename(&path, &away).expect("a writable directory");
    // A symbolic link is followed by nobody here.
    std::os::unix::fs::symlink(&away, &path).expect("a writable directory");
    let refused = open_journals(&[dir.spec()], 1, JournalId(0), || 12).expect_err("who knows what it holds");
    assert!(matches!(&refused, OpenError::Unread { path: unread, .. } if *unread == path), "{refused}");
    assert!(remove_passed(&dir.spec()).is_err());
    assert_eq!(fs::read_dir(dir.spec().dir).expect("a directory").count(), 1, "the start has left nothing behind");
    fs::rename(&away, &path).expect("a writable directory");
    assert_eq!(left(&dir.open(1, 13).starts[0][0]), [(0, vec![0, 1, 2])]);
}

#[test]
fn a_sink_that_is_gone_gives_nothing_back_that_was_not_read() {
    let dir = Dir::new("gone-unread");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write(&place, 0, &[(0, 0)], true);
    let partitions = BTreeMap::from([(0, Position { resume: 1, open: Vec::new() })]);
    let positions = Positions { count: 1, partitions, ..Positions::default() };
    fs::write(place.positions_path(1), positions.encode(11)).expect("a file");
    // What does not tell how far it has been passed: a directory in its place.
    fs::create_dir(place.positions_path(0)).expect("a directory");
    assert!(remove_passed(&dir.spec()).is_err());
    assert!(place.segment_path(0).exists());
}

/// What a disk without room says to a directory.
fn no_room(dir: &Path) -> OpenError {
    OpenError::Io { what: "make", path: dir.to_owned(), error: rustix::io::Errno::NOSPC.into() }
}

fn open_on(disk: MakeDir, dir: &Dir) -> Opening {
    let mut opening = Opening { starts: vec![Vec::new()], ..Opening::new(disk) };
    opening.open_sink(&dir.spec(), 1, &mut || 12).expect("a full disk is no reason not to start");
    opening
}

/// A backlog that fills the disk: it can leave only if the node starts.
#[test]
fn a_full_disk_is_no_reason_not_to_start() {
    let dir = Dir::new("full");
    let first = dir.open(1, 11);
    write(first.journals.place(first.starts[0][0].own), 0, &[(0, 0), (1, 0)], true);
    let second = open_on(|dir| Err(no_room(dir)), &dir);
    let start = &second.starts[0][0];
    assert_eq!((left(start), second.notes.len()), (vec![(0, vec![0, 1])], 1));
    let own = &second.places[&start.own];
    assert!(!own.dir.exists());
    own.make().expect("there is room again");
    assert!(own.dir.exists());
}

/// What has been sent and was not removed before the process ended gives its room to the new directory.
#[test]
fn what_has_been_passed_goes_before_room_is_asked_for() {
    let dir = Dir::new("room");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write(&place, 0, &[(0, 0)], true);
    let partitions = BTreeMap::from([(0, Position { resume: 1, open: Vec::new() })]);
    let positions = Positions { count: 1, topic_partitions: 6, partitions, ..Positions::default() };
    fs::write(place.positions_path(1), positions.encode(11)).expect("a file");
    let second = open_on(
        |dir| {
            let root = dir.parent().expect("the sink's");
            let dirs = names(root)?.into_iter().map(|name| root.join(name)).filter(|dir| dir.is_dir());
            let files: usize = dirs.map(|dir| segments_of(&dir).map_or(0, |found| found.len())).sum();
            if files > 0 { Err(no_room(dir)) } else { make_dir(dir) }
        },
        &dir,
    );
    assert!(second.notes.is_empty(), "{:?}", second.notes);
    assert_eq!(second.starts[0][0].topic_partitions, 6);
    assert!(!place.dir.exists(), "and the directory goes, too");
}

/// A process that is killed may have written copies, or entries that it was to write again, and not synced them. A power cut that
/// comes next must not find that what they replace has gone.
#[test]
fn what_was_written_and_perhaps_not_synced_is_synced_before_it_replaces_anything() {
    let dir = Dir::new("doubt");
    let first = dir.open(1, 11);
    let place = first.journals.place(first.starts[0][0].own).clone();
    write(&place, 0, &[(0, 0), (1, 0), (2, 0)], true);
    write(&place, 1, &[(1, 0)], false);
    write(&place, 2, &[(0, 0), (1, 0), (2, 0)], true);
    write(&place, 3, &[(0, 0), (2, 0)], false);
    let files = |sync: SyncFile| {
        let (adopted, _) = Opening { sync, ..Opening::new(make_dir) }.look_into(&place).expect("files");
        adopted.entries[&part("", 0)].iter().map(|&(seq, item)| (item.number, seq)).collect::<Vec<_>>()
    };
    assert_eq!(files(sync_file), [(0, 3), (1, 2), (2, 3)], "of copies the later");
    let no_unfinished = |path: &Path| {
        let unfinished = [1, 3].iter().any(|seq| path.ends_with(format!("{seq:010}.journal")));
        assert!(unfinished, "what is finished is durable: {path:?}");
        Err(io::Error::other("no"))
    };
    assert_eq!(files(no_unfinished), [(0, 2), (1, 2), (2, 2)], "but none that is in doubt");
    fs::remove_file(place.segment_path(2)).expect("a file");
    fs::remove_file(place.segment_path(0)).expect("a file");
    assert_eq!(files(no_unfinished), [(0, 3), (1, 1), (2, 3)], "unless there is no other");
}
