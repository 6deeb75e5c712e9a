//! Where the messages of `pub` come from: one that is known at the start, or the lines of stdin as they come.

use std::io::{self, Stdin};
use std::os::fd::{AsFd as _, BorrowedFd};

/// Read at once.
const READ_BYTES: usize = 64 * 1024;

pub(super) struct Messages {
    /// Read and not yet published; in lines, or else one message.
    held: Vec<u8>,
    /// Bytes of `held` that were published.
    done: usize,
    from: From,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Start,
    Stdin,
    /// Nothing more will come; what is held are lines.
    StdinEnded,
    Nowhere,
}

impl Messages {
    pub(super) fn one(message: Vec<u8>) -> Self {
        Self { held: message, done: 0, from: From::Start }
    }

    pub(super) fn lines() -> Self {
        Self { held: Vec::new(), done: 0, from: From::Stdin }
    }

    /// The next message, if it is there.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        match self.from {
            From::Start => {
                self.from = From::Nowhere;
                Some(std::mem::take(&mut self.held))
            }
            From::Stdin | From::StdinEnded => self.line(),
            From::Nowhere => None,
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = self.held.get(self.done..).unwrap_or_default();
        let (line, len) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(at) => (rest.get(..at).unwrap_or_default(), at + 1),
            // The last line need not end.
            None if self.from == From::StdinEnded && !rest.is_empty() => (rest, rest.len()),
            None => {
                if self.from == From::StdinEnded {
                    self.from = From::Nowhere;
                }
                return None;
            }
        };
        let line = line.to_vec();
        self.done += len;
        Some(line)
    }

    /// Whether there will be no message any more.
    pub(super) fn is_over(&self) -> bool {
        self.from == From::Nowhere
    }

    /// What [`read`](Self::read) reads, as long as it is worth it.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        // The descriptor lives as long as the process.
        (self.from == From::Stdin).then(|| stdin().as_fd())
    }

    /// Reads what there is; waits if there is nothing.
    pub(super) fn read(&mut self) -> io::Result<()> {
        self.held.drain(..self.done);
        self.done = 0;
        let held = self.held.len();
        self.held.resize(held + READ_BYTES, 0);
        let n = rustix::io::read(stdin(), self.held.get_mut(held..).unwrap_or_default());
        self.held.truncate(held + n.unwrap_or(0));
        if n? == 0 {
            self.from = From::StdinEnded;
        }
        Ok(())
    }
}

fn stdin() -> &'static Stdin {
    static STDIN: std::sync::OnceLock<Stdin> = std::sync::OnceLock::new();
    STDIN.get_or_init(io::stdin)
}
