//! What a crash or a sick disk left of a segment: the longest valid prefix, what is damaged inside it, where to go on.
//!
//! Only the newest segment can end in a write that was cut off: a log begins a segment when everything before it is
//! durable. Older ones are taken as they are here, and every reader checks what it reads anyway.
//!
//! Offsets are never given out twice for what a consumer may have seen: where the records of a damaged or torn batch can
//! be counted, or only guessed from above, the log goes on behind them.

use std::io;

use super::scan::{Found, Mark, ReadAt, Scanner, Stretch};

/// The findings in one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Bytes to keep; what lies behind them is the rest of a write that was cut off.
    pub keep_bytes: u64,
    /// Bytes behind that.
    pub torn_bytes: u64,
    /// Offset of the next record.
    pub next_offset: i64,
    /// One above the last record that can be read; `None` where there is none.
    pub end_offset: Option<i64>,
    /// What is damaged in what is kept; usually a batch each. It stays in the file and no reader is shown it.
    pub damaged: Vec<Stretch>,
}

impl Recovery {
    /// Whether the segment is as a clean stop leaves it. One that is not gets no more appends: inside a segment offsets
    /// follow each other without a gap, which makes its damage countable.
    pub fn is_clean(&self) -> bool {
        self.torn_bytes == 0 && self.damaged.is_empty()
    }
}

/// Scans the `len` bytes of the segment that begins with offset `base_offset` and ends before `limit`.
///
/// # Errors
/// Only those of the disk; whatever bytes it holds are findings.
pub fn recover<R: ReadAt + ?Sized>(
    source: &R,
    mark: Mark,
    len: u64,
    base_offset: i64,
    limit: i64,
) -> io::Result<Recovery> {
    let mut scanner = Scanner::new(source, mark, len, 0, base_offset, limit);
    let mut found = Recovery::default();
    loop {
        match scanner.next()? {
            Found::Batch { header, .. } => found.end_offset = Some(header.next_offset()),
            Found::Damaged(stretch) => found.damaged.push(stretch),
            Found::End { at, torn_bytes } => {
                found.keep_bytes = at;
                found.torn_bytes = torn_bytes;
                found.next_offset = scanner.next_offset();
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests;
