//! One core: the MQTT connections whose clients have their home here, and the Kafka partitions this shard owns.
//!
//! A synchronous machine without I/O, clock or randomness: facts come in through [`Shard::on`], bytes move by calls on
//! [`io::Io`], see there for the border. This module wires the rooms together; `session`, `rule` and `sink` do not know each
//! other.
//!
//! ```text
//! Readable ─ read ─ packet ─ publish ─ sink::accumulator ┐            (within a round)
//!                                                        seal ─ owner's Writer ─ disk or link
//! Response, Disk, Mesh ─ Writer ─ Answered ─ settle ┬ lanes of tickets ─ PUBACK ─ flush
//!                                                   └ lanes of publications ─ deliver ─ queues of subscribers ─ flush
//! ```
//!
//! Invariants: bytes charged to the budget are those of batches whose `home` is this shard plus unread bytes of its
//! connections; a ticket is answered only by the outcomes of the records it was written for; a connection that is not held
//! is read whenever its socket has bytes.

mod audit;
mod behind;
pub mod budget;
mod buffer;
mod change;
pub mod control;
pub mod io;
pub mod mesh;
mod place;
pub mod placement;

mod connect;
mod dead_letter;
mod deliver;
mod drain;
mod notes;
mod outgoing;
mod overload;
mod packet;
mod publish;
mod read;
mod refusals;
pub mod roster;
mod round;
mod settings;
mod settle;
pub mod shares;
mod subscribe;
mod wheel;
mod will;

pub use io::ShardId;
pub use settings::{BadTemplate, SessionExpiry, Settings, SinkSettings, Sizes, SubscriberSettings};

use crate::broker::Logins;
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::clock::{Mono, Now};
use crate::event::EventIds;
use crate::hash::Keyed;
use crate::listener::connection::Connection;
use crate::listener::read_buffers::ReadBuffers;
use crate::log::DiskDone;
use crate::metrics::{Latency, ShardCounters, SinkCounters};
use crate::plants::{Plant, is_planted};
use crate::session::table::SessionTable;
use crate::sink::packing::Packer;
use crate::sink::partitioning::Random;
use crate::sink::route::Scratch;
use crate::sink::{Sink, Writer};

use behind::Gaps;
use budget::Budget;
use change::Changes;
use control::Command;
use dead_letter::DeadLetters;
use deliver::Deliver;
use drain::Drain;
use io::{ConnKey, Input, Io, Machine, Spent, Wait};
use mesh::MeshMsg;
use notes::Notes;
use refusals::Refusals;
use round::Round;
use shares::Shares;
use subscribe::Filters;
use wheel::Wheel;

/// One core's machine.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    settings: Settings,
    conns: Vec<Option<Box<Connection>>>,
    sessions: SessionTable,
    sinks: Vec<Sink>,
    writers: Vec<Writer>,
    /// Those over connectors that are gone.
    logins_before: Logins,
    budget: Budget,
    packer: Packer,
    filters: Filters,
    deliver: Deliver,
    dead: DeadLetters,
    gaps: Gaps,
    pool: BatchPool,
    /// What all connections are read into.
    read_buffers: ReadBuffers,
    /// What records are rendered into.
    scratch: Scratch,
    wheel: Wheel,
    lists: Lists,
    round: Round,
    shares: Shares,
    /// Changes with everything a [`crate::sink::route::RouteMemo`] rests on.
    route_generation: u64,
    event_ids: EventIds,
    random: Random,
    counters: ShardCounters,
    sink_counters: Vec<SinkCounters>,
    latency: Vec<Latency>,
    scrapes: Vec<u64>,
    /// Partitions whose batches went to a journal in this round instead of their owner; kept for its capacity.
    stored_now: Vec<u32>,
    /// Batches that a journal hands over; kept for its capacity.
    #[expect(clippy::vec_box)]
    leaving: Vec<Box<Batch>>,
    notes: Notes,
    refusals: Refusals,
    changes: Changes,
    drain: Drain,
    /// More memory is in use than the watermark.
    overloaded: bool,
    /// The connection whose large packet is read on whatever else is unread.
    first_large: Option<ConnKey>,
}

/// Connections and sessions with something to do.
#[derive(Debug, Default)]
struct Lists {
    /// Read before, and there may be more.
    ready: Vec<ConnKey>,
    /// Packets to send.
    dirty: Vec<ConnKey>,
    /// Held until something is released.
    held: Vec<ConnKey>,
    /// Sessions with open tickets, to look for late ones.
    open_sessions: Vec<u32>,
    /// Timers that came due; kept for its capacity.
    due: Vec<ConnKey>,
}

impl Shard {
    /// A shard with the writers of its connectors, in configuration order. `seed` makes everything random repeatable.
    pub fn new(id: ShardId, settings: Settings, writers: Vec<Writer>, seed: u64, now: Mono) -> Self {
        let mut random = Random::new(seed ^ u64::from(id.0));
        let sinks: Vec<Sink> = settings
            .sinks
            .iter()
            .enumerate()
            .map(|(i, s)| s.build(i as u16, id, settings.shards, &mut random))
            .collect();
        Self {
            id,
            conns: Vec::new(),
            sessions: SessionTable::new(Keyed::new(random.next_u64(), random.next_u64())),
            budget: settings.budget(),
            packer: Packer::default(),
            filters: Filters::new(id, settings.shards, Keyed::new(random.next_u64(), random.next_u64())),
            deliver: Deliver::new(&settings),
            dead: DeadLetters::default(),
            gaps: Gaps::default(),
            pool: BatchPool::new(id, settings.pool_bytes),
            read_buffers: ReadBuffers::default(),
            scratch: Scratch::default(),
            wheel: Wheel::new(now),
            lists: Lists::default(),
            round: Round::new(now, settings.round_wait_ns()),
            shares: Shares::new(id, settings.shards, settings.sinks.len()),
            route_generation: 1,
            event_ids: EventIds::new(&settings.node, id.0),
            random,
            counters: ShardCounters::default(),
            sink_counters: vec![SinkCounters::default(); sinks.len()],
            latency: vec![Latency::default(); sinks.len()],
            scrapes: Vec::new(),
            stored_now: Vec::new(),
            leaving: Vec::new(),
            notes: Notes::default(),
            refusals: Refusals::default(),
            changes: Changes::default(),
            drain: Drain::default(),
            overloaded: false,
            first_large: None,
            sinks,
            writers,
            logins_before: Logins::default(),
            settings,
        }
    }

    /// Takes a connection out of its slot, so that it and the shard can be changed side by side.
    fn take_conn(&mut self, key: ConnKey) -> Option<Box<Connection>> {
        self.conns.get_mut(key.index as usize)?.take_if(|c| c.key == key || is_planted(Plant::StaleFd))
    }

    fn put_conn(&mut self, conn: Box<Connection>) {
        let index = conn.key.index as usize;
        if index >= self.conns.len() {
            self.conns.resize_with(index + 1, || None);
        }
        self.conns[index] = Some(conn);
    }

    fn mark_dirty(lists: &mut Lists, conn: &mut Connection) {
        if !conn.dirty {
            conn.dirty = true;
            lists.dirty.push(conn.key);
        }
    }
}

/// The connection with this key, if it is in its slot. Takes the table alone, so that other parts of a shard stay free.
#[inline]
fn conn_mut(conns: &mut [Option<Box<Connection>>], key: ConnKey) -> Option<&mut Connection> {
    conns.get_mut(key.index as usize)?.as_deref_mut().filter(|c| c.key == key || is_planted(Plant::StaleFd))
}

impl Machine for Shard {
    fn on(&mut self, now: Now, input: Input<'_>, io: &mut impl Io) {
        match input {
            Input::Readable(key) => self.on_readable(now, key, io),
            Input::Writable(key) => self.on_writable(key),
            Input::Accepted(key, listener, peer) => self.on_accepted(now, key, listener, peer),
            Input::Arrived(key, moved) => self.on_arrived(now, key, *moved, io),
            Input::Closed(key) => self.on_closed(now, key, io),
            Input::Mesh(_, MeshMsg::HandOver(batch)) => self.on_hand_over(now, batch, io),
            Input::Mesh(from, MeshMsg::Return(batch, outcome)) => self.on_return(now, from, batch, outcome, io),
            Input::Mesh(from, MeshMsg::GapKnown { sink, topic, partition }) => {
                self.gaps.close(from, PartKey { sink, partition }, &topic);
            }
            Input::Mesh(from, MeshMsg::Filters(changes)) => self.on_filters(from, &changes, io),
            Input::Mesh(from, MeshMsg::FiltersKnown) => self.on_filters_known(from),
            Input::Mesh(from, MeshMsg::Parcel(publication)) => self.on_parcel(now, from, publication, io),
            Input::Mesh(from, MeshMsg::ParcelsTaken { parcels, bytes }) => self.on_parcels_taken(from, parcels, bytes),
            Input::Mesh(_, MeshMsg::BacklogPassed { sink, topic, partition }) => {
                self.on_backlog_passed(sink, &topic, partition);
            }
            Input::Mesh(from, MeshMsg::Share(token)) => self.on_share(from, token),
            Input::Command(Command::Scrape { token }) => self.scrapes.push(token),
            Input::Command(Command::Token { connector, token }) => {
                if let Some(writer) = self.writers.get_mut(usize::from(connector)) {
                    writer.set_token(token);
                }
            }
            Input::Command(Command::Overloaded(is_so)) => self.on_overload(is_so),
            Input::Command(Command::Prepare(preparation)) => self.prepare_change(now.mono, *preparation, io),
            Input::Command(Command::Apply { number }) => self.apply_change(now.mono, number, io),
            Input::Command(Command::Withdraw { number }) => self.withdraw_change(number, io),
            Input::Command(Command::Forget { sink }) => self.forget_sink(sink),
            Input::Command(Command::CloseConnector { connector }) => self.close_connector(connector, io),
            Input::Command(Command::Drain) => self.begin_drain(now),
            Input::Command(Command::DrainNow) => self.end_drain(now, io),
            Input::Disk(DiskDone::Journal(done)) => self.on_journal(now, done, io),
            Input::LinkUp(_)
            | Input::Response { .. }
            | Input::Sent { .. }
            | Input::LinkDown { .. }
            | Input::LoginAnswer { .. }
            | Input::Disk(_) => {
                self.on_writer_input(now, input, io);
            }
        }
    }

    fn end_round(&mut self, now: Now, io: &mut impl Io) -> Wait {
        self.finish_round(now, io)
    }

    fn spent(&mut self, spent: Spent) {
        self.counters.busy_ns += spent.busy_ns;
        self.counters.accepts_failed += u64::from(spent.accepts.failed);
        self.counters.accepts_paced += u64::from(spent.accepts.paced);
        self.counters.connections_refused += u64::from(spent.accepts.refused);
        self.notes.suppressed += u64::from(spent.notes_dropped);
    }
}

#[cfg(test)]
mod tests;
