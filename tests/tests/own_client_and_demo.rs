//! `aqueduct pub`, `aqueduct sub` and `aqueduct demo` against a real run.
//!
//! Setup: a node with the embedded log, or a demo of its own. Action: the commands as a person types them. Expectation: what
//! was published is printed, in order; exit codes say what came; the devices' records are in the log.

use std::process::Stdio;
use std::time::{Duration, Instant};

use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Plan, command};
use aqueduct_tests::support::peer::{self, Background};
use aqueduct_tests::support::port;
use aqueduct_tests::support::scratch::Scratch;
use aqueduct_tests::support::wait;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn what_pub_sends_sub_prints_and_the_log_holds() {
    let node = Plan::embedded().sink("value = \"${payload}\"").start();
    let scratch = Scratch::new("pub-sub");
    let port = node.ports().mqtt.to_string();
    let aqueduct = |arguments: &[&str]| {
        let (name, rest) = arguments.split_first().expect("a command");
        command(scratch.path(), &[&[name, "-p", port.as_str()], rest].concat())
    };
    let mut sub = aqueduct(&["sub", "-t", "plant/+/t", "-q", "1", "-v", "-C", "4", "-W", "30"]);
    let mut sub = Background::start(sub.stdout(Stdio::piped()));
    wait::until("the subscription", 10, || (node.metrics().sum("aqueduct_subscriptions", &[]) == 1.0).then_some(()));

    peer::run(&mut aqueduct(&["pub", "-t", "plant/1/t", "-m", "-3.5", "-q", "1"]));
    let lines = peer::finish(&mut aqueduct(&["pub", "-t", "plant/2/t", "-l", "-q", "2"]), b"one\ntwo\n");
    assert!(lines.status.success(), "{lines:?}");
    peer::run(&mut aqueduct(&["pub", "-t", "elsewhere", "-m", "not for the subscriber", "-q", "1", "-V", "3.1.1"]));
    peer::run(&mut aqueduct(&["pub", "-t", "plant/3/t", "-n", "-q", "1", "-i", "me"]));

    let mut printed = String::new();
    std::io::Read::read_to_string(sub.0.stdout.as_mut().expect("piped"), &mut printed).expect("text");
    assert_eq!(sub.wait(Duration::from_secs(5)).code(), Some(0));
    assert_eq!(printed, "plant/1/t -3.5\nplant/2/t one\nplant/2/t two\nplant/3/t \n");
    // What is acknowledged at QoS 1 and 2 is in the log.
    let records = kafka::read(&node.bootstrap(), "mqtt");
    assert_eq!(records.len(), 5);
    assert!(records.iter().any(|record| record.key.as_deref() == Some(b"me")), "{records:?}");
}

#[test]
fn sub_says_when_nothing_came_and_pub_when_nobody_answers() {
    let node = Plan::embedded().start();
    let scratch = Scratch::new("pub-sub-fails");
    let port = node.ports().mqtt.to_string();
    let sub = peer::finish(&mut command(scratch.path(), &["sub", "-p", &port, "-t", "#", "-C", "1", "-W", "1"]), b"");
    assert_eq!(sub.status.code(), Some(1), "{sub:?}");
    let said = String::from_utf8_lossy(&sub.stderr).into_owned();
    assert!(said.contains("0 of 1 message came"), "{said}");

    let nobody = port::free().to_string();
    let publish = peer::finish(&mut command(scratch.path(), &["pub", "-p", &nobody, "-t", "t", "-m", "m"]), b"");
    assert_eq!(publish.status.code(), Some(1), "{publish:?}");
    let said = String::from_utf8_lossy(&publish.stderr).into_owned();
    assert!(said.contains(&format!("127.0.0.1:{nobody}")), "{said}");
}

#[test]
fn the_devices_of_a_demo_reach_the_log() {
    let scratch = Scratch::new("demo");
    let [mqtt, log, http] = [port::free(), port::free(), port::free()];
    let bind = |key: &str, port: u16| format!("{key}=127.0.0.1:{port}");
    let settings = [bind("connectors.main.bind", log), bind("http.bind", http)];
    let listen = format!("127.0.0.1:{mqtt}");
    let arguments = [
        "demo",
        "--devices",
        "5",
        "--interval-ms",
        "100",
        "--shards",
        "1",
        "--bind",
        &listen,
        "--set",
        &settings[0],
        "--set",
        &settings[1],
    ];
    let said = scratch.file("said");
    let out = std::fs::File::create(&said).expect("the folder is writable");
    let mut demo = Background::start(command(scratch.path(), &arguments).stdout(out).stderr(Stdio::inherit()));
    wait::until("it is ready", 20, || http::get(http, "/readyz").filter(|(status, _)| *status == 200));
    let begin = Instant::now();
    let records = wait::until("two seconds of telemetry", 20, || {
        let (_, text) = http::get(http, "/metrics")?;
        let success = text.lines().find_map(|line| line.strip_prefix("aqueduct_sink_success_total{sink=\"mqtt\"} "))?;
        success.parse::<u64>().ok().filter(|&n| n >= 100)
    });
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(1_200), "5 devices, 10 a second: {records} records in {took:?}");

    // Another client sees them as well.
    let mut client = Client::connect(([127, 0, 0, 1], mqtt).into(), Version::V5, "looks on");
    client.subscribe("#", 0);
    let packet = client.packet_within(Duration::from_secs(5));
    assert!(matches!(packet, Some(Packet::Publish { .. })), "{packet:?}");
    // The log holds events as JSON, of five devices.
    let stored = kafka::read(&format!("127.0.0.1:{log}"), "mqtt");
    assert!(stored.len() >= 100, "{}", stored.len());
    let devices: std::collections::BTreeSet<_> = stored.iter().map(|record| record.key.clone()).collect();
    assert_eq!(devices.len(), 5, "a key for each device");
    for record in &stored {
        let value = record.value.as_deref().expect("a value");
        assert!(serde_json::from_slice::<serde_json::Value>(value).is_ok(), "{}", String::from_utf8_lossy(value));
    }

    let pid = Pid::from_raw(demo.0.id() as i32).expect("a process id");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(demo.wait(Duration::from_secs(20)).code(), Some(0));
    let said = std::fs::read_to_string(&said).expect("what it said");
    assert!(said.contains("Demo ") && said.contains("kcat -b 127.0.0.1"), "{said}");
}
