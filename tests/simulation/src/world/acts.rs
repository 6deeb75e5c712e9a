//! What clients do.

use super::{World, trace};
use crate::client::State;
use crate::net::Holder;
use crate::wire::{RUBBISH, put_rubbish};

const MS: u64 = 1_000_000;

/// What a client may do instead of behaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mischief {
    Reset,
    HalfClose,
    Vanish,
    Takeover,
    BadPacket,
    StopReading,
    Kill,
}

impl World {
    /// A client acts.
    pub(super) fn act(&mut self, client: usize) {
        if self.closing && matches!(self.clients[client].state, State::Away(_)) {
            return;
        }
        if self.clients[client].socket.is_some_and(|socket| self.net.get(socket).closed) {
            self.read(client);
            self.clients[client].closed(&self.plan, &mut self.ledger);
            self.lose(client);
        }
        match self.clients[client].state {
            State::Away(until) if self.now < until => self.wake_client(client, until),
            State::Away(_) => self.connect(client),
            State::Greeting | State::Doomed => {
                self.read(client);
                let at = self.now + self.random.between(self.plan.think_ns, 4 * self.plan.think_ns + 1);
                self.wake_client(client, at);
            }
            State::In => {
                let progress = self.read(client);
                if self.clients[client].state == State::In {
                    self.behave(client, progress);
                }
            }
        }
    }

    fn behave(&mut self, client: usize, progress: bool) {
        if let Some(mischief) = self.mischief() {
            trace!(self, "{}: {mischief:?}", self.plan.clients[client].name);
            return self.misbehave(client, mischief);
        }
        let mut out = std::mem::take(&mut self.scratch);
        let room = self.clients[client].room(&self.plan);
        let state = &mut self.clients[client];
        state.subscribe(&self.plan, &mut out);
        if !self.healing {
            for _ in 0..room.min(1 + self.random.below(3) as usize) {
                state.publish(&self.plan, &mut self.ledger, &mut out);
            }
        }
        let silent_ns = self.now.saturating_sub(state.wrote);
        if silent_ns > u64::from(self.plan.clients[client].keepalive_s) * 400 * MS {
            state.ping(&mut out);
        }
        state.waits = out.is_empty();
        self.write(client, &mut out);
        self.scratch = out;
        let idle = self.clients[client].waits && !progress;
        let think = self.plan.think_ns * if idle { 8 } else { 1 };
        let at = self.now + self.random.between(think / 2, think + think / 2);
        self.wake_client(client, at);
    }

    /// Bytes leave the client.
    fn write(&mut self, client: usize, out: &mut Vec<u8>) {
        let Some(socket) = self.clients[client].socket else { return out.clear() };
        if out.is_empty() {
            return;
        }
        self.clients[client].wrote = self.now;
        self.net.get(socket).to_shard.append(out);
        self.tell(socket);
    }

    /// The client reads what is there, and answers. Whether there was anything.
    fn read(&mut self, client: usize) -> bool {
        let Some(socket) = self.clients[client].socket else { return false };
        if self.now < self.clients[client].deaf_until {
            return false;
        }
        let mut bytes = self.take_sent(socket);
        if bytes.is_empty() {
            self.net.get(socket).to_client = bytes;
            return false;
        }
        let mut out = std::mem::take(&mut self.scratch);
        let heard = self.clients[client].hear(&self.plan, &mut self.ledger, &mut bytes, &mut out);
        if let Some(present) = heard.let_in {
            self.wills.is_back(client, self.now, present, &mut self.ledger);
        }
        self.net.get(socket).to_client = bytes;
        self.write(client, &mut out);
        self.scratch = out;
        heard.progress
    }

    /// Takes what has come for the holder of a socket, which makes room for more.
    pub(super) fn take_sent(&mut self, socket: usize) -> Vec<u8> {
        let state = self.net.get(socket);
        state.room = None;
        let (blocked, bytes) = (std::mem::take(&mut state.blocked), std::mem::take(&mut state.to_client));
        if blocked
            && !state.closed
            && let Some((shard, _)) = state.place
        {
            self.nodes[shard].writable.push(socket);
            self.wake_shard(shard, self.now + 10_000);
        }
        bytes
    }

    fn connect(&mut self, client: usize) {
        if self.down {
            let at = self.now + self.random.between(10 * MS, 100 * MS);
            return self.wake_client(client, at);
        }
        self.wills.comes(client, self.now, &mut self.ledger);
        let socket = self.net.open(Holder::Client(client));
        let mut out = std::mem::take(&mut self.scratch);
        self.clients[client].connect(&self.plan, &mut self.ledger, socket, &mut out);
        self.clients[client].wrote = self.now;
        self.net.get(socket).to_shard.append(&mut out);
        self.scratch = out;
        trace!(self, "{} connects", self.plan.clients[client].name);
        self.offer(socket);
        let at = self.now + self.random.between(self.plan.think_ns, 3 * self.plan.think_ns + 1);
        self.wake_client(client, at);
    }

    /// Some shard is to accept a connection.
    pub(super) fn offer(&mut self, socket: usize) {
        let shard = self.random.below(self.nodes.len() as u64) as usize;
        trace!(self, "socket {socket} waits to be accepted by shard {shard}");
        self.nodes[shard].accepts.push(socket);
        if self.nodes[shard].hears_clients {
            self.wake_shard(shard, self.now + 10_000);
        }
    }

    /// The connection is over for the client, which comes back later.
    fn lose(&mut self, client: usize) {
        let until = self.now + self.random.between(MS, 50 * MS) + self.absence_ns(client);
        let is_greeting = self.clients[client].state == State::Greeting;
        let socket = self.clients[client].socket;
        let put_off = self.clients[client].lose(&self.plan, &mut self.ledger, until);
        let Some(socket) = socket else { return };
        let state = self.net.get(socket);
        let ended = state.closed.then_some(state.closed_at);
        if let Some(put_off) = put_off {
            self.wills.wait(client, socket, ended, put_off);
        } else if is_greeting {
            self.wills.leave(client, socket, ended.is_some());
        }
        self.net.get(socket).holder = Holder::Nobody;
        self.net.tidy(socket);
    }

    /// How much longer than others a client stays away that has a will which waits for it.
    fn absence_ns(&mut self, client: usize) -> u64 {
        let longest = self.plan.additions.absence_ns_max;
        let stays = longest > 0 && !self.healing && self.plan.clients[client].puts_off();
        if stays && self.absences.below(2) == 0 { self.absences.below(longest) } else { 0 }
    }

    fn mischief(&mut self) -> Option<Mischief> {
        let faults = &self.faults;
        let all = [
            (faults.reset, Mischief::Reset),
            (faults.half_close, Mischief::HalfClose),
            (faults.vanish, Mischief::Vanish),
            (faults.takeover, Mischief::Takeover),
            (faults.bad_packet, Mischief::BadPacket),
            (faults.stop_reading, Mischief::StopReading),
            (faults.kill, Mischief::Kill),
        ];
        let mut drawn = self.random.below(1_000_000) as u32;
        for (chance, mischief) in all {
            if drawn < chance {
                return Some(mischief);
            }
            drawn -= chance;
        }
        None
    }

    fn misbehave(&mut self, client: usize, mischief: Mischief) {
        let Some(socket) = self.clients[client].socket else { return };
        match mischief {
            Mischief::Reset => {
                self.net.get(socket).reset = true;
                if let Some((shard, _)) = self.net.get(socket).place {
                    self.nodes[shard].gone.push(socket);
                    self.wake_shard(shard, self.now + 10_000);
                }
                self.lose(client);
            }
            Mischief::HalfClose => {
                self.net.get(socket).finished = true;
                self.tell(socket);
                self.lose(client);
            }
            // Nobody hears of it until the keep-alive is over, or the client is back.
            Mischief::Vanish | Mischief::Takeover => self.lose(client),
            Mischief::BadPacket => {
                let mut rubbish = Vec::new();
                let which = self.random.below(u64::from(RUBBISH)) as u8;
                put_rubbish(&mut rubbish, self.plan.clients[client].v5, which);
                self.write(client, &mut rubbish);
                self.clients[client].state = State::Doomed;
            }
            Mischief::StopReading => {
                self.clients[client].deaf_until = self.now + self.random.between(10 * MS, 500 * MS);
                self.net.get(socket).room = Some(self.random.below(2_000) as usize);
            }
            Mischief::Kill => return self.kill(),
        }
        let at = match (mischief, self.clients[client].state) {
            (Mischief::Takeover, _) => self.now + 1_000,
            (_, State::Away(until)) => until,
            _ => self.now + self.plan.think_ns,
        };
        if let (Mischief::Takeover, State::Away(until)) = (mischief, &mut self.clients[client].state) {
            *until = self.now;
        }
        self.wake_client(client, at);
    }
}
