//! Log lines of a shard, at most a few a second: a storm of bad clients must not become a storm of log lines.

use super::control::{ControlMsg, Level};
use super::io::Io;
use crate::clock::Mono;

/// Lines in a burst, and lines a second in the long run.
const BURST: u64 = 10;
const NS_PER_LINE: u64 = 100_000_000;

/// A token bucket in front of the log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Time up to which lines have been paid for.
    paid: Mono,
    /// Lines left out.
    pub(super) suppressed: u64,
}

impl Notes {
    /// Says `text` unless too much has been said lately.
    pub(super) fn say(&mut self, now: Mono, level: Level, io: &mut impl Io, text: impl FnOnce() -> String) {
        let paid = self.paid.max(now - BURST * NS_PER_LINE);
        if paid > now {
            self.suppressed += 1;
            return;
        }
        self.paid = paid + NS_PER_LINE;
        io.control(ControlMsg::Note { level, text: text() });
    }
}
