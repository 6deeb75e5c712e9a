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
//!
//! Where messages named topics, the file begins with "AQP3" and goes on:
//!
//! ```text
//! u64 passed | u32 topics
//! for each:  u8 bytes | name | u32 partitions here | for each as above
//! ```
//!
//! There may be many such topics, most of them with nothing left, so only those that hold something are named: of all others
//! every entry below `passed` has been passed.

use std::collections::BTreeMap;

use kafka::topic_name::is_topic_name;

const MAGIC: [u8; 4] = *b"AQP2";
const MAGIC_NAMED: [u8; 4] = *b"AQP3";
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
    /// Below this every entry that names a topic has been passed, unless the topic is among these.
    pub passed: u64,
    /// Topics that messages named and that hold something.
    pub topics: BTreeMap<Box<str>, BTreeMap<u32, Position>>,
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
        let is_named = self.passed > 0 || !self.topics.is_empty();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(if is_named { &MAGIC_NAMED } else { &MAGIC });
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&mark.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.topic_partitions.to_be_bytes());
        put_partitions(&self.partitions, &mut bytes);
        if is_named {
            bytes.extend_from_slice(&self.passed.to_be_bytes());
            bytes.extend_from_slice(&(self.topics.len() as u32).to_be_bytes());
            for (name, partitions) in &self.topics {
                bytes.push(name.len() as u8);
                bytes.extend_from_slice(name.as_bytes());
                put_partitions(partitions, &mut bytes);
            }
        }
        let crc = crc32fast::hash(&bytes[CRC_ENDS_AT..]);
        bytes[4..CRC_ENDS_AT].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` if these bytes are not what was written.
    pub fn decode(bytes: &[u8], mark: u32) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let is_named = *magic == MAGIC_NAMED;
        if !(is_named || *magic == MAGIC) || u32::from_be_bytes(*crc) != crc32fast::hash(rest) {
            return None;
        }
        let mut left = rest;
        if take_u32(&mut left)? != mark {
            return None;
        }
        let (count, topic_partitions) = (take_u64(&mut left)?, take_u32(&mut left)?);
        let partitions = take_partitions(&mut left)?;
        let mut positions = Self { count, topic_partitions, partitions, ..Self::default() };
        if is_named {
            positions.passed = take_u64(&mut left)?;
            for _ in 0..take_u32(&mut left)? {
                let name = take_name(&mut left)?;
                positions.topics.insert(name, take_partitions(&mut left)?);
            }
        }
        left.is_empty().then_some(positions)
    }

    /// How far a partition of a topic has been passed; `topic` is empty for the sink's own.
    pub fn position(&self, topic: &str, partition: u32) -> Position {
        if topic.is_empty() {
            return self.partitions.get(&partition).cloned().unwrap_or_default();
        }
        let held = self.topics.get(topic).and_then(|partitions| partitions.get(&partition));
        held.cloned().unwrap_or(Position { resume: self.passed, open: Vec::new() })
    }
}

fn put_partitions(partitions: &BTreeMap<u32, Position>, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(partitions.len() as u32).to_be_bytes());
    for (partition, position) in partitions {
        bytes.extend_from_slice(&partition.to_be_bytes());
        bytes.extend_from_slice(&position.resume.to_be_bytes());
        bytes.extend_from_slice(&(position.open.len() as u16).to_be_bytes());
        position.open.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
    }
}

fn take_partitions(left: &mut &[u8]) -> Option<BTreeMap<u32, Position>> {
    let mut partitions = BTreeMap::new();
    for _ in 0..take_u32(left)? {
        let partition = take_u32(left)?;
        let resume = take_u64(left)?;
        let (open, behind) = left.split_first_chunk::<2>()?;
        *left = behind;
        let open = (0..u16::from_be_bytes(*open)).map(|_| take_u64(left)).collect::<Option<_>>()?;
        partitions.insert(partition, Position { resume, open });
    }
    Some(partitions)
}

fn take_name(left: &mut &[u8]) -> Option<Box<str>> {
    let (&len, rest) = left.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    *left = rest;
    let name = std::str::from_utf8(name).ok()?;
    is_topic_name(name.as_bytes()).then(|| name.into())
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

    fn partitions() -> BTreeMap<u32, Position> {
        let position = Position { resume: 12, open: vec![3, 9] };
        assert!(position.has_passed(8) && !position.has_passed(9) && !position.has_passed(12));
        BTreeMap::from([(4, position), (7, Position { resume: u64::MAX, open: Vec::new() })])
    }

    fn check(positions: &Positions, magic: &[u8; 4]) {
        let mut bytes = positions.encode(77);
        assert_eq!(bytes[..4], *magic);
        assert_eq!(Positions::decode(&bytes, 77).as_ref(), Some(positions));
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

    #[test]
    fn positions_read_as_they_were_written_or_not_at_all() {
        let own = Positions { count: 5, topic_partitions: 12, partitions: partitions(), ..Positions::default() };
        check(&own, b"AQP2");
        let topics = BTreeMap::from([("site-a".into(), partitions()), ("site-b".into(), BTreeMap::new())]);
        check(&Positions { passed: 40, topics, ..own }, b"AQP3");
    }

    #[test]
    fn a_topic_that_is_not_named_has_been_passed_up_to_a_point() {
        let topics = BTreeMap::from([("site-a".into(), partitions())]);
        let positions = Positions { passed: 40, topics, partitions: partitions(), ..Positions::default() };
        let passed = |topic, partition, number| positions.position(topic, partition).has_passed(number);
        assert!(passed("site-a", 4, 8) && !passed("site-a", 4, 9) && !passed("site-a", 4, 20));
        assert!(passed("site-a", 5, 39) && passed("site-b", 4, 39) && !passed("site-b", 4, 40));
        assert!(passed("", 4, 8) && !passed("", 5, 0), "the sink's own topic is not concerned");
    }
}
