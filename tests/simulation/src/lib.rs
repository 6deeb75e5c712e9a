//! The whole node in one thread, from one seed: shards, clients, network, disk and Kafka.
//!
//! ```text
//! plan      what a seed draws: sizes, configuration, clients, faults
//! world     the event heap; rounds of shards, acts of clients, links to brokers, disks
//! ports     what a shard can touch (its `Io`), with the oracles that watch it
//! client    an MQTT client that keeps to the protocol; `wire` is its language
//! kafka     a cluster; `disk` what lies under the embedded log
//! script    acts of clients without times, played here and elsewhere with one outcome
//! ledger    the truth about every message, and the verdict
//! ```
//!
//! A violation is a panic, of an oracle here or of an assertion in the engine; [`run`] catches it. The same seed gives the same
//! run, byte for byte: there is no clock, no thread and no iteration over a hash map in here.

mod client;
mod copies;
mod deleted;
pub mod disk;
mod given_up;
mod inbox;
pub mod kafka;
mod ledger;
pub mod message;
mod net;
pub mod plan;
mod ports;
pub mod random;
pub mod script;
mod sequences;
mod wire;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use world::{Mix, read_log, sweep};

use plan::Plan;
use world::World;

/// What came of one seed.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Inputs of its shards.
    pub mix: Mix,
    /// Messages acknowledged.
    pub acked: u64,
    /// Records stored.
    pub stored: u64,
    /// Says whether two runs were the same: all chance that was used, the time, and what came of it.
    pub digest: u64,
    /// Times the power was cut under a buffer on disk.
    pub power_cuts: u64,
    /// Slices of buffers on disk that were copied forward.
    pub copies: u64,
    /// Records that all brokers lost though they had acknowledged them, and those of which the last node said so.
    pub losses: (u64, u64),
    /// Times a topic was deleted and made anew.
    pub topics_renewed: u64,
    /// What was wrong, if something was.
    pub violation: Option<String>,
}

/// Runs one seed for about `steps` inputs of its shards, then heals its world and draws the verdict.
pub fn run(seed: u64, steps: u64, trace: bool) -> Report {
    let mut report = Report { seed, ..Report::default() };
    let mut world = None;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(Plan::draw(seed), trace));
        world.run(steps);
        world.end();
    }));
    if let Some(world) = &world {
        report.mix = world.mix;
        (report.power_cuts, report.copies) = (world.power_cuts, world.copies());
        report.losses = (world.losses(), world.losses_told());
        report.topics_renewed = world.topics_renewed();
        report.digest = world.digest();
        (report.acked, report.stored) = world.totals();
    }
    report.violation = ran.err().map(|panic| words_of(&*panic));
    report
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_string()
}
