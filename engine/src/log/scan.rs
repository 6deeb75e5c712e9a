//! Walks the batches of a segment and believes none of its bytes: recovery and readers both go through here.
//!
//! Every batch is checked whole: magic, length, CRC-32C, and its base offset, which lies outside the checksum but must
//! follow the batch before it, because inside a segment offsets have no gap. Where one does not hold, the scan looks for
//! the next that does, byte by byte, so damage costs the batches it touched and no others.
//!
//! That search runs through the payloads of strangers, who may well publish bytes that look like a batch, checksum
//! included. So it takes only batches that bear our [`Mark`], a number that is drawn when the log directory is made and
//! stands in a field nobody reads (the base sequence, which means nothing where the producer id is -1).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kafka::record_batch::{HEADER_LEN, Header, NO_PRODUCER_ID};

/// How much is read at once: enough that a scan runs at the speed of memory, little enough to keep for each reader.
const CHUNK_BYTES: usize = 256 * 1024;

/// The fewest bytes a record takes: seven fields of one byte. Bounds how many offsets damaged bytes can have held.
const RECORD_BYTES_MIN: u64 = 7;

/// Where producer id, producer epoch and base sequence stand in a header.
const SIGNATURE_AT: usize = 43;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// What tells a batch of this log directory from the same bytes in a stranger's payload. Not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub i32);

impl Mark {
    /// Producer id, epoch and base sequence as they stand in every header this log writes.
    fn signature(self) -> [u8; 14] {
        let mut bytes = [0xff; 14];
        bytes[10..].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }

    fn is_on(self, header: &Header) -> bool {
        header.producer_id == NO_PRODUCER_ID && header.producer_epoch == -1 && header.base_sequence == self.0
    }
}

/// Bytes that can be read at a position: a file, or a slice in tests.
pub trait ReadAt {
    /// Reads into `into` from position `at`; fewer bytes than asked for is normal, 0 is the end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

/// Bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where they begin.
    pub at: u64,
    /// How many.
    pub bytes: u64,
}

/// One step of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A valid batch at byte `at`; [`Scanner::batch`] gives its bytes until the next step.
    Batch {
        /// Its position in the segment.
        at: u64,
        /// Its header.
        header: Header,
    },
    /// Bytes that belong to no valid batch, though they were written in full.
    Damaged(Stretch),
    /// Nothing more: the end of the bytes, the first offset that is not for the reader, or a write that was cut off.
    End {
        /// Where the last valid or damaged byte ends.
        at: u64,
        /// Bytes behind it of a write that was cut off.
        torn_bytes: u64,
    },
}

/// A walk over one segment.
#[derive(Debug)]
pub struct Scanner<'a, R: ReadAt + ?Sized> {
    source: &'a R,
    mark: Mark,
    /// Where the bytes end.
    len: u64,
    /// Next byte to look at.
    at: u64,
    /// The base offset the next batch must have.
    expected: i64,
    /// First offset that is not for this scan: the next segment's, or the end that is published.
    limit: i64,
    window: Vec<u8>,
    /// Position of the window's first byte.
    window_at: u64,
    /// Position and length of the batch found last.
    batch: (u64, usize),
}

impl<'a, R: ReadAt + ?Sized> Scanner<'a, R> {
    /// A scan of the first `len` bytes of `source`, from byte `at`, where the batch with base offset `expected` should
    /// be, up to the last record below `limit`.
    pub fn new(source: &'a R, mark: Mark, len: u64, at: u64, expected: i64, limit: i64) -> Self {
        Self { source, mark, len, at, expected, limit, window: Vec::new(), window_at: at, batch: (at, 0) }
    }

    /// The offset after everything found so far, damaged records included as far as they can be counted.
    pub fn next_offset(&self) -> i64 {
        self.expected
    }

    /// The bytes of the batch that the last step found.
    pub fn batch(&self) -> &[u8] {
        let (at, len) = self.batch;
        self.window_from(at).get(..len).unwrap_or_default()
    }

    /// The next step. After `End` it is `End` again.
    ///
    /// # Errors
    /// Only those of the disk.
    #[expect(clippy::should_implement_trait, reason = "it lends out of itself and can fail")]
    pub fn next(&mut self) -> io::Result<Found> {
        self.batch.1 = 0;
        // What lies behind the last published record may be half written: it is not even looked at.
        if self.expected >= self.limit || self.at >= self.len {
            return Ok(Found::End { at: self.at, torn_bytes: 0 });
        }
        match self.valid_at(self.at, 0)? {
            Verdict::Valid(header) => Ok(self.take(header)),
            Verdict::BeyondLimit => Ok(Found::End { at: self.at, torn_bytes: 0 }),
            Verdict::Invalid => self.resync(),
        }
    }

    fn take(&mut self, header: Header) -> Found {
        let at = self.at;
        self.batch = (at, header.batch_bytes);
        self.at += header.batch_bytes as u64;
        self.expected = header.next_offset();
        Found::Batch { at, header }
    }

    /// Nothing valid at `self.at`: goes to the next place where there is, or to the end.
    fn resync(&mut self) -> io::Result<Found> {
        let damaged_at = self.at;
        let broken = self.header_at(damaged_at)?.filter(|header| self.is_ours(header));
        let mut at = damaged_at + 1;
        while let Some(candidate) = self.find_signature(at)? {
            let lost_max = (candidate - damaged_at) / RECORD_BYTES_MIN;
            match self.valid_at(candidate, lost_max)? {
                Verdict::Invalid => at = candidate + 1,
                Verdict::Valid(header) => {
                    (self.at, self.expected) = (candidate, header.base_offset);
                    return Ok(Found::Damaged(Stretch { at: damaged_at, bytes: candidate - damaged_at }));
                }
                Verdict::BeyondLimit => {
                    (self.at, self.expected) = (candidate, self.limit);
                    return Ok(Found::Damaged(Stretch { at: damaged_at, bytes: candidate - damaged_at }));
                }
            }
        }
        self.finish(damaged_at, broken)
    }

    /// Nothing valid up to the end: a write that was cut off, or damage to the last batches.
    fn finish(&mut self, from: u64, broken: Option<Header>) -> io::Result<Found> {
        let rest = self.len.saturating_sub(from);
        let torn = match broken {
            Some(header) => header.batch_bytes as u64 > rest,
            None => rest < HEADER_LEN as u64 || self.is_zero(from)?,
        };
        // Somebody may have read these records before they were damaged, so their offsets are not given out again. A
        // count that the bytes cannot hold is itself damaged.
        let held = match broken {
            Some(header) => u64::from(header.records).min(header.batch_bytes as u64 / RECORD_BYTES_MIN),
            None if torn => 0,
            None => rest / RECORD_BYTES_MIN,
        };
        self.expected = self.expected.saturating_add(i64::try_from(held).unwrap_or(i64::MAX));
        // Whatever was found, the scan is over.
        self.limit = self.expected;
        if torn {
            return Ok(Found::End { at: from, torn_bytes: rest });
        }
        self.at = self.len;
        Ok(Found::Damaged(Stretch { at: from, bytes: rest }))
    }

    /// Judges the bytes at `at`, in front of which at most `lost_max` records were damaged.
    fn valid_at(&mut self, at: u64, lost_max: u64) -> io::Result<Verdict> {
        let Some(header) = self.header_at(at)? else { return Ok(Verdict::Invalid) };
        let counts_agree = i64::from(header.records) == i64::from(header.last_offset_delta) + 1;
        let lost = header.base_offset.checked_sub(self.expected).and_then(|lost| u64::try_from(lost).ok());
        let follows = lost.is_some_and(|lost| lost <= lost_max);
        if !counts_agree || !follows || header.batch_bytes as u64 > self.len.saturating_sub(at) {
            return Ok(Verdict::Invalid);
        }
        let whole = self.load(at, header.batch_bytes)? && header.check_crc(self.window_from(at)).is_ok();
        Ok(match whole {
            false => Verdict::Invalid,
            true if header.next_offset() > self.limit => Verdict::BeyondLimit,
            true => Verdict::Valid(header),
        })
    }

    fn header_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        if !self.load(at, HEADER_LEN)? {
            return Ok(None);
        }
        Ok(Header::parse(self.window_from(at)).ok())
    }

    /// Whether a header that failed its check looks like one of ours all the same.
    fn is_ours(&self, header: &Header) -> bool {
        self.mark.is_on(header) && header.base_offset == self.expected
    }

    /// The next position from `at` on where our signature stands in the place of a header's.
    fn find_signature(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        let signature = self.mark.signature();
        loop {
            if !self.load(at, HEADER_LEN)? {
                return Ok(None);
            }
            let window = self.window_from(at);
            let hit = window.windows(HEADER_LEN).position(|bytes| {
                bytes[MAGIC_AT] == MAGIC && bytes[SIGNATURE_AT..SIGNATURE_AT + signature.len()] == signature
            });
            match hit {
                Some(n) => return Ok(Some(at + n as u64)),
                None => at += (window.len() - HEADER_LEN + 1) as u64,
            }
        }
    }

    /// Whether only zeros follow: space the file system gave and nobody wrote.
    fn is_zero(&mut self, mut at: u64) -> io::Result<bool> {
        while at < self.len {
            if !self.load(at, 1)? {
                break;
            }
            let window = self.window_from(at);
            if window.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += window.len() as u64;
        }
        Ok(true)
    }

    /// Sees to it that the window begins at or before `at` and holds `n` bytes from there; false where the source ends
    /// before that. Bytes before `at` are forgotten when the window moves, those behind it are kept.
    fn load(&mut self, at: u64, n: usize) -> io::Result<bool> {
        if at + n as u64 > self.len {
            return Ok(false);
        }
        if at >= self.window_at && at + n as u64 <= self.window_at + self.window.len() as u64 {
            return Ok(true);
        }
        match usize::try_from(at.wrapping_sub(self.window_at)) {
            Ok(skip) if at >= self.window_at && skip < self.window.len() => drop(self.window.drain(..skip)),
            _ => self.window.clear(),
        }
        self.window_at = at;
        let want = (n.max(CHUNK_BYTES) as u64).min(self.len - at) as usize;
        let mut filled = self.window.len();
        self.window.resize(want.max(filled), 0);
        while filled < n {
            match self.source.read_at(at + filled as u64, &mut self.window[filled..]) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.window.truncate(filled);
        if filled < n {
            // The file is shorter than it was said to be: that is its end then.
            self.len = at + filled as u64;
        }
        Ok(filled >= n)
    }

    fn window_from(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.window_at).and_then(|skip| usize::try_from(skip).ok()).unwrap_or(usize::MAX);
        self.window.get(skip..).unwrap_or_default()
    }
}

enum Verdict {
    Valid(Header),
    BeyondLimit,
    Invalid,
}
