//! Record batches as a broker or a disk gives them, one behind the other, compressed or not.
//!
//! Promises: no panic; decompression stops at its limit, in what it gives and in the memory it takes; records that were read, written
//! again, are read the same; two batches merged hold the records of both.

use kafka::record_batch::{self, HEADER_LEN, Header, HeaderBlock, Record, Records, Span};

use crate::trail;

/// More than any input of the corpus unpacks to; what unpacks to more is a bomb.
const DECOMPRESSED_BYTES_MAX: usize = 16 * 1024;
/// What may be reserved for that: a decoder doubles its buffer.
const RESERVED_BYTES_MAX: usize = 4 * DECOMPRESSED_BYTES_MAX;

/// Reads the batches.
pub(super) fn run(bytes: &[u8]) {
    let mut rest = bytes;
    let mut scratch = Vec::new();
    let mut merged = (Vec::new(), Span::starting(0));
    while let Ok(header) = Header::parse(rest) {
        assert!(header.batch_bytes >= HEADER_LEN && header.last_offset_delta >= 0);
        trail::mark(50, header.attributes as u64 & 0x7f);
        if let Err(error) = header.check_crc(rest) {
            return trail::mark_text(51, &error.to_string()[..8]);
        }
        let batch = &rest[..header.batch_bytes];
        scratch = Vec::new();
        match record_batch::decompressed_records(batch, &mut scratch, DECOMPRESSED_BYTES_MAX) {
            Ok(records) => {
                let whole = read(&header, records);
                if let Some(whole) = whole.filter(|_| header.compression() == Ok(kafka::compression::Compression::None))
                {
                    merge(&mut merged, &header, batch, whole);
                }
            }
            Err(error) => trail::mark_text(52, &error.to_string()),
        }
        // One byte too many is read to see that there are more.
        assert!(scratch.len() <= DECOMPRESSED_BYTES_MAX + 1, "{} bytes were given", scratch.len());
        assert!(scratch.capacity() <= RESERVED_BYTES_MAX, "{} bytes were reserved", scratch.capacity());
        rest = &rest[header.batch_bytes..];
    }
    drop(scratch);
}

/// Reads every record; how many, if all are whole.
fn read(header: &Header, records: Records<'_>) -> Option<u32> {
    let mut again = Vec::new();
    let mut count = 0;
    for record in records.clone() {
        let Ok(record) = record else {
            trail::mark_size(53, count as usize);
            return None;
        };
        let headers: HeaderBlock = record.headers.collect();
        trail::mark_size(54, record.headers.count_left() as usize);
        // What offsets deltas of others may be, ours are not negative.
        let delta = u32::try_from(record.offset_delta).ok()?;
        record_batch::append(&mut again, delta, record.timestamp_delta_ms, record.key, record.value, headers.raw());
        count += 1;
    }
    assert_eq!(count, header.records);
    // A varint may be written in more bytes than it needs; ours is not.
    let same = |(a, b): (Record<'_>, Record<'_>)| {
        (a.offset_delta, a.timestamp_delta_ms, a.key, a.value) == (b.offset_delta, b.timestamp_delta_ms, b.key, b.value)
            && a.headers.eq(b.headers)
    };
    let reread = Records::new(count, &again).map(|record| record.expect("what we wrote"));
    assert!(records.flatten().zip(reread).all(same));
    trail::mark_size(55, count as usize);
    Some(count)
}

/// Appends a batch to those before it, which must then hold so many records more.
fn merge(merged: &mut (Vec<u8>, Span), header: &Header, batch: &[u8], records: u32) {
    let (bytes, span) = merged;
    let other =
        Span { base_timestamp_ms: header.base_timestamp_ms, max_timestamp_ms: header.max_timestamp_ms, records };
    let (before, is_first) = (span.records, bytes.is_empty());
    if before.checked_add(records).is_none() || record_batch::merge(bytes, span, batch, &other).is_err() {
        return;
    }
    let expected = if is_first { records } else { before + records };
    assert_eq!(span.records, expected);
    let all = Records::new(expected, &bytes[HEADER_LEN..]);
    assert_eq!(all.filter(Result::is_ok).count(), expected as usize);
}
