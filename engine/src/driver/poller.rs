//! Three epoll sets: `service` (listeners, links, the doorbell), `clients`, and `all`, which holds the other two.
//!
//! Client sockets are registered once, edge-triggered, for everything. To leave the clients out of a wait (the kernel's socket
//! buffers are then the linger) the shard waits on `service` alone: no registration changes.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::shard::io::{ConnKey, LinkKey};

/// Most events of one kind taken in a round. What is left stays in the kernel's ready list, which is served in turn, so no
/// socket starves another.
const EVENTS_PER_ROUND: usize = 1024;

/// What a descriptor of the service set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Index in the driver's list of listeners.
    Listener(usize),
    /// A socket to a broker.
    Link(LinkKey),
    /// The doorbell.
    Bell,
}

/// The epoll sets of one shard and the events of the last wait.
#[derive(Debug)]
pub(super) struct Poller {
    all: OwnedFd,
    service: OwnedFd,
    clients: OwnedFd,
}

/// Events of one wait; taken out of the loop while they are handled, to be reused.
pub(super) struct Events {
    pub service: Vec<Event>,
    pub clients: Vec<Event>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("service", &self.service.len()).field("clients", &self.clients.len()).finish()
    }
}

impl Events {
    pub(super) fn new() -> Self {
        Self { service: Vec::with_capacity(64), clients: Vec::with_capacity(EVENTS_PER_ROUND) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.service.is_empty() && self.clients.is_empty()
    }
}

/// How a socket is registered: all edges, once.
fn edges() -> EventFlags {
    EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
}

const SERVICE: u64 = 0;
const CLIENTS: u64 = 1;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let (all, service, clients) = (
            epoll::create(CreateFlags::CLOEXEC)?,
            epoll::create(CreateFlags::CLOEXEC)?,
            epoll::create(CreateFlags::CLOEXEC)?,
        );
        epoll::add(&all, &service, EventData::new_u64(SERVICE), EventFlags::IN)?;
        epoll::add(&all, &clients, EventData::new_u64(CLIENTS), EventFlags::IN)?;
        Ok(Self { all, service, clients })
    }

    pub(super) fn add_client(&self, fd: BorrowedFd<'_>, key: ConnKey) -> io::Result<()> {
        let data = u64::from(key.index) << 32 | u64::from(key.generation);
        Ok(epoll::add(&self.clients, fd, EventData::new_u64(data), edges())?)
    }

    pub(super) fn remove_client(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.clients, fd)?)
    }

    /// Listeners are level-triggered: what a round's bound left in the backlog is reported again.
    pub(super) fn add_listener(&self, fd: BorrowedFd<'_>, index: usize) -> io::Result<()> {
        Ok(epoll::add(&self.service, fd, pack(Service::Listener(index)), EventFlags::IN)?)
    }

    /// Stops or resumes reporting a listener.
    pub(super) fn mute_listener(&self, fd: BorrowedFd<'_>, index: usize, mute: bool) -> io::Result<()> {
        let flags = if mute { EventFlags::empty() } else { EventFlags::IN };
        Ok(epoll::modify(&self.service, fd, pack(Service::Listener(index)), flags)?)
    }

    pub(super) fn add_link(&self, fd: BorrowedFd<'_>, key: LinkKey) -> io::Result<()> {
        Ok(epoll::add(&self.service, fd, pack(Service::Link(key)), edges())?)
    }

    pub(super) fn add_bell(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.service, fd, pack(Service::Bell), EventFlags::IN | EventFlags::ET)?)
    }

    /// Blocks until something is ready or `timeout` has passed (`None`: for ever), then collects.
    pub(super) fn wait(&self, timeout: Option<Duration>, clients: bool, events: &mut Events) -> io::Result<()> {
        if !clients {
            return fill(&self.service, timeout, &mut events.service);
        }
        if timeout == Some(Duration::ZERO) {
            return self.collect(true, events);
        }
        let mut doors = [EMPTY; 2];
        let n = wait_for(&self.all, timeout, &mut doors)?;
        for door in doors.iter().take(n) {
            match door.data.u64() {
                SERVICE => fill(&self.service, Some(Duration::ZERO), &mut events.service)?,
                _ => fill(&self.clients, Some(Duration::ZERO), &mut events.clients)?,
            }
        }
        Ok(())
    }

    /// Collects what is ready without waiting.
    pub(super) fn collect(&self, clients: bool, events: &mut Events) -> io::Result<()> {
        fill(&self.service, Some(Duration::ZERO), &mut events.service)?;
        if clients {
            fill(&self.clients, Some(Duration::ZERO), &mut events.clients)?;
        }
        Ok(())
    }
}

const EMPTY: Event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };

fn fill(set: &OwnedFd, timeout: Option<Duration>, into: &mut Vec<Event>) -> io::Result<()> {
    into.clear();
    let timeout = timeout.map(timespec);
    match epoll::wait(set, spare_capacity(into), timeout.as_ref()) {
        Err(Errno::INTR) => Ok(()),
        Err(Errno::NOSYS) => {
            epoll::wait(set, spare_capacity(into), timeout.map(whole_ms).as_ref())?;
            Ok(())
        }
        result => Ok(result.map(|_| ())?),
    }
}

fn wait_for(set: &OwnedFd, timeout: Option<Duration>, into: &mut [Event; 2]) -> io::Result<usize> {
    let timeout = timeout.map(timespec);
    match epoll::wait(set, &mut into[..], timeout.as_ref()) {
        Err(Errno::INTR) => Ok(0),
        Err(Errno::NOSYS) => Ok(epoll::wait(set, &mut into[..], timeout.map(whole_ms).as_ref())?),
        result => Ok(result?),
    }
}

fn timespec(d: Duration) -> Timespec {
    Timespec { tv_sec: d.as_secs().min(i32::MAX as u64) as i64, tv_nsec: i64::from(d.subsec_nanos()) }
}

/// Rounded up to milliseconds, for kernels before 5.11, which lack `epoll_pwait2`. Up, because waking before a deadline would
/// mean a second wait for the rest.
fn whole_ms(t: Timespec) -> Timespec {
    let ms = (t.tv_nsec + 999_999) / 1_000_000;
    Timespec { tv_sec: t.tv_sec + ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

/// The client of an event of the clients set.
pub(super) fn client_of(event: &Event) -> ConnKey {
    let data = event.data.u64();
    ConnKey { index: (data >> 32) as u32, generation: data as u32 }
}

/// Kind in 8 bits, index in 24, generation in 32.
fn pack(service: Service) -> EventData {
    let (kind, index, generation) = match service {
        Service::Bell => (0u64, 0, 0),
        Service::Listener(i) => (1, i as u64, 0),
        Service::Link(key) => (2, u64::from(key.index), key.generation),
    };
    assert!(index < 1 << 24, "a shard has fewer than 16 million links");
    EventData::new_u64(kind << 56 | index << 32 | u64::from(generation))
}

/// The other way round.
pub(super) fn service_of(event: &Event) -> Service {
    let data = event.data.u64();
    let index = (data >> 32 & 0xff_ffff) as u32;
    match data >> 56 {
        0 => Service::Bell,
        1 => Service::Listener(index as usize),
        _ => Service::Link(LinkKey { index, generation: data as u32 }),
    }
}
