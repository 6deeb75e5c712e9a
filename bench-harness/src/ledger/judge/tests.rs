use super::super::book::Sent;
use super::*;

const PAYLOAD_BYTES: usize = 96;

/// Client 0 at QoS 1 and client 1 at QoS 2, five messages each; the last of both was not answered.
fn book() -> Book {
    let message = |sequence: u64| Sent {
        first_ns: sequence * 1_000_000_000,
        attempts: 1,
        answer: if sequence < 4 { Answer::Acked(sequence * 1_000_000_000 + 500_000_000) } else { Answer::None },
    };
    let page = |qos| ClientPage { qos, messages: (0..5).map(message).collect() };
    let clients = BTreeMap::from([(0, page(1)), (1, page(2))]);
    Book { run: 1, payload_bytes: PAYLOAD_BYTES, routes: 2, clients, ..Book::default() }
}

/// A record as (client, sequence, attempt, producer id), changed where a test says so.
#[derive(Clone, Copy)]
struct Copy(u32, u32, u16, i64);

fn judged(copies: &[Copy], change: impl Fn(usize, &mut Vec<u8>, &mut Vec<u8>, &mut i32, &mut u8)) -> Findings {
    judged_by(&book(), copies, change, |_| None)
}

fn judged_by(
    book: &Book,
    copies: &[Copy],
    change: impl Fn(usize, &mut Vec<u8>, &mut Vec<u8>, &mut i32, &mut u8),
    appended_ms: impl Fn(usize) -> Option<i64>,
) -> Findings {
    let windows = [Window { name: "outage".into(), from_ns: 2_100_000_000, until_ns: 2_200_000_000 }];
    let mut judge = Judge::new(book, &windows);
    for (at, Copy(client, sequence, attempt, producer_id)) in copies.iter().copied().enumerate() {
        let qos = 1 + client as u8;
        let stamp = Stamp { run: 1, client, sequence, attempt, qos, sent_ns: 0 };
        let (mut key, mut value) = (message::key(client).into_bytes(), Vec::new());
        message::put(&mut value, &stamp, &message::topic(client, 2), PAYLOAD_BYTES);
        let (mut partition, mut route) = (0, message::route(client, 2));
        change(at, &mut key, &mut value, &mut partition, &mut route);
        let record = Record {
            partition,
            offset: at as i64,
            producer_id,
            producer_epoch: 0,
            sequence: at as i32,
            appended_ms: appended_ms(at),
            key: Some(&key),
            value: Some(&value),
        };
        judge.record(route, &record);
    }
    judge.findings()
}

fn check(copies: &[Copy], expected: Verdict) -> Findings {
    let findings = judged(copies, |_, _, _, _, _| {});
    assert_eq!(findings.verdict, expected);
    findings
}

/// All acknowledged messages in order.
fn good() -> Vec<Copy> {
    (0..2).flat_map(|client| (0..4).map(move |sequence| Copy(client, sequence, 0, 7))).collect()
}

const GOOD: Verdict = Verdict {
    sent: 10,
    acked: 8,
    nacked: 0,
    resent: 0,
    delivered: 8,
    records: 8,
    lost: 0,
    excused: 0,
    lost_unacked: 2,
    ghost: 0,
    corrupt: 0,
    misrouted: 0,
    nacked_present: 0,
    dup_own: 0,
    dup_across: 0,
    dup_resend: 0,
    dup2: 0,
    reorder: 0,
    reorder_resend: 0,
    moved: 0,
    refused_then_later: 0,
    gap_then_later: 0,
};

#[test]
fn what_was_acknowledged_in_order_is_clean() {
    let findings = check(&good(), GOOD);
    assert!(findings.verdict.is_clean(false) && findings.bad.is_empty());
    assert_eq!(findings.partition_of, [(0, 0), (1, 0)]);
}

#[test]
fn a_lost_message_is_told_with_its_times_faults_and_neighbours() {
    let mut copies = good();
    copies.remove(2);
    let expected = Verdict { delivered: 7, records: 7, lost: 1, gap_then_later: 1, ..GOOD };
    let findings = check(&copies, expected);
    assert!(!findings.verdict.is_clean(true));
    let bad = &findings.bad[0];
    assert_eq!((bad.what, bad.client, bad.sequence), ("lost", Some(0), Some(2)));
    assert_eq!((bad.sent_ms, bad.acked_ms, &*bad.faults[0]), (Some(2000), Some(2500), "outage"));
    assert!(bad.places[0].starts_with("1 at 0/1") && bad.places[1].starts_with("3 at 0/2"), "{:?}", bad.places);
    // Behind the last that is there no later one is told.
    check(&good()[..7], Verdict { delivered: 7, records: 7, lost: 1, gap_then_later: 0, ..GOOD });
}

#[test]
fn copies_are_told_apart_by_who_made_them() {
    let with = |copy: Copy| good().into_iter().chain([copy]).collect::<Vec<_>>();
    let records = 9;
    check(&with(Copy(0, 1, 0, 7)), Verdict { records, dup_own: 1, ..GOOD });
    check(&with(Copy(0, 1, 0, 8)), Verdict { records, dup_across: 1, ..GOOD });
    let resent = check(&with(Copy(0, 1, 1, 7)), Verdict { records, dup_resend: 1, ..GOOD });
    assert!(!resent.verdict.is_clean(false), "nobody sent it again");
    let at_qos2 = check(&with(Copy(1, 1, 1, 8)), Verdict { records, dup_resend: 1, dup2: 1, ..GOOD });
    assert_eq!(at_qos2.bad[0].what, "dup2");
    check(&with(Copy(1, 1, 0, 8)), Verdict { records, dup_across: 1, ..GOOD });
    check(&with(Copy(1, 1, 0, 7)), Verdict { records, dup_own: 1, dup2: 1, ..GOOD });
}

#[test]
fn a_first_copy_behind_a_later_message_is_out_of_order() {
    let mut copies = good();
    copies.swap(1, 2);
    let findings = check(&copies, Verdict { reorder: 1, ..GOOD });
    assert!(!findings.verdict.is_clean(true));
    // One that was lost at first, and came when it was sent again.
    copies[2].2 = 1;
    let findings = check(&copies, Verdict { reorder_resend: 1, ..GOOD });
    assert!(!findings.verdict.is_clean(true));
    assert_eq!(findings.bad[0].what, "reorder_resend");
}

#[test]
fn records_that_do_not_belong_are_seen() {
    let at_two = |what: fn(&mut Vec<u8>, &mut Vec<u8>, &mut i32, &mut u8)| {
        judged(&good(), move |at, key, value, partition, route| {
            if at == 2 {
                what(key, value, partition, route);
            }
        })
        .verdict
    };
    let misrouted = Verdict { misrouted: 1, ..GOOD };
    assert_eq!(at_two(|key, _, _, _| key.push(b'x')), misrouted);
    assert_eq!(at_two(|_, _, partition, _| *partition = 1), misrouted);
    assert_eq!(at_two(|_, _, _, route| *route = 1), misrouted);
    let absent = Verdict { delivered: 7, lost: 1, gap_then_later: 1, ..GOOD };
    assert_eq!(at_two(|_, value, _, _| value[50] ^= 1), Verdict { corrupt: 1, ..absent });
    let ghost = judged(&[Copy(0, 5, 0, 7), Copy(9, 0, 0, 7)], |_, _, _, _, _| {}).verdict;
    assert_eq!((ghost.ghost, ghost.lost), (2, 8));
}

/// Client 0 has its first two messages in partition 0 and the others in partition 1, which came to be in between.
#[test]
fn a_client_may_move_when_its_topic_grows_and_must_keep_its_order() {
    let check = |growths: &[(u8, u32)], partitions: [i32; 4], came_ms: [i64; 4], expected: Verdict| {
        let book = Book { growths: growths.iter().copied().collect(), ..book() };
        let place = |at: usize, partition: &mut i32| {
            if let Some(own) = partitions.get(at) {
                *partition = *own;
            }
        };
        let came = |at: usize| came_ms.get(at).copied().or(Some(0));
        let findings = judged_by(&book, &good(), |at, _, _, partition, _| place(at, partition), came);
        assert_eq!(findings.verdict, expected, "{growths:?} {partitions:?} {came_ms:?}");
    };
    let (moved, in_time) = (Verdict { moved: 1, ..GOOD }, [1, 2, 2, 3]);
    check(&[(0, 1)], [0, 0, 1, 1], in_time, moved);
    check(&[(0, 1)], [0, 0, 1, 1], [1, 5, 4, 6], Verdict { reorder: 1, ..moved });
    check(&[(0, 1)], [0, 1, 0, 1], in_time, Verdict { misrouted: 1, ..moved });
    check(&[(0, 2)], [0, 1, 0, 0], in_time, moved);
    check(&[(1, 1)], [0, 0, 1, 1], in_time, Verdict { misrouted: 2, ..GOOD });
}

/// Client 0's topic is gone at 1.6 s: its messages of 0.5 and 1.5 s may be missing, that of 2.5 s came within the grace, that of 3.5 s did not.
#[test]
fn a_deleted_topic_excuses_what_was_acknowledged_before_and_nothing_else() {
    let check = |copies: &[Copy], expected: Verdict| {
        let book = Book { gone_ns: BTreeMap::from([(0, 1_600_000_000)]), ..book() };
        assert_eq!(judged_by(&book, copies, |_, _, _, _, _| {}, |_| None).verdict, expected);
    };
    let good = good();
    let without = |gone: usize| Verdict { delivered: 8 - gone as u64, records: 8 - gone as u64, ..GOOD };
    check(&good[3..], Verdict { excused: 3, ..without(3) });
    check(&good[4..], Verdict { excused: 3, lost: 1, ..without(4) });
    // What is there again although it was acknowledged before was stored twice.
    check(&good[2..], Verdict { excused: 2, dup_own: 1, ..without(2) });
    // The other topic is still there.
    let others = [&good[3..4], &good[5..]].concat();
    check(&others, Verdict { excused: 3, lost: 1, gap_then_later: 1, ..without(4) });
}

#[test]
fn what_lies_behind_a_refused_message_is_found() {
    let check = |refused_ns: u64, attempts: u16, expected: u64| {
        let mut book = book();
        let messages = &mut book.clients.get_mut(&0).unwrap().messages;
        messages[1].answer = Answer::Nacked(0x83, refused_ns);
        (messages[2].attempts, messages[3].attempts) = (attempts, attempts);
        let copies: Vec<Copy> =
            good().into_iter().filter(|Copy(client, sequence, ..)| (*client, *sequence) != (0, 1)).collect();
        let verdict = judged_by(&book, &copies, |_, _, _, _, _| {}, |_| None).verdict;
        assert_eq!((verdict.nacked, verdict.refused_then_later), (1, expected), "{refused_ns} {attempts}");
    };
    // The next one was sent at 2 s.
    check(4_500_000_000, 1, 1);
    check(2_500_000_000, 1, 0);
    check(4_500_000_000, 2, 0);
}
