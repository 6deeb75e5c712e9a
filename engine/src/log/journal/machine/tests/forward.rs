//! What waits for long leaves files that others have passed.

use super::*;

/// One message of ten goes to partition 0, which Kafka does not answer; the others' are answered as they come.
fn one_in_ten_waits(rig: &mut Rig, range: std::ops::Range<u32>) {
    for n in range {
        rig.push(if n % 10 == 0 { 0 } else { 1 + n % 3 }, &format!("value {n}"));
        rig.work();
        answer_others(rig);
        rig.now.mono = rig.now.mono.plus_ms(100);
    }
}

fn answer_others(rig: &mut Rig) {
    let away = std::mem::take(&mut rig.away);
    let (waits, others): (VecDeque<_>, VecDeque<_>) = away.into_iter().partition(|batch| batch.part.partition == 0);
    rig.away = waits;
    others.iter().for_each(|batch| assert!(rig.pass(batch)));
    rig.work();
}

/// What partition 0 is to bring: every tenth.
fn tenth(range: std::ops::Range<u32>) -> Vec<String> {
    range.step_by(10).map(|n| format!("value {n}")).collect()
}

fn lengths(rig: &Rig) -> u64 {
    rig.files.values().map(|file| file.len() as u64).sum()
}

#[test]
fn files_take_no_more_than_twice_what_waits() {
    let mut rig = Rig::new(limits());
    let mut most = 0;
    for n in 0..400 {
        one_in_ten_waits(&mut rig, 10 * n..10 * (n + 1));
        let counts = rig.journal.counts();
        let bound = 2 * counts.bytes + 5 * limits().segment_bytes;
        assert!(lengths(&rig) <= bound, "{} of {bound} after {n}: {counts:?}", lengths(&rig));
        // Footers that have been asked for and entries under way apart.
        assert_eq!(counts.segment_bytes, lengths(&rig));
        most = most.max(lengths(&rig));
    }
    let held = rig.journal.counts();
    assert_eq!(held.records, 400);
    assert!(rig.copied.len() > 20 && held.copied_bytes > held.bytes / 2, "{held:?}");
    // What would lie there otherwise: everything since the first that waits.
    assert!(most * 3 < 10 * held.bytes, "{most} bytes for {} that wait", held.bytes);
    assert_eq!(rig.drain(), tenth(0..4000));
    assert!(rig.journal.is_empty());
    rig.now.mono = rig.now.mono.plus_ms(1_000);
    rig.work();
    assert!(rig.files.len() <= 1, "{:?}", rig.files.keys());
}

#[test]
fn what_is_found_of_an_earlier_start_is_copied_in_its_own_directory() {
    let (earlier, entries) = (JournalId(OWN.0 + 1), 200u32);
    let mut start = rig::found(0, OWN, entries);
    let file: Vec<u8> = (0..entries).flat_map(|n| rig::entry(u64::from(n), 0, b"value", 1)).collect();
    // A quarter of it is left.
    let adopted = &mut start.adopted[0];
    adopted.entries.values_mut().for_each(|entries| entries.retain(|(_, item)| item.number % 4 == 0));
    let mut rig = Rig::with(Journal::new(JournalLimits { inflight_max: 1, ..limits() }, start));
    rig.files.insert(SegmentId { journal: earlier, seq: 0 }, file);
    rig.work();
    let from: Vec<SegmentId> = rig.copied.iter().map(|&(from, ..)| from).collect();
    let to: Vec<SegmentId> = rig.copied.iter().map(|&(_, to, _)| to).collect();
    assert_eq!(from, [SegmentId { journal: earlier, seq: 0 }]);
    assert_eq!(to, [SegmentId { journal: earlier, seq: 1 }]);
    rig.now.mono = rig.now.mono.plus_ms(1_000);
    rig.work();
    assert!(!rig.files.contains_key(&from[0]), "it has gone");
    assert_eq!(rig.drain().len(), 50);
}

#[test]
fn a_copy_that_fails_is_tried_again_to_another_file() {
    let mut rig = Rig::new(limits());
    rig.copies_fail = true;
    one_in_ten_waits(&mut rig, 0..1000);
    let failures = rig.journal.counts().failures;
    assert!(failures > 10 && rig.copied.is_empty(), "{failures} failed");
    assert!(rig.poll().is_some_and(|at| at <= rig.now.mono.plus_ms(500)), "it is tried again by itself");
    assert_eq!(rig.journal.counts().damaged, 0);
    rig.copies_fail = false;
    one_in_ten_waits(&mut rig, 1000..1020);
    rig.now.mono = rig.now.mono.plus_ms(1_000);
    rig.work();
    assert!(!rig.copied.is_empty());
    let held = rig.journal.counts();
    assert!(lengths(&rig) <= 2 * held.bytes + 5 * limits().segment_bytes, "{} of {held:?}", lengths(&rig));
    assert_eq!(rig.drain(), tenth(0..1020));
}

#[test]
fn what_is_damaged_stays_where_it_is_and_the_rest_is_copied() {
    // What waits is on disk alone, but for the first few.
    let mut rig = Rig::new(JournalLimits { merge_bytes: 0, loaded_bytes_max: 1, ..limits() });
    one_in_ten_waits(&mut rig, 0..300);
    let first = SegmentId { journal: OWN, seq: 0 };
    let number = 200;
    let entry = *rig.journal.backlogs[BacklogId(0)].queue.iter().find(|e| e.number == number).expect("it waits");
    let file = rig.files.get_mut(&entry.segment).expect("its file");
    file[entry.at as usize + 70] ^= 1;
    one_in_ten_waits(&mut rig, 300..1000);
    assert!(rig.files.contains_key(&entry.segment), "it is still needed");
    assert!(entry.segment != first && !rig.files.contains_key(&first), "others go");
    let mut left = tenth(0..1000);
    left.retain(|value| *value != format!("value {number}"));
    assert_eq!(rig.drain(), left);
    assert_eq!(rig.journal.counts().damaged, 1);
    rig.now.mono = rig.now.mono.plus_ms(1_000);
    rig.work();
    assert!(rig.files.len() <= 1, "{:?}", rig.files.keys());
}

#[test]
fn nothing_is_read_of_a_file_that_is_being_copied() {
    let mut rig = Rig::new(limits());
    one_in_ten_waits(&mut rig, 0..400);
    let (mut copying, mut n) = (None, 400);
    while copying.is_none() {
        rig.push(u32::from(n % 10 > 0), &format!("value {n}"));
        rig.poll();
        n += 1;
        while let Some(op) = rig.asked.pop_front() {
            if let JournalOp::Copy { from, .. } = op {
                // The disk does not get to it.
                rig.asked.push_front(op);
                copying = Some(from);
                break;
            }
            rig.finish(op);
            while let Some(at) = rig.away.iter().position(|batch| batch.part.partition > 0) {
                let batch = rig.away.remove(at).expect("it is there");
                assert!(rig.pass(&batch));
            }
        }
        assert!(n < 2_000, "something is copied");
    }
    while let Some(batch) = rig.away.pop_front() {
        assert!(rig.pass(&batch));
        rig.poll();
    }
    let reads = rig.asked.iter().filter_map(|op| match op {
        JournalOp::Read { segment, .. } => Some(*segment),
        _ => None,
    });
    assert!(reads.clone().all(|segment| Some(segment) != copying), "{:?} of {copying:?}", reads.collect::<Vec<_>>());
    rig.drain();
    assert!(rig.journal.is_empty());
}

/// Files were to be longer, and one that takes copies is: it gives back its room as those of the new length do.
#[test]
fn a_file_of_copies_that_is_too_long_now_is_finished() {
    let long = JournalLimits { segment_bytes: 8_000, ..limits() };
    let mut rig = Rig::new(long);
    let mut n = 0;
    while rig.copied.last().is_none_or(|(_, to, _)| rig.files[to].len() < 4_000) {
        one_in_ten_waits(&mut rig, n..n + 10);
        n += 10;
    }
    // Everything is passed but the last that was copied.
    let (_, copies, _) = *rig.copied.last().expect("something was copied");
    let open = rig.journal.backlogs[BacklogId(0)].open.iter().map(|open| open.entry);
    let last = open.filter(|entry| entry.segment == copies).map(|entry| entry.number).max().expect("it is on its way");
    for _ in 0..10 {
        rig.work();
        let away = std::mem::take(&mut rig.away);
        let (waits, others): (VecDeque<_>, VecDeque<_>) = away.into_iter().partition(|batch| batch.journal == last + 1);
        rig.away = waits;
        others.iter().for_each(|batch| assert!(rig.pass(batch)));
    }
    rig.journal.configure(limits().segment_bytes, long.inflight_max, long.topics_max);
    rig.push(1, "the file that takes entries is another one now");
    for _ in 0..4 {
        rig.work();
        answer_others(&mut rig);
        rig.now.mono = rig.now.mono.plus_ms(1_000);
    }
    let held = rig.journal.counts();
    assert_eq!(held.records, 1);
    assert!(lengths(&rig) <= 2 * held.bytes + 2 * limits().segment_bytes, "{} of {held:?}", lengths(&rig));
}
