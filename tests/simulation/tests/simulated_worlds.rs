//! Simulated worlds keep every promise, and every planted bug is found in them.
//!
//! A red seed is replayed by the command that is printed. Seeds that were red once are kept in [`REGRESSIONS`].

use std::process::{Command, Output};

use aqueduct_simulation::run;

/// Seeds that have found something, with the inputs of their worlds.
const REGRESSIONS: &[(u64, u64)] = &[
    // A will took the place of older records after the last look at what had been discarded, and nobody woke up for those.
    (261, 20_000),
    // While a batch in doubt was sent again, more than five newer ones were stored, and the broker no longer knew it.
    (2133, 40_000),
    // Requests that expect no answer kept a link alive on which another one was never answered.
    (103_943, 40_000),
    (113_756, 40_000),
    // A dead-letter sink that chooses partitions at random kept room where nothing was written, and no drain ended.
    (1277, 40_000),
    // A topic that messages named was not to be written any more: what had been sent and had no answer was refused, and counted as
    // nothing that might be there twice.
    (1_006_438, 40_000),
    // A slow subscriber subscribed once more, and its shard went round and round for what waited behind the SUBACK.
    (1_013_020, 40_000),
    // An answer of a topic that was deleted came after the word that it was made anew, and its offset was taken for the new one's.
    (1835, 40_000),
    // A broker that had not heard yet that a topic was made anew was believed, and a loss was told of that there was not.
    (2248, 40_000),
    // Without numbers, what had been sent again before a loss was told of as lost with it.
    (183, 20_000),
];

/// Inputs of the shards of one world.
const STEPS: u64 = 40_000;

/// Seeds of a run: 10^8 inputs and more. `AQUEDUCT_SIM_SEEDS=A..B` takes others.
const SEEDS: &str = "0..2500";

/// Power cuts under buffers on disk that this comes to at least.
const POWER_CUTS_MIN: u64 = 1_000;

/// Slices of such buffers that are copied forward in them, at least.
const COPIES_MIN: u64 = 1_000;

/// Acknowledged records that brokers lose in them and of which the node says so, at least.
const LOSSES_TOLD_MIN: u64 = 1_000;

fn simulate(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_aqueduct-sim")).args(arguments).output().expect("the simulator runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

/// A figure of the closing line.
fn figure(said: &str, name: &str) -> u64 {
    let last = said.lines().last().unwrap_or_default();
    let word = last.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {last:?}"))
}

#[test]
fn keep_every_promise() {
    let seeds = std::env::var("AQUEDUCT_SIM_SEEDS").unwrap_or_else(|_| SEEDS.to_string());
    let (output, said) = simulate(&["--seeds", &seeds, "--steps", &STEPS.to_string()]);
    assert!(output.status.success(), "{said}");
    assert_eq!(figure(&said, "violations"), 0, "{said}");
    let worlds = figure(&said, "seeds");
    assert!(figure(&said, "steps") >= worlds * STEPS / 100 * 99, "nearly every world went its way: {said}");
    assert!(seeds != SEEDS || figure(&said, "power_cuts") >= POWER_CUTS_MIN, "too few power cuts: {said}");
    assert!(seeds != SEEDS || figure(&said, "copies") >= COPIES_MIN, "too little is copied: {said}");
    assert!(seeds != SEEDS || figure(&said, "told") >= LOSSES_TOLD_MIN, "too few losses are told of: {said}");
    eprintln!("{said}");
}

#[test]
fn seeds_that_were_red_stay_green() {
    for &(seed, steps) in REGRESSIONS {
        let report = run(seed, steps, false);
        assert_eq!(report.violation, None, "cargo sim {seed} --steps {steps}");
    }
}

#[test]
fn are_the_same_each_time() {
    for seed in 0..20 {
        let (one, other) = (run(seed, 5_000, false), run(seed, 5_000, false));
        assert_eq!(
            (one.mix.steps(), one.acked, one.stored, one.digest),
            (other.mix.steps(), other.acked, other.stored, other.digest),
            "seed {seed}"
        );
        assert!(one.acked > 0, "seed {seed} is a world in which something happens: {one:?}");
    }
}

#[test]
fn every_planted_bug_is_found_within_200_seeds() {
    for plant in aqueduct::plants::names() {
        let (output, said) = simulate(&["--seeds", "0..200", "--steps", "20000", "--first", "--plant", plant]);
        assert_eq!(output.status.code(), Some(1), "{plant} is not found: {said}");
        assert!(said.contains("replay: cargo sim "), "{said}");
    }
}

#[test]
fn most_inputs_are_packets_and_answers() {
    let mut mix = aqueduct_simulation::Mix::default();
    (0..100).for_each(|seed| mix.add(&run(seed, 10_000, false).mix));
    let share = (mix.packets + mix.responses) as f64 / mix.steps() as f64;
    assert!(share >= 0.6, "{share:.2} of {mix:?}");
}
