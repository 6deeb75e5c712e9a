//! Record headers that a configuration takes out of a message of a stranger.
//!
//! ```text
//! choices u8 | source template \n | name template \n | value template \n | payload
//! ```
//!
//! Promises: no panic; the same event gives the same headers; they are a block that a reader of records takes; and what is no
//! headers gives none but the extra ones.

use aqueduct::config::HeaderEncoding;
use aqueduct::rule::Headers;
use kafka::record_batch::{self, HeaderBlock, Record, Records};

use super::template;
use crate::trail;

// Bits of the choices.
const JSON: u8 = 1;
const SOURCE: u8 = 2;
const EXTRA: u8 = 4;

pub(super) const WORDS: &[&[u8]] = &[
    b"${payload}",
    b"${payload.h}",
    b"${pub_props.User-Property}",
    b"${clientid}",
    b"[{\"key\":\"k\",\"value\":\"v\"}]",
    b"{\"k\":",
    b"{\"h\":",
    b"\"{\\\"k\\\":1}\"",
    b"\\u00e4",
    b"null",
    b"1e400",
    b"\n",
];

/// Compiles and renders.
pub(super) fn run(bytes: &[u8]) {
    let Some((choices, rest)) = bytes.split_first() else { return };
    let mut lines = rest.splitn(4, |&b| b == b'\n').map(|line| std::str::from_utf8(line).ok());
    let (Some(Some(source)), Some(Some(name)), Some(Some(value))) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let payload = rest.splitn(4, |&b| b == b'\n').nth(3).unwrap_or_default();
    let encoding = if choices & JSON == 0 { HeaderEncoding::None } else { HeaderEncoding::Json };
    let extra = if choices & EXTRA == 0 { Vec::new() } else { vec![(name.to_owned(), value.to_owned())] };
    let source = (choices & SOURCE != 0).then_some(source);
    let Ok(headers) = Headers::new(source, &extra, encoding) else { return trail::mark(98, 1) };
    let event = template::event("t/1", payload);
    let (mut block, mut again) = (HeaderBlock::default(), HeaderBlock::default());
    again.push(record_batch::RecordHeader { key: b"left", value: Some(b"over") });
    let sound = headers.render(&event, &mut block, &mut Vec::new());
    assert_eq!(headers.render(&event, &mut again, &mut b"left over".to_vec()), sound);
    assert_eq!(again.raw(), block.raw());
    let mut record = Vec::new();
    record_batch::append(&mut record, 0, 0, None, None, block.raw());
    let read: Vec<Record<'_>> = Records::new(1, &record).map(|record| record.expect("what we wrote")).collect();
    let [read] = &read[..] else { panic!("{} records", read.len()) };
    let count = read.headers.count();
    assert!(sound || count <= extra.len());
    assert!(!headers.are_none() || count == 0);
    trail::mark(98, 2 | u64::from(sound) << 2 | u64::from(*choices & 7) << 3);
    trail::mark_size(99, count);
}
