//! Reading on behind sectors that the disk does not give, so that they cost the entries that touch them and no others.
//!
//! Their bytes are shown as zeros, which no checksum takes for an entry; who reads asks afterwards which they were.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;

use rustix::io::Errno;

use crate::log::scan::ReadAt;

/// What the kernel reads of a disk at once, and gives up at once.
const PAGE_BYTES: u64 = 4096;
/// A file that misses more pages lies on a disk that is broken as a whole, or away. Each may take such a disk seconds.
const PAGES_MAX: usize = 256;

/// A source, and which of its pages the disk did not give.
#[derive(Debug)]
pub(super) struct Rescue<'a, R: ?Sized> {
    source: &'a R,
    lost: RefCell<BTreeSet<u64>>,
}

impl<'a, R: ReadAt + ?Sized> Rescue<'a, R> {
    pub(super) fn new(source: &'a R) -> Self {
        Self { source, lost: RefCell::default() }
    }

    /// Bytes that the disk did not give.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.lost.borrow().len() as u64 * PAGE_BYTES
    }

    /// Whether it did not give something behind `at`.
    pub(super) fn lost_behind(&self, at: u64) -> bool {
        self.lost.borrow().last().is_some_and(|page| (page + 1) * PAGE_BYTES > at)
    }

    /// Reads what is asked for of the page at `at`; zeros if the disk does not give it.
    fn read_page(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let page = at / PAGE_BYTES;
        let n = into.len().min((PAGE_BYTES - at % PAGE_BYTES) as usize);
        if !self.lost.borrow().contains(&page) {
            match self.source.read_at(at, &mut into[..n]) {
                Err(error) if is_broken(&error) => self.lose(page, error)?,
                read => return read,
            }
        }
        into[..n].fill(0);
        Ok(n)
    }

    fn lose(&self, page: u64, error: io::Error) -> io::Result<()> {
        let mut lost = self.lost.borrow_mut();
        lost.insert(page);
        if lost.len() > PAGES_MAX { Err(error) } else { Ok(()) }
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Rescue<'_, R> {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        // The disk is not asked again for what it did not give.
        let lost = self.lost.borrow().range(at / PAGE_BYTES..).next().map(|page| page * PAGE_BYTES);
        let n = match lost {
            Some(lost) if lost <= at => return self.read_page(at, into),
            Some(lost) => into.len().min((lost - at) as usize),
            None => into.len(),
        };
        match self.source.read_at(at, &mut into[..n]) {
            Err(error) if is_broken(&error) => self.read_page(at, into),
            read => read,
        }
    }
}

/// Whether these bytes cannot be had though the file can: all other errors are about something else, and may pass.
pub(super) fn is_broken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// A disk with broken pages, for tests.
#[cfg(test)]
pub(super) mod broken {
    use super::*;

    pub(crate) struct Broken {
        pub(crate) bytes: Vec<u8>,
        /// Numbers of pages.
        pub(crate) pages: Vec<u64>,
        /// What it says of them.
        pub(crate) errno: i32,
    }

    impl ReadAt for Broken {
        fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
            let end = at + into.len() as u64;
            let touched = |page: &&u64| **page * PAGE_BYTES < end && (**page + 1) * PAGE_BYTES > at;
            // As the kernel does: what lies before a broken page is given first.
            match self.pages.iter().filter(touched).min() {
                Some(page) if page * PAGE_BYTES <= at => Err(io::Error::from_raw_os_error(self.errno)),
                Some(page) => self.bytes[..].read_at(at, &mut into[..(page * PAGE_BYTES - at) as usize]),
                None => self.bytes[..].read_at(at, into),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::broken::Broken;
    use super::*;
    use crate::log::journal::footer::read_exact;

    fn broken(pages: Vec<u64>, errno: Errno) -> Broken {
        let bytes = (0..2_000_000u32).map(|n| (n % 251) as u8 + 1).collect();
        Broken { bytes, pages, errno: errno.raw_os_error() }
    }

    #[test]
    fn what_lies_around_broken_pages_is_read() {
        let disk = broken(vec![1, 2, 7], Errno::IO);
        let rescue = Rescue::new(&disk);
        for _ in 0..2 {
            let mut bytes = vec![9; 40_000];
            assert!(read_exact(&rescue, 100, &mut bytes).expect("a read goes on"));
            for (at, &byte) in (100..).zip(&bytes) {
                let lost = [1, 2, 7].contains(&(at as u64 / PAGE_BYTES));
                assert_eq!(byte, if lost { 0 } else { disk.bytes[at] }, "at {at}");
            }
        }
        assert_eq!(rescue.lost_bytes(), 3 * PAGE_BYTES);
        assert!(rescue.lost_behind(8 * PAGE_BYTES - 1) && !rescue.lost_behind(8 * PAGE_BYTES));
    }

    #[test]
    fn a_disk_that_is_broken_as_a_whole_is_an_error() {
        let disk = broken((0..400).collect(), Errno::IO);
        assert!(read_exact(&Rescue::new(&disk), 0, &mut vec![0; 1_600_000]).is_err());
    }

    #[test]
    fn an_error_that_may_pass_is_an_error() {
        let disk = broken(vec![1], Errno::NOMEM);
        assert!(read_exact(&Rescue::new(&disk), 0, &mut [0; 5_000]).is_err());
    }
}
