//! The load generator: one thread, one epoll set, as many MQTT clients as the workload asks for.
//!
//! It must be cheap enough never to be the limit, so PUBLISH frames are encoded once and patched in place (`frames`),
//! one `send` carries as many as the window allows, and nothing is allocated while a phase runs. In open loop a message
//! keeps the time at which it was due: latency counts from there, so a system that stalls is charged for the queue
//! behind the stall (no coordinated omission).
//!
//! It leaves out TLS, WebSocket, QoS 2 and subscriptions, and it never resends: what a connection lost stays lost, and
//! the verifier says whether that was allowed.

mod client;
mod frames;
mod killer;
mod tally;
pub mod truth;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use self::client::{Client, Work};
use self::frames::Frames;
use self::killer::Killer;
pub use self::killer::{KillAt, Killed};
pub use self::tally::PhaseReport;
use self::tally::Tally;
use self::truth::TruthLog;
use crate::measure;
use crate::workload::{Pace, Workload};

/// A phase in which nothing moves for so long is given up.
const STALL: Duration = Duration::from_secs(30);
/// Receive buffer of the thread; acknowledgements are small, so this is hundreds of them.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Connections that are opened before their CONNACKs are awaited; below any sensible listen backlog.
const CONNECT_CHUNK: usize = 128;
/// Event data of the timer; clients use their position.
const TIMER: u64 = u64::MAX;
/// Keep-alive in CONNECT: longer than any run, so that no PINGREQ disturbs a measurement.
const KEEPALIVE_SECONDS: u16 = 3_600;

/// What the other threads may look at while a phase runs.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Messages of the phase that are done: acknowledged at QoS 1, sent at QoS 0.
    pub done: AtomicU64,
    /// Messages sent at QoS 1 that wait for their acknowledgement.
    pub open: AtomicU64,
}

/// The generator with its open connections.
pub struct Generator {
    qos: u8,
    pace: Option<Pace>,
    clients: Vec<Client>,
    frames: Frames,
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
    /// Clients that may have something to send, each at most once.
    ready: VecDeque<u32>,
    tally: Tally,
    truth: Option<TruthLog>,
    kill: Option<KillAt>,
    gauge: Arc<Gauge>,
}

impl Generator {
    /// Connects all clients of the workload, numbered from `first_client`, and waits for their CONNACKs.
    pub fn connect(target: SocketAddr, workload: &Workload, first_client: u32, gauge: Arc<Gauge>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).into_diagnostic()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .into_diagnostic()?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), edge).into_diagnostic()?;
        let mut generator = Self {
            qos: workload.qos,
            pace: workload.pace,
            clients: Vec::with_capacity(workload.connections as usize),
            frames: Frames::new(workload),
            epoll,
            timer,
            events: Vec::with_capacity(1_024),
            scratch: vec![0; SCRATCH_BYTES],
            ready: VecDeque::with_capacity(workload.connections as usize),
            tally: Tally::new(),
            truth: None,
            kill: None,
            gauge,
        };
        for chunk in (0..workload.connections).collect::<Vec<_>>().chunks(CONNECT_CHUNK) {
            for index in chunk {
                generator.open(target, workload, first_client + index)?;
            }
            generator.await_all(|client| client.is_connected()).wrap_err("waiting for CONNACK")?;
        }
        Ok(generator)
    }

    /// Writes down what is sent and acknowledged from here on: the sent before the socket write, the acknowledged after
    /// the read.
    pub fn log_truth(&mut self, log: TruthLog) {
        self.truth = Some(log);
    }

    /// Arms the killing of a process during the next phase.
    pub fn kill_during_phase(&mut self, kill: KillAt) {
        self.kill = Some(kill);
    }

    /// Sends `messages` over all clients and waits until each is acknowledged (QoS 1) or read by the server (QoS 0,
    /// known from a PINGRESP behind the last). Lost connections end their share; nothing is sent again.
    pub fn phase(&mut self, messages: u64) -> Result<PhaseReport> {
        self.tally = Tally::new();
        self.gauge.open.store(0, Ordering::Relaxed);
        let cpu_before = measure::thread_cpu();
        let start_ns = measure::mono_ns();
        self.begin(messages, start_ns);
        let killer = self.kill.take().map(|kill| Killer::start(kill, Arc::clone(&self.gauge)));
        let mut issued = if self.pace.is_some() { 0 } else { messages };
        let mut moved_ns = start_ns;
        let mut seen = self.tally.progress();
        loop {
            let now_ns = measure::mono_ns();
            issued = self.issue(issued, messages, now_ns, start_ns);
            self.send_ready(now_ns)?;
            if self.tally.is_finished(self.qos, messages) {
                break;
            }
            self.wait(self.next_due(issued, messages, start_ns))?;
            self.gauge.done.store(self.tally.done(self.qos), Ordering::Relaxed);
            if self.tally.progress() != seen {
                seen = self.tally.progress();
                moved_ns = now_ns;
            } else if now_ns - moved_ns > STALL.as_nanos() as u64 {
                self.tally.stalled = true;
                break;
            }
        }
        if self.qos == 0 && !self.tally.stalled {
            self.ping_all().wrap_err("waiting for the PINGRESP behind the last PUBLISH")?;
        }
        self.tally.killed = killer.map(Killer::end).transpose()?.flatten();
        if let Some(log) = &mut self.truth {
            log.flush()?;
        }
        let elapsed = Duration::from_nanos(measure::mono_ns() - start_ns);
        Ok(self.tally.report(messages, elapsed, measure::thread_cpu().saturating_sub(cpu_before)))
    }

    /// By client index: how many messages it has sent in all phases.
    pub fn sent_by_client(&self) -> impl Iterator<Item = (u32, u32)> {
        self.clients.iter().map(Client::sent)
    }

    /// Says DISCONNECT on every connection and closes it.
    pub fn disconnect(mut self) {
        for client in &mut self.clients {
            client.say_goodbye();
        }
    }

    fn open(&mut self, target: SocketAddr, workload: &Workload, index: u32) -> Result<()> {
        let socket =
            TcpStream::connect(target).into_diagnostic().wrap_err_with(|| format!("connecting to {target}"))?;
        let client = Client::open(socket, index, workload, KEEPALIVE_SECONDS)?;
        let key = epoll::EventData::new_u64(self.clients.len() as u64);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, client.socket(), key, edge).into_diagnostic()?;
        self.clients.push(client);
        Ok(())
    }

    /// Gives every client its share of the phase; in closed loop all of it is due at once.
    fn begin(&mut self, messages: u64, start_ns: u64) {
        let connections = self.clients.len() as u64;
        let closed_loop = self.pace.is_none();
        self.ready.clear();
        for (position, client) in (0_u32..).zip(&mut self.clients) {
            let share = messages / connections + u64::from(u64::from(position) < messages % connections);
            let abandoned = client.begin_phase(share as u32, closed_loop, self.pace, position, connections, start_ns);
            self.tally.abandoned += abandoned;
            if closed_loop && client.queue() {
                self.ready.push_back(position);
            }
        }
    }

    /// Open loop: hands the messages that have become due to their clients. Answers how many are handed out.
    fn issue(&mut self, issued: u64, messages: u64, now_ns: u64, start_ns: u64) -> u64 {
        let Some(pace) = self.pace else { return issued };
        let due = pace.due_count(now_ns - start_ns).min(messages);
        let connections = self.clients.len() as u64;
        for number in issued..due {
            let position = (number % connections) as u32;
            let client = &mut self.clients[position as usize];
            client.one_more_due();
            if client.queue() {
                self.ready.push_back(position);
            }
        }
        due
    }

    /// When the next message becomes due, on the monotonic clock; `None` in closed loop and at the end.
    fn next_due(&self, issued: u64, messages: u64, start_ns: u64) -> Option<u64> {
        self.pace.filter(|_| issued < messages).map(|pace| start_ns + pace.due_ns(issued))
    }

    /// One block for every client that is ready; those with more to send go to the end of the queue.
    fn send_ready(&mut self, now_ns: u64) -> Result<()> {
        for _ in 0..self.ready.len() {
            let Some(position) = self.ready.pop_front() else { break };
            let client = &mut self.clients[position as usize];
            let more = client.send(&mut self.frames, &mut self.tally, self.truth.as_mut(), now_ns)?;
            self.gauge.open.store(self.tally.open(), Ordering::Relaxed);
            if more && client.queue() {
                self.ready.push_back(position);
            }
        }
        Ok(())
    }

    /// Waits for sockets or the next due time and serves what came.
    fn wait(&mut self, due_ns: Option<u64>) -> Result<()> {
        let mut timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        if !self.ready.is_empty() {
            timeout = Timespec { tv_sec: 0, tv_nsec: 0 };
        } else if let Some(due_ns) = due_ns {
            let at = Timespec { tv_sec: (due_ns / 1_000_000_000) as i64, tv_nsec: (due_ns % 1_000_000_000) as i64 };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once).into_diagnostic()?;
        }
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).into_diagnostic(),
        }
        let now_ns = measure::mono_ns();
        for at in 0..self.events.len() {
            let event = self.events[at];
            if event.data.u64() != TIMER {
                self.serve(event.data.u64() as u32, event.flags, now_ns)?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, position: u32, flags: epoll::EventFlags, now_ns: u64) -> Result<()> {
        let client = &mut self.clients[position as usize];
        let mut work = Work::default();
        if flags.intersects(epoll::EventFlags::OUT) {
            work = client.flush(&mut self.tally);
        }
        let ended = flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        if ended || flags.intersects(epoll::EventFlags::IN) {
            work = work | client.receive(&mut self.scratch, ended, &mut self.tally, self.truth.as_mut(), now_ns)?;
            self.gauge.open.store(self.tally.open(), Ordering::Relaxed);
        }
        if work.may_send && client.queue() {
            self.ready.push_back(position);
        }
        Ok(())
    }

    fn ping_all(&mut self) -> Result<()> {
        for client in &mut self.clients {
            client.ping(&mut self.tally);
        }
        self.await_all(|client| client.has_pong())
    }

    /// Serves sockets until every living client satisfies `condition`.
    fn await_all(&mut self, condition: impl Fn(&Client) -> bool) -> Result<()> {
        let start_ns = measure::mono_ns();
        while !self.clients.iter().all(|client| !client.is_alive() || condition(client)) {
            self.wait(None)?;
            self.ready.clear();
            self.clients.iter_mut().for_each(Client::unqueue);
            if measure::mono_ns() - start_ns > STALL.as_nanos() as u64 {
                bail!("no answer within {} s", STALL.as_secs());
            }
        }
        match self.clients.iter().filter(|client| !client.is_connected()).count() {
            0 => Ok(()),
            gone => bail!("the server closed {gone} of {} connections", self.clients.len()),
        }
    }
}
