//! What the benches share: packets to feed, and a world that costs next to nothing.
//!
//! A bench answers what a function costs; what the whole system costs is the bench harness's question.

mod packets;
mod world;

pub use packets::{connect, publish};
pub use world::{Rig, World};
