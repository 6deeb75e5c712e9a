//! What the driver costs, beneath any protocol: a sink that reads and drops. By default a short run, which only has to read
//! all there is in each shape of load; the figures of `docs/adr/0001-runtime.md` take half a minute:
//!
//! `AQUEDUCT_MEASURE=1 cargo test --release -p aqueduct --test driver every_shape -- --nocapture`

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aqueduct::clock::{Mono, Now};
use aqueduct::shard::control::Command;
use aqueduct::shard::io::{CloseReason, ConnKey, Input, Io, Machine, Recv, Wait};
use rustix::time::{ClockId, clock_gettime};

use crate::rig::{self, Options, eventually};

const MESSAGE_BYTES: usize = 256;
const CONNECTIONS: usize = 50;

/// Reads everything and drops it. After a round with eight messages or more it leaves the clients alone for `pause_ns`.
struct Sink {
    buffer: Vec<u8>,
    pause_ns: u64,
    read_this_round: usize,
    paused_until: Option<Mono>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    rounds: AtomicU64,
    reads: AtomicU64,
    /// CPU time of the shard's thread at the last command, and how many commands there were.
    cpu_ns: AtomicU64,
    commands: AtomicU64,
}

impl Sink {
    fn read(&mut self, conn: ConnKey, io: &mut impl Io) {
        loop {
            self.seen.reads.fetch_add(1, Ordering::Relaxed);
            match io.recv(conn, &mut self.buffer) {
                Recv::Got { n, more } => {
                    self.read_this_round += n;
                    if !more {
                        return;
                    }
                }
                Recv::Empty => return,
                Recv::Eof | Recv::Error => return io.close(conn, CloseReason::Peer),
            }
        }
    }
}

impl Machine for Sink {
    fn on(&mut self, _: Now, input: Input<'_>, io: &mut impl Io) {
        match input {
            Input::Readable(conn) => self.read(conn, io),
            Input::Closed(conn) => io.close(conn, CloseReason::Peer),
            Input::Command(_) => {
                let now = clock_gettime(ClockId::ThreadCPUTime);
                self.seen.cpu_ns.store(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64, Ordering::SeqCst);
                self.seen.commands.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn end_round(&mut self, now: Now, _: &mut impl Io) -> Wait {
        self.seen.rounds.fetch_add(1, Ordering::Relaxed);
        let read = std::mem::take(&mut self.read_this_round);
        self.seen.bytes.fetch_add(read as u64, Ordering::Relaxed);
        if read >= 8 * MESSAGE_BYTES && self.pause_ns > 0 {
            self.paused_until = Some(now.mono + self.pause_ns);
        }
        self.paused_until = self.paused_until.filter(|&until| until > now.mono);
        Wait { deadline: self.paused_until, clients: self.paused_until.is_none() }
    }
}

/// Sends `messages` by `send`, and prints what the shard's thread spent.
fn measure(name: &str, pause_ms: u64, messages: u64, send: impl FnOnce(&mut [TcpStream])) {
    measure_with(Options::default(), name, pause_ms, messages, send);
}

/// As [`measure`]; returns the CPU time of the shard's thread, nanoseconds.
fn measure_with(
    options: Options,
    name: &str,
    pause_ms: u64,
    messages: u64,
    send: impl FnOnce(&mut [TcpStream]),
) -> u64 {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let make = move |_| Sink {
        buffer: vec![0; 64 * 1024],
        pause_ns: pause_ms * 1_000_000,
        read_this_round: 0,
        paused_until: None,
        seen: Arc::clone(&shared),
    };
    let rig = rig::start(options, make);
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| TcpStream::connect(rig.addr).expect("connects")).collect();
    streams.iter().for_each(|stream| stream.set_nodelay(true).expect("nodelay"));
    std::thread::sleep(Duration::from_millis(50));
    let mut commands = 0;
    let mut cpu_ns = || {
        commands += 1;
        rig.command_all(|| Command::Scrape { token: 0 });
        eventually("the command is seen", || seen.commands.load(Ordering::SeqCst) == commands);
        seen.cpu_ns.load(Ordering::SeqCst)
    };
    let (cpu, rounds, reads) = (cpu_ns(), seen.rounds.load(Ordering::Relaxed), seen.reads.load(Ordering::Relaxed));
    let start = Instant::now();
    send(&mut streams);
    eventually("all is read", || seen.bytes.load(Ordering::Relaxed) == messages * MESSAGE_BYTES as u64);
    let wall = start.elapsed();
    let (cpu, rounds, reads) =
        (cpu_ns() - cpu, seen.rounds.load(Ordering::Relaxed) - rounds, seen.reads.load(Ordering::Relaxed) - reads);
    println!(
        "{name:<22} {:7.3} us/message, {:6.2} us/round, {:.3} rounds and {:.3} reads a message, {:.2} s",
        cpu as f64 / 1e3 / messages as f64,
        cpu as f64 / 1e3 / rounds as f64,
        rounds as f64 / messages as f64,
        reads as f64 / messages as f64,
        wall.as_secs_f64()
    );
    cpu
}

/// As fast as it goes, 16 KiB a write.
fn bulk(streams: &mut [TcpStream], messages: u64) {
    let block = vec![7; 16 * 1024];
    let per_block = (block.len() / MESSAGE_BYTES) as u64;
    for i in 0..messages / per_block {
        streams[i as usize % CONNECTIONS].write_all(&block).expect("sends");
    }
}

/// Every millisecond `burst` messages, each written alone to the next connection.
fn bursts(streams: &mut [TcpStream], messages: u64, burst: u64) {
    let (message, start) = (vec![7; MESSAGE_BYTES], Instant::now());
    for i in 0..messages {
        if i % burst == 0 {
            let due = start + Duration::from_millis(i / burst);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        streams[i as usize % CONNECTIONS].write_all(&message).expect("sends");
    }
}

#[test]
fn every_shape_of_load_is_read_to_the_end() {
    let (repeats, scale) = if std::env::var_os("AQUEDUCT_MEASURE").is_some() { (3, 20) } else { (1, 1) };
    for _ in 0..repeats {
        let (bulk_messages, burst_messages, lone_messages) = (128_000 * scale, 2_000 * scale, 50 * scale);
        measure("bulk, 16 KiB writes", 0, bulk_messages, |s| bulk(s, bulk_messages));
        measure("20 a ms, 5 ms rounds", 5, burst_messages, |s| bursts(s, burst_messages, 20));
        measure("20 a ms, no pause", 0, burst_messages, |s| bursts(s, burst_messages, 20));
        measure("1 a ms", 0, lone_messages, |s| bursts(s, lone_messages, 1));
    }
}

/// With `busy_poll_ns` a shard looks around where it would sleep, and hears sockets and commands all the same.
#[test]
fn a_shard_that_looks_around_does_not_sleep_between_messages() {
    const MESSAGES: u64 = 200;
    let cpu_ns = |busy_poll_ns| {
        let options = Options { busy_poll_ns, ..Options::default() };
        measure_with(options, "1 a ms, looking around", 0, MESSAGES, |s| bursts(s, MESSAGES, 1))
    };
    let (asleep, awake) = (cpu_ns(0), cpu_ns(10_000_000));
    assert!(awake > 3 * asleep, "{awake} ns awake, {asleep} ns with sleep");
}
