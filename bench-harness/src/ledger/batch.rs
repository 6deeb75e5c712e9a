//! Record batches as Kafka stores them, read with their producer's numbers.
//!
//! ```text
//! 0        8        12      16      17    21           23            27       35      43            51      53
//! | offset | length | epoch | magic | crc | attributes | last offset | first t | max t | producer id | epoch | sequence |
//!   i64      i32      i32     i8      u32   i16          i32           i64       i64     i64           i16     i32
//! 57      61
//! | count | records: varint length | attributes | dt: varlong | doffset: varint | key | value | headers |
//! ```
//!
//! The CRC-32C covers everything from the attributes on. Compressed batches are refused: the harness does not ask for any.

use miette::{Result, bail, miette};

const LENGTH_END: usize = 12;
const HEADER_BYTES: usize = 61;
const ATTRIBUTES_AT: usize = 21;
const COMPRESSION: i16 = 0b111;
const CONTROL: i16 = 0b10_0000;
/// The largest time of a batch is that of its arrival at the leader, and holds for all its records (LogAppendTime).
const APPEND_TIME: i16 = 0b1000;

/// One record, with what tells who wrote it and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Partition it lies in.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Producer id; -1 without idempotence.
    pub producer_id: i64,
    /// Producer epoch; -1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence of this record within producer id, epoch and partition; -1 without idempotence.
    pub sequence: i32,
    /// When the leader took it, milliseconds since 1970 UTC, where the topic keeps that (LogAppendTime).
    pub appended_ms: Option<i64>,
    /// Key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// Calls `each` for every record from offset `from` on; answers the offset behind the last whole batch. What comes after it
/// is the start of a batch that the answer had no room for.
pub fn read(mut bytes: &[u8], partition: i32, from: i64, each: &mut dyn FnMut(Record<'_>)) -> Result<i64> {
    let mut next = from;
    while let Some((batch, rest)) = cut(bytes)? {
        next = next.max(read_batch(batch, partition, from, each)?);
        bytes = rest;
    }
    Ok(next)
}

fn cut(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
    if bytes.len() < LENGTH_END {
        return Ok(None);
    }
    let length = i32_at(bytes, 8)?;
    let whole = usize::try_from(length).ok().map(|length| LENGTH_END + length).filter(|whole| *whole >= HEADER_BYTES);
    let Some(whole) = whole else { bail!("a batch of {length} bytes") };
    Ok(bytes.split_at_checked(whole))
}

fn read_batch(batch: &[u8], partition: i32, from: i64, each: &mut dyn FnMut(Record<'_>)) -> Result<i64> {
    let base = i64_at(batch, 0)?;
    let attributes = i16_at(batch, ATTRIBUTES_AT)?;
    let (last_delta, count) = (i32_at(batch, 23)?, i32_at(batch, 57)?);
    let (producer_id, producer_epoch, base_sequence) = (i64_at(batch, 43)?, i16_at(batch, 51)?, i32_at(batch, 53)?);
    if batch[16] != 2 || attributes & COMPRESSION != 0 {
        bail!("the batch at offset {base} has format {} and attributes {attributes:#x}", batch[16]);
    }
    let crc = i32_at(batch, 17)? as u32;
    if crc != crc32c::crc32c(&batch[ATTRIBUTES_AT..]) {
        bail!("the batch at offset {base} of partition {partition} has a wrong checksum");
    }
    let end = base + i64::from(last_delta) + 1;
    if attributes & CONTROL != 0 {
        return Ok(end);
    }
    let appended_ms = (attributes & APPEND_TIME != 0).then(|| i64_at(batch, 35)).transpose()?;
    let mut records = Cursor(&batch[HEADER_BYTES..]);
    for _ in 0..count {
        let length = records.length()?.ok_or_else(|| miette!("a record without length"))?;
        let mut record = Cursor(records.bytes(length)?);
        record.bytes(1)?;
        record.varlong()?;
        let delta = record.varlong()?;
        let key = record.length()?.map(|length| record.bytes(length)).transpose()?;
        let value = record.length()?.map(|length| record.bytes(length)).transpose()?;
        let offset = base + delta;
        if offset >= from {
            let sequence = if base_sequence < 0 { -1 } else { (i64::from(base_sequence) + delta) as i32 & i32::MAX };
            each(Record { partition, offset, producer_id, producer_epoch, sequence, appended_ms, key, value });
        }
    }
    Ok(end)
}

/// The rest of some bytes that were promised to be long enough.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| miette!("a record is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A zigzag number of up to ten bytes.
    fn varlong(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        bail!("a number does not end")
    }

    /// A length; `None` is that of null.
    fn length(&mut self) -> Result<Option<usize>> {
        let length = self.varlong()?;
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).map_err(|_| miette!("a length of {length}"))
    }
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(|| miette!("a batch is cut off"))
}

fn i64_at(bytes: &[u8], at: usize) -> Result<i64> {
    chunk(bytes, at).map(i64::from_be_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Result<i32> {
    chunk(bytes, at).map(i32::from_be_bytes)
}

fn i16_at(bytes: &[u8], at: usize) -> Result<i16> {
    chunk(bytes, at).map(i16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records, ("k", "v") and (null, "w"), written by hand.
    fn batch(base: i64) -> Vec<u8> {
        batch_as(base, false)
    }

    fn batch_as(base: i64, by_arrival: bool) -> Vec<u8> {
        let records = [16, 0, 0, 0, 2, b'k', 2, b'v', 0, 14, 0, 0, 2, 1, 2, b'w', 0];
        let mut batch = base.to_be_bytes().to_vec();
        batch.extend_from_slice(&((HEADER_BYTES - LENGTH_END + records.len()) as i32).to_be_bytes());
        batch.extend_from_slice(&[0, 0, 0, 1, 2, 0, 0, 0, 0, 0, if by_arrival { 8 } else { 0 }]);
        batch.extend_from_slice(&1_i32.to_be_bytes());
        batch.extend_from_slice(&40_i64.to_be_bytes());
        batch.extend_from_slice(&50_i64.to_be_bytes());
        batch.extend_from_slice(&77_i64.to_be_bytes());
        batch.extend_from_slice(&3_i16.to_be_bytes());
        batch.extend_from_slice(&i32::MAX.to_be_bytes());
        batch.extend_from_slice(&2_i32.to_be_bytes());
        batch.extend_from_slice(&records);
        let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    type Seen = (i64, i64, i16, i32, Option<Vec<u8>>, Option<Vec<u8>>);

    fn check(bytes: &[u8], from: i64, expected: &[Seen], next: i64) {
        let mut seen: Vec<Seen> = Vec::new();
        let end = read(bytes, 1, from, &mut |record| {
            let Record { offset, producer_id, producer_epoch, sequence, key, value, .. } = record;
            seen.push((offset, producer_id, producer_epoch, sequence, key.map(Vec::from), value.map(Vec::from)));
        });
        assert_eq!((seen.as_slice(), end.unwrap()), (expected, next));
    }

    #[test]
    fn records_come_with_their_producers_numbers() {
        let first = (5, 77, 3, i32::MAX, Some(b"k".to_vec()), Some(b"v".to_vec()));
        // Sequences go round from the highest to 0.
        let second = (6, 77, 3, 0, None, Some(b"w".to_vec()));
        check(&batch(5), 0, &[first, second.clone()], 7);
        check(&batch(5), 6, std::slice::from_ref(&second), 7);
        let both = [batch(5), batch(7)].concat();
        check(&both[..both.len() - 1], 6, &[second], 7);
    }

    #[test]
    fn the_time_of_arrival_is_that_of_the_batch_where_the_topic_keeps_it() {
        for (by_arrival, expected) in [(true, Some(50)), (false, None)] {
            let mut seen = Vec::new();
            read(&batch_as(0, by_arrival), 1, 0, &mut |record| seen.push(record.appended_ms)).unwrap();
            assert_eq!(seen, [expected; 2]);
        }
    }

    #[test]
    fn a_changed_byte_is_an_error() {
        let mut changed = batch(0);
        changed[70] ^= 1;
        assert!(read(&changed, 0, 0, &mut |_| {}).is_err());
    }
}
