//! What has been passed of a journal, as it is kept across starts.
//!
//! ```text
//! "AQP2" | u32 CRC-32 of what follows | u32 mark | u64 count, ascends | u32 partitions of the topic | u32 partitions here
//! for each:  u32 partition | u64 resume | u16 open | open × u64
//! ```
//!
//! Of a partition all entries below `resume` have been passed, but for the `open` ones, which were on their way to Kafka.
//! Two files are written in turn, so that one is always whole. An old one does no harm: what was passed since is sent again.
//! How many partitions the topic has stands here too, so that a start without Kafka knows where records go.

use std::collections::BTreeMap;

const MAGIC: [u8; 4] = *b"AQP2";
const CRC_ENDS_AT: usize = 8;

/// The positions of one journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Positions {
    /// Which of two is newer.
    pub count: u64,
    /// What Kafka has said last; 0 if it has not.
    pub topic_partitions: u32,
    /// How far each has been passed.
    pub partitions: BTreeMap<u32, Position>,
}

/// How far a partition has been passed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// Everything below this number, but for `open`.
    pub resume: u64,
    /// On their way, ascending.
    pub open: Vec<u64>,
}

impl Position {
    /// Whether the entry with this number has been passed.
    pub fn has_passed(&self, number: u64) -> bool {
        number < self.resume && self.open.binary_search(&number).is_err()
    }
}

impl Positions {
    /// The file's bytes.
    pub fn encode(&self, mark: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&mark.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.topic_partitions.to_be_bytes());
        bytes.extend_from_slice(&(self.partitions.len() as u32).to_be_bytes());
        for (partition, position) in &self.partitions {
            bytes.extend_from_slice(&partition.to_be_bytes());
            bytes.extend_from_slice(&position.resume.to_be_bytes());
            bytes.extend_from_slice(&(position.open.len() as u16).to_be_bytes());
            position.open.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        }
        let crc = crc32fast::hash(&bytes[CRC_ENDS_AT..]);
        bytes[4..CRC_ENDS_AT].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` if these bytes are not what was written.
    pub fn decode(bytes: &[u8], mark: u32) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        if *magic != MAGIC || u32::from_be_bytes(*crc) != crc32fast::hash(rest) {
            return None;
        }
        let mut left = rest;
        if take_u32(&mut left)? != mark {
            return None;
        }
        let (count, topic_partitions) = (take_u64(&mut left)?, take_u32(&mut left)?);
        let mut positions = Self { count, topic_partitions, partitions: BTreeMap::new() };
        for _ in 0..take_u32(&mut left)? {
            let partition = take_u32(&mut left)?;
            let resume = take_u64(&mut left)?;
            let (open, behind) = left.split_first_chunk::<2>()?;
            left = behind;
            let open = (0..u16::from_be_bytes(*open)).map(|_| take_u64(&mut left)).collect::<Option<_>>()?;
            positions.partitions.insert(partition, Position { resume, open });
        }
        left.is_empty().then_some(positions)
    }
}

fn take_u32(left: &mut &[u8]) -> Option<u32> {
    let (bytes, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(u32::from_be_bytes(*bytes))
}

fn take_u64(left: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_as_they_were_written_or_not_at_all() {
        let position = Position { resume: 12, open: vec![3, 9] };
        assert!(position.has_passed(8) && !position.has_passed(9) && !position.has_passed(12));
        let partitions = BTreeMap::from([(4, position), (7, Position { resume: u64::MAX, open: Vec::new() })]);
        let positions = Positions { count: 5, topic_partitions: 12, partitions };
        let mut bytes = positions.encode(77);
        assert_eq!(Positions::decode(&bytes, 77), Some(positions));
        assert_eq!(Positions::decode(&bytes, 78), None);
        for cut in 0..bytes.len() {
            assert_eq!(Positions::decode(&bytes[..cut], 77), None, "cut at {cut}");
        }
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Positions::decode(&bytes, 77), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
