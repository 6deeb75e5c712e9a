//! Exhaustive on a small segment: every truncation, every flipped bit. Nothing panics, at most one batch is lost, and no
//! offset is given out again that somebody may have read.

use kafka::record_batch::{HEADER_LEN, Header, RawHeaders, Span, Stamp, append, begin, seal, set_base_offset};

use super::*;
use crate::log::scan::{Found, Scanner};

mod exhaustive;

const MARK: Mark = Mark(0x1234_5678);
const BASE: i64 = 1000;

/// A batch of `records` records at `base_offset`, with our mark.
fn batch(base_offset: i64, records: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin(&mut bytes);
    for n in 0..records {
        append(&mut bytes, n, 0, None, Some(value), RawHeaders::NONE);
    }
    let span = Span { base_timestamp_ms: 1, max_timestamp_ms: 1, records };
    seal(&mut bytes, &Stamp { base_sequence: MARK.0, ..Stamp::plain(&span) });
    set_base_offset(&mut bytes, base_offset, 0);
    bytes
}

/// Five batches with three records each, and where each begins.
fn segment() -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    for n in 0..5 {
        starts.push(bytes.len());
        bytes.extend(batch(BASE + 3 * n, 3, format!("value {n}").as_bytes()));
    }
    (bytes, starts)
}

/// Base offsets of the batches a reader is shown.
fn shown(bytes: &[u8]) -> Vec<i64> {
    let mut scanner = Scanner::new(bytes, MARK, bytes.len() as u64, 0, BASE, i64::MAX);
    let mut offsets = Vec::new();
    loop {
        match scanner.next().unwrap() {
            Found::Batch { at, header } => {
                assert_eq!(scanner.batch(), &bytes[at as usize..at as usize + header.batch_bytes]);
                offsets.push(header.base_offset);
            }
            Found::Damaged(_) => {}
            Found::End { .. } => return offsets,
        }
    }
}

fn recovered(bytes: &[u8]) -> Recovery {
    recover(bytes, MARK, bytes.len() as u64, BASE, i64::MAX).unwrap()
}

#[test]
fn a_whole_segment_is_clean() {
    let (bytes, _) = segment();
    let (keep_bytes, next_offset) = (bytes.len() as u64, BASE + 15);
    let expected = Recovery { keep_bytes, next_offset, end_offset: Some(next_offset), ..Recovery::default() };
    assert_eq!(recovered(&bytes), expected);
    assert!(recovered(&bytes).is_clean());
    assert_eq!(recovered(&[]), Recovery { next_offset: BASE, ..Recovery::default() });
}

#[test]
fn every_truncation_keeps_the_whole_batches_before_it() {
    let (bytes, starts) = segment();
    for cut in 0..bytes.len() {
        let found = recovered(&bytes[..cut]);
        let whole = starts.iter().filter(|&&start| start <= cut).count() - 1;
        assert_eq!(found.keep_bytes, starts[whole] as u64, "cut at {cut}");
        assert_eq!(found.torn_bytes, (cut - starts[whole]) as u64, "cut at {cut}");
        assert_eq!(found.damaged.len(), 0, "cut at {cut}");
        // A header that survived says how many records there were; a shorter rest held none that anybody saw.
        let seen = if cut - starts[whole] >= HEADER_LEN { 3 } else { 0 };
        assert_eq!(found.next_offset, BASE + 3 * whole as i64 + seen, "cut at {cut}");
        assert_eq!(found.end_offset, (whole > 0).then_some(BASE + 3 * whole as i64), "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_costs_at_most_its_own_batch() {
    let (bytes, starts) = segment();
    let all = shown(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let hit = starts.iter().rposition(|&start| start <= bit / 8).unwrap();
        let at = bit / 8 - starts[hit];
        // The leader epoch lies outside the checksum and means nothing to us.
        let harmless = (12..16).contains(&at);
        let mut expected = all.clone();
        if !harmless {
            expected.remove(hit);
        }
        assert_eq!(shown(&bad), expected, "bit {bit}");
        let found = recovered(&bad);
        let readable = if harmless || hit < 4 { 15 } else { 12 };
        assert_eq!(found.end_offset, Some(BASE + readable), "bit {bit}");
        assert_eq!(found.keep_bytes + found.torn_bytes, bad.len() as u64, "bit {bit}");
        assert!(found.damaged.len() <= 1, "bit {bit}");
        // The one thing that cannot be known: how many records the last batch had, when the bit hit that count.
        let count_hit = hit == 4 && (57..61).contains(&at);
        assert!(count_hit || found.next_offset >= BASE + 15, "bit {bit}: {}", found.next_offset);
        assert!(found.next_offset <= BASE + 15 + (bytes.len() / 7) as i64, "bit {bit}: {}", found.next_offset);
    }
}

#[test]
fn a_zeroed_page_costs_the_batches_it_touched() {
    let mut bytes = Vec::new();
    let mut starts = Vec::new();
    for n in 0..40 {
        starts.push(bytes.len());
        bytes.extend(batch(BASE + n, 1, &[b'v'; 400]));
    }
    bytes[4096..8192].fill(0);
    let survivors: Vec<i64> = (0..40)
        .filter(|&n| {
            let (from, to) = (starts[n as usize], starts.get(n as usize + 1).copied().unwrap_or(bytes.len()));
            to <= 4096 || from >= 8192
        })
        .map(|n| BASE + n)
        .collect();
    assert_eq!(shown(&bytes), survivors);
    let found = recovered(&bytes);
    assert_eq!((found.damaged.len(), found.torn_bytes, found.next_offset), (1, 0, BASE + 40));
}

#[test]
fn space_that_was_never_written_is_no_damage() {
    let (mut bytes, _) = segment();
    let whole = bytes.len() as u64;
    bytes.resize(bytes.len() + 100_000, 0);
    let found = recovered(&bytes);
    assert_eq!((found.keep_bytes, found.torn_bytes, found.damaged.len()), (whole, 100_000, 0));
    assert_eq!(found.next_offset, BASE + 15);
}

#[test]
fn a_batch_inside_a_payload_is_not_taken_for_one() {
    // A publisher who knows the offsets puts a valid batch into a payload, as a producer would seal it.
    let mut forged = batch(BASE + 4, 1, b"forged");
    kafka::record_batch::restamp_producer(&mut forged, -1, -1, -1);
    assert!(Header::parse(&forged).is_ok_and(|header| header.check_crc(&forged).is_ok()));
    let mut bytes = batch(BASE, 3, b"before");
    let carrier = bytes.len();
    bytes.extend(batch(BASE + 3, 1, &forged));
    bytes.extend(batch(BASE + 4, 3, b"after"));
    // Its carrier's length breaks, so that the scan has to search byte by byte.
    bytes[carrier + 9] ^= 1;
    assert_eq!(shown(&bytes), [BASE, BASE + 4]);
    assert_eq!(recovered(&bytes).damaged.len(), 1);
    let mut scanner = Scanner::new(&bytes[..], MARK, bytes.len() as u64, 0, BASE, i64::MAX);
    while !matches!(scanner.next().unwrap(), Found::End { .. }) {
        assert!(!scanner.batch().windows(6).any(|w| w == b"forged"));
    }
}

#[test]
fn batches_larger_than_a_chunk_are_whole() {
    let value = vec![7; 700_000];
    let mut bytes = batch(BASE, 1, &value);
    bytes.extend(batch(BASE + 1, 1, &value));
    assert_eq!(shown(&bytes), [BASE, BASE + 1]);
    let second = bytes.len() / 2;
    bytes[second + 300_000] ^= 1;
    bytes.extend(batch(BASE + 2, 1, b"small"));
    assert_eq!(shown(&bytes), [BASE, BASE + 2]);
}

#[test]
fn a_scan_ends_where_its_limit_is() {
    let (bytes, starts) = segment();
    let mut scanner = Scanner::new(&bytes[..], MARK, bytes.len() as u64, 0, BASE, BASE + 6);
    let mut last = 0;
    loop {
        match scanner.next().unwrap() {
            Found::Batch { header, .. } => last = header.next_offset(),
            other => {
                assert_eq!(other, Found::End { at: starts[2] as u64, torn_bytes: 0 });
                break;
            }
        }
    }
    assert_eq!(last, BASE + 6);
}

#[test]
fn a_file_shorter_than_it_was_said_to_be_ends_there() {
    let (bytes, starts) = segment();
    let found = recover(&bytes[..], MARK, bytes.len() as u64 + 500, BASE, i64::MAX).unwrap();
    assert_eq!((found.keep_bytes, found.next_offset), (bytes.len() as u64, BASE + 15));
    let found = recover(&bytes[..starts[1] + 70], MARK, bytes.len() as u64, BASE, i64::MAX).unwrap();
    assert_eq!((found.keep_bytes, found.next_offset), (starts[1] as u64, BASE + 6));
}
