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
/// So much of a client's id is told: it may be long, and hold what would look like another line.
const NAME_CHARS_MAX: usize = 64;

/// A client that was closed, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// A hash of its id.
    client: u64,
    /// Its id as it may stand in a log.
    pub(super) name: String,
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
        let mut hasher = DefaultHasher::new();
        client_id.hash(&mut hasher);
        let name = client_id.escape_debug().take(NAME_CHARS_MAX).collect();
        self.fresh.push(Refusal { client: hasher.finish(), name, sink, why });
    }

    /// Counts what was closed since; the next client for which an alarm is due.
    #[inline]
    pub(super) fn pop_alarm(&mut self, now: Mono) -> Option<Refusal> {
        while let Some(refusal) = self.fresh.pop() {
            if self.is_due(now, refusal.client) {
                return Some(refusal);
            }
        }
        None
    }

    #[cold]
    fn is_due(&mut self, now: Mono, client: u64) -> bool {
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
        let alarm = close(&mut refusals, 62_000, "a").expect("an alarm");
        assert_eq!((alarm.name.as_str(), alarm.sink, alarm.why), ("a", 1, FailReason::Invalid));
        for at_ms in [63_000, 64_000] {
            assert_eq!(close(&mut refusals, at_ms, "a"), None, "it has been told");
        }
        assert!(close(&mut refusals, 65_000, "a").is_some(), "and is told again if it goes on");
    }

    #[test]
    fn what_a_client_calls_itself_stays_within_its_line() {
        let mut refusals = Refusals::default();
        let name = |id: &str, refusals: &mut Refusals| {
            let alarms = [1, 2, 3].map(|at_ms| close(refusals, at_ms, id));
            alarms.into_iter().flatten().next().expect("an alarm").name
        };
        assert_eq!(name("a\nERROR b", &mut refusals), "a\\nERROR b");
        let (one, other) = (format!("{}1", "x".repeat(100)), format!("{}2", "x".repeat(100)));
        assert_eq!(close(&mut refusals, 4, &other), None);
        assert_eq!(
            name(&one, &mut refusals),
            "x".repeat(NAME_CHARS_MAX),
            "nor does it count for one with the same beginning"
        );
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
