//! The load of a chaos run: some dozen clients of every kind in one thread, at a steady pace.
//!
//! It leaves out speed: payloads are made one by one, and every client is looked at every millisecond. What it keeps is the
//! book, which is written before the socket is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use miette::{Result, miette};

use super::client::{Client, Common, Desk, Kind, introduce};
use super::counts::Counts;
use crate::ledger::book::BookWriter;
use crate::measure::mono_ns;
use crate::mqtt_wire::Version;

/// Between two looks at all clients.
const ROUND: Duration = Duration::from_millis(1);
/// Receive buffer of the thread.
const SCRATCH_BYTES: usize = 64 << 10;

/// What is sent.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Names the run in every message.
    pub run: u64,
    /// How many clients. They are of all kinds in turn: MQTT 3.1.1 and 5, clean and persistent, and of each QoS.
    pub clients: u32,
    /// Messages a second of all clients together.
    pub rate: u64,
    /// Messages a client may have unanswered.
    pub window: usize,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// QoS 1, 2, or both.
    pub qos: Vec<u8>,
    /// Clients at QoS 2 all have a session: without one, what is sent again over another connection is a new message.
    pub sessions_at_qos2: bool,
    /// Kafka topics.
    pub routes: u8,
    /// Where the book is kept.
    pub book: PathBuf,
}

/// What others may ask of a running load.
#[derive(Debug)]
pub struct Wheel {
    /// Where the server listens; it may have moved after a restart.
    server: Mutex<SocketAddr>,
    /// Nothing new is begun while this is set.
    idle: AtomicBool,
    /// Nothing new will be begun.
    ending: AtomicBool,
    /// Nothing more is waited for either.
    over: AtomicBool,
    acked: AtomicU64,
    /// How often all clients have lost their network, and the last of these times since which all have been in.
    storms: AtomicU32,
    all_in: AtomicU32,
}

impl Wheel {
    /// The server is to be found here from now on.
    pub fn moved_to(&self, server: SocketAddr) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// Begins nothing new while `idle`.
    pub fn rest(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// Messages acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// All clients lose their network at once, and have it again.
    pub fn storm(&self) {
        self.storms.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the server has let all clients in since.
    pub fn are_all_in(&self) -> bool {
        self.all_in.load(Ordering::Relaxed) == self.storms.load(Ordering::Relaxed)
    }

    fn server(&self) -> SocketAddr {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running load.
pub struct Load {
    wheel: Arc<Wheel>,
    thread: JoinHandle<Result<LoadReport>>,
}

/// What came of it.
#[derive(Debug)]
pub struct LoadReport {
    /// What the clients counted.
    pub counts: Counts,
    /// When the first could have been sent, on the monotonic clock.
    pub start_ns: u64,
    /// Everything that was begun has been answered.
    pub drained: bool,
    /// From the last new message to the last answer.
    pub drain: Duration,
}

impl Load {
    /// Starts it towards a server.
    pub fn start(plan: LoadPlan, server: SocketAddr) -> Self {
        let wheel = Arc::new(Wheel {
            server: Mutex::new(server),
            idle: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            storms: AtomicU32::new(0),
            all_in: AtomicU32::new(u32::MAX),
        });
        let shared = Arc::clone(&wheel);
        Self { wheel, thread: std::thread::spawn(move || drive(&plan, &shared)) }
    }

    /// What others may ask of it.
    pub fn wheel(&self) -> &Arc<Wheel> {
        &self.wheel
    }

    /// True once it has ended, which before [`Load::end`] it does of an error only.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Begins nothing more, waits until everything is answered, for `patience` at most, and ends it.
    pub fn end(self, patience: Duration) -> Result<LoadReport> {
        let start = mono_ns();
        self.wheel.ending.store(true, Ordering::Relaxed);
        while !self.thread.is_finished() && mono_ns() - start < patience.as_nanos() as u64 {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.wheel.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| miette!("the load has panicked"))?
    }
}

fn kinds(plan: &LoadPlan) -> Vec<Kind> {
    // Neighbours in number have different topics: this way sixteen clients bring all eight kinds to each of two.
    let kind = |index: u32| {
        let qos = plan.qos[(index >> 3) as usize % plan.qos.len()];
        let version = if index & 2 == 0 { Version::V3 } else { Version::V5 };
        Kind { version, persistent: index & 4 != 0 || qos == 2 && plan.sessions_at_qos2, qos }
    };
    (0..plan.clients).map(kind).collect()
}

fn drive(plan: &LoadPlan, wheel: &Wheel) -> Result<LoadReport> {
    let mut book = BookWriter::create(&plan.book, plan.run, plan.payload_bytes, plan.routes)?;
    let kinds = kinds(plan);
    introduce(&kinds, &mut book)?;
    let LoadPlan { run, payload_bytes, routes, window, .. } = *plan;
    let common = Common { run, payload_bytes, routes, window };
    let mut clients: Vec<Client> = (0..).zip(&kinds).map(|(index, kind)| Client::new(index, *kind, common)).collect();
    let start_ns = mono_ns();
    let mut counts = Counts::new(clients.len(), start_ns);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut pace = Pace { rate: plan.rate, counted_ns: start_ns, rest: 0, next: 0 };
    let (mut ended_ns, mut storms) = (None, 0);
    loop {
        let now_ns = mono_ns();
        let asked = wheel.storms.load(Ordering::Relaxed);
        if asked != storms {
            clients.iter_mut().for_each(|client| client.lose_network(&mut counts));
            storms = asked;
        }
        if wheel.ending.load(Ordering::Relaxed) {
            if ended_ns.is_none() {
                clients.iter_mut().for_each(Client::no_more);
                ended_ns = Some(now_ns);
            }
            if clients.iter().all(Client::is_idle) || wheel.over.load(Ordering::Relaxed) {
                break;
            }
        } else {
            pace.issue(&mut clients, now_ns, wheel.idle.load(Ordering::Relaxed));
        }
        let server = wheel.server();
        for client in &mut clients {
            let mut desk = Desk { book: &mut book, counts: &mut counts, now_ns };
            client.step(server, &mut scratch, &mut desk)?;
        }
        if clients.iter().all(Client::is_in) {
            wheel.all_in.store(storms, Ordering::Relaxed);
        }
        wheel.acked.store(counts.acked, Ordering::Relaxed);
        std::thread::sleep(ROUND);
    }
    clients.iter_mut().for_each(Client::say_goodbye);
    let drained = clients.iter().all(Client::is_idle);
    let drain = Duration::from_nanos(mono_ns() - ended_ns.unwrap_or(start_ns));
    Ok(LoadReport { counts, start_ns, drained, drain })
}

/// Hands out messages in turn as time passes.
struct Pace {
    rate: u64,
    counted_ns: u64,
    /// What is owed beyond whole messages, in messages times nanoseconds a second.
    rest: u64,
    next: usize,
}

impl Pace {
    fn issue(&mut self, clients: &mut [Client], now_ns: u64, idle: bool) {
        let passed_ns = now_ns - self.counted_ns;
        self.counted_ns = now_ns;
        if idle {
            return;
        }
        let owed = self.rest + passed_ns * self.rate;
        self.rest = owed % 1_000_000_000;
        for _ in 0..owed / 1_000_000_000 {
            clients[self.next].one_more_due();
            self.next = (self.next + 1) % clients.len();
        }
    }
}
