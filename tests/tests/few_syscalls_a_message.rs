//! At a steady 20,000 small messages a second on 50 connections (the harness's workload `d`) a message costs at most 0.7 reads, 0.7
//! sends and 0.05 waits: rounds, not wake-ups, carry the load.
//!
//! The node counts its own reads, sends and rounds; at a lower rate `strace` counts them too, so that the counters can be believed.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use aqueduct_tests::support::mqtt::{Client, Publication, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{Background, Peer};
use aqueduct_tests::support::wait;
use rustix::process::{Pid, Signal, kill_process};

const CONNECTIONS: usize = 50;
const PAYLOAD: [u8; 256] = [b'x'; 256];
/// Of a 3.1.1 PUBACK.
const PUBACK_LEN: usize = 4;

#[test]
fn in_bursts_of_twenty_a_millisecond() {
    let node = node();
    let sent = publish(&node, 20, Duration::from_secs(5));
    let metrics = node.metrics();
    let each = |name: &str| metrics.sum(name, &[]) / sent as f64;
    let (reads, sends, rounds) =
        (each("aqueduct_reads_total"), each("aqueduct_sends_total"), each("aqueduct_rounds_total"));
    let measured = format!("{sent} messages: {reads:.3} reads, {sends:.3} sends, {rounds:.3} rounds each");
    assert!(reads <= 0.7 && sends <= 0.7 && rounds <= 0.05, "{measured}");
}

#[test]
fn as_strace_sees_it() {
    let Some(mut strace) = Peer::Strace.command() else { return };
    let node = node();
    let counts = node.folder().join("strace");
    let pid = node.pid().as_raw_nonzero().to_string();
    let options = [
        "-f",
        "-c",
        "-e",
        "trace=recvfrom,sendto,epoll_wait,epoll_pwait,epoll_pwait2",
        "-o",
        counts.to_str().unwrap(),
        "-p",
        &pid,
    ];
    let mut strace = Background::start(strace.args(options).stderr(Stdio::null()));
    wait::until("strace is attached", 10, || traced(&pid).then_some(()));

    let before = node.metrics();
    publish(&node, 2, Duration::from_secs(3));
    let after = node.metrics();
    let strace_pid = Pid::from_raw(i32::try_from(strace.0.id()).unwrap()).unwrap();
    kill_process(strace_pid, Signal::INT).expect("it runs");
    strace.wait(Duration::from_secs(10));

    let table = std::fs::read_to_string(&counts).expect("strace wrote its table");
    let ours = |name: &str| after.sum(name, &[]) - before.sum(name, &[]);
    for (name, counter) in [("recvfrom", "aqueduct_reads_total"), ("sendto", "aqueduct_sends_total")] {
        // Kafka's links and the scrapes themselves add a little on one side or the other.
        let (theirs, ours) = (calls(&table, name), ours(counter));
        assert!(
            ours > 1000.0 && (theirs / ours - 1.0).abs() < 0.2,
            "{name}: strace {theirs}, {counter} {ours}\n{table}"
        );
    }
}

/// Whether every thread of the process has a tracer.
fn traced(pid: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    })
}

fn calls(table: &str, name: &str) -> f64 {
    let line = table.lines().find(|line| line.split_whitespace().last() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0.0)
}

fn node() -> Node {
    Plan::embedded().sink("value = \"${payload}\"").start()
}

/// Publishes `burst` messages a millisecond at QoS 1, each on the next connection, and waits for all PUBACKs.
fn publish(node: &Node, burst: usize, duration: Duration) -> usize {
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|i| {
            let stream = Client::connect(node.mqtt(), Version::V3_1_1, &format!("device-{i}")).into_stream();
            stream.set_nonblocking(true).expect("a TCP option");
            stream
        })
        .collect();
    let start = Instant::now();
    let (mut sent, mut acked_bytes) = (0, 0);
    while start.elapsed() < duration {
        for _ in 0..burst {
            let id = (sent / CONNECTIONS % 60_000) as u16 + 1;
            let packet = Publication { topic: "d/topic", payload: &PAYLOAD, qos: 1, id, ..Default::default() }
                .encode(Version::V3_1_1);
            streams[sent % CONNECTIONS].write_all(&packet).expect("the node reads");
            sent += 1;
        }
        let due = Duration::from_millis((sent / burst) as u64);
        acked_bytes += streams.iter_mut().map(received).sum::<usize>();
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    let late = Instant::now();
    while acked_bytes < sent * PUBACK_LEN {
        assert!(late.elapsed() < Duration::from_secs(10), "{} of {sent} acknowledged", acked_bytes / PUBACK_LEN);
        acked_bytes += streams.iter_mut().map(received).sum::<usize>();
        std::thread::sleep(Duration::from_millis(5));
    }
    sent
}

/// How many bytes lie there.
fn received(stream: &mut TcpStream) -> usize {
    match stream.read(&mut [0; 4096]) {
        Ok(n) => n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}
