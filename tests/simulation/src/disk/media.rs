//! Files as processes see them, and as they would be found after a power cut.
//!
//! ```text
//! now     [ written and synced | written since            ]   what a read gives
//! media   [ written and synced | what was there before    ]   what a power cut leaves, sector by sector old or new
//!                              ^ synced     ^ clean
//! ```
//!
//! After a sync that failed the kernel calls pages clean that may never have reached the media: below `clean` no later sync
//! writes anything.
//!
//! Names are a journal of their own: a file that was made or removed is so for good when its directory has been synced, and
//! of the changes since then a power cut keeps the first few.

use std::collections::BTreeMap;

use crate::random::Random;

/// The media write so many bytes at once, whole or not.
const SECTOR_BYTES: usize = 512;

/// One file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    now: Vec<u8>,
    synced: usize,
    /// The media behind `synced`.
    before: Vec<u8>,
    clean: usize,
    /// Wall clock of the last write.
    pub(super) touched_ms: i64,
}

impl File {
    /// A file that lies on the media as it is.
    pub(super) fn durable(now: Vec<u8>, touched_ms: i64) -> Self {
        let len = now.len();
        Self { now, synced: len, before: Vec::new(), clean: len, touched_ms }
    }

    pub(super) fn len(&self) -> usize {
        self.now.len()
    }

    /// What a read gives.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    /// What is certain to be found again.
    pub(super) fn durable_bytes(&self) -> &[u8] {
        &self.now[..self.synced]
    }

    /// Writes at `at`, which is at most the file's length.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at <= self.now.len(), "the writer leaves no hole");
        self.uncover(at);
        let kept = (at + bytes.len()).min(self.now.len());
        self.now[at..kept].copy_from_slice(&bytes[..kept - at]);
        self.now.extend_from_slice(&bytes[kept - at..]);
    }

    /// Cuts the file to `len`; the media keep the rest for the time being.
    pub(super) fn cut(&mut self, len: usize) {
        self.uncover(len);
        self.now.truncate(len);
    }

    /// What lies behind `at` is not the same as on the media any more.
    fn uncover(&mut self, at: usize) {
        if at < self.synced {
            let mut before = self.now[at..self.synced].to_vec();
            before.append(&mut self.before);
            (self.before, self.synced) = (before, at);
        }
        self.clean = self.clean.min(at.max(self.synced));
    }

    pub(super) fn sync(&mut self) {
        if self.clean == self.synced {
            self.before.clear();
            self.synced = self.now.len();
        } else {
            self.before.resize(self.clean - self.synced, 0);
            self.before.extend_from_slice(&self.now[self.clean..]);
        }
        self.clean = self.now.len();
    }

    /// A sync that failed: what is on the media now is left to chance, and stays so.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        self.before = self.left(random, &mut 0).split_off(self.synced);
        self.clean = self.now.len();
    }

    /// What a power cut leaves. Counts the sectors that are old where they should be new, and flipped bits.
    pub(super) fn left(&self, random: &mut Random, torn: &mut u64) -> Vec<u8> {
        let (old_len, new_len) = (self.synced + self.before.len(), self.now.len());
        let any = random.between(old_len.min(new_len) as u64, old_len.max(new_len) as u64) as usize;
        let len = random.one_of(&[old_len, new_len, new_len, any]);
        let news = random.one_of(&[0, 500_000, 900_000, 1_000_000]);
        let mut left = self.now[..self.synced].to_vec();
        left.resize(len.max(self.synced), 0);
        let mut from = self.synced;
        while from < len {
            let end = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(len);
            let new = from >= self.clean && random.chance(news);
            *torn += u64::from(!new && from < new_len);
            for (at, byte) in (from..end).zip(&mut left[from..end]) {
                let known = if new { self.now.get(at) } else { self.before.get(at - self.synced) };
                *byte = known.copied().unwrap_or(0);
            }
            if random.chance(10_000) {
                let at = random.between(from as u64, end as u64 - 1) as usize;
                left[at] ^= 1 << random.below(8);
            }
            from = end;
        }
        left
    }
}

/// A change of names that is not yet for good.
#[derive(Debug)]
enum Change {
    Made(i64),
    Removed(i64, File),
}

/// The files of one log, by base offset.
#[derive(Debug, Default)]
pub(super) struct Directory {
    files: BTreeMap<i64, File>,
    journal: Vec<Change>,
}

impl Directory {
    /// A file that lies there for good.
    pub(super) fn add(&mut self, base: i64, file: File) {
        self.files.insert(base, file);
    }

    pub(super) fn get(&self, base: i64) -> Option<&File> {
        self.files.get(&base)
    }

    pub(super) fn get_mut(&mut self, base: i64) -> Option<&mut File> {
        self.files.get_mut(&base)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (i64, &File)> {
        self.files.iter().map(|(&base, file)| (base, file))
    }

    /// Begins a file; there is none of that name.
    pub(super) fn make(&mut self, base: i64) {
        let other = self.files.insert(base, File::default());
        assert!(other.is_none(), "a file is made where there is none");
        self.journal.push(Change::Made(base));
    }

    /// Whether there was one.
    pub(super) fn remove(&mut self, base: i64) -> bool {
        let Some(file) = self.files.remove(&base) else { return false };
        self.journal.push(Change::Removed(base, file));
        true
    }

    pub(super) fn sync(&mut self) {
        self.journal.clear();
    }

    /// What a power cut leaves.
    pub(super) fn left(&mut self, random: &mut Random, torn: &mut u64) -> Vec<(i64, Vec<u8>, i64)> {
        let kept = random.between(0, self.journal.len() as u64) as usize;
        for change in self.journal.drain(kept..).rev() {
            match change {
                Change::Made(base) => drop(self.files.remove(&base)),
                Change::Removed(base, file) => drop(self.files.insert(base, file)),
            }
        }
        self.files().map(|(base, file)| (base, file.left(random, torn), file.touched_ms)).collect()
    }
}
