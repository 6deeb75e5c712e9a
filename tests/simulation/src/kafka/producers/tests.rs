//! Each line of the table, and its edges.

use super::*;

fn batch(epoch: i16, first: i32, records: u32) -> Batch {
    Batch {
        records,
        base_timestamp_ms: 1000,
        max_timestamp_ms: 1000,
        producer_id: 7,
        producer_epoch: epoch,
        base_sequence: first,
    }
}

/// Judges one after the other, appends what may be, one offset for each record.
#[track_caller]
fn check(batches: &[(Batch, Verdict)]) -> Producers {
    let (mut producers, mut offset) = (Producers::default(), 100);
    for (at, (batch, expected)) in batches.iter().enumerate() {
        let verdict = producers.judge(batch, TODAY);
        assert_eq!(verdict, *expected, "batch {at}");
        if verdict == Verdict::Append {
            producers.appended(batch, offset);
            offset += i64::from(batch.records);
        }
    }
    producers
}

const TODAY: Rules = Rules { strict: false, remembered: REMEMBERED };
const APPEND: Verdict = Verdict::Append;
const GAP: Verdict = Verdict::Refused(code::OUT_OF_ORDER_SEQUENCE_NUMBER);
const FENCED: Verdict = Verdict::Refused(code::INVALID_PRODUCER_EPOCH);

#[test]
fn the_last_five_are_known_and_the_sixth_is_not() {
    let mut story: Vec<_> = (0..6).map(|n| (batch(0, n * 2, 2), APPEND)).collect();
    story.extend((1..6).map(|n| (batch(0, n * 2, 2), Verdict::Stored(100 + i64::from(n) * 2))));
    story.push((batch(0, 0, 2), GAP));
    story.push((batch(0, 12, 2), APPEND));
    check(&story);
}

#[test]
fn old_brokers_know_the_last_one() {
    let producers = check(&[(batch(0, 0, 2), APPEND), (batch(0, 2, 2), APPEND)]);
    let old = Rules { remembered: 1, ..TODAY };
    assert_eq!(producers.judge(&batch(0, 2, 2), old), Verdict::Stored(102));
    assert_eq!(producers.judge(&batch(0, 0, 2), old), GAP);
}

#[test]
fn a_twin_has_the_same_first_and_last_sequence() {
    check(&[(batch(0, 0, 4), APPEND), (batch(0, 0, 3), GAP), (batch(0, 1, 3), GAP), (batch(0, 2, 2), GAP)]);
}

#[test]
fn a_gap_is_refused() {
    check(&[(batch(0, 0, 4), APPEND), (batch(0, 5, 1), GAP), (batch(0, 4, 1), APPEND)]);
}

#[test]
fn a_stranger_begins_anywhere_unless_brokers_are_old() {
    check(&[(batch(3, 17, 2), APPEND), (batch(3, 19, 1), APPEND)]);
    let unknown = Verdict::Refused(code::UNKNOWN_PRODUCER_ID);
    assert_eq!(Producers::default().judge(&batch(3, 17, 2), Rules { strict: true, ..TODAY }), unknown);
    assert_eq!(Producers::default().judge(&batch(3, 0, 2), Rules { strict: true, ..TODAY }), APPEND);
}

#[test]
fn an_epoch_begins_at_0_and_ends_the_one_before_it() {
    check(&[
        (batch(0, 0, 1), APPEND),
        (batch(1, 1, 1), GAP),
        (batch(0, 1, 1), APPEND),
        (batch(1, 0, 1), APPEND),
        (batch(0, 2, 1), FENCED),
        // Stored under the epoch before: fenced all the same.
        (batch(0, 0, 1), FENCED),
        (batch(1, 0, 1), Verdict::Stored(102)),
        (batch(1, 1, 1), APPEND),
        (batch(5, 0, 1), APPEND),
    ]);
}

#[test]
fn sequences_wrap() {
    check(&[
        (batch(0, i32::MAX - 1, 2), APPEND),
        (batch(0, 0, 3), APPEND),
        (batch(0, i32::MAX - 1, 2), Verdict::Stored(100)),
        (batch(0, 3, 1), APPEND),
    ]);
    check(&[(batch(0, i32::MAX - 1, 4), APPEND), (batch(0, 1, 1), GAP), (batch(0, 2, 1), APPEND)]);
}

#[test]
fn a_forgotten_producer_is_a_stranger() {
    let mut producers = check(&[(batch(1, 0, 1), APPEND)]);
    assert_eq!(producers.expire(1999, 1000).count(), 0);
    assert_eq!(producers.judge(&batch(1, 0, 1), TODAY), Verdict::Stored(100));
    assert_eq!(producers.expire(2000, 1000).count(), 1);
    assert_eq!(producers.judge(&batch(0, 9, 1), TODAY), APPEND);
    assert_eq!(producers.forget().count(), 0);
}

#[test]
fn without_a_producer_id_nothing_is_known() {
    let anonymous = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, ..batch(0, 0, 3) };
    let producers = check(&[(anonymous, APPEND), (anonymous, APPEND)]);
    assert!(producers.0.is_empty());
}
