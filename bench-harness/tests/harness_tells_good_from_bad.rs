//! The harness itself: it measures a system that works, and it catches one that lies.
//!
//! Setup: the ceiling, which is part of the harness, without Kafka or with a real one. Action: a short run, and kills
//! under load. Expectation: a clean run counts everything and exits 0; a ceiling that acknowledges what Kafka does not
//! have yet is convicted, and the same kills of an honest one are not.

use std::process::{Command, Output};

const MISSING_KAFKA: i32 = 77;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aqueduct-bench")).args(arguments).output().expect("the harness starts")
}

/// False, said aloud, if this machine has no Kafka; a failure where one is required.
fn had_kafka(output: &Output) -> bool {
    let missing = output.status.code() == Some(MISSING_KAFKA);
    if missing {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(std::env::var_os("AQUEDUCT_REQUIRE_KAFKA").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    !missing
}

fn line(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"))
}

#[test]
fn a_run_without_kafka_counts_every_acknowledgement() {
    for workload in ["a", "b", "c"] {
        let run =
            bench(&["run", workload, "--system", "ceiling", "--connector", "discard", "--messages", "20000", "--json"]);
        assert!(run.status.success(), "{workload}: {}", String::from_utf8_lossy(&run.stderr));
        let result = line(&run);
        assert_eq!((&result["delivered"], &result["lost"]), (&20_000.into(), &0.into()), "{workload}");
        assert!(result["cpu_s_per_million"].as_f64() > Some(0.0), "{workload}");
    }
}

#[test]
fn a_run_with_kafka_reads_every_message_back() {
    let run = bench(&["run", "d", "--system", "ceiling", "--messages", "20000", "--json"]);
    if had_kafka(&run) {
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let result = line(&run);
        for (metric, expected) in
            [("delivered", 20_000), ("lost", 0), ("duplicated", 0), ("reordered", 0), ("corrupt", 0)]
        {
            assert_eq!(result[metric], expected, "{metric}");
        }
        assert!(result["ack_p50_us"].as_f64() > Some(100.0));
    }
}

#[test]
fn telemetry_comes_back_as_it_was_sent() {
    let run = bench(&["run", "a-json", "--system", "ceiling", "--messages", "20000", "--json"]);
    if had_kafka(&run) {
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let result = line(&run);
        assert_eq!((&result["delivered"], &result["corrupt"]), (&20_000.into(), &0.into()));
    }
}

#[test]
fn each_of_several_is_compared_and_a_limit_is_kept() {
    let compare = |limit| {
        let small = ["--connector", "discard", "--messages", "20000", "--pairs", "2", "--json", "--at-most", limit];
        bench(&[&["compare", "ceiling", "ceiling", "ceiling"][..], &small].concat())
    };
    let within = compare("1000");
    let told = String::from_utf8_lossy(&within.stdout).into_owned();
    assert_eq!(within.status.code(), Some(0), "{}", String::from_utf8_lossy(&within.stderr));
    let ratios = told.lines().filter(|line| line.starts_with("{\"a\":\"ceiling\",\"b\":\"ceiling\"")).count();
    assert_eq!(ratios, 2, "{told}");
    let beyond = compare("0.001");
    assert_eq!(beyond.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("exceeds the limit of 0.001"));
}

#[test]
fn an_honest_system_survives_its_kills_and_a_lying_one_is_convicted() {
    let honest = bench(&["kill", "--system", "ceiling", "--cycles", "2", "--seed", "7"]);
    if had_kafka(&honest) {
        let said = String::from_utf8_lossy(&honest.stdout);
        assert!(honest.status.success(), "{said}\n{}", String::from_utf8_lossy(&honest.stderr));
        assert_eq!(said.matches(": good (").count(), 2, "{said}");
        // It reads on while its batches linger, so at any instant something is acknowledged and not even sent to Kafka.
        let lie = ["--early-ack", "--rounds=false", "--linger-ms=200", "--target-bytes=100000000"]
            .map(|argument| format!("--ceiling-arg={argument}"));
        let lie: Vec<&str> = lie.iter().map(String::as_str).collect();
        let lying = [&["kill", "--system", "ceiling", "--cycles", "2", "--seed", "7"][..], &lie].concat();
        let caught = bench(&lying);
        assert_eq!(caught.status.code(), Some(1), "{}", String::from_utf8_lossy(&caught.stdout));
        let expected = bench(&[&lying[..], &["--expect-loss"]].concat());
        assert!(expected.status.success(), "{}", String::from_utf8_lossy(&expected.stdout));
    }
}

#[test]
fn a_workload_that_does_not_exist_is_named() {
    let run = bench(&["run", "z"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).contains("no workload 'z'"));
}

#[test]
fn a_fault_that_does_not_exist_or_fit_is_named() {
    for (plan, expected) in [("kil@1+1", "no fault 'kil'"), ("leader-alone@1+1", "leader-alone makes no sense here")] {
        let run = bench(&["chaos", "--plan", plan]);
        assert_eq!(run.status.code(), Some(1), "{plan}");
        assert!(String::from_utf8_lossy(&run.stderr).contains(expected), "{plan}");
    }
}
