//! The footer of a finished segment: where its entries lie, so that a start reads a few kilobytes of each instead of all.
//!
//! ```text
//! for each entry, in order:  u64 number | u32 at | u32 bytes | u32 partition | u32 records
//! trailer, 24 bytes:         "AQJF" | u32 CRC-32 of the list and the two numbers behind | u32 entries | u32 list begins at
//!                            | u32 mark | u32 0
//! ```
//!
//! A segment without one, or whose footer is damaged, is scanned.

use std::io;

use crate::log::scan::ReadAt;

/// Ends every finished segment.
const MAGIC: [u8; 4] = *b"AQJF";
const ITEM_LEN: usize = 24;
const TRAILER_LEN: usize = 24;

/// Most entries of a segment: bounds the footer, and what a shard keeps of it until the segment is finished.
pub(crate) const ENTRIES_MAX: usize = 65_536;

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
}

/// A footer that grows with its segment.
#[derive(Debug, Default)]
pub(crate) struct Footer {
    list: Vec<u8>,
}

impl Footer {
    /// Entries noted.
    pub(crate) fn entries(&self) -> usize {
        self.list.len() / ITEM_LEN
    }

    /// Notes the next entry.
    pub(crate) fn push(&mut self, item: &Item) {
        self.list.extend_from_slice(&item.number.to_be_bytes());
        for field in [item.at, item.bytes, item.partition, item.records] {
            self.list.extend_from_slice(&field.to_be_bytes());
        }
    }

    /// The bytes to write at `at`, behind the last entry. Begins anew.
    pub(crate) fn finish(&mut self, at: u64, mark: u32) -> Vec<u8> {
        let entries = self.entries() as u32;
        let mut bytes = std::mem::take(&mut self.list);
        bytes.extend_from_slice(&MAGIC);
        let begins = u32::try_from(at).unwrap_or(u32::MAX);
        let crc = checksum(&bytes[..entries as usize * ITEM_LEN], entries, begins);
        for field in [crc, entries, begins, mark, 0] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes
    }
}

/// The entries of the `len` bytes of a segment, if its footer is whole; with them where the footer begins.
///
/// # Errors
/// Only those of the disk.
pub fn read<R: ReadAt + ?Sized>(source: &R, len: u64, mark: u32) -> io::Result<Option<Vec<Item>>> {
    let Some(trailer_at) = len.checked_sub(TRAILER_LEN as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_LEN];
    if !read_exact(source, trailer_at, &mut trailer)? || trailer[..4] != MAGIC {
        return Ok(None);
    }
    let field = |at: usize| trailer.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_be_bytes(*b));
    let (crc, entries, begins) = (field(4), field(8), field(12));
    let list_len = entries as usize * ITEM_LEN;
    let fits = entries as usize <= ENTRIES_MAX && u64::from(begins) + list_len as u64 == trailer_at;
    if field(16) != mark || !fits {
        return Ok(None);
    }
    let mut list = vec![0; list_len];
    if !read_exact(source, u64::from(begins), &mut list)? || checksum(&list, entries, begins) != crc {
        return Ok(None);
    }
    Ok(Some(list.chunks_exact(ITEM_LEN).filter_map(item).collect()))
}

fn checksum(list: &[u8], entries: u32, begins: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(list);
    hasher.update(&entries.to_be_bytes());
    hasher.update(&begins.to_be_bytes());
    hasher.finalize()
}

fn item(bytes: &[u8]) -> Option<Item> {
    let field = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let number = u64::from_be_bytes(*bytes.first_chunk()?);
    Some(Item { number, at: field(8)?, bytes: field(12)?, partition: field(16)?, records: field(20)? })
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

    #[test]
    fn a_footer_is_read_whole_or_not_at_all() {
        let items: Vec<Item> = (0..3u32)
            .map(|n| Item { number: u64::from(n) + 9, at: n * 70, bytes: 70, partition: n, records: 1 })
            .collect();
        let mut footer = Footer::default();
        items.iter().for_each(|item| footer.push(item));
        assert_eq!(footer.entries(), 3);
        let mut segment = vec![0; 210];
        segment.extend(footer.finish(210, 5));
        assert_eq!(footer.entries(), 0);
        assert_eq!(read(&segment[..], segment.len() as u64, 5).expect("memory"), Some(items));
        assert_eq!(read(&segment[..], segment.len() as u64, 6).expect("memory"), None, "another mark");
        for cut in 0..segment.len() {
            assert_eq!(read(&segment[..cut], cut as u64, 5).expect("memory"), None, "cut at {cut}");
        }
        // The last field is nobody's.
        for bit in 8 * 210..8 * (segment.len() - 4) {
            segment[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&segment[..], segment.len() as u64, 5).expect("memory"), None, "bit {bit}");
            segment[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
