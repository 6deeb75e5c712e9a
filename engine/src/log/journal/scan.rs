//! What lies in a segment that has no footer: the newest one of a process that was killed, as a rule. Believes no byte.
//!
//! Every entry is checked whole. Where one does not hold, the scan looks for the next that does, so damage costs the entries it
//! touched and no others. That search runs through payloads of strangers, so it takes only what bears the mark of this
//! journal, which is drawn for each directory, with a number above those before it.

use std::io;

use super::entry::{ENVELOPE_LEN, Envelope, MAGIC, MARK_AT};
use super::footer::{Item, read_exact};
use super::topic_table::TopicTable;
use crate::log::scan::{ReadAt, Stretch};

/// How much is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// Whole entries, in order: number, where, bytes, partition, records.
    pub entries: Vec<Found>,
    /// The topics they name.
    pub topics: TopicTable,
    /// Bytes between whole entries that belong to none, and entries at the end that are complete and not what was written.
    pub damaged: Vec<Stretch>,
    /// Bytes at the end of a write that was cut off.
    pub torn_bytes: u64,
}

/// A whole entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it begins.
    pub at: u64,
    /// What it says of itself.
    pub envelope: Envelope,
    /// Number of its topic among [`Scanned::topics`]; 0: the sink's own.
    pub topic: u32,
}

impl Found {
    pub(crate) fn item(&self) -> Option<Item> {
        let Envelope { number, bytes, partition, records, .. } = self.envelope;
        Some(Item { number, at: u32::try_from(self.at).ok()?, bytes, partition, records, topic: self.topic })
    }
}

/// Scans the `len` bytes of a segment.
///
/// # Errors
/// Only those of the disk; whatever bytes it holds are findings.
pub fn scan<R: ReadAt + ?Sized>(source: &R, len: u64, mark: u32) -> io::Result<Scanned> {
    let mut scan = Scan { window: Window { source, len, at: 0, bytes: Vec::new() }, mark, newest: None };
    let mut found = Scanned::default();
    let mut at = 0;
    while at < scan.window.len {
        if let Some((envelope, topic)) = scan.valid_at(at)? {
            let topic = found.topics.number(topic);
            found.entries.push(Found { at, envelope, topic });
            scan.newest = Some(envelope.number);
            at += u64::from(envelope.bytes);
            continue;
        }
        match scan.next_valid(at + 1)? {
            Some(next) => {
                found.damaged.push(Stretch { at, bytes: next - at });
                at = next;
            }
            None => {
                let rest = scan.window.len - at;
                match scan.is_torn(at)? {
                    true => found.torn_bytes = rest,
                    false => found.damaged.push(Stretch { at, bytes: rest }),
                }
                break;
            }
        }
    }
    Ok(found)
}

struct Scan<'a, R: ReadAt + ?Sized> {
    window: Window<'a, R>,
    mark: u32,
    /// Number of the last whole entry.
    newest: Option<u64>,
}

impl<R: ReadAt + ?Sized> Scan<'_, R> {
    /// The whole entry at `at`, if there is one: its envelope, and the topic it names.
    fn valid_at(&mut self, at: u64) -> io::Result<Option<(Envelope, &str)>> {
        let Some(envelope) = self.envelope_at(at)? else { return Ok(None) };
        if self.newest.is_some_and(|newest| envelope.number <= newest) {
            return Ok(None);
        }
        let entry = self.window.get(at, envelope.bytes as usize)?;
        let entry = entry.filter(|entry| envelope.is_whole(entry));
        Ok(entry.and_then(|entry| Some((envelope, envelope.topic(entry)?))))
    }

    fn envelope_at(&mut self, at: u64) -> io::Result<Option<Envelope>> {
        let mark = self.mark;
        Ok(self.window.get(at, ENVELOPE_LEN)?.and_then(|head| Envelope::parse(head, mark)))
    }

    /// The next place from `at` on where an entry is whole.
    fn next_valid(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        let mark = self.mark.to_be_bytes();
        loop {
            let Some(window) = self.window.from(at, ENVELOPE_LEN)? else { return Ok(None) };
            let begins = |head: &[u8]| head[..4] == MAGIC && head[MARK_AT..MARK_AT + 4] == mark;
            let hit = window.windows(ENVELOPE_LEN).position(begins);
            let seen = (window.len() - ENVELOPE_LEN + 1) as u64;
            let Some(hit) = hit else {
                at += seen;
                continue;
            };
            let candidate = at + hit as u64;
            if self.valid_at(candidate)?.is_some() {
                return Ok(Some(candidate));
            }
            at = candidate + 1;
        }
    }

    /// Whether what begins at `at`, behind which nothing is whole, was cut off while it was written.
    fn is_torn(&mut self, mut at: u64) -> io::Result<bool> {
        if let Some(envelope) = self.envelope_at(at)? {
            return Ok(u64::from(envelope.bytes) > self.window.len - at);
        }
        if self.window.len - at < ENVELOPE_LEN as u64 {
            return Ok(true);
        }
        // Space that the file system gave and nobody wrote.
        while let Some(window) = self.window.from(at, 1)? {
            if window.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += window.len() as u64;
        }
        Ok(true)
    }
}

/// A part of the source in memory.
struct Window<'a, R: ReadAt + ?Sized> {
    source: &'a R,
    len: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl<R: ReadAt + ?Sized> Window<'_, R> {
    /// The `n` bytes at `at`, if there are as many.
    fn get(&mut self, at: u64, n: usize) -> io::Result<Option<&[u8]>> {
        Ok(self.from(at, n)?.and_then(|bytes| bytes.get(..n)))
    }

    /// What is in memory from `at` on: at least `n` bytes, unless the source ends before that.
    fn from(&mut self, at: u64, n: usize) -> io::Result<Option<&[u8]>> {
        if at + n as u64 > self.len {
            return Ok(None);
        }
        if at < self.at || at + n as u64 > self.at + self.bytes.len() as u64 {
            let want = (n.max(CHUNK_BYTES) as u64).min(self.len - at) as usize;
            self.bytes.resize(want, 0);
            self.at = at;
            if !read_exact(self.source, at, &mut self.bytes)? {
                // The file is shorter than it was said to be.
                self.bytes.clear();
                self.len = at;
                return Ok(None);
            }
        }
        Ok(self.bytes.get((at - self.at) as usize..))
    }
}

#[cfg(test)]
mod tests;
