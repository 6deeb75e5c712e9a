//! Which fault when: drawn from a seed, or written down.
//!
//! ```text
//! broker-kill=2@5+4,kill@12.5+0.5       fault @ seconds after the load's start + length in seconds
//! ```
//!
//! At most two faults are on at a time, and never two of one thing. What a seed draws prints itself in this form, so a run can
//! be repeated, or cut down to the part that matters. Times are those of the plan: a fault waits for those before it that
//! take longer to begin or to heal.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use miette::{Report, Result, miette};

use super::fault::{Fault, Subject, Who};
use crate::random::Random;

/// The load runs undisturbed for so long first: what a rate is compared with later.
const LEAD_MS: u64 = 4_000;
/// Between the starts of two faults.
const BETWEEN_MS: std::ops::Range<u64> = 1_000..8_000;
/// How long a fault lasts.
const LENGTH_MS: std::ops::Range<u64> = 500..10_000;
/// Faults at a time.
const OVERLAP: usize = 2;

/// One fault at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// What happens.
    pub fault: Fault,
    /// After the load's start.
    pub at: Duration,
    /// Until it is healed.
    pub lasts: Duration,
}

impl Action {
    /// When it is healed, after the load's start.
    pub fn ends(&self) -> Duration {
        self.at + self.lasts
    }
}

/// All faults of a run, in the order of their beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The faults.
    pub actions: Vec<Action>,
}

impl Schedule {
    /// Draws faults of these kinds for so many seconds.
    pub fn draw(seed: u64, kinds: &[Fault], brokers: u32, seconds: u64) -> Self {
        let mut random = Random::new(seed);
        let mut actions: Vec<Action> = Vec::new();
        let mut at_ms = LEAD_MS;
        while !kinds.is_empty() && at_ms < seconds * 1_000 {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            let fault = kind.drawn(brokers, &mut random);
            let length_ms = LENGTH_MS.start + random.below(LENGTH_MS.end - LENGTH_MS.start);
            let action = Action { fault, at: Duration::from_millis(at_ms), lasts: Duration::from_millis(length_ms) };
            let on: Vec<&Action> = actions.iter().filter(|other| other.ends() > action.at).collect();
            if on.len() < OVERLAP && !on.iter().any(|other| collide(other.fault, fault)) {
                actions.push(action);
            }
            at_ms += BETWEEN_MS.start + random.below(BETWEEN_MS.end - BETWEEN_MS.start);
        }
        Self { actions }
    }

    /// When the last fault is healed.
    pub fn ends(&self) -> Duration {
        self.actions.iter().map(Action::ends).max().unwrap_or_default()
    }
}

/// Whether two faults strike the same thing.
pub(super) fn collide(one: Fault, other: Fault) -> bool {
    match (one.subject(), other.subject()) {
        (Subject::Nothing, _) | (_, Subject::Nothing) => one.name() == other.name(),
        (Subject::Product, Subject::Product) => true,
        (Subject::Brokers, Subject::Brokers | Subject::Broker(_)) | (Subject::Broker(_), Subject::Brokers) => true,
        (Subject::Broker(one), Subject::Broker(other)) => one == other || one == Who::Leader || other == Who::Leader,
        _ => false,
    }
}

impl Display for Schedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (number, action) in self.actions.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let Action { fault, at, lasts } = action;
            write!(f, "{comma}{fault}@{}+{}", at.as_secs_f64(), lasts.as_secs_f64())?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = Report;

    fn from_str(text: &str) -> Result<Self, Report> {
        let seconds = |text: &str| {
            let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            seconds.ok_or_else(|| miette!("'{text}' is no number of seconds"))
        };
        let mut actions = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let form = || miette!("'{part}' is not FAULT@START+LENGTH");
            let (fault, times) = part.split_once('@').ok_or_else(form)?;
            let (at, lasts) = times.split_once('+').ok_or_else(form)?;
            actions.push(Action { fault: fault.parse()?, at: seconds(at)?, lasts: seconds(lasts)? });
        }
        actions.sort_by_key(|action| action.at);
        Ok(Self { actions })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::KINDS;
    use super::*;

    fn kinds() -> Vec<Fault> {
        KINDS.iter().map(|(_, fault)| *fault).collect()
    }

    #[test]
    fn what_is_drawn_is_read_as_it_is_printed() {
        for seed in 0..200 {
            let drawn = Schedule::draw(seed, &kinds(), 3, 120);
            assert_eq!(drawn.to_string().parse::<Schedule>().unwrap(), drawn);
            assert_eq!(drawn, Schedule::draw(seed, &kinds(), 3, 120));
            assert!(drawn.actions.len() > 5, "{drawn}");
        }
        assert_ne!(Schedule::draw(1, &kinds(), 3, 120), Schedule::draw(2, &kinds(), 3, 120));
    }

    #[test]
    fn no_more_than_two_at_a_time_and_never_two_of_one_thing() {
        for seed in 0..200 {
            let drawn = Schedule::draw(seed, &kinds(), 3, 300);
            for action in &drawn.actions {
                let on: Vec<_> = drawn
                    .actions
                    .iter()
                    .filter(|other| other.at <= action.at && other.ends() > action.at && *other != action)
                    .collect();
                assert!(on.len() < OVERLAP, "{drawn}");
                assert!(!on.iter().any(|other| collide(other.fault, action.fault)), "{drawn}");
            }
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("kil@1+1", "no fault 'kil'; there are kill, ");
        check("kill@1", "FAULT@START+LENGTH");
        check("kill=3@1+1", "'3' is no argument of 'kill'");
        check("broker-kill=0@1+1", "'0' is no argument");
        check("slow-disk=second@1+1", "'second' is no argument of 'slow-disk'");
        check("add-partitions=0@1+1", "'0' is no argument");
        check("kill@x+1", "no number of seconds");
    }
}
