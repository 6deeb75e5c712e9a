//! `cargo sim`: replays one seed, or runs many.

fn main() {}
