//! Client sockets: every byte comes back whatever the sizes, pauses leave clients alone, ends are told, storms are bounded.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aqueduct::clock::Now;
use aqueduct::shard::control::Command;
use aqueduct::shard::io::{CloseReason, ConnKey, Input, Io, Machine, Recv, Spent, Wait};

use crate::rig::{self, Options, eventually};

/// Sends back what comes, reading only while nothing waits to be sent.
#[derive(Default)]
struct Echo {
    unsent: HashMap<ConnKey, Vec<u8>>,
    seen: Arc<Seen>,
    commands: u64,
    /// Bytes read at once.
    read_bytes: usize,
}

/// What an echo machine noticed.
#[derive(Default)]
struct Seen {
    accepted: AtomicU64,
    closed: AtomicU64,
    writable: AtomicU64,
    rounds: AtomicU64,
    /// Rounds that brought a command, counted at their end.
    commanded: AtomicU64,
    paused: AtomicBool,
    /// Inputs from clients while paused.
    in_pause: AtomicU64,
    refused: AtomicU64,
    paced: AtomicU64,
}

impl Echo {
    fn pump(&mut self, conn: ConnKey, io: &mut impl Io) {
        let mut buffer = vec![0; self.read_bytes];
        loop {
            let waiting = self.unsent.entry(conn).or_default();
            let sent = io.send(conn, waiting);
            waiting.drain(..sent);
            if !waiting.is_empty() {
                return;
            }
            match io.recv(conn, &mut buffer) {
                Recv::Got { n, more } => {
                    waiting.extend_from_slice(&buffer[..n]);
                    if !more {
                        let sent = io.send(conn, waiting);
                        waiting.drain(..sent);
                        return;
                    }
                }
                Recv::Empty => return,
                Recv::Eof | Recv::Error => {
                    self.seen.closed.fetch_add(1, Ordering::Relaxed);
                    self.unsent.remove(&conn);
                    return io.close(conn, CloseReason::Peer);
                }
            }
        }
    }
}

impl Machine for Echo {
    fn on(&mut self, _: Now, input: Input<'_>, io: &mut impl Io) {
        match input {
            Input::Accepted(..) => {
                self.seen.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Input::Readable(conn) | Input::Writable(conn) => {
                self.seen.writable.fetch_add(u64::from(matches!(input, Input::Writable(_))), Ordering::Relaxed);
                self.seen.in_pause.fetch_add(u64::from(self.seen.paused.load(Ordering::SeqCst)), Ordering::Relaxed);
                self.pump(conn, io);
            }
            Input::Closed(conn) => io.close(conn, CloseReason::Peer),
            Input::Command(_) => self.commands += 1,
            other => panic!("not for an echo: {other:?}"),
        }
    }

    fn end_round(&mut self, _: Now, _: &mut impl Io) -> Wait {
        self.seen.rounds.fetch_add(1, Ordering::SeqCst);
        let clients = !self.seen.paused.load(Ordering::SeqCst);
        self.seen.commanded.store(self.commands, Ordering::SeqCst);
        Wait { deadline: None, clients }
    }

    fn spent(&mut self, spent: Spent) {
        self.seen.refused.fetch_add(u64::from(spent.accepts.refused), Ordering::SeqCst);
        self.seen.paced.fetch_add(u64::from(spent.accepts.paced), Ordering::SeqCst);
    }
}

fn echo(read_bytes: usize) -> (rig::Rig, Arc<Seen>) {
    echo_with(read_bytes, Options::default())
}

fn echo_with(read_bytes: usize, options: Options) -> (rig::Rig, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let make = move |_| Echo { seen: Arc::clone(&shared), read_bytes, ..Echo::default() };
    (rig::start(options, make), seen)
}

/// Bytes that differ by place and connection.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + seed * 97) >> 3) as u8).collect()
}

fn connect(rig: &rig::Rig) -> TcpStream {
    let stream = TcpStream::connect(rig.addr).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

#[test]
fn echoes_many_connections() {
    let (rig, seen) = echo(1000);
    let mut streams: Vec<_> = (0..200).map(|_| connect(&rig)).collect();
    for round in 0..5 {
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&pattern(i + round, 1 + i * 17)).expect("sends");
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            let mut back = vec![0; 1 + i * 17];
            stream.read_exact(&mut back).expect("echo comes back");
            assert_eq!(back, pattern(i + round, 1 + i * 17));
        }
    }
    assert_eq!(seen.accepted.load(Ordering::Relaxed), 200);
    drop(streams);
    eventually("every end was seen", || seen.closed.load(Ordering::Relaxed) == 200);
}

/// A client that sends much and reads late fills our send buffer: sends are cut short, and each is continued by `Writable`.
#[test]
fn short_sends_are_continued() {
    let (rig, seen) = echo(32 * 1024);
    let (mut sender, data) = (connect(&rig), pattern(7, 24 * 1024 * 1024));
    let mut reader = sender.try_clone().expect("a second handle");
    let expected = data.clone();
    let writer = std::thread::spawn(move || {
        sender.write_all(&data).expect("sends");
        sender.shutdown(Shutdown::Write).expect("half close");
    });
    std::thread::sleep(Duration::from_millis(200));
    let mut back = Vec::new();
    reader.read_to_end(&mut back).expect("all comes back");
    writer.join().expect("the writer ends");
    assert!(back == expected, "what comes back is what was sent");
    assert!(seen.writable.load(Ordering::Relaxed) > 0, "the send buffer was full at least once");
}

/// The end of the stream arrives together with the last bytes, so that the read of those bytes is short and no edge follows.
#[test]
fn the_end_is_seen_when_it_comes_with_the_last_bytes() {
    let (rig, seen) = echo(1000);
    for _ in 0..50 {
        let mut stream = connect(&rig);
        stream.write_all(b"last words").expect("sends");
        stream.shutdown(Shutdown::Write).expect("half close");
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("echo, then the end");
        assert_eq!(back, b"last words");
    }
    assert_eq!(seen.closed.load(Ordering::Relaxed), 50);
}

/// While a wait leaves the clients out, bytes and connects of clients cause no input and no round; afterwards nothing is lost.
#[test]
fn pauses_leave_clients_alone() {
    let (rig, seen) = echo(1000);
    let mut stream = connect(&rig);
    let mut back = [0; 5];
    stream.write_all(b"first").expect("sends");
    stream.read_exact(&mut back).expect("echo");

    seen.paused.store(true, Ordering::SeqCst);
    // Any command starts a round, at whose end the machine asks to leave the clients out.
    rig.command_all(|| Command::Scrape { token: 0 });
    eventually("the pause began", || seen.commanded.load(Ordering::SeqCst) == 1);
    // One more round is allowed: the bell may ring for an order that has been taken already.
    std::thread::sleep(Duration::from_millis(20));
    let rounds = seen.rounds.load(Ordering::Relaxed);
    for _ in 0..20 {
        stream.write_all(b"later").expect("sends");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(seen.rounds.load(Ordering::Relaxed), rounds, "clients wake nobody in a pause");
    assert_eq!(seen.in_pause.load(Ordering::Relaxed), 0);

    seen.paused.store(false, Ordering::SeqCst);
    rig.command_all(|| Command::Scrape { token: 0 });
    for _ in 0..20 {
        stream.read_exact(&mut back).expect("echo after the pause");
        assert_eq!(&back, b"later");
    }
}

/// An idle shard sleeps: no rounds without a reason.
#[test]
fn an_idle_shard_makes_no_rounds() {
    let (rig, seen) = echo(1000);
    let _streams: Vec<_> = (0..50).map(|_| connect(&rig)).collect();
    eventually("all are accepted", || seen.accepted.load(Ordering::Relaxed) == 50);
    std::thread::sleep(Duration::from_millis(50));
    let (rounds, start) = (seen.rounds.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(seen.rounds.load(Ordering::Relaxed), rounds, "in {:?}", start.elapsed());
}

/// `TCP_NODELAY` is set once on the listener and inherited.
#[test]
fn accepted_sockets_send_at_once() {
    let (rig, _) = echo(1000);
    let mut stream = connect(&rig);
    stream.set_nodelay(true).expect("our end too");
    let start = Instant::now();
    let mut back = [0; 1];
    for _ in 0..200 {
        stream.write_all(b"x").expect("sends");
        stream.read_exact(&mut back).expect("echo");
    }
    // Nagle against delayed acknowledgements costs 40 ms a turn.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Whether the other end talks to us, or has closed at once.
fn is_let_in(stream: &mut TcpStream) -> bool {
    let mut back = [0; 2];
    stream.write_all(b"hi").is_ok() && stream.read_exact(&mut back).is_ok()
}

/// Seats are counted over all shards, whichever the kernel chose; a seat that is given up is free for the next.
#[test]
fn one_client_too_many_is_closed() {
    let (rig, seen) = echo_with(1000, Options { shards: 2, connections_max: 3, ..Options::default() });
    let mut streams: Vec<_> = (0..3).map(|_| connect(&rig)).collect();
    assert!(streams.iter_mut().all(is_let_in));
    for _ in 0..4 {
        assert!(!is_let_in(&mut connect(&rig)), "there are three already");
    }
    // A round tells what it has refused at its end.
    eventually("each is counted", || seen.refused.load(Ordering::SeqCst) == 4);
    streams.pop();
    eventually("the seat is free again", || is_let_in(&mut connect(&rig)));
    assert!(streams.iter_mut().all(is_let_in), "the others have not noticed");
}

/// More than the rate wait in the kernel's queue, and none is lost.
#[test]
fn a_storm_is_taken_in_at_the_pace_of_the_rate() {
    let (rig, seen) = echo_with(1000, Options { connect_rate: 50, ..Options::default() });
    let start = Instant::now();
    let mut streams: Vec<_> = (0..100).map(|_| connect(&rig)).collect();
    assert!(streams.iter_mut().all(is_let_in));
    let took = start.elapsed();
    assert!(took > Duration::from_millis(900), "50 at once, then 50 in a second: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let paced = seen.paced.load(Ordering::SeqCst);
    assert!((1..=110).contains(&paced), "the shard waits for its time instead of asking all along: {paced} times");
}
