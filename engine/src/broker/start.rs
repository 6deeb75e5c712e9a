//! Whether a cluster was ever reached, and how long that may take.
//!
//! Nothing waits for it: listeners are open, and what clients publish is held. But for a while after the start a cluster that
//! has not answered is being connected to; after `start_timeout` it is disconnected, and somebody should look.

use crate::clock::Mono;
use crate::metrics::Health;

/// The first connection to a cluster.
#[derive(Debug)]
pub(super) struct Start {
    timeout_ms: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has looked at the clock.
    New,
    /// It may take until then.
    Until(Mono),
    /// Nobody was reached in time, nor later.
    Failed,
    /// A broker was reached, now or earlier.
    Done,
}

impl Start {
    pub(super) fn new(timeout_ms: u64) -> Self {
        Self { timeout_ms, state: State::New }
    }

    /// A broker was reached.
    pub(super) fn succeed(&mut self) {
        self.state = State::Done;
    }

    /// Whether time is up. `true` once.
    pub(super) fn has_failed(&mut self, now: Mono) -> bool {
        let until = match self.state {
            State::New => now.plus_ms(self.timeout_ms),
            State::Until(until) => until,
            State::Failed | State::Done => return false,
        };
        let failed = until <= now;
        self.state = if failed { State::Failed } else { State::Until(until) };
        failed
    }

    /// When time is up.
    pub(super) fn ends_at(&self) -> Option<Mono> {
        match self.state {
            State::Until(until) => Some(until),
            State::New | State::Failed | State::Done => None,
        }
    }

    /// The health of a cluster that is out of reach because of `why`.
    pub(super) fn health_with(&self, why: String) -> Health {
        match self.state {
            State::New | State::Until(_) => Health::Connecting(why),
            State::Done => Health::Disconnected(why),
            State::Failed => {
                let seconds = self.timeout_ms as f64 / 1_000.0;
                Health::Disconnected(format!("not connected within start_timeout ({seconds} s): {why}"))
            }
        }
    }
}
