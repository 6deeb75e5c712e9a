//! At a steady 20,000 small messages a second on 50 connections (the harness's workload `d`) a message costs at most 0.7 reads, 0.7
//! sends and 0.05 waits: rounds, not wake-ups, carry the load.
//!
//! At a lower rate each costs more, as a round then has less to carry: what counts are the slices of time in which the machine let us send
//! as much as that.
//!
//! The node counts its own reads, sends and rounds; at a lower rate `strace` counts them too, so that the counters can be believed.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
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

/// Messages a second of workload `d`.
const RATE: f64 = 20_000.0;
/// A slice of it, and how many are judged.
const SLICE: Duration = Duration::from_secs(1);
const SLICES: usize = 4;
/// How many are tried.
const TRIES: usize = 60;
/// The two loads would only measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn in_bursts_of_twenty_a_millisecond() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let node = node();
    let mut load = Load::connect(&node);
    let (mut judged, mut slow) = (0, Vec::new());
    while judged < SLICES {
        assert!(slow.len() < TRIES, "the machine is too slow to send {RATE} a second: {slow:.0?}");
        let (before, begin) = (node.metrics(), Instant::now());
        let sent = load.publish(20, SLICE) as f64;
        let (rate, after) = (sent / begin.elapsed().as_secs_f64(), node.metrics());
        if rate < 0.95 * RATE {
            slow.push(rate);
            continue;
        }
        judged += 1;
        let each = |name: &str| (after.sum(name, &[]) - before.sum(name, &[])) / sent;
        let (reads, sends, rounds) =
            (each("aqueduct_reads_total"), each("aqueduct_sends_total"), each("aqueduct_rounds_total"));
        let measured = format!("{sent} messages: {reads:.3} reads, {sends:.3} sends, {rounds:.3} rounds each");
        assert!(reads <= 0.7 && sends <= 0.7 && rounds <= 0.05, "{measured}");
    }
}

#[test]
fn as_strace_sees_it() {
    let Some(mut strace) = Peer::Strace.command() else { return };
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
    Load::connect(&node).publish(2, Duration::from_secs(3));
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

/// Fifty clients.
struct Load {
    streams: Vec<TcpStream>,
    sent: usize,
}

impl Load {
    fn connect(node: &Node) -> Self {
        let connect = |i| {
            let stream = Client::connect(node.mqtt(), Version::V3_1_1, &format!("device-{i}")).into_stream();
            stream.set_nonblocking(true).expect("a TCP option");
            stream
        };
        Self { streams: (0..CONNECTIONS).map(connect).collect(), sent: 0 }
    }

    /// Publishes `burst` messages a millisecond at QoS 1, each on the next connection, and waits for all PUBACKs; how many.
    fn publish(&mut self, burst: usize, duration: Duration) -> usize {
        let (start, first) = (Instant::now(), self.sent);
        let mut acked_bytes = 0;
        while start.elapsed() < duration {
            for _ in 0..burst {
                let id = (self.sent / CONNECTIONS % 60_000) as u16 + 1;
                let packet = Publication { topic: "d/topic", payload: &PAYLOAD, qos: 1, id, ..Default::default() }
                    .encode(Version::V3_1_1);
                self.streams[self.sent % CONNECTIONS].write_all(&packet).expect("the node reads");
                self.sent += 1;
            }
            let due = Duration::from_millis(((self.sent - first) / burst) as u64);
            acked_bytes += self.received();
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let (sent, late) = (self.sent - first, Instant::now());
        while acked_bytes < sent * PUBACK_LEN {
            assert!(late.elapsed() < Duration::from_secs(10), "{} of {sent} acknowledged", acked_bytes / PUBACK_LEN);
            acked_bytes += self.received();
            std::thread::sleep(Duration::from_millis(5));
        }
        sent
    }

    fn received(&mut self) -> usize {
        self.streams.iter_mut().map(received).sum()
    }
}

/// How many bytes lie there.
fn received(stream: &mut TcpStream) -> usize {
    match stream.read(&mut [0; 4096]) {
        Ok(n) => n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}
