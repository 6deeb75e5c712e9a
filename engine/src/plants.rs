//! Bugs planted on purpose, one at a time, so that the tests that keep our promises can be seen to go red.
//!
//! `AQUEDUCT_PLANT=ack-early aqueduct run` makes this process a liar. That works only in builds with debug assertions, which
//! development and test builds are: what a test acquits and what its control run convicts is then the same binary, one
//! variable apart, and no build with a feature of its own is needed, whose features Cargo could unify into another. In a
//! release build `is_planted` is the constant `false`, and nothing of this is left.
//!
//! A plant is a variant here, its name, and one `if is_planted(...)` where the bug would be made.

use std::sync::OnceLock;

/// Names the bug to plant.
const VARIABLE: &str = "AQUEDUCT_PLANT";

/// The bugs there are, by name.
const NAMES: &[(&str, Plant)] = &[("ack-early", Plant::AckEarly)];

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A PUBLISH is acknowledged when it is accepted, before any of its records has an outcome.
    AckEarly,
}

/// Whether this bug is planted.
///
/// # Panics
/// If the variable names a bug that there is not.
#[inline]
pub fn is_planted(plant: Plant) -> bool {
    cfg!(debug_assertions) && chosen() == Some(plant)
}

fn chosen() -> Option<Plant> {
    static CHOSEN: OnceLock<Option<Plant>> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        // A misspelt plant would make a control run look as if it had convicted nobody.
        assert!(known.is_some(), "{VARIABLE}={name} is none of {NAMES:?}");
        tracing::error!("a bug is planted on purpose: {name}");
        known.map(|(_, plant)| *plant)
    })
}
