//! Bytes from strangers, at every door: what arrives from clients, brokers, disks and users never panics, and what is
//! accepted is sound.
//!
//! ```text
//! corpus/TARGET/*  ->  mutator (by the target's shape and words)  ->  target: fn(&[u8])  ->  trail: what was new about it
//!                          ^                                                                   |
//!                          +---------------- inputs that led somewhere new --------------------+
//! ```
//!
//! A target is one function that panics if a promise is broken. The same functions run as ordinary tests on the stable
//! toolchain (`tests/no_door_panics.rs`), for as long as one likes (`cargo run --release -p aqueduct-fuzz -- TARGET`), and under
//! libFuzzer (`libfuzzer/`, a package outside of the workspace because all of it is instrumented). `docs/hacking.md` has the commands.
//!
//! Everything follows from a seed: the same seed makes the same inputs in the same order. An input that failed once is kept in the
//! corpus for ever.
//!
//! Left out: conversations of several parties and anything that needs time to pass; those are the simulator's.

pub mod corpus;
pub mod drive;
pub mod mutator;
pub mod random;
pub mod shape;
pub mod target;
pub mod trail;
