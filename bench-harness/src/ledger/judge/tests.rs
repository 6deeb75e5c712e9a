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
    Book { run: 1, payload_bytes: PAYLOAD_BYTES, routes: 2, clients: BTreeMap::from([(0, page(1)), (1, page(2))]) }
}

/// A record as (client, sequence, attempt, producer id), changed where a test says so.
#[derive(Clone, Copy)]
struct Copy(u32, u32, u16, i64);

fn judged(copies: &[Copy], change: impl Fn(usize, &mut Vec<u8>, &mut Vec<u8>, &mut i32, &mut u8)) -> Findings {
    let book = book();
    let windows = [Window { name: "outage".into(), from_ns: 2_100_000_000, until_ns: 2_200_000_000 }];
    let mut judge = Judge::new(&book, &windows);
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
