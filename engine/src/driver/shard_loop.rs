//! The loop of one shard: wait, one look at the clock, inputs, end of the round, sends, wait.
//!
//! Every source has a share of a round, so that none starves another; what is left over makes the next wait a mere look.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::SocketOptions;
use super::admission::{Pace, Seldom};
use super::allocator;
use super::clock::Clock;
use super::disk::Disk;
use super::doorbell::Doorbell;
use super::link::ReadEnd;
use super::links::{Fact, Links};
use super::listener::{ACCEPTS_PER_ROUND, Accepted, Listener, REST_MS};
use super::mailbox::{ControlPort, Order};
use super::mesh::{MeshEnd, Parcel};
use super::poller::{Events, Poller, Service, client_of, service_of};
use super::sockets::{Client, Sockets};
use super::world::World;
use crate::clock::{Mono, Now};
use crate::shard::ShardId;
use crate::shard::control::{Command, Level};
use crate::shard::io::{Accepts, ConnKey, Input, LinkKey, Machine, Spent, Wait};
use crate::shard::mesh::Moved;

/// Parcels taken from each peer in one round.
const PARCELS_PER_PEER: usize = 256;
/// Orders taken in one round.
const ORDERS_PER_ROUND: usize = 64;
/// How soon a full ring or a full letter box is tried again.
const RETRY_NS: u64 = 500_000;

/// What a shard thread is made of, but for the machine. Everything in it may be made on another thread.
#[derive(Debug)]
pub struct Parts {
    /// The clock all shards share.
    pub clock: Clock,
    /// Its listening sockets.
    pub listeners: Vec<Listener>,
    /// Connections it takes in a second.
    pub connect_rate: u32,
    /// How long it looks around before it sleeps, nanoseconds.
    pub busy_poll_ns: u64,
    /// Socket options by connector.
    pub connectors: Vec<SocketOptions>,
    /// Its end of the mesh.
    pub mesh: MeshEnd,
    /// The bell its mesh end, mailbox and disk ring.
    pub bell: Arc<Doorbell>,
    /// Its queues to and from the control thread.
    pub control: ControlPort,
    /// Its disk writer; a test may do without.
    pub disk: Option<Disk>,
}

/// One shard with its machine.
#[derive(Debug)]
pub struct ShardLoop<M> {
    machine: M,
    world: World,
    bell: Arc<Doorbell>,
    events: Events,
    /// An input source was cut short by its share of the round.
    again: bool,
    /// A ring or the letter box was full.
    retry: bool,
    pace: Pace,
    busy_poll_ns: u64,
    /// What became of connections since the machine was last told.
    accepts: Accepts,
    says_full: Seldom,
    says_exhausted: Seldom,
    stopped: bool,
}

impl<M: Machine> ShardLoop<M> {
    /// Registers everything that can wake the shard.
    pub fn new(machine: M, parts: Parts) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_bell(parts.bell.fd())?;
        for (index, listener) in parts.listeners.iter().enumerate() {
            poller.add_listener(listener.as_fd(), index)?;
        }
        let world = World {
            clock: parts.clock,
            now: parts.clock.now(),
            poller,
            sockets: Sockets::default(),
            listeners: parts.listeners,
            links: Links::new(parts.connectors),
            mesh: parts.mesh,
            control: parts.control,
            disk: parts.disk,
            gone: Vec::new(),
        };
        Ok(Self {
            machine,
            world,
            bell: parts.bell,
            events: Events::new(),
            again: false,
            retry: false,
            pace: Pace::new(parts.connect_rate),
            busy_poll_ns: parts.busy_poll_ns,
            accepts: Accepts::default(),
            says_full: Seldom::default(),
            says_exhausted: Seldom::default(),
            stopped: false,
        })
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// A failing epoll set, which would be a bug of ours or a dying kernel.
    pub fn run(mut self) -> io::Result<()> {
        while !self.stopped {
            self.world.now = self.world.clock.now();
            let wait = self.round(self.world.now);
            self.world.links.flush();
            self.retry = self.world.mesh.flush() | self.world.control.flush();

            let rested = self.world.clock.mono();
            let busy_ns = rested.since(self.world.now.mono);
            let accepts = std::mem::take(&mut self.accepts);
            let notes_dropped = self.world.control.take_notes_dropped();
            self.machine.spent(Spent { busy_ns, accepts, notes_dropped });
            let timeout = self.timeout(wait, rested);
            self.wait(timeout, wait.clients)?;
        }
        Ok(())
    }

    /// Hands all that has happened to the machine.
    fn round(&mut self, now: Now) -> Wait {
        self.again = false;
        self.take_orders(now);
        self.take_parcels(now);
        self.take_disk(now);
        self.take_gone(now);
        self.take_service_events(now);
        self.world.links.expire(now.mono, &self.world.poller);
        self.take_link_facts(now);
        self.take_client_events(now);
        self.wake_listeners(now.mono);
        self.machine.end_round(now, &mut self.world)
    }

    /// How long the shard may sleep; zero if something is left to do.
    fn timeout(&self, wait: Wait, now: Mono) -> Option<Duration> {
        if self.again || self.stopped || self.world.links.has_news() || !self.world.gone.is_empty() {
            return Some(Duration::ZERO);
        }
        let listeners = self.world.listeners.iter().filter_map(|listener| listener.resting);
        let retry = self.retry.then(|| now + RETRY_NS);
        let own = self.world.links.deadline().into_iter().chain(retry).chain(listeners);
        let deadline = own.chain(wait.deadline).min()?;
        Some(Duration::from_nanos(deadline.since(now)))
    }

    /// Sleeps until something happens, at most `timeout`.
    fn wait(&mut self, timeout: Option<Duration>, clients: bool) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return self.world.poller.collect(clients, &mut self.events);
        }
        if self.busy_poll_ns > 0 && self.look_around(timeout, clients)? {
            return Ok(());
        }
        let (world, events) = (&self.world, &mut self.events);
        let wait = |may_sleep| {
            let timeout = if may_sleep { timeout } else { Some(Duration::ZERO) };
            world.poller.wait(timeout, clients, events)
        };
        self.bell.sleep(|| world.inboxes_empty(), wait)
    }

    /// Looks for work for a while; true if there is some, or if `timeout` has passed.
    fn look_around(&mut self, timeout: Option<Duration>, clients: bool) -> io::Result<bool> {
        let begun = self.world.clock.mono();
        let timeout_ns = timeout.map_or(u64::MAX, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        loop {
            self.world.poller.collect(clients, &mut self.events)?;
            if !self.events.is_empty() || !self.world.inboxes_empty() {
                return Ok(true);
            }
            let looked_ns = self.world.clock.mono().since(begun);
            if looked_ns >= self.busy_poll_ns.min(timeout_ns) {
                return Ok(timeout_ns <= looked_ns);
            }
        }
    }

    fn take_orders(&mut self, now: Now) {
        for _ in 0..ORDERS_PER_ROUND {
            match self.world.control.take() {
                None => return,
                Some(Order::Stop) => self.stopped = true,
                Some(Order::Resolved { link, result }) => {
                    self.world.links.resolved(link, result, now.mono, &self.world.poller);
                }
                Some(Order::LoginAnswer { link, answer }) => {
                    self.machine.on(now, Input::LoginAnswer { link, answer }, &mut self.world);
                }
                Some(Order::AddJournals(journals)) => self.world.disk_writer().add(journals),
                Some(Order::RemoveJournals { sink }) => self.world.disk_writer().remove(sink),
                Some(Order::SetSocketOptions { connector, options }) => {
                    self.world.links.set_options(connector, *options);
                }
                Some(Order::Admit { socket, peer }) => self.admit(now, 0, socket, peer),
                Some(Order::Command(command)) => {
                    if matches!(command, Command::Drain | Command::DrainNow) {
                        // A draining shard takes nobody in.
                        self.world.listeners.clear();
                    }
                    let is_overload = matches!(command, Command::Overloaded(true));
                    self.machine.on(now, Input::Command(command), &mut self.world);
                    if is_overload {
                        allocator::give_back();
                    }
                }
            }
        }
        self.again = true;
    }

    fn take_parcels(&mut self, now: Now) {
        for peer in 0..self.world.mesh.shards() {
            let from = ShardId(peer as u16);
            for taken in 1..=PARCELS_PER_PEER {
                match self.world.mesh.take(from) {
                    None => break,
                    Some(Parcel::Message(message)) => self.machine.on(now, Input::Mesh(from, message), &mut self.world),
                    Some(Parcel::Conn(client, moved)) => self.arrive(now, client, moved),
                }
                self.again |= taken == PARCELS_PER_PEER;
            }
        }
    }

    /// Takes in a connection that another shard gave away. Registration reports at once what the socket already holds.
    fn arrive(&mut self, now: Now, client: Client, moved: Box<Moved>) {
        if let Some(key) = self.adopt(client) {
            self.machine.on(now, Input::Arrived(key, moved), &mut self.world);
        }
    }

    /// Gives a client's socket a key and registers it.
    fn adopt(&mut self, client: Client) -> Option<ConnKey> {
        let key = self.world.sockets.insert(client);
        let registered = match self.world.sockets.fd(key) {
            Some(fd) => self.world.poller.add_client(fd.as_fd(), key),
            None => return None,
        };
        if let Err(e) = registered {
            drop(self.world.sockets.remove(key));
            self.world.note(Level::Error, format!("a client was closed because its socket cannot be watched: {e}"));
            return None;
        }
        Some(key)
    }

    fn take_disk(&mut self, now: Now) {
        while let Some(done) = self.world.disk.as_mut().and_then(Disk::take) {
            self.machine.on(now, Input::Disk(done), &mut self.world);
        }
    }

    fn take_gone(&mut self, now: Now) {
        for key in std::mem::take(&mut self.world.gone) {
            if self.world.sockets.is_live(key) {
                self.machine.on(now, Input::Closed(key), &mut self.world);
            }
        }
    }

    fn take_service_events(&mut self, now: Now) {
        for link in std::mem::take(&mut self.world.links.unread) {
            self.read_link(now, link);
        }
        let events = std::mem::take(&mut self.events.service);
        for event in &events {
            match service_of(event) {
                Service::Bell => {}
                Service::Listener(index) => self.accept(now, index),
                Service::Link(key) => {
                    if self.world.links.on_event(key, event.flags, now.mono, &self.world.poller) {
                        // The shard hears of the connection before it hears on it.
                        self.take_link_facts(now);
                        self.read_link(now, key);
                    }
                }
            }
        }
        self.events.service = events;
        self.events.service.clear();
    }

    /// Reads a link and delivers every whole response, then its end if it has ended.
    fn read_link(&mut self, now: Now, key: LinkKey) {
        let Some(mut frames) = self.world.links.take_frames(key) else { return };
        let end = self.world.links.read(key, &mut frames);
        let broken = loop {
            match frames.next() {
                Ok(None) => break None,
                Err(why) => break Some(why),
                Ok(Some((correlation, body))) => match self.world.links.answer(key, correlation) {
                    Err(why) => break Some(why),
                    Ok(request) => {
                        let response = Input::Response { link: key, body, request };
                        self.machine.on(now, response, &mut self.world);
                        if !self.world.links.is_up(key) {
                            break None;
                        }
                    }
                },
            }
        };
        self.world.links.put_frames(key, frames);
        match (broken, end) {
            (Some(why), _) | (None, ReadEnd::Ended(why)) => self.world.links.fail(key, why),
            (None, ReadEnd::More) => self.world.links.unread.push(key),
            (None, ReadEnd::Drained) => {}
        }
    }

    fn take_link_facts(&mut self, now: Now) {
        while let Some(fact) = self.world.links.next_fact() {
            let input = match fact {
                Fact::Up(link) => Input::LinkUp(link),
                Fact::Sent(link, request) => Input::Sent { link, request },
                Fact::Stray(link, request) => {
                    Input::LinkDown { link, unanswered: vec![request], why: "the link was already down".to_string() }
                }
                Fact::Down(link) => match self.world.links.bury(link) {
                    Some((unanswered, why)) => Input::LinkDown { link, unanswered, why },
                    None => continue,
                },
            };
            self.machine.on(now, input, &mut self.world);
        }
    }

    fn take_client_events(&mut self, now: Now) {
        let events = std::mem::take(&mut self.events.clients);
        for event in &events {
            let key = client_of(event);
            let edges = self.world.sockets.note(key, event.flags);
            if edges.writable {
                self.machine.on(now, Input::Writable(key), &mut self.world);
            }
            // The machine may have closed it just now.
            if edges.readable && self.world.sockets.is_live(key) {
                self.machine.on(now, Input::Readable(key), &mut self.world);
            }
            if edges.gone {
                self.world.gone.push(key);
            }
        }
        self.events.clients = events;
        self.events.clients.clear();
    }

    fn accept(&mut self, now: Now, index: usize) {
        for _ in 0..ACCEPTS_PER_ROUND {
            // The machine may drain at any time, which drops the listeners.
            let Some(listener) = self.world.listeners.get(index) else { return };
            if let Some(until) = self.pace.wait_until(now.mono) {
                self.accepts.paced += 1;
                return self.rest(index, until);
            }
            match listener.accept() {
                Accepted::Nothing => return,
                Accepted::Aborted => self.accepts.failed += 1,
                Accepted::Exhausted(errno) => {
                    self.accepts.failed += 1;
                    self.say_exhausted(now.mono, errno);
                    return self.rest(index, now.mono.plus_ms(REST_MS));
                }
                Accepted::Socket(fd, peer) => {
                    self.pace.count(now.mono);
                    self.admit(now, index, fd, peer);
                }
            }
        }
    }

    /// Gives a client of a listener its seat and shows it to the machine. Where there is none, dropping the socket closes it.
    fn admit(&mut self, now: Now, index: usize, fd: OwnedFd, peer: SocketAddr) {
        let Some(listener) = self.world.listeners.get(index) else { return };
        let id = listener.id;
        let Some(seat) = listener.seats.take() else {
            self.accepts.refused += 1;
            return self.say_full(now.mono);
        };
        if let Some(key) = self.adopt(Client { fd, _seat: seat }) {
            self.machine.on(now, Input::Accepted(key, id, peer), &mut self.world);
        }
    }

    /// Leaves a listener alone until then: what waits in its backlog would be reported again and again.
    fn rest(&mut self, index: usize, until: Mono) {
        let Some(listener) = self.world.listeners.get_mut(index) else { return };
        listener.resting = Some(until);
        let muted = self.world.poller.mute_listener(listener.as_fd(), index, true);
        debug_assert!(muted.is_ok(), "a listener is registered as long as it is open");
    }

    #[cold]
    fn say_exhausted(&mut self, now: Mono, errno: rustix::io::Errno) {
        if self.says_exhausted.may(now) {
            let text = format!(
                "connections wait because none can be accepted: {errno}. Raise the limit of open files (`ulimit -n`)."
            );
            self.world.note(Level::Warn, text);
        }
    }

    #[cold]
    fn say_full(&mut self, now: Mono) {
        if self.says_full.may(now) {
            let text = "connections are closed because there are as many as there may be. Raise `max_connections` of the \
                        listener; where that is 0 or high, `node.memory_limit` or the limit of open files (`ulimit -n`).";
            self.world.note(Level::Warn, text.to_string());
        }
    }

    fn wake_listeners(&mut self, now: Mono) {
        for (index, listener) in self.world.listeners.iter_mut().enumerate() {
            if listener.resting.is_some_and(|until| until <= now) {
                listener.resting = None;
                let heard = self.world.poller.mute_listener(listener.as_fd(), index, false);
                debug_assert!(heard.is_ok(), "a listener is registered as long as it is open");
            }
        }
    }
}
