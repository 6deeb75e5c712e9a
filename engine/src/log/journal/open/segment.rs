//! What a segment holds: from its footer, or from a scan where a crash left none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::JournalPlace;
use crate::log::journal::footer::{self, Item, Listed, read_exact};
use crate::log::journal::rescue::Rescue;
use crate::log::journal::scan::{self, Scanned};
use crate::log::journal::topic_table::TopicTable;
use crate::log::scan::{ReadAt, Stretch};

/// A segment as a start finds it.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its length.
    pub(super) bytes: u64,
    /// Its entries, whether they have been passed or not.
    pub(super) items: Vec<Item>,
    /// The topics they name.
    pub(super) topics: TopicTable,
    /// What cannot be sent.
    pub(super) damaged: Vec<Stretch>,
    /// Bytes that the disk did not give.
    pub(super) lost_bytes: u64,
    /// It has a footer, which was written when all of it was durable.
    pub(super) is_finished: bool,
}

impl Segment {
    /// Reads what it takes to know the entries. Damage is a finding, and so are sectors that the disk does not give.
    ///
    /// # Errors
    /// If the file cannot be read, now: nobody knows what it holds.
    pub(super) fn read(place: &JournalPlace, seq: u32) -> io::Result<Self> {
        let file = open_file(&place.segment_path(seq))?;
        let bytes = file.metadata()?.len();
        Self::read_from(&file, bytes, place, seq)
    }

    fn read_from<R: ReadAt + ?Sized>(source: &R, bytes: u64, place: &JournalPlace, seq: u32) -> io::Result<Self> {
        let source = Rescue::new(source);
        if let Some(Listed { items, topics }) = footer::read(&source, bytes, place.mark)? {
            return Ok(Self { bytes, items, topics, damaged: Vec::new(), lost_bytes: 0, is_finished: true });
        }
        let mut found = scan::scan(&source, bytes, place.mark)?;
        let torn_at = bytes - found.torn_bytes;
        if found.torn_bytes > 0 && source.lost_behind(torn_at) {
            // Zeros stand for what the disk did not give: it may have been written in full.
            found.damaged.push(Stretch { at: torn_at, bytes: found.torn_bytes });
        }
        for stretch in &found.damaged {
            let mut damaged = vec![0; usize::try_from(stretch.bytes).unwrap_or(0)];
            read_exact(&source, stretch.at, &mut damaged)?;
            place.set_aside(seq, stretch.at, &damaged);
        }
        let lost_bytes = source.lost_bytes();
        let items = found.entries.iter().filter_map(scan::Found::item).collect();
        let Scanned { topics, damaged, .. } = found;
        Ok(Self { bytes, items, topics, damaged, lost_bytes, is_finished: false })
    }

    /// What people are to know of its damage.
    pub(super) fn note(&self, place: &JournalPlace, seq: u32) -> Option<String> {
        if self.damaged.is_empty() {
            return None;
        }
        let bytes: u64 = self.damaged.iter().map(|stretch| stretch.bytes).sum();
        let mut note = format!(
            "{}: {bytes} bytes in {} places are damaged and cannot be sent; they were set aside in {}",
            place.segment_path(seq).display(),
            self.damaged.len(),
            place.quarantine.display()
        );
        if self.lost_bytes > 0 {
            note += &format!(
                ". The disk did not give {} bytes of it (input/output error), where zeros were set aside",
                self.lost_bytes
            );
            note += match place.keep_file(seq) {
                true => "; the file itself stays there, too. Check the disk",
                false => ". Check the disk, and copy the file now: it goes when the rest of it has been sent",
            };
        }
        Some(note)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path)
}

#[cfg(test)]
mod tests;
