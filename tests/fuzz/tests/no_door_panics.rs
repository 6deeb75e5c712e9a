//! No door panics, and what comes through is sound.
//!
//! Setup: the kept corpus of each target. Action: every kept input, then mutations of them from a fixed seed, a million executions in
//! all. Expectation: no target panics; one that does has its input, made small, added to the corpus.
//!
//! One test a target, so that they share the cores and a failure names its door.

use aqueduct_fuzz::drive;
use aqueduct_fuzz::target::{self, TARGETS};

const EXECUTIONS: u64 = 1_000_000;
const SEED: u64 = 1;

fn check(name: &str) {
    let target = target::find(name).expect("a row of the registry");
    match drive::run(target, SEED, EXECUTIONS) {
        Ok(run) => {
            println!("{name}: {:.1} s, {} inputs led somewhere", run.elapsed.as_secs_f64(), run.pool);
            assert_eq!(run.executions, EXECUTIONS);
        }
        Err(failure) => {
            let path = failure.save(target).map_or_else(|error| error.to_string(), |path| path.display().to_string());
            panic!("{name}, after {} executions: {}\ninput: {path}", failure.after, failure.message);
        }
    }
}

macro_rules! doors {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),*];
            let missing: Vec<_> = TARGETS.iter().map(|target| target.name).filter(|name| !run.contains(name)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    };
}

doors! {
    config
    group_offsets
    headers
    journal_index
    journal_recovery
    kafka_frames
    kafka_login
    kafka_request
    kafka_response
    kafka_sasl
    log_recovery
    mqtt_client
    mqtt_connection
    mqtt_decode_v3
    mqtt_decode_v5
    record_batch
    shard_clients
    template
    tls_files
    token_answer
    topic_match
}
