//! Bugs planted on purpose, one at a time, so that the tests that keep our promises can be seen to go red.
//!
//! `AQUEDUCT_PLANT=ack-early aqueduct run` makes this process a liar. That works only in builds with debug assertions, which
//! development and test builds are: what a test acquits and what its control run convicts is then the same binary, one
//! variable apart, and no build with a feature of its own is needed, whose features Cargo could unify into another. In a
//! release build `is_planted` is the constant `false`, and nothing of this is left.
//!
//! A plant is a variant here, its name, and one `if is_planted(...)` where the bug would be made.

use std::sync::OnceLock;

static CHOSEN: OnceLock<Option<Plant>> = OnceLock::new();

/// Names the bug to plant.
const VARIABLE: &str = "AQUEDUCT_PLANT";

/// The bugs there are, by name.
const NAMES: &[(&str, Plant)] = &[
    ("ack-early", Plant::AckEarly),
    ("free-early", Plant::FreeEarly),
    ("bump-early", Plant::BumpEarly),
    ("expire-head", Plant::ExpireHead),
    ("skip-dup", Plant::SkipDup),
    ("stale-fd", Plant::StaleFd),
    ("lane-swap", Plant::LaneSwap),
    ("epoch-mixed", Plant::EpochMixed),
    ("drop-record", Plant::DropRecord),
    ("resend-anew", Plant::ResendAnew),
    ("reorder-spill", Plant::ReorderSpill),
    ("ack-before-sync", Plant::AckBeforeSync),
    ("resurrect-dropped", Plant::ResurrectDropped),
    ("recycle-early", Plant::RecycleEarly),
    ("fail-neighbour", Plant::FailNeighbour),
    ("keep-epoch", Plant::KeepEpoch),
    ("fail-batch", Plant::FailBatch),
    ("will-in-spite", Plant::WillInSpite),
    ("drop-newest", Plant::DropNewest),
    ("copy-astray", Plant::CopyAstray),
];

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A PUBLISH is acknowledged when it is accepted, before any of its records has an outcome.
    AckEarly,
    /// The bytes of a batch are given back to the budget when it is sealed, while it is still on its way.
    FreeEarly,
    /// A batch whose fate is open is numbered in a new epoch while it may still be stored under the old one.
    BumpEarly,
    /// A batch that failed for good keeps its sequence numbers, so that those behind it leave a gap.
    ExpireHead,
    /// A PUBLISH with DUP is taken for a repetition of one that was stored.
    SkipDup,
    /// A connection is found by its slot alone, whoever has the slot by now.
    StaleFd,
    /// Outcomes of QoS 1 go to the lane of QoS 2, and the other way round.
    LaneSwap,
    /// When a new epoch begins, only the oldest batch is numbered anew.
    EpochMixed,
    /// A batch whose answer never came is taken for stored.
    DropRecord,
    /// A batch that is sent again gets the next sequence numbers instead of those it had.
    ResendAnew,
    /// Now and then a batch goes to the journal in front of those that wait for it.
    ReorderSpill,
    /// With a buffer on disk a PUBLISH is acknowledged when its records are given to the journal, not when they are durable.
    AckBeforeSync,
    /// What was displaced by `overflow = "drop_oldest"` stays in the journal and is sent all the same.
    ResurrectDropped,
    /// A batch from a buffer on disk that failed for good takes the one behind it along, counted as all that fails.
    FailNeighbour,
    /// The numbers of a topic that was deleted go on in the topic that was made anew.
    KeepEpoch,
    /// A batch with a record that Kafka refuses fails as a whole.
    FailBatch,
    /// A will that waits is published also if its client is back in time.
    WillInSpite,
    /// What gives way in a buffer on disk is the newest, not the oldest.
    DropNewest,
    /// An entry of a buffer that was copied to another file is looked for where it was in the first.
    CopyAstray,
    /// A batch whose link is gone has its buffer written into by others before it is sent again.
    RecycleEarly,
}

/// Whether this bug is planted.
///
/// # Panics
/// If the variable names a bug that there is not.
#[inline]
pub fn is_planted(plant: Plant) -> bool {
    cfg!(debug_assertions) && chosen() == Some(plant)
}

/// The names of all bugs.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// Plants the bug of this name in this process, or sees to it that none is planted whatever the variable says. Only the first
/// call has an effect, and only before anything has asked.
///
/// # Errors
/// If there is no such bug, or it is too late.
pub fn plant(name: Option<&str>) -> Result<(), String> {
    let plant = name.map(find).transpose()?;
    CHOSEN.set(plant).map_err(|_| "the engine has already been asked to work".to_string())
}

fn find(name: &str) -> Result<Plant, String> {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let all = || names().collect::<Vec<_>>().join(", ");
    known.map(|(_, plant)| *plant).ok_or_else(|| format!("{name} is no planted bug; there are {}", all()))
}

fn chosen() -> Option<Plant> {
    *CHOSEN.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok()?;
        // A misspelt plant would make a control run look as if it had convicted nobody.
        let plant = find(&name).unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
        tracing::error!("a bug is planted on purpose: {name}");
        Some(plant)
    })
}
