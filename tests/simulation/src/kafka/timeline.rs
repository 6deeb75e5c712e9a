//! What will happen in the cluster, earliest first; what happens at the same time happens in the order it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use aqueduct::clock::Mono;

/// Something that will happen. `life` is the broker's, so that what was planned before it died finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A broker hears the controller's news.
    News { broker: u8, life: u32 },
    /// A follower copies what its leaders have.
    Fetch { broker: u8, life: u32 },
    /// The controller misses a broker.
    Fence { broker: u8, life: u32 },
    /// The controller takes a broker back.
    Unfence { broker: u8, life: u32 },
    /// A dead broker starts.
    Restart { broker: u8, life: u32 },
    /// A frozen broker goes on.
    Thaw { broker: u8, life: u32 },
    /// Leaders look for followers that lag.
    Lag,
    /// A deleted topic is made anew.
    Recreate { topic: u16 },
    /// Faults are drawn.
    Nemesis,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    events: BinaryHeap<Reverse<(Mono, u64, Event)>>,
    planned: u64,
}

impl Timeline {
    pub(super) fn plan(&mut self, at: Mono, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at, self.planned, event)));
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.events.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next event that is due.
    pub(super) fn pop(&mut self, now: Mono) -> Option<Event> {
        if self.next()? > now {
            return None;
        }
        self.events.pop().map(|Reverse((_, _, event))| event)
    }
}
