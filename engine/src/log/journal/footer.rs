//! The footer of a finished segment: where its entries lie, so that a start reads a few kilobytes of each instead of all.
//!
//! ```text
//! for each entry, in order:  u64 number | u32 at | u32 bytes | u32 partition | u32 records
//! trailer, 24 bytes:         "AQJF" | u32 CRC-32 of the list and the two numbers behind | u32 entries | u32 list begins at
//!                            | u32 mark | u32 0
//! ```
//!
//! Where messages named topics, more stands between list and trailer, and the trailer begins and ends otherwise:
//!
//! ```text
//! for each entry:            u32 topic: 0 the sink's own, else one of the names, counted from 1
//! for each name:             u8 bytes | name
//! trailer, 24 bytes:         "AQJG" | u32 CRC-32 of all before and of entries, begins, names | u32 entries | u32 list begins at
//!                            | u32 mark | u32 names
//! ```
//!
//! A segment without one, or whose footer is damaged, is scanned.

use std::io;

use kafka::topic_name::is_topic_name;

use super::topic_table::TopicTable;
use crate::log::scan::ReadAt;

/// Ends every finished segment.
const MAGIC: [u8; 4] = *b"AQJF";
/// Ends one whose entries name topics.
const MAGIC_NAMED: [u8; 4] = *b"AQJG";
const ITEM_LEN: usize = 24;
const TRAILER_LEN: usize = 24;

/// Most entries of a segment: bounds the footer, and what a shard keeps of it until the segment is finished.
pub(crate) const ENTRIES_MAX: usize = 65_536;
/// A segment is finished when its entries have named topics of so many bytes.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// Where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The entry's.
    pub number: u64,
    /// Where it begins in the segment.
    pub at: u32,
    /// Its length.
    pub bytes: u32,
    /// Of the sink.
    pub partition: u32,
    /// How many it holds.
    pub records: u32,
    /// Number of its topic among the names of the segment; 0: the sink's own.
    pub topic: u32,
}

/// What a footer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// The entries, in order.
    pub items: Vec<Item>,
    /// The topics they name.
    pub topics: TopicTable,
}

/// A footer that grows with its segment.
#[derive(Debug, Default)]
pub(crate) struct Footer {
    list: Vec<u8>,
    /// By entry; shorter than the list where the last entries go to the sink's own topic.
    topic_of: Vec<u32>,
    topics: TopicTable,
}

impl Footer {
    /// Entries noted.
    pub(crate) fn entries(&self) -> usize {
        self.list.len() / ITEM_LEN
    }

    /// Whether the segment takes no more entries.
    pub(crate) fn is_full(&self) -> bool {
        self.entries() >= ENTRIES_MAX || self.topics.bytes() >= NAMES_BYTES_MAX
    }

    /// Notes the next entry, and the topic it names.
    pub(crate) fn push(&mut self, item: &Item, topic: &str) {
        let number = self.topics.number(topic);
        if number > 0 {
            self.topic_of.resize(self.entries(), 0);
            self.topic_of.push(number);
        }
        self.list.extend_from_slice(&item.number.to_be_bytes());
        for field in [item.at, item.bytes, item.partition, item.records] {
            self.list.extend_from_slice(&field.to_be_bytes());
        }
    }

    /// The bytes to write at `at`, behind the last entry. Begins anew.
    pub(crate) fn finish(&mut self, at: u64, mark: u32) -> Vec<u8> {
        let entries = self.entries() as u32;
        let Self { list: mut bytes, mut topic_of, topics } = std::mem::take(self);
        let begins = u32::try_from(at).unwrap_or(u32::MAX);
        let names = topics.len() as u32;
        if names > 0 {
            topic_of.resize(entries as usize, 0);
            topic_of.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
            for name in topics.names() {
                bytes.push(name.len() as u8);
                bytes.extend_from_slice(name.as_bytes());
            }
        }
        let crc = checksum(&bytes, entries, begins, names);
        bytes.extend_from_slice(if names > 0 { &MAGIC_NAMED } else { &MAGIC });
        for field in [crc, entries, begins, mark, names] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes
    }
}

/// The entries of the `len` bytes of a segment, if its footer is whole.
///
/// # Errors
/// Only those of the disk.
pub fn read<R: ReadAt + ?Sized>(source: &R, len: u64, mark: u32) -> io::Result<Option<Listed>> {
    let Some(trailer_at) = len.checked_sub(TRAILER_LEN as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_LEN];
    if !read_exact(source, trailer_at, &mut trailer)?
        || ![MAGIC, MAGIC_NAMED].iter().any(|magic| trailer.starts_with(magic))
    {
        return Ok(None);
    }
    let field = |at: usize| trailer.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_be_bytes(*b));
    let (crc, entries, begins) = (field(4), field(8), field(12));
    let is_named = trailer[..4] == MAGIC_NAMED;
    let names = if is_named { field(20) } else { 0 };
    let least = u64::from(entries) * if is_named { ITEM_LEN + 4 } else { ITEM_LEN } as u64;
    let most = least + u64::from(names) * NAME_LEN_MAX;
    let fits = (least..=most).contains(&trailer_at.saturating_sub(begins.into())) && u64::from(begins) <= trailer_at;
    if field(16) != mark || !fits || is_named != (names > 0) || entries as usize > ENTRIES_MAX || names > entries {
        return Ok(None);
    }
    let mut list = vec![0; (trailer_at - u64::from(begins)) as usize];
    if !read_exact(source, u64::from(begins), &mut list)? || checksum(&list, entries, begins, names) != crc {
        return Ok(None);
    }
    Ok(listed(&list, entries as usize, names))
}

/// Bytes that a name and its length take at most.
const NAME_LEN_MAX: u64 = 256;

fn listed(list: &[u8], entries: usize, names: u32) -> Option<Listed> {
    let (items, rest) = list.split_at_checked(entries * ITEM_LEN)?;
    let mut listed = Listed { items: items.chunks_exact(ITEM_LEN).filter_map(item).collect(), ..Listed::default() };
    if names == 0 {
        return rest.is_empty().then_some(listed);
    }
    let (numbers, mut rest) = rest.split_at_checked(entries * 4)?;
    for number in 1..=names {
        let (&len, behind) = rest.split_first()?;
        let (name, behind) = behind.split_at_checked(usize::from(len))?;
        rest = behind;
        let name = std::str::from_utf8(name).ok().filter(|name| is_topic_name(name.as_bytes()))?;
        if listed.topics.number(name) != number {
            return None;
        }
    }
    for (item, number) in listed.items.iter_mut().zip(numbers.chunks_exact(4)) {
        item.topic = u32::from_be_bytes(*number.first_chunk()?);
        if item.topic > names {
            return None;
        }
    }
    rest.is_empty().then_some(listed)
}

fn checksum(list: &[u8], entries: u32, begins: u32, names: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(list);
    hasher.update(&entries.to_be_bytes());
    hasher.update(&begins.to_be_bytes());
    if names > 0 {
        hasher.update(&names.to_be_bytes());
    }
    hasher.finalize()
}

fn item(bytes: &[u8]) -> Option<Item> {
    let field = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let number = u64::from_be_bytes(*bytes.first_chunk()?);
    let (at, bytes, partition, records) = (field(8)?, field(12)?, field(16)?, field(20)?);
    Some(Item { number, at, bytes, partition, records, topic: 0 })
}

/// Whether the source had all of these bytes.
pub(crate) fn read_exact<R: ReadAt + ?Sized>(source: &R, at: u64, into: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < into.len() {
        match source.read_at(at + filled as u64, &mut into[filled..]) {
            Ok(0) => return Ok(false),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flips all bits but the last `spare` bytes, which are nobody's.
    fn check(topics: [&str; 3], spare: usize) {
        let mut footer = Footer::default();
        let mut listed = Listed::default();
        for (n, topic) in (0..).zip(topics) {
            let number = listed.topics.number(topic);
            let item =
                Item { number: u64::from(n) + 9, at: n * 70, bytes: 70, partition: n, records: 1, topic: number };
            footer.push(&item, topic);
            listed.items.push(item);
        }
        assert_eq!(footer.entries(), 3);
        let mut segment = vec![0; 210];
        segment.extend(footer.finish(210, 5));
        assert_eq!(footer.entries(), 0);
        assert_eq!(read(&segment[..], segment.len() as u64, 5).expect("memory"), Some(listed));
        assert_eq!(read(&segment[..], segment.len() as u64, 6).expect("memory"), None, "another mark");
        for cut in 0..segment.len() {
            assert_eq!(read(&segment[..cut], cut as u64, 5).expect("memory"), None, "cut at {cut}");
        }
        for bit in 8 * 210..8 * (segment.len() - spare) {
            segment[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&segment[..], segment.len() as u64, 5).expect("memory"), None, "bit {bit}");
            segment[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_footer_is_read_whole_or_not_at_all() {
        check(["", "", ""], 4);
        check(["a", "", "a"], 0);
        check(["", "", "site-b"], 0);
        check(["a", "b", "c"], 0);
    }
}
