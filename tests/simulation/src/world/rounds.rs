//! A shard's round, in the order of the driver's.

use aqueduct::clock::Mono;
use aqueduct::log::DiskDone;
use aqueduct::shard::ShardId;
use aqueduct::shard::control::{Command, ControlMsg, Step};
use aqueduct::shard::io::{Input, LinkKey, ListenerId, Machine as _, Request};

use super::{Event, Node, World, inflight_max, trace};
use crate::ports::{Parcel, Port};

/// How often everything is recounted, in rounds of a shard.
const AUDIT_EVERY: u64 = 8;

/// Chance that the accounts of a shard are asked for in a round.
const SCRAPES_PER_MILLION: u32 = 5_000;

/// What comes from below, in order.
#[derive(Debug)]
pub(super) enum Service {
    Command(Command),
    LinkUp(LinkKey),
    LinkDown(LinkKey),
    Stray(LinkKey, Request),
    Sent(LinkKey, Request),
    Answer(LinkKey),
    Disk(DiskDone),
}

/// Inputs of shards by kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mix {
    /// Bytes of clients.
    pub packets: u64,
    /// Answers of brokers, and of disks.
    pub responses: u64,
    /// From other shards.
    pub mesh: u64,
    /// All others.
    pub others: u64,
}

/// A kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Packets,
    Response,
    Mesh,
    Other,
}

impl Mix {
    fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Packets => &mut self.packets,
            Kind::Response => &mut self.responses,
            Kind::Mesh => &mut self.mesh,
            Kind::Other => &mut self.others,
        } += 1;
    }

    /// All of them.
    pub fn steps(&self) -> u64 {
        self.packets + self.responses + self.mesh + self.others
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Mix) {
        self.packets += other.packets;
        self.responses += other.responses;
        self.mesh += other.mesh;
        self.others += other.others;
    }
}

impl World {
    pub(super) fn round(&mut self, shard: usize) {
        if self.random.chance(self.faults.wall_jump) {
            self.wall_offset_ms = self.random.between(0, 7_200_000) as i64 - 3_600_000;
            trace!(self, "the wall clock jumps to {} ms from where it was", self.wall_offset_ms);
        }
        self.take_parcels(shard);
        self.take_services(shard);
        self.take_gone(shard);
        if self.nodes[shard].hears_clients {
            self.take_clients(shard);
        }
        self.inject(shard);
        self.end_round(shard);
    }

    /// One input, which is a step of the simulation.
    fn on(&mut self, shard: usize, kind: Kind, input: Input<'_>) {
        self.mix.count(kind);
        let now = self.clock();
        let Node { shard: machine, ports, .. } = &mut self.nodes[shard];
        let mut port = Port { net: &mut self.net, own: ports, random: &mut self.random };
        machine.on(now, input, &mut port);
        let (used, limit) = machine.charged_bytes();
        // Buffers in hand may be grown to hold what was already read: one a connection at most.
        assert!(used <= limit + 2 * 70_000, "VIOLATION shard {shard} holds {used} bytes of {limit}");
    }

    fn take_parcels(&mut self, shard: usize) {
        let shards = self.nodes.len();
        for from in 0..shards {
            let pair = from * shards + shard;
            while let Some((at, _)) = self.mesh[pair].front() {
                if *at > self.now {
                    let at = *at;
                    self.wake_shard(shard, at);
                    break;
                }
                let Some((_, parcel)) = self.mesh[pair].pop_front() else { break };
                match parcel {
                    Parcel::Message(message) => self.on(shard, Kind::Mesh, Input::Mesh(ShardId(from as u16), message)),
                    Parcel::Conn(socket, moved) => {
                        let key = self.nodes[shard].ports.adopt(&mut self.net, shard, socket);
                        self.on(shard, Kind::Mesh, Input::Arrived(key, moved));
                        self.net.get(socket).told = false;
                        self.tell(socket);
                    }
                }
            }
        }
    }

    fn take_services(&mut self, shard: usize) {
        while let Some(service) = self.nodes[shard].services.pop_front() {
            match service {
                Service::Answer(key) => self.take_answer(shard, key),
                Service::Disk(done) => self.on(shard, Kind::Response, Input::Disk(done)),
                other => self.take_rare(shard, other),
            }
        }
    }

    fn take_rare(&mut self, shard: usize, service: Service) {
        match service {
            Service::Command(command) => {
                match &command {
                    Command::Prepare(change) => self.nodes[shard].ports.prepare(inflight_max(&change.snapshot.config)),
                    Command::Withdraw { .. } => self.nodes[shard].ports.withdraw(),
                    _ => {}
                }
                let renews = matches!(command, Command::Prepare(_) | Command::Forget { .. });
                let counted = renews.then(|| (self.records_given_up(), self.possible_duplicates()));
                self.on(shard, Kind::Other, Input::Command(command));
                if let Some((given_up, possible_duplicates)) = counted {
                    self.keep_counts(&given_up, possible_duplicates);
                }
            }
            Service::LinkUp(key) => self.on(shard, Kind::Other, Input::LinkUp(key)),
            Service::Stray(link, request) => {
                self.nodes[shard].ports.returned(&request);
                let why = "the link was already down".to_string();
                self.on(shard, Kind::Other, Input::LinkDown { link, unanswered: vec![request], why });
            }
            Service::Sent(link, request) => {
                self.nodes[shard].ports.returned(&request);
                self.on(shard, Kind::Other, Input::Sent { link, request });
            }
            Service::LinkDown(link) => {
                let Some(state) = self.nodes[shard].ports.bury(link) else { return };
                let unanswered: Vec<Request> = state.requests.into();
                unanswered.iter().for_each(|request| self.nodes[shard].ports.returned(request));
                let why = state.down.unwrap_or_default();
                trace!(self, "shard {shard}: link {}.{} is down: {why}", link.index, link.generation);
                self.on(shard, Kind::Other, Input::LinkDown { link, unanswered, why });
            }
            Service::Answer(_) | Service::Disk(_) => {}
        }
    }

    fn take_answer(&mut self, shard: usize, link: LinkKey) {
        let ports = &mut self.nodes[shard].ports;
        let Some(state) = ports.link(link).filter(|state| state.up && state.down.is_none()) else { return };
        let (Some((body, told)), Some(request)) = (state.answers.pop_front(), state.requests.pop_front()) else {
            return;
        };
        state.taken -= 1;
        state.arrived -= 1;
        ports.returned(&request);
        self.note_told(shard, link, &request, &told);
        self.on(shard, Kind::Response, Input::Response { link, body: &body, request });
        self.frame = body;
    }

    fn take_gone(&mut self, shard: usize) {
        for socket in std::mem::take(&mut self.nodes[shard].gone) {
            if let Some(key) = self.key(shard, socket) {
                self.on(shard, Kind::Other, Input::Closed(key));
            }
        }
    }

    fn take_clients(&mut self, shard: usize) {
        for socket in std::mem::take(&mut self.nodes[shard].accepts) {
            let key = self.nodes[shard].ports.adopt(&mut self.net, shard, socket);
            let peer = ([127, 0, 0, 1], 40_000).into();
            self.on(shard, Kind::Other, Input::Accepted(key, ListenerId(0), peer));
            self.tell(socket);
        }
        for socket in std::mem::take(&mut self.nodes[shard].writable) {
            if let Some(key) = self.key(shard, socket) {
                self.on(shard, Kind::Other, Input::Writable(key));
            }
        }
        let mut readable = std::mem::take(&mut self.nodes[shard].readable);
        for socket in readable.drain(..) {
            if let Some(key) = self.key(shard, socket) {
                self.net.get(socket).told = false;
                self.on(shard, Kind::Packets, Input::Readable(key));
            }
        }
        // What was told meanwhile belongs to the next round.
        if self.nodes[shard].readable.is_empty() {
            self.nodes[shard].readable = readable;
        }
    }

    /// What the kernel may say though there is no need, or to the wrong one.
    fn inject(&mut self, shard: usize) {
        if self.random.chance(SCRAPES_PER_MILLION) {
            self.on(shard, Kind::Other, Input::Command(Command::Scrape { token: 0 }));
        }
        if self.random.chance(self.faults.stale_key)
            && let Some(key) = self.nodes[shard].ports.stale_key(&mut self.random)
        {
            let input = match self.random.below(3) {
                0 => Input::Readable(key),
                1 => Input::Writable(key),
                _ => Input::Closed(key),
            };
            self.on(shard, Kind::Other, input);
        }
        if self.random.chance(self.faults.spurious) {
            let keys: Vec<_> = self.nodes[shard].ports.conn_keys().collect();
            if !keys.is_empty() {
                let key = self.random.one_of(&keys).0;
                let input = if self.random.below(2) == 0 { Input::Readable(key) } else { Input::Writable(key) };
                self.on(shard, Kind::Other, input);
            }
        }
    }

    fn end_round(&mut self, shard: usize) {
        let now = self.clock();
        let Node { shard: machine, ports, .. } = &mut self.nodes[shard];
        let mut port = Port { net: &mut self.net, own: ports, random: &mut self.random };
        let wait = machine.end_round(now, &mut port);
        machine.audit_wait(now, &wait);
        self.nodes[shard].hears_clients = wait.clients;
        self.carry_out(shard);
        self.look_at_displaced(shard);
        let late = self.random.below(self.faults.timer_late_ns + 1);
        if let Some(Mono(deadline)) = wait.deadline {
            self.wake_shard(shard, deadline.saturating_add(late).max(self.now + 1_000));
        }
        let node = &self.nodes[shard];
        if wait.clients && !(node.readable.is_empty() && node.writable.is_empty() && node.accepts.is_empty()) {
            self.wake_shard(shard, self.now + 1_000);
        }
        if !self.nodes[shard].gone.is_empty() {
            self.wake_shard(shard, self.now + 1_000);
        }
        if self.random.below(AUDIT_EVERY) == 0 {
            self.audit(shard);
        }
    }

    /// Does what the shard has asked for.
    fn carry_out(&mut self, shard: usize) {
        let shards = self.nodes.len();
        let mut parcels = std::mem::take(&mut self.nodes[shard].ports.parcels);
        for (to, parcel) in parcels.drain(..) {
            let pair = shard * shards + usize::from(to.0);
            let newest = self.mesh[pair].back().map_or(0, |(at, _)| *at);
            let at = newest.max(self.now + self.random.below(self.faults.mesh_delay_ns + 1));
            self.mesh[pair].push_back((at, parcel));
            let lost = self.random.chance(self.faults.lost_wakeup);
            let late = if lost { self.random.below(50_000_000) } else { 0 };
            self.wake_shard(usize::from(to.0), at + late);
        }
        self.nodes[shard].ports.parcels = parcels;
        let mut sent = std::mem::take(&mut self.nodes[shard].ports.sent);
        for socket in sent.drain(..) {
            if let Some(client) = self.net.get(socket).client()
                && self.clients[client].waits
            {
                let at = self.now + self.random.between(20_000, 200_000);
                self.wake_client(client, at);
            }
        }
        self.nodes[shard].ports.sent = sent;
        for (socket, why) in std::mem::take(&mut self.nodes[shard].ports.closed) {
            self.end_socket(socket, why);
        }
        for socket in std::mem::take(&mut self.nodes[shard].ports.again) {
            self.tell(socket);
        }
        for message in std::mem::take(&mut self.nodes[shard].ports.control) {
            self.hear_control(shard, message);
        }
        self.carry_out_links(shard);
        self.carry_out_disk(shard);
    }

    fn hear_control(&mut self, shard: usize, message: ControlMsg) {
        match message {
            ControlMsg::Changed(step) => {
                if matches!(step, Step::Applied(_)) {
                    self.nodes[shard].ports.applied();
                }
                self.on_step(shard, step);
            }
            ControlMsg::Note { level, text } => trace!(self, "shard {shard} says: {level:?} {text}"),
            ControlMsg::Drained { acked_records_dropped, unacked_records_dropped } => {
                self.nodes[shard].drained = Some((acked_records_dropped, unacked_records_dropped));
            }
            ControlMsg::Sample { sample, .. } => {
                self.nodes[shard].deliveries_dropped = sample.own.deliveries_dropped_queue_full;
                for sink in &sample.sinks {
                    let ended = sink.ended() + sink.queuing + sink.inflight;
                    assert!(
                        ended == sink.matched,
                        "VIOLATION shard {shard} does not account for its records: {sink:?}"
                    );
                }
            }
        }
    }

    /// Recounts a shard, with the batches that are on their way.
    pub(super) fn audit(&self, shard: usize) {
        let home = ShardId(shard as u16);
        let mut outside: usize = self.nodes.iter().map(|node| node.shard.held_bytes(home)).sum();
        outside += self.nodes.iter().map(|node| node.ports.requested_bytes(home)).sum::<usize>();
        outside += self.nodes.iter().map(|node| services_bytes(node, home)).sum::<usize>();
        for (_, parcel) in self.mesh.iter().flatten() {
            use aqueduct::shard::mesh::MeshMsg::{HandOver, Return};
            if let Parcel::Message(HandOver(batch) | Return(batch, _)) = parcel
                && batch.home == home
            {
                outside += batch.charge_bytes;
            }
        }
        outside += self.disks.as_ref().map_or(0, |disks| disks.charged_bytes(home));
        self.nodes[shard].shard.audit(outside);
        self.nodes[shard].shard.audit_deliveries();
    }

    /// Schedules an event of a link.
    pub(super) fn at_link(&mut self, time: u64, event: fn(u32, u32, u32) -> Event, shard: usize, key: LinkKey) {
        self.at(time, event(shard as u32, key.index, key.generation));
    }
}

fn services_bytes(node: &Node, home: ShardId) -> usize {
    let batches = node.services.iter().flat_map(|service| match service {
        Service::Stray(_, request) | Service::Sent(_, request) => &request.batches[..],
        _ => &[],
    });
    let batches = batches.map(|batch| &**batch);
    let written = node.services.iter().filter_map(|service| match service {
        Service::Disk(done) => Some(done.batches()),
        _ => None,
    });
    let own = batches.chain(written.flatten()).filter(|batch| batch.home == home && batch.queued_bytes > 0);
    own.map(|batch| batch.charge_bytes).sum()
}
