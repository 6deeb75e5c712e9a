//! A script has one outcome in all simulated worlds, however many shards there are and whatever the timing; those written by
//! hand have the outcome that stands beside them.

use aqueduct_simulation::plan::Destination;
use aqueduct_simulation::script::{Script, drawn, simulate, written};

/// Drawn scripts of a run.
const DRAWN: u16 = 1000;

#[test]
fn and_as_was_written() {
    let mut wrong = Vec::new();
    for written in written() {
        match everywhere(&written.script) {
            Ok(outcome) => {
                let missing = written.missing_in(&outcome);
                if !missing.is_empty() {
                    wrong.push(format!("{}: {missing:#?} in\n{}", written.name, outcome.join("\n")));
                }
            }
            Err(why) => wrong.push(format!("{}: {why}", written.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn as_drawn() {
    let wrong: Vec<String> = (0..DRAWN)
        .filter_map(|seed| {
            let script = drawn(seed);
            Some(format!("seed {seed}: {}\n{}", everywhere(&script).err()?, script.text()))
        })
        .collect();
    assert!(wrong.is_empty(), "{} scripts:\n{}", wrong.len(), wrong[..wrong.len().min(3)].join("\n\n"));
}

/// Plays it in worlds of all kinds; the one outcome.
fn everywhere(script: &Script) -> Result<Vec<String>, String> {
    let mut first: Option<Vec<String>> = None;
    let seed = u64::from(script.number) * 3;
    let embedded =
        [(1, None), (2, None), (3, Some(seed))].map(|(shards, noise)| (Destination::Embedded, shards, noise));
    let kafka = [(1, None), (2, None), (1, Some(seed)), (2, Some(seed + 1)), (3, Some(seed + 2))];
    let kafka = kafka.map(|(shards, noise)| (Destination::Kafka, shards, noise));
    for (destination, shards, noise) in kafka.into_iter().chain(embedded) {
        if destination == Destination::Embedded && script.needs_kafka() {
            continue;
        }
        let place = format!("{destination:?}, {shards} shards, noise {noise:?}");
        let outcome = simulate(script, destination, shards, noise).map_err(|why| format!("{place}: {why}"))?;
        match &first {
            None => first = Some(outcome),
            Some(first) if *first == outcome => {}
            Some(first) => {
                return Err(format!("{place}:\n{}\ninstead of\n{}", outcome.join("\n"), first.join("\n")));
            }
        }
    }
    Ok(first.unwrap_or_default())
}
