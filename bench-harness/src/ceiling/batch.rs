//! A record batch of Kafka's format 2, filled record by record, with the packets to acknowledge once it is stored.
//!
//! ```text
//! gap       partition:4 length:4                                             written into the request
//! 0         base offset:8  length:4  leader epoch:4  magic:1=2  crc:4
//! 21        attributes:2  last offset delta:4  base timestamp:8  max timestamp:8      the CRC-32C covers from here
//! 43        producer id:8=-1  producer epoch:2=-1  base sequence:4=-1  records:4
//! 61        record...
//! record    length  attributes:1=0  timestamp delta=0  offset delta  key length  key  value length  value  headers=0
//! ```
//!
//! Lengths and deltas of a record are zigzag varints; everything else is big-endian.

use std::time::{SystemTime, UNIX_EPOCH};

/// Partition and length before the batch in a Produce request.
const GAP_BYTES: usize = 8;
const HEADER_BYTES: usize = 61;
const CRC_FROM: usize = 21;

/// When a PUBLISH is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acks {
    /// When its batch is stored.
    AfterKafka,
    /// When it has been read, and it goes nowhere.
    Discarded,
    /// When it has been read, though its batch is not stored yet: the defect that `kill` must find.
    TooEarly,
}

/// Consecutive records of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) connection: u32,
    pub(super) count: u32,
}

/// Records of one partition and whom to tell.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: u32,
    /// QoS 1 packets in the order of their records, grouped by `runs`.
    pub(super) packet_ids: Vec<u16>,
    pub(super) runs: Vec<Run>,
}

impl Batch {
    /// Bytes so far, header included; 0 when empty.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len().saturating_sub(GAP_BYTES)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Appends a record.
    pub(super) fn append(&mut self, key: &[u8], value: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(GAP_BYTES + HEADER_BYTES, 0);
        }
        let delta = Varint::of(self.records as usize);
        let (key_length, value_length) = (Varint::of(key.len()), Varint::of(value.len()));
        let body = 3 + delta.length + key_length.length + key.len() + value_length.length + value.len();
        let out = &mut self.bytes;
        out.reserve(body + 5);
        out.extend_from_slice(Varint::of(body).bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(delta.bytes());
        out.extend_from_slice(key_length.bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value_length.bytes());
        out.extend_from_slice(value);
        out.push(0);
        self.records += 1;
    }

    /// The last record came as a QoS 1 packet of this connection.
    pub(super) fn owe(&mut self, connection: u32, packet_id: u16) {
        self.packet_ids.push(packet_id);
        match self.runs.last_mut() {
            Some(run) if run.connection == connection => run.count += 1,
            _ => self.runs.push(Run { connection, count: 1 }),
        }
    }

    /// Writes the header. The batch is now what a Produce request carries for this partition.
    pub(super) fn seal(&mut self, partition: u32) -> &[u8] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let whole = self.bytes.len() - GAP_BYTES;
        let (gap, batch) = self.bytes.split_at_mut(GAP_BYTES);
        gap[..4].copy_from_slice(&partition.to_be_bytes());
        gap[4..].copy_from_slice(&(whole as u32).to_be_bytes());
        batch[8..12].copy_from_slice(&(whole as u32 - 12).to_be_bytes());
        batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(self.records - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&now.to_be_bytes());
        batch[35..43].copy_from_slice(&now.to_be_bytes());
        batch[43..57].fill(0xff);
        batch[57..61].copy_from_slice(&self.records.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        &self.bytes
    }

    /// What [`Batch::seal`] answered.
    pub(super) fn sealed(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties the batch and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
        self.packet_ids.clear();
        self.runs.clear();
    }
}

/// A zigzag varint of a number that is not negative and below 2^31.
struct Varint {
    bytes: [u8; 5],
    length: usize,
}

impl Varint {
    #[inline]
    fn of(number: usize) -> Self {
        let mut rest = number << 1;
        let mut varint = Self { bytes: [0; 5], length: 0 };
        while rest >= 0x80 {
            varint.bytes[varint.length] = rest as u8 | 0x80;
            varint.length += 1;
            rest >>= 7;
        }
        varint.bytes[varint.length] = rest as u8;
        varint.length += 1;
        varint
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_zigzag() {
        let check = |number, expected: &[u8]| assert_eq!(Varint::of(number).bytes(), expected);
        check(0, &[0]);
        check(1, &[2]);
        check(63, &[126]);
        check(64, &[0x80, 1]);
        check(300, &[0xd8, 4]);
    }

    #[test]
    fn a_record_lies_behind_the_header() {
        let mut batch = Batch::default();
        batch.append(b"k", b"value");
        batch.owe(7, 1);
        batch.append(b"k", b"");
        batch.owe(7, 2);
        let bytes = batch.seal(3).to_vec();
        assert_eq!(bytes[..4], [0, 0, 0, 3]);
        assert_eq!(bytes[4..8], (bytes.len() as u32 - 8).to_be_bytes());
        assert_eq!(bytes[8 + 57..8 + 61], [0, 0, 0, 2]);
        assert_eq!(bytes[8 + 61..][..13], [24, 0, 0, 0, 2, b'k', 10, b'v', b'a', b'l', b'u', b'e', 0]);
        assert_eq!(bytes[8 + 61 + 13..], [14, 0, 0, 2, 2, b'k', 0, 0]);
        assert_eq!((batch.runs.len(), batch.runs[0].count), (1, 2));
    }
}
