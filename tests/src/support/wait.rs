//! Waiting for something that comes soon, with a limit.

use std::time::{Duration, Instant};

use super::deadline;

/// Asks every 20 ms until there is an answer.
///
/// # Panics
/// After `seconds`, with `what` was waited for.
#[track_caller]
pub fn until<T>(what: &str, seconds: u64, mut ask: impl FnMut() -> Option<T>) -> T {
    deadline::doing(what);
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {seconds} s in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
