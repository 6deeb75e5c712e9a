//! Text that nearly is a configuration: whatever it becomes, reading it and showing what is wrong ends without a panic.

use super::*;

/// A small generator of numbers that a seed replays.
struct Seed(u64);

impl Seed {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Pieces that mean something somewhere.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ".",
    "\"",
    "'",
    "\n",
    "#",
    "*",
    "sinks",
    "[sinks.\u{e4}]",
    "linger",
    "buffer",
    "${",
    "%",
    "-1",
    "99999999999999999999",
    "1e9",
    "0x",
    "2020-01-01",
    "true",
    "KB",
    "\0",
    "\u{1f980}",
    "type = \"discard\"",
    "connectors.",
];

#[test]
fn mutations_of_the_sample_are_survived() {
    let sample: Vec<char> = sample().replace("\n# ", "\n").chars().collect();
    let mut seed = Seed(0x2545_f491_4f6c_dd1d);
    for _ in 0..2_000 {
        let from = seed.below(sample.len());
        let mut text: Vec<char> = sample[from..(from + 1_500).min(sample.len())].to_vec();
        for _ in 0..1 + seed.below(6) {
            let at = seed.below(text.len());
            let until = (at + seed.below(12)).min(text.len());
            text.splice(at..until, PIECES[seed.below(PIECES.len())].chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = load(&text) {
            assert!(!rendered(problems.iter()).is_empty());
        }
    }
}

#[test]
fn mutations_of_flags_and_variables_are_survived() {
    let mut seed = Seed(0x9e37_79b9_7f4a_7c15);
    let words =
        ["sinks", "mqtt", "linger", "buffer", "mode", "connectors", "main", "type", "kafka", "node", "shards", "", "x"];
    for _ in 0..2_000 {
        let mut part = || words[seed.below(words.len())].to_string();
        let (path, value) = ([part(), part(), part(), part()], part());
        let mut sources = Sources::embedded();
        sources.environment = vec![(format!("{PREFIX}{}", path.join("__").to_uppercase()), value.clone())];
        sources.flags = vec![Flag::set(&format!("{}={value}", path[1..].join("."))), Flag::kafka("--kafka", &value)];
        if let Err(problems) = Loaded::load(&sources, &MACHINE) {
            assert!(!rendered(problems.iter()).is_empty());
        }
    }
}
