//! The targets of `aqueduct-fuzz` under libFuzzer: `AQUEDUCT_DOOR` names the one.
//!
//! `docs/hacking.md` has the command.

#![no_main]

use std::sync::LazyLock;

use aqueduct_fuzz::target::{self, TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("AQUEDUCT_DOOR").unwrap_or_default();
    target::find(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("AQUEDUCT_DOOR={name} is none of {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
