//! Entries of the product's buffers on disk are damaged while it does not run.
//!
//! ```text
//! newest file        an entry tells another length than it has
//! the one before it  a sector of an entry is zeros
//! the one before     a bit of an entry is another one
//! ```
//!
//! With a damaged entry go the messages in it, which nobody else has: they were acknowledged from there. What can be asked for is that
//! nothing else goes, and that each entry is told of. Both sides are known to the record: the messages of an entry are read before it is
//! damaged. The files are read by the description of their form, not by the product's code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use serde::Serialize;

use crate::ledger::message;

/// Begins every entry.
const MAGIC: &[u8] = b"AQJ1";
/// Where an entry tells its length, a u32.
const LENGTH_AT: usize = 8;
/// Bytes of an entry before its records.
const ENVELOPE_BYTES: usize = 61;
const SECTOR_BYTES: usize = 512;
/// An entry is damaged that has sectors of its own, and so many behind it: what was written last, nobody may have been told of, and
/// clients send it again.
const BEHIND_MIN: usize = 16;

/// What is done to an entry.
type Harm = fn(&mut [u8]);
/// From the newest file back.
const HARMS: [Harm; 3] = [
    |entry| entry[LENGTH_AT + 1] ^= 1,
    |entry| entry[SECTOR_BYTES..2 * SECTOR_BYTES].fill(0),
    |entry| entry[ENVELOPE_BYTES + 100] ^= 0x10,
];

/// What was damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rot {
    entries: u64,
    /// By client and sequence.
    messages: BTreeSet<(u32, u32)>,
}

/// What it cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Entries that were damaged.
    pub entries: u64,
    /// Entries of which the product says so.
    pub counted: u64,
    /// Messages that lay in them.
    pub messages: u64,
    /// Lost messages that lay in none of them.
    pub elsewhere: u64,
}

impl Damage {
    /// True if nothing else was lost, and each entry was told of.
    pub(super) fn is_exact(&self) -> bool {
        self.elsewhere == 0 && self.counted == self.entries
    }
}

impl Rot {
    /// Damages three entries of each buffer in this folder. The product does not run.
    pub(super) fn spread(buffers: &Path) -> Result<Self> {
        let mut rot = Self::default();
        for buffer in folders(buffers)? {
            rot.damage(&buffer).wrap_err_with(|| buffer.display().to_string())?;
        }
        Ok(rot)
    }

    /// What it cost: these messages are lost, and the product tells of so many entries.
    pub(super) fn compare(&self, counted: u64, lost: &[(u32, u32)]) -> Damage {
        let elsewhere = lost.iter().filter(|message| !self.messages.contains(message)).count() as u64;
        Damage { entries: self.entries, counted, messages: self.messages.len() as u64, elsewhere }
    }

    fn damage(&mut self, buffer: &Path) -> Result<()> {
        let mut left = HARMS.iter();
        let mut files = Vec::new();
        for folder in folders(buffer)? {
            files.extend(
                entries_of(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "journal")),
            );
        }
        // Their names are numbers of one width.
        files.sort();
        for path in files.iter().rev() {
            let mut file = fs::read(path).into_diagnostic()?;
            let Some(place) = place(&file) else { continue };
            let Some(harm) = left.next() else { return Ok(()) };
            let entry = &mut file[place];
            self.entries += 1;
            self.messages.extend(message::all_in(entry));
            harm(entry);
            fs::write(path, &file).into_diagnostic()?;
        }
        if left.next().is_some() {
            bail!("{} files are too few, or too short, to damage one entry in each of three", files.len());
        }
        Ok(())
    }
}

/// Where the first entry lies that can be damaged.
fn place(file: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(length) = file.get(at..).and_then(length) {
        places.push(at..(at + length).min(file.len()));
        at += length;
    }
    let inner = places.get(1..places.len().saturating_sub(BEHIND_MIN))?;
    inner.iter().find(|place| place.len() > 3 * SECTOR_BYTES).cloned()
}

/// Bytes of the entry that these begin with, if they do.
fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(LENGTH_AT..)?.first_chunk().map(|length| u32::from_be_bytes(*length))?;
    (bytes.starts_with(MAGIC) && length as usize > ENVELOPE_BYTES).then_some(length as usize)
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries_of(parent)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).into_diagnostic().wrap_err_with(|| folder.display().to_string())?;
    entries.map(|entry| entry.map(|entry| entry.path()).into_diagnostic()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::message::Stamp;

    /// An entry with two messages of client 7.
    fn entry(first: u32) -> Vec<u8> {
        let mut entry = vec![0; ENVELOPE_BYTES];
        for sequence in [first, first + 1] {
            let stamp = Stamp { run: 1, client: 7, sequence, attempt: 0, qos: 1, sent_ns: 0 };
            message::put(&mut entry, &stamp, "chaos/1/000007", 1_000);
        }
        entry[..4].copy_from_slice(MAGIC);
        let length = (entry.len() as u32).to_be_bytes();
        entry[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length);
        entry
    }

    #[test]
    fn three_entries_of_a_buffer_are_damaged_and_known_by_their_messages() {
        let root = std::env::temp_dir().join(format!("aqueduct-rot-{}", std::process::id()));
        let folder = root.join("s1/0");
        fs::create_dir_all(&folder).unwrap();
        let whole: Vec<Vec<u8>> =
            (0..4).map(|file| (0..20).flat_map(|at| entry(100 * file + 2 * at)).chain([0; 64]).collect()).collect();
        for (file, bytes) in whole.iter().enumerate() {
            fs::write(folder.join(format!("{file}.journal")), bytes).unwrap();
        }
        let rot = Rot::spread(&root).unwrap();
        assert_eq!(rot.entries, 3);
        // The second entry of each file but the oldest.
        let messages = [102, 103, 202, 203, 302, 303].map(|sequence| (7, sequence));
        assert_eq!(rot.messages, BTreeSet::from(messages));
        let length = entry(0).len();
        for (file, bytes) in whole.iter().enumerate() {
            let now = fs::read(folder.join(format!("{file}.journal"))).unwrap();
            let changed: Vec<usize> = (0..bytes.len()).filter(|at| now[*at] != bytes[*at]).collect();
            assert_eq!(changed.is_empty(), file == 0, "{file}");
            assert!(changed.iter().all(|at| (length..2 * length).contains(at)), "{file}: {changed:?}");
        }
        fs::remove_dir_all(&root).unwrap();
        assert!(rot.compare(3, &[(7, 102), (7, 303)]).is_exact());
        assert!(!rot.compare(2, &[(7, 102)]).is_exact(), "an entry is not told of");
        assert_eq!(rot.compare(3, &[(7, 104), (6, 102)]).elsewhere, 2);
    }

    #[test]
    fn a_buffer_with_too_little_in_it_is_an_error() {
        let root = std::env::temp_dir().join(format!("aqueduct-no-rot-{}", std::process::id()));
        let folder = root.join("s1/0");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("0.journal"), entry(0)).unwrap();
        assert!(Rot::spread(&root).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
