//! Links against a scripted broker: frames split anywhere, sends cut short, ends that return what is open, failed dials.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use aqueduct::clock::Now;
use aqueduct::driver::{Letter, Order, SocketOptions};
use aqueduct::shard::control::Command;
use aqueduct::shard::io::{BrokerAddr, Input, Io, LinkKey, Machine, Request, Wait};

use crate::rig::{self, Options, batch_of};

/// What the machine reports to the test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Up,
    Response { correlation: i32, body: Vec<u8>, batches: Vec<i64> },
    Sent { correlation: i32, batches: Vec<i64> },
    Down { unanswered: Vec<i32>, why: String },
}

/// Dials at its first command, gives all its requests when the link is up (half of them before, if `early`), and drops the
/// link at the second command.
struct Caller {
    to: BrokerAddr,
    requests: Vec<Request>,
    early: bool,
    link: Option<LinkKey>,
    told: mpsc::Sender<Told>,
}

fn numbers(batches: &[Box<aqueduct::buffer::Batch>]) -> Vec<i64> {
    batches.iter().map(|batch| batch.base_timestamp_ms).collect()
}

impl Machine for Caller {
    fn on(&mut self, _: Now, input: Input<'_>, io: &mut impl Io) {
        let told = match input {
            Input::Command(Command::Scrape { token: 0 }) => {
                let link = io.dial(&self.to);
                self.link = Some(link);
                let early = if self.early { self.requests.len() / 2 } else { 0 };
                self.requests.drain(..early).for_each(|request| io.request(link, request));
                return;
            }
            Input::Command(_) => return io.drop_link(self.link.expect("dialled before")),
            Input::LinkUp(link) => {
                assert_eq!(Some(link), self.link);
                self.requests.drain(..).for_each(|request| io.request(link, request));
                Told::Up
            }
            Input::Response { body, request, .. } => Told::Response {
                correlation: request.correlation,
                body: body[4..].to_vec(),
                batches: numbers(&request.batches),
            },
            Input::Sent { request, .. } => {
                Told::Sent { correlation: request.correlation, batches: numbers(&request.batches) }
            }
            Input::LinkDown { unanswered, why, .. } => {
                Told::Down { unanswered: unanswered.iter().map(|request| request.correlation).collect(), why }
            }
            other => panic!("not for a caller: {other:?}"),
        };
        let _ = self.told.send(told);
    }

    fn end_round(&mut self, _: Now, _: &mut impl Io) -> Wait {
        Wait { deadline: None, clients: true }
    }
}

/// A request of `sizes.len()` batches between head pieces, and its bytes on the wire.
pub(crate) fn request(correlation: i32, sizes: &[usize], answered: bool) -> (Request, Vec<u8>) {
    let (mut head, mut cuts, mut batches, mut wire) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    head.extend_from_slice(&correlation.to_be_bytes());
    let mut from = 0;
    for (i, &size) in sizes.iter().enumerate() {
        head.extend_from_slice(format!("<{i}>").as_bytes());
        let bytes: Vec<u8> = (0..size).map(|j| (j * 7 + i + correlation as usize) as u8).collect();
        wire.extend_from_slice(&head[from..]);
        wire.extend_from_slice(&bytes);
        from = head.len();
        cuts.push(head.len() as u32);
        batches.push(batch_of(i as i64, bytes));
    }
    // Every second request ends with its last batch, as Produce does not.
    if correlation % 2 == 0 {
        head.extend_from_slice(b"end");
        wire.extend_from_slice(&head[from..]);
    } else if sizes.is_empty() {
        wire.extend_from_slice(&head);
    }
    (Request { correlation, head, cuts, batches, answered }, wire)
}

pub(crate) struct Call {
    pub(crate) rig: rig::Rig,
    told: mpsc::Receiver<Told>,
}

impl Call {
    pub(crate) fn new(to: BrokerAddr, requests: Vec<Request>, early: bool, connector: SocketOptions) -> Self {
        let (sender, told) = mpsc::channel();
        let once = std::sync::Arc::new(std::sync::Mutex::new(Some((to, requests, sender))));
        let make = move |_| {
            let (to, requests, told) = once.lock().expect("not poisoned").take().expect("one shard");
            Caller { to, requests, early, link: None, told }
        };
        let rig = rig::start(Options { connector, ..Options::default() }, make);
        rig.command_all(|| Command::Scrape { token: 0 });
        Self { rig, told }
    }

    pub(crate) fn next(&self) -> Told {
        self.told.recv_timeout(Duration::from_secs(10)).expect("the machine has something to tell")
    }
}

pub(crate) fn broker() -> (TcpListener, BrokerAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, BrokerAddr { connector: 0, host: "127.0.0.1".to_string(), port })
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("the link connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

pub(crate) fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = (4 + body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&correlation.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Three responses of different sizes, cut in two at every byte: the same responses come out.
#[test]
fn responses_may_be_split_at_every_byte() {
    let bodies: [&[u8]; 3] = [b"", b"x", b"a longer answer"];
    let stream: Vec<u8> = bodies.iter().enumerate().flat_map(|(i, body)| response(i as i32, body)).collect();
    let per_turn = bodies.len() as i32;
    let turns = stream.len() as i32 + 1;
    let all = (0..turns * per_turn).map(|i| request(i, &[], true).0).collect();
    let (listener, to) = broker();
    let call = Call::new(to, all, false, SocketOptions::default());
    let mut socket = accept(&listener);
    assert_eq!(call.next(), Told::Up);
    for turn in 0..turns {
        let mut stream: Vec<u8> = Vec::new();
        for (i, body) in bodies.iter().enumerate() {
            stream.extend(response(turn * per_turn + i as i32, body));
        }
        let (first, second) = stream.split_at(turn as usize);
        socket.write_all(first).expect("sends");
        std::thread::sleep(Duration::from_millis(2));
        socket.write_all(second).expect("sends");
        for (i, body) in bodies.iter().enumerate() {
            let expected =
                Told::Response { correlation: turn * per_turn + i as i32, body: body.to_vec(), batches: vec![] };
            assert_eq!(call.next(), expected, "cut at {turn}");
        }
    }
}

/// Far more than the socket buffers hold, given half before and half after the link is up: the broker reads exactly the
/// requests in order, batches spliced in; answered ones are then matched, unanswered ones told as sent.
#[test]
fn long_requests_arrive_whole_and_in_order() {
    let shapes: Vec<(i32, Vec<usize>, bool)> = (0..200)
        .map(|i| (i, (0..i as usize % 5).map(|j| (i as usize * 977 + j * 31_337) % 90_000).collect(), i % 3 != 0))
        .collect();
    let (requests, wires): (Vec<_>, Vec<_>) =
        shapes.iter().map(|(c, sizes, answered)| request(*c, sizes, *answered)).unzip();
    let (listener, to) = broker();
    // Small enough to be full most of the time, large enough not to wait for delayed acknowledgements.
    let small = SocketOptions { sndbuf_bytes: Some(128 * 1024), ..SocketOptions::default() };
    let call = Call::new(to, requests, true, small);
    let mut socket = accept(&listener);
    let expected = wires.concat();
    let mut got = vec![0; expected.len()];
    for piece in got.chunks_mut(300_000) {
        std::thread::sleep(Duration::from_millis(1));
        socket.read_exact(piece).expect("reads");
    }
    assert!(got == expected, "the broker reads what the requests spell");
    for (correlation, _, _) in shapes.iter().filter(|(_, _, answered)| *answered) {
        socket.write_all(&response(*correlation, b"ok")).expect("sends");
    }
    assert_eq!(call.next(), Told::Up);
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..shapes.len() {
        match call.next() {
            Told::Sent { correlation, batches } => {
                assert_eq!(batches.len(), shapes[correlation as usize].1.len());
                sent.push(correlation);
            }
            Told::Response { correlation, batches, .. } => {
                assert_eq!(batches.len(), shapes[correlation as usize].1.len());
                answered.push(correlation);
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert!(sent.is_sorted() && sent.iter().all(|c| c % 3 == 0), "{sent:?}");
    assert!(answered.is_sorted() && answered.iter().all(|c| c % 3 != 0), "{answered:?}");
}

/// The broker answers one of ten requests and leaves while others are sent in part or not at all.
#[test]
fn a_broken_link_returns_open_requests_in_order() {
    let requests = (0..10).map(|i| request(i, &[200_000], true).0).collect();
    let (listener, to) = broker();
    let small = SocketOptions { sndbuf_bytes: Some(8 * 1024), ..SocketOptions::default() };
    let call = Call::new(to, requests, false, small);
    let mut socket = accept(&listener);
    let mut some = vec![0; 450_000];
    socket.read_exact(&mut some).expect("reads");
    socket.write_all(&response(0, b"ok")).expect("sends");
    assert_eq!(call.next(), Told::Up);
    assert_eq!(call.next(), Told::Response { correlation: 0, body: b"ok".to_vec(), batches: vec![0] });
    drop(socket);
    match call.next() {
        Told::Down { unanswered, why } => {
            assert_eq!(unanswered, (1..10).collect::<Vec<_>>());
            assert!(why.contains("reset") || why.contains("closed"), "{why}");
        }
        other => panic!("unexpected: {other:?}"),
    }
}

/// Each of these ends the link, says why and returns the open request.
#[test]
fn nonsense_ends_the_link() {
    let cases: [(&[u8], &str); 6] = [
        (&[21, 3, 3, 0, 2, 2, 80], "answers in TLS"),
        (&[0xff, 0xff, 0xff, 0xff], "does not speak Kafka"),
        (&[0x7f, 0, 0, 0], "does not speak Kafka"),
        (&[0, 0, 0, 3, 0, 0, 0], "too short"),
        (&[0, 0, 0, 4, 0, 0, 0, 9], "answered request 9, but 0 is next"),
        (&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1], "answered request 1, which is not open"),
    ];
    for (bytes, reason) in cases {
        let (listener, to) = broker();
        let (request, wire) = request(0, &[3], true);
        let call = Call::new(to, vec![request], false, SocketOptions::default());
        let mut socket = accept(&listener);
        assert_eq!(call.next(), Told::Up);
        socket.read_exact(&mut vec![0; wire.len()]).expect("the request comes first");
        socket.write_all(bytes).expect("sends");
        match call.next() {
            Told::Response { .. } => match call.next() {
                Told::Down { unanswered, why } => assert!(why.contains(reason) && unanswered.is_empty(), "{why}"),
                other => panic!("unexpected: {other:?}"),
            },
            Told::Down { unanswered, why } => assert!(why.contains(reason) && unanswered == [0], "{why}"),
            other => panic!("unexpected: {other:?}"),
        }
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "our end is closed"
        );
    }
}

/// Dropping a link closes it and returns what is open, also before it is up.
#[test]
fn a_dropped_link_returns_what_is_open() {
    let (listener, to) = broker();
    let call = Call::new(to, (0..3).map(|i| request(i, &[], true).0).collect(), false, SocketOptions::default());
    let _socket = accept(&listener);
    assert_eq!(call.next(), Told::Up);
    call.rig.command_all(|| Command::Drain);
    assert_eq!(call.next(), Told::Down { unanswered: vec![0, 1, 2], why: "dropped".to_string() });
}

#[test]
fn a_refused_dial_says_so() {
    let (listener, to) = broker();
    drop(listener);
    let port = to.port;
    let call = Call::new(to, (0..4).map(|i| request(i, &[], true).0).collect(), true, SocketOptions::default());
    let why = format!("127.0.0.1:{port}: connection refused");
    assert_eq!(call.next(), Told::Down { unanswered: vec![0, 1], why });
}

/// A full backlog answers no SYN: the dial ends by its own time.
#[test]
fn a_silent_broker_times_out() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    listener.listen(0).expect("listens");
    let addr = listener.local_addr().expect("bound").as_socket().expect("an address");
    let _fill: Vec<_> =
        (0..4).filter_map(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(100)).ok()).collect();
    let to = BrokerAddr { connector: 0, host: "127.0.0.1".to_string(), port: addr.port() };
    let quick = SocketOptions { connect_timeout_ms: 150, ..SocketOptions::default() };
    let start = Instant::now();
    let call = Call::new(to, vec![], false, quick);
    assert_eq!(call.next(), Told::Down { unanswered: vec![], why: format!("{addr}: connect timed out") });
    assert!(start.elapsed() >= Duration::from_millis(150));
}

/// A name goes to the control thread; the second of its addresses is tried when the first refuses.
#[test]
fn names_are_resolved_outside_the_shard() {
    let (listener, mut to) = broker();
    let port = to.port;
    to.host = "kafka.test".to_string();
    let mut call = Call::new(to, vec![], false, SocketOptions::default());
    let (shard, letter) = call.rig.letters.blocking_recv().expect("a letter");
    let Letter::LookUp { link, host, port: asked } = letter else { panic!("unexpected: {letter:?}") };
    assert_eq!((shard.0, host.as_str(), asked), (0, "kafka.test", port));
    let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("bound");
    let result = Ok(vec![refusing, (Ipv4Addr::LOCALHOST, port).into()]);
    call.rig.order(0, Order::Resolved { link, result });
    assert_eq!(call.next(), Told::Up);
    drop(listener);

    let mut call = Call::new(
        BrokerAddr { connector: 0, host: "nowhere.test".to_string(), port: 1 },
        vec![],
        false,
        SocketOptions::default(),
    );
    let (_, letter) = call.rig.letters.blocking_recv().expect("a letter");
    let Letter::LookUp { link, .. } = letter else { panic!("unexpected: {letter:?}") };
    call.rig.order(0, Order::Resolved { link, result: Err("nowhere.test: no such name".to_string()) });
    assert_eq!(call.next(), Told::Down { unanswered: vec![], why: "nowhere.test: no such name".to_string() });
}
