//! Reading clients: from Readable to whole packets, and holding a connection still when a packet does not fit.

use mqtt::frame::{self, Split};

use super::io::{CloseReason, ConnKey, Io, Recv};
use super::mesh::Moved;
use super::packet::Flow;
use super::{Shard, conn_mut};
use crate::clock::Now;
use crate::listener::connection::{Connection, Held, OUT_BYTES_MAX};
use crate::listener::read_buffers::READ_BUFFER_BYTES;
use crate::listener::receive::{HEADROOM_BYTES, KEEP_BUFFER_BYTES, READ_BYTES, READ_BYTES_MAX, TAIL_BYTES_MAX};

/// Bytes one connection may bring before the others have their turn.
const TURN_BYTES: usize = READ_BYTES_MAX;

/// What becomes of a connection after some of its bytes were looked at.
pub(super) enum After {
    /// It stays.
    Keep,
    /// It goes to its home shard, with these bytes unread.
    Move(super::ShardId, Box<Moved>),
    /// It ends now.
    Close(CloseReason),
}

/// How far parsing got.
struct Parsed {
    /// Bytes of whole packets that were handled.
    consumed: usize,
    /// Length of the packet that begins after them, if its end is missing; 0 if nothing or a held packet follows.
    need: usize,
    after: After,
}

impl Shard {
    pub(super) fn on_readable(&mut self, now: Now, key: ConnKey, io: &mut impl Io) {
        if let Some(mut conn) = self.take_conn(key) {
            // A drain reads no clients; those that are not in yet are told so.
            conn.readable = !self.drain.is_draining() || conn.session.is_none();
            self.serve(now, conn, io);
        }
    }

    /// The socket takes bytes again.
    pub(super) fn on_writable(&mut self, key: ConnKey) {
        let Some(conn) = conn_mut(&mut self.conns, key).filter(|c| c.blocked) else { return };
        conn.blocked = false;
        Self::mark_dirty(&mut self.lists, conn);
    }

    /// Reads a connection for one turn and puts it where it belongs afterwards.
    pub(super) fn serve(&mut self, now: Now, mut conn: Box<Connection>, io: &mut impl Io) {
        let after = self.read_turn(now, &mut conn, io);
        self.settle_unread_charge(&mut conn);
        match after {
            After::Keep => self.put_conn(conn),
            After::Move(home, moved) => {
                self.counters.connections -= 1;
                self.counters.connections_moved += 1;
                self.release_unread(conn.charged_bytes);
                io.move_conn(conn.key, home, moved);
            }
            After::Close(why) => self.end_connection(now, conn, why, io),
        }
    }

    /// Hands what a held connection has unread to the parser again, then reads on.
    pub(super) fn resume(&mut self, now: Now, conn: Box<Connection>, io: &mut impl Io) {
        let (key, since, in_turn) = (conn.key, conn.held_since, conn.rationed);
        let before = (self.counters.reads, self.counters.received_packets);
        self.try_again(now, conn, io);
        let stuck = before == (self.counters.reads, self.counters.received_packets);
        if stuck
            && !in_turn
            && let Some(conn) = conn_mut(&mut self.conns, key).filter(|c| c.held.is_some())
        {
            // It is the same pause as before, and its turn does not move away.
            conn.held_since = since;
            self.counters.backpressure_pauses -= 1;
        }
    }

    fn try_again(&mut self, now: Now, mut conn: Box<Connection>, io: &mut impl Io) {
        let why = conn.held.take();
        self.counters.backpressure_paused -= 1;
        if why != Some(Held::Output) {
            // Its silence was ours.
            conn.mqtt.received(now.mono.as_ms());
        }
        if conn.closing.is_some() {
            // Nothing is stored behind what was refused: its client sends all of it again.
            self.settle_unread_charge(&mut conn);
            return self.put_conn(conn);
        }
        if conn.unread.is_large() || conn.unread.bytes().is_empty() {
            return self.serve(now, conn, io);
        }
        let taken = conn.unread.take();
        let parsed = self.parse(now, &mut conn, taken.bytes(), io);
        let left = conn.unread.put_back(taken, parsed.consumed, parsed.need);
        self.read_buffers.give(left.unwrap_or_default());
        match parsed.after {
            After::Keep if conn.held.is_none() => self.serve(now, conn, io),
            After::Keep => {
                self.settle_unread_charge(&mut conn);
                self.put_conn(conn);
            }
            After::Close(why) => self.end_connection(now, conn, why, io),
            After::Move(..) => unreachable!("a held connection has sent its CONNECT"),
        }
    }

    fn read_turn(&mut self, now: Now, conn: &mut Connection, io: &mut impl Io) -> After {
        let mut left_bytes = TURN_BYTES;
        while conn.readable && conn.held.is_none() && conn.closing.is_none() {
            if left_bytes == 0 {
                self.lists.ready.push(conn.key);
                break;
            }
            let after = if conn.unread.is_large() {
                self.read_large(now, conn, &mut left_bytes, io)
            } else {
                self.read_shared(now, conn, &mut left_bytes, io)
            };
            if !matches!(after, After::Keep) {
                return after;
            }
        }
        After::Keep
    }

    /// Reads into the shard's buffer, behind the tail of last time, and parses it there.
    fn read_shared(&mut self, now: Now, conn: &mut Connection, left_bytes: &mut usize, io: &mut impl Io) -> After {
        let size = self.read_size(conn).min(*left_bytes);
        let mut buffer = self.read_buffers.take();
        let tail = conn.unread.bytes();
        let start = HEADROOM_BYTES - tail.len();
        buffer[start..HEADROOM_BYTES].copy_from_slice(tail);
        let after = match io.recv(conn.key, &mut buffer[HEADROOM_BYTES..HEADROOM_BYTES + size]) {
            Recv::Got { n, more } => {
                *left_bytes -= n.min(*left_bytes);
                self.note_read(now, conn, n, more, n == size);
                let end = HEADROOM_BYTES + n;
                let parsed = self.parse(now, conn, &buffer[start..end], io);
                let start = start + parsed.consumed;
                if end - start > KEEP_BUFFER_BYTES && self.may_keep_buffer(parsed.need) {
                    conn.unread.keep_buffer(buffer, start, end);
                    return parsed.after;
                }
                conn.unread.keep(&buffer[start..end], parsed.need);
                parsed.after
            }
            Recv::Empty => {
                conn.readable = false;
                After::Keep
            }
            Recv::Eof | Recv::Error => After::Close(CloseReason::Peer),
        };
        self.read_buffers.give(buffer);
        after
    }

    /// Whether a connection may keep the buffer it was read into: never for a packet that has one of its own, which grows.
    #[cold]
    fn may_keep_buffer(&self, need: usize) -> bool {
        need <= TAIL_BYTES_MAX && self.budget.free_unread_bytes() >= READ_BUFFER_BYTES
    }

    /// Reads into the connection's own buffer, up to the end of the packet that it holds the beginning of.
    fn read_large(&mut self, now: Now, conn: &mut Connection, left_bytes: &mut usize, io: &mut impl Io) -> After {
        let growth = conn.unread.growth();
        if growth > self.budget.free_unread_bytes() && !self.goes_first(conn.key, growth) {
            self.hold(now, conn, Held::Publish);
            return After::Keep;
        }
        let spare = conn.unread.spare();
        let size = spare.len().min(*left_bytes);
        match io.recv(conn.key, &mut spare[..size]) {
            Recv::Got { n, more } => {
                *left_bytes -= n;
                self.note_read(now, conn, n, more, false);
                // A slice that ends with the packet is filled by the packet, not by a busy client.
                conn.readable |= n == size;
                let whole = conn.unread.filled(n);
                self.settle_unread_charge(conn);
                if whole { self.parse_own(now, conn, io) } else { After::Keep }
            }
            Recv::Empty => {
                conn.readable = false;
                After::Keep
            }
            Recv::Eof | Recv::Error => After::Close(CloseReason::Peer),
        }
    }

    /// Whether a packet that does not fit beside the other unread bytes may be read on all the same. One may at a time, or
    /// many that have arrived in part could wait for each other for ever.
    #[cold]
    fn goes_first(&mut self, key: ConnKey, growth: usize) -> bool {
        let first = self
            .first_large
            .filter(|&first| first != key && conn_mut(&mut self.conns, first).is_some_and(|c| c.unread.is_large()));
        if first.is_some() || growth > self.budget.free_bytes() {
            return false;
        }
        self.first_large = Some(key);
        true
    }

    fn parse_own(&mut self, now: Now, conn: &mut Connection, io: &mut impl Io) -> After {
        let taken = conn.unread.take();
        let parsed = self.parse(now, conn, taken.bytes(), io);
        conn.unread.put_back(taken, parsed.consumed, parsed.need);
        self.settle_unread_charge(conn);
        parsed.after
    }

    fn note_read(&mut self, now: Now, conn: &mut Connection, n: usize, more: bool, filled: bool) {
        conn.readable = more;
        conn.read_bytes = if filled { (2 * conn.read_bytes).min(READ_BYTES_MAX) } else { READ_BYTES };
        conn.mqtt.received(now.mono.as_ms());
        self.counters.reads += 1;
        self.counters.received_bytes += n as u64;
        self.round.filled |= filled;
        self.round.bytes += n;
    }

    /// Reads shrink with the free budget: what was read and not placed has to be kept.
    fn read_size(&self, conn: &Connection) -> usize {
        conn.read_bytes.min(self.budget.free_unread_bytes()).max(TAIL_BYTES_MAX)
    }

    /// Handles whole packets from the front of `bytes` until one is incomplete, does not fit, or ends the connection.
    fn parse(&mut self, now: Now, conn: &mut Connection, bytes: &[u8], io: &mut impl Io) -> Parsed {
        let mut consumed = 0;
        let stop = |consumed, need, after| Parsed { consumed, need, after };
        loop {
            let rest = &bytes[consumed..];
            if rest.is_empty() {
                return stop(consumed, 0, After::Keep);
            }
            if conn.out.len() > OUT_BYTES_MAX && self.output_is_stuck(conn, io) {
                self.hold(now, conn, Held::Output);
                return stop(consumed, 0, After::Keep);
            }
            let frame = match frame::split(rest, self.settings.mqtt.packet_bytes_max) {
                Ok(Split::Whole(frame)) => frame,
                Ok(Split::Need(need)) => return stop(consumed, need, After::Keep),
                Err(error) => {
                    self.protocol_error(now, conn, &error, io);
                    return stop(bytes.len(), 0, After::Keep);
                }
            };
            let len = frame.len;
            match self.on_frame(now, conn, frame, io) {
                Flow::Next if conn.rationed => {
                    self.hold(now, conn, Held::Publish);
                    return stop(consumed + len, 0, After::Keep);
                }
                Flow::Next => consumed += len,
                Flow::Hold(why) => {
                    // It will be counted when it comes again.
                    self.counters.received_packets -= 1;
                    self.hold(now, conn, why);
                    return stop(consumed, 0, After::Keep);
                }
                Flow::End => return stop(bytes.len(), 0, After::Keep),
                Flow::Move(home) => {
                    let moved = Moved { unread: rest.to_vec(), listener: conn.listener, peer: conn.peer };
                    return stop(bytes.len(), 0, After::Move(home, Box::new(moved)));
                }
            }
        }
    }

    fn output_is_stuck(&mut self, conn: &mut Connection, io: &mut impl Io) -> bool {
        self.counters.sends += 1;
        self.counters.sent_bytes += conn.flush(io) as u64;
        conn.out.len() > OUT_BYTES_MAX
    }

    /// Stops reading a connection until something is released.
    fn hold(&mut self, now: Now, conn: &mut Connection, why: Held) {
        conn.held = Some(why);
        conn.held_since = now.mono;
        self.counters.backpressure_pauses += 1;
        self.counters.backpressure_paused += 1;
        self.lists.held.push(conn.key);
    }

    /// Keeps the budget equal to what the connection's buffer holds; tails are part of the connection's fixed cost.
    fn settle_unread_charge(&mut self, conn: &mut Connection) {
        let capacity = conn.unread.capacity();
        let charge = if capacity > TAIL_BYTES_MAX { capacity } else { 0 };
        if charge > conn.charged_bytes {
            self.budget.charge_unread(charge - conn.charged_bytes);
        } else {
            self.release_unread(conn.charged_bytes - charge);
        }
        conn.charged_bytes = charge;
    }

    /// Gives bytes of a connection's buffer back; held connections may wait for them.
    pub(super) fn release_unread(&mut self, bytes: usize) {
        self.budget.release_unread(bytes);
        self.round.released |= bytes > 0;
    }
}
