//! MQTT 3.1.1 clients that are closed again and again: what they publish is never stored, and their protocol has no word for that but
//! the end of the connection. Whoever runs the node is told, as the client will go on with the same message (spec section 2.1).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::clock::Mono;
use crate::ticket::FailReason;

/// So many closes of one client within so long raise an alarm.
const CLOSES: usize = 3;
const WITHIN_MS: u64 = 60_000;
/// Most closes that are remembered; in a storm of them the oldest are forgotten.
const CLOSES_MAX: usize = 4_096;

/// A client that was closed, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) client_id: Box<str>,
    /// The sink that has not stored its message.
    pub(super) sink: u16,
    pub(super) why: FailReason,
}

/// The closes of the last minute on this shard, which is home to all connections of its clients.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Not counted yet: whoever closes does not know the time.
    fresh: Vec<Refusal>,
    /// When, and a hash of which client.
    recent: VecDeque<(Mono, u64)>,
}

impl Refusals {
    /// A client is closed.
    #[cold]
    pub(super) fn close(&mut self, client_id: &str, sink: u16, why: FailReason) {
        self.fresh.push(Refusal { client_id: client_id.into(), sink, why });
    }

    /// Counts what was closed since; the next client for which an alarm is due.
    #[inline]
    pub(super) fn pop_alarm(&mut self, now: Mono) -> Option<Refusal> {
        while let Some(refusal) = self.fresh.pop() {
            if self.is_due(now, &refusal) {
                return Some(refusal);
            }
        }
        None
    }

    #[cold]
    fn is_due(&mut self, now: Mono, refusal: &Refusal) -> bool {
        let mut hasher = DefaultHasher::new();
        refusal.client_id.hash(&mut hasher);
        let client = hasher.finish();
        while self.recent.front().is_some_and(|(at, _)| at.plus_ms(WITHIN_MS) <= now) {
            self.recent.pop_front();
        }
        if self.recent.len() == CLOSES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, client));
        let is_due = self.recent.iter().filter(|(_, other)| *other == client).count() >= CLOSES;
        if is_due {
            // The next alarm takes as many closes again.
            self.recent.retain(|(_, other)| *other != client);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(refusals: &mut Refusals, at_ms: u64, client_id: &str) -> Option<Refusal> {
        refusals.close(client_id, 1, FailReason::Invalid);
        refusals.pop_alarm(Mono::default().plus_ms(at_ms))
    }

    #[test]
    fn three_closes_of_one_client_within_a_minute_are_an_alarm() {
        let mut refusals = Refusals::default();
        assert_eq!(close(&mut refusals, 1_000, "a"), None);
        assert_eq!(close(&mut refusals, 2_000, "b"), None);
        assert_eq!(close(&mut refusals, 30_000, "a"), None);
        assert_eq!(close(&mut refusals, 61_000, "a"), None, "the first was a minute ago");
        let alarm = Refusal { client_id: "a".into(), sink: 1, why: FailReason::Invalid };
        assert_eq!(close(&mut refusals, 62_000, "a"), Some(alarm));
        for at_ms in [63_000, 64_000] {
            assert_eq!(close(&mut refusals, at_ms, "a"), None, "it has been told");
        }
        assert!(close(&mut refusals, 65_000, "a").is_some(), "and is told again if it goes on");
    }

    #[test]
    fn a_storm_of_closes_is_forgotten_from_its_beginning() {
        let mut refusals = Refusals::default();
        close(&mut refusals, 0, "a");
        close(&mut refusals, 0, "a");
        for client in 0..CLOSES_MAX {
            assert_eq!(close(&mut refusals, 1, &format!("client {client}")), None);
        }
        assert_eq!(refusals.recent.len(), CLOSES_MAX);
        assert_eq!(close(&mut refusals, 2, "a"), None);
    }
}
