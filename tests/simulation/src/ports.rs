//! What one shard can touch: the simulator's `Io`.
//!
//! Beside doing what it is told it watches: a dead key is never used, a connection ends once, no more batches of a partition
//! are away than may be, and the sequences of a producer have no gap.

use std::collections::{BTreeMap, VecDeque};

use aqueduct::log::DiskOp;
use aqueduct::shard::ShardId;
use aqueduct::shard::control::ControlMsg;
use aqueduct::shard::io::{BrokerAddr, CloseReason, ConnKey, Io, LinkKey, LoginQuestion, Recv, Request};
use aqueduct::shard::mesh::{MeshMsg, Moved};

use crate::kafka::Told;
use crate::net::{Holder, Net};
use crate::plan::topic_index;
use crate::random::Random;
use crate::sequences::{Numbers, Sequences};

/// Something for another shard.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A message.
    Message(MeshMsg),
    /// A connection: its socket and what the shard knew of it.
    Conn(usize, Box<Moved>),
}

/// A connection to a broker.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which broker it was dialled for.
    pub(crate) broker: Option<usize>,
    /// Connected.
    pub(crate) up: bool,
    /// Broken, and the shard has not been told.
    pub(crate) down: Option<String>,
    /// Requests without an answer, oldest first.
    pub(crate) requests: VecDeque<Request>,
    /// How many of them the broker has taken up.
    pub(crate) taken: usize,
    /// How many have arrived at the broker.
    pub(crate) arrived: usize,
    /// The broker works on one.
    pub(crate) busy: bool,
    /// Answers on their way back, and what they tell.
    pub(crate) answers_coming: VecDeque<(Vec<u8>, Told)>,
    /// Answers that have come back and wait for the shard's next round.
    pub(crate) answers: VecDeque<(Vec<u8>, Told)>,
    /// When the newest event of each direction happens: later ones follow.
    pub(crate) there: u64,
    /// See `there`.
    pub(crate) back: u64,
}

/// Slots with generations, as the driver keeps them.
#[derive(Debug)]
struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn insert(&mut self, value: T) -> (u32, u32) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.1 = Some(value);
        (index, slot.0)
    }

    #[inline]
    fn get(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.0 == generation { slot.1.as_mut() } else { None }
    }

    fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize).filter(|slot| slot.0 == generation)?;
        let value = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }
}

/// One shard's side of the world.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    conns: Slots<usize>,
    links: Slots<Link>,
    /// For other shards, in the order of sending.
    pub(crate) parcels: Vec<(ShardId, Parcel)>,
    /// Links that were dialled.
    pub(crate) dialled: Vec<LinkKey>,
    /// The connector of every link that was ever dialled.
    connectors: BTreeMap<LinkKey, u16>,
    /// Addresses of `dialled`.
    pub(crate) addresses: Vec<BrokerAddr>,
    /// Links with new requests, once for each request.
    pub(crate) requested: Vec<LinkKey>,
    /// Requests that expect no answer.
    pub(crate) unanswered: Vec<(LinkKey, Request)>,
    /// Links that were dropped.
    pub(crate) dropped: Vec<LinkKey>,
    /// Operations for the disk.
    pub(crate) disk: Vec<DiskOp>,
    /// Words for the control thread.
    pub(crate) control: Vec<ControlMsg>,
    /// Sockets whose client has something to read.
    pub(crate) sent: Vec<usize>,
    /// Sockets that were closed.
    pub(crate) closed: Vec<(usize, CloseReason)>,
    /// Sockets with bytes left after a read that promised another `Readable`.
    pub(crate) again: Vec<usize>,
    /// Requests given for links that are gone.
    pub(crate) strays: Vec<(LinkKey, Request)>,
    /// Batches away, by topic and partition.
    away: BTreeMap<(u16, u32), u32>,
    /// Batches that were given while no other of their partition was away.
    pub(crate) alone: Vec<(u16, u32, Numbers)>,
    /// Numbers of the batches sent.
    pub(crate) sequences: Sequences,
    /// By connector and topic: in which life the shard was told that it is, where that is not the first.
    lives: BTreeMap<(u16, u16), u16>,
    /// Chances of a million, of a read and a send that are cut short.
    pub(crate) short: (u32, u32),
    /// Most batches of a partition that may be away, by the slot of its sink.
    inflight_max: Vec<u32>,
    /// The same after the change that the shard was told of, until it has made it.
    inflight_next: Vec<u32>,
}

impl Ports {
    /// A shard's side of a world in which reads and sends are cut short `short` times of a million.
    pub(crate) fn new(short: (u32, u32), inflight_max: Vec<u32>) -> Self {
        Self { short, inflight_max, ..Self::default() }
    }

    /// The shard hears of a change: it may have as many batches away as then, of a sink that comes already before it makes the
    /// change, because another shard may have made it.
    pub(crate) fn prepare(&mut self, inflight_max: Vec<u32>) {
        self.inflight_next = inflight_max;
    }

    /// The change is taken back.
    pub(crate) fn withdraw(&mut self) {
        self.inflight_next.clear();
    }

    /// The shard has made the change.
    pub(crate) fn applied(&mut self) {
        self.inflight_max = std::mem::take(&mut self.inflight_next);
    }

    /// Batches of a partition that a sink may have away.
    fn inflight_max(&self, sink: u16) -> u32 {
        let of = |limits: &[u32]| limits.get(usize::from(sink)).copied().unwrap_or_default();
        of(&self.inflight_max).max(of(&self.inflight_next))
    }

    /// Batches of a topic's partition that are away.
    pub(crate) fn away(&self, topic: u16, partition: u32) -> u32 {
        self.away.get(&(topic, partition)).copied().unwrap_or_default()
    }

    /// Gives a socket a key.
    pub(crate) fn adopt(&mut self, net: &mut Net, shard: usize, socket: usize) -> ConnKey {
        let (index, generation) = self.conns.insert(socket);
        net.get(socket).place = Some((shard, index));
        ConnKey { index, generation }
    }

    /// The key of the socket in this slot, if it is that socket.
    pub(crate) fn key_of(&mut self, index: u32, socket: usize) -> Option<ConnKey> {
        let (generation, value) = self.conns.slots.get(index as usize)?;
        (*value == Some(socket)).then_some(ConnKey { index, generation: *generation })
    }

    /// The socket of a key.
    pub(crate) fn socket(&mut self, key: ConnKey) -> Option<usize> {
        self.conns.get(key.index, key.generation).copied()
    }

    /// A key that was valid once and is not any more, or never was.
    pub(crate) fn stale_key(&mut self, random: &mut Random) -> Option<ConnKey> {
        let index = random.below(self.conns.slots.len().max(1) as u64) as u32;
        let generation = self.conns.slots.get(index as usize)?.0.checked_sub(1)?;
        Some(ConnKey { index, generation })
    }

    /// All live keys.
    pub(crate) fn conn_keys(&self) -> impl Iterator<Item = (ConnKey, usize)> {
        let key = |(index, (generation, socket)): (usize, &(u32, Option<usize>))| {
            Some((ConnKey { index: index as u32, generation: *generation }, (*socket)?))
        };
        self.conns.slots.iter().enumerate().filter_map(key)
    }

    /// The link of a key.
    pub(crate) fn link(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.links.get(key.index, key.generation)
    }

    /// All live links.
    pub(crate) fn link_keys(&self) -> Vec<LinkKey> {
        let live = self.links.slots.iter().enumerate().filter(|(_, slot)| slot.1.is_some());
        live.map(|(index, slot)| LinkKey { index: index as u32, generation: slot.0 }).collect()
    }

    /// The shard hears over a link in which lives topics are. One that it knew in an earlier one was made anew.
    pub(crate) fn hear_of_lives(&mut self, key: LinkKey, told: &Told) {
        let connector = self.connectors[&key];
        for &(topic, life) in &told.lives {
            // A broker that is behind tells of a former one.
            let known = self.lives.entry((connector, topic)).or_default();
            if *known < life {
                *known = life;
                self.sequences.made_anew(connector, topic);
            }
        }
    }

    /// Ends the key of a link that is down.
    pub(crate) fn bury(&mut self, key: LinkKey) -> Option<Link> {
        self.links.remove(key.index, key.generation)
    }

    /// The batches of a request are back.
    pub(crate) fn returned(&mut self, request: &Request) {
        for batch in &request.batches {
            let away = self
                .away
                .get_mut(&(topic_index(batch.part.sink, &batch.topic_name), batch.part.partition))
                .expect("what returns was away");
            *away -= 1;
        }
    }

    /// Bytes of each home shard's batches in requests.
    pub(crate) fn requested_bytes(&self, home: ShardId) -> usize {
        let links = self.links.slots.iter().filter_map(|slot| slot.1.as_ref()).flat_map(|link| &link.requests);
        let requests = links.chain(self.strays.iter().map(|(_, request)| request));
        // A carrier is a copy of what is charged, and queues nothing.
        let own = requests.flat_map(|request| &request.batches).filter(|b| b.home == home && b.queued_bytes > 0);
        own.map(|batch| batch.charge_bytes).sum()
    }
}

/// The `Io` of one call.
#[derive(Debug)]
pub(crate) struct Port<'a> {
    /// All sockets.
    pub(crate) net: &'a mut Net,
    /// This shard's side.
    pub(crate) own: &'a mut Ports,
    /// Chance.
    pub(crate) random: &'a mut Random,
}

impl Io for Port<'_> {
    fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv {
        let at = self.own.socket(conn).unwrap_or_else(|| panic!("VIOLATION a dead key is read: {conn:?}"));
        let socket = self.net.get(at);
        if socket.reset {
            return Recv::Error;
        }
        if socket.unread().is_empty() {
            return if socket.finished { Recv::Eof } else { Recv::Empty };
        }
        assert!(!into.is_empty(), "VIOLATION a read without room");
        let room = into.len();
        let short = self.random.chance(self.own.short.0);
        let n = if short { 1 + self.random.below(room.min(socket.unread().len()) as u64) as usize } else { room };
        let n = socket.read(n, into);
        let left = !socket.unread().is_empty() || socket.finished;
        // A kernel that gave less than was asked for tells of the rest by an edge of its own.
        if left && n < room && !(short && self.random.chance(500_000)) {
            self.own.again.push(at);
            return Recv::Got { n, more: false };
        }
        Recv::Got { n, more: left || n == room }
    }

    fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        let at = self.own.socket(conn).unwrap_or_else(|| panic!("VIOLATION bytes for a dead key: {conn:?}"));
        let socket = self.net.get(at);
        if socket.reset || socket.holder == Holder::Nobody {
            return bytes.len();
        }
        let mut n = bytes.len();
        if let Some(room) = &mut socket.room {
            n = n.min(*room);
            *room -= n;
        } else if self.random.chance(self.own.short.1) {
            n = self.random.below(n as u64 + 1) as usize;
        }
        socket.blocked |= n < bytes.len();
        socket.to_client.extend_from_slice(&bytes[..n]);
        self.own.sent.push(at);
        n
    }

    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        let at = self.own.conns.remove(conn.index, conn.generation);
        let at = at.unwrap_or_else(|| panic!("VIOLATION a connection is closed twice: {conn:?}"));
        self.own.closed.push((at, why));
    }

    fn move_conn(&mut self, conn: ConnKey, to: ShardId, state: Box<Moved>) {
        let at = self.own.conns.remove(conn.index, conn.generation);
        let at = at.unwrap_or_else(|| panic!("VIOLATION a dead connection is moved: {conn:?}"));
        self.net.get(at).place = None;
        self.own.parcels.push((to, Parcel::Conn(at, state)));
    }

    fn dial(&mut self, to: &BrokerAddr) -> LinkKey {
        let link = Link {
            broker: None,
            up: false,
            down: None,
            requests: VecDeque::new(),
            taken: 0,
            arrived: 0,
            busy: false,
            answers_coming: VecDeque::new(),
            answers: VecDeque::new(),
            there: 0,
            back: 0,
        };
        let (index, generation) = self.own.links.insert(link);
        let key = LinkKey { index, generation };
        self.own.dialled.push(key);
        self.own.connectors.insert(key, to.connector);
        self.own.addresses.push(to.clone());
        key
    }

    fn request(&mut self, key: LinkKey, request: Request) {
        for batch in &request.batches {
            let part = (topic_index(batch.part.sink, &batch.topic_name), batch.part.partition);
            let max = self.own.inflight_max(batch.part.sink);
            let away = self.own.away.entry(part).or_default();
            *away += 1;
            assert!(*away <= max, "VIOLATION {away} batches of {part:?} are away, {max} may be");
            let numbers = Numbers::of(&batch.bytes);
            if *away == 1 {
                self.own.alone.push((part.0, part.1, numbers));
            }
            self.own.sequences.sent(self.own.connectors[&key], part, numbers);
        }
        match self.own.link(key) {
            Some(_) if !request.answered => self.own.unanswered.push((key, request)),
            Some(link) => {
                link.requests.push_back(request);
                self.own.requested.push(key);
            }
            None => self.own.strays.push((key, request)),
        }
    }

    fn drop_link(&mut self, link: LinkKey) {
        self.own.dropped.push(link);
    }

    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in here")
    }
    fn mesh(&mut self, to: ShardId, message: MeshMsg) {
        self.own.parcels.push((to, Parcel::Message(message)));
    }

    fn disk(&mut self, op: DiskOp) {
        self.own.disk.push(op);
    }

    fn control(&mut self, message: ControlMsg) {
        self.own.control.push(message);
    }
}
