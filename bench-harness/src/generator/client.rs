//! One MQTT client: its socket, its window of unacknowledged messages, the bytes the socket did not take.
//!
//! Invariant: `base <= next <= due <= last`. Messages below `base` are acknowledged (QoS 0: sent), below `next` sent,
//! below `due` allowed to be sent, below `last` the phase's share. `next - base` never exceeds the window.

use std::net::TcpStream;
use std::ops::BitOr;

use miette::{IntoDiagnostic, Result};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frames::{Frames, packet_id};
use super::tally::Tally;
use super::truth::TruthLog;
use crate::message;
use crate::mqtt_wire::{self, Packet};
use crate::workload::{Pace, Workload};

/// What a served event made possible.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// The client may have become able to send.
    pub(super) may_send: bool,
}

impl BitOr for Work {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { may_send: self.may_send || other.may_send }
    }
}

/// When the messages of the running phase are due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    pace: Pace,
    start_ns: u64,
    position: u64,
    connections: u64,
    first: u32,
}

impl Schedule {
    /// The client's messages are every `connections`-th of the phase, from its position on.
    fn due_ns(&self, sequence: u32) -> u64 {
        let number = u64::from(sequence - self.first) * self.connections + self.position;
        self.start_ns + self.pace.due_ns(number)
    }
}

/// One client.
pub(super) struct Client {
    index: u32,
    socket: TcpStream,
    topic: Vec<u8>,
    qos: u8,
    window: u32,
    base: u32,
    next: u32,
    due: u32,
    last: u32,
    schedule: Option<Schedule>,
    /// By sequence modulo its length, a power of two: when the message was due (open loop) or sent (closed loop).
    since_ns: Vec<u64>,
    /// Likewise: acknowledged out of turn.
    early: Vec<bool>,
    unsent: Vec<u8>,
    unsent_from: usize,
    /// The start of a packet whose end has not come yet.
    tail: Vec<u8>,
    state: State,
    pong: bool,
    queued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitConnack,
    Active,
    Gone,
}

impl Client {
    /// Takes a connected socket and sends CONNECT on it.
    pub(super) fn open(socket: TcpStream, index: u32, workload: &Workload, keepalive_seconds: u16) -> Result<Self> {
        socket.set_nodelay(true).into_diagnostic()?;
        socket.set_nonblocking(true).into_diagnostic()?;
        let slots = if workload.qos == 0 { 1 } else { workload.window.next_power_of_two() as usize };
        let mut client = Self {
            index,
            socket,
            topic: message::topic(index).into_bytes(),
            qos: workload.qos,
            window: if workload.qos == 0 { u32::MAX } else { workload.window },
            base: 0,
            next: 0,
            due: 0,
            last: 0,
            schedule: None,
            since_ns: vec![0; slots],
            early: vec![false; slots],
            unsent: Vec::new(),
            unsent_from: 0,
            tail: Vec::new(),
            state: State::AwaitConnack,
            pong: false,
            queued: false,
        };
        mqtt_wire::put_connect(&mut client.unsent, &message::client_id(index), keepalive_seconds);
        client.flush_unsent().into_diagnostic()?;
        Ok(client)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Its index and how many messages it has sent so far.
    pub(super) fn sent(&self) -> (u32, u32) {
        (self.index, self.next)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state == State::Active
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state != State::Gone
    }

    pub(super) fn has_pong(&self) -> bool {
        self.pong
    }

    /// Marks the client as queued; false if it was already, or has no connection.
    pub(super) fn queue(&mut self) -> bool {
        let fresh = !self.queued && self.is_alive();
        self.queued |= fresh;
        fresh
    }

    /// Takes the mark of [`Client::queue`] away.
    pub(super) fn unqueue(&mut self) {
        self.queued = false;
    }

    /// Takes on `share` more messages. Answers how many of them are abandoned at once, because the connection is gone.
    pub(super) fn begin_phase(
        &mut self,
        share: u32,
        all_due: bool,
        pace: Option<Pace>,
        position: u32,
        connections: u64,
        start_ns: u64,
    ) -> u64 {
        self.queued = false;
        if !self.is_alive() {
            return u64::from(share);
        }
        let first = self.next;
        self.last = first + share;
        self.due = if all_due { self.last } else { first };
        self.schedule = pace.map(|pace| Schedule { pace, start_ns, position: position.into(), connections, first });
        0
    }

    /// Open loop: one more message may be sent.
    pub(super) fn one_more_due(&mut self) {
        if self.is_alive() {
            self.due += 1;
        }
    }

    /// Sends one block, if something is due, the window is open and the socket is free. True if another could follow.
    pub(super) fn send(
        &mut self,
        frames: &mut Frames,
        tally: &mut Tally,
        truth: Option<&mut TruthLog>,
        now_ns: u64,
    ) -> Result<bool> {
        self.queued = false;
        let free = self.window - (self.next - self.base);
        let count = (self.due - self.next).min(free).min(frames.count());
        if !self.is_connected() || !self.unsent.is_empty() || count == 0 {
            return Ok(false);
        }
        if let Some(log) = truth {
            log.sent(self.index, self.next, count)?;
        }
        let bytes = frames.patch(self.index, &self.topic, self.next, count);
        self.note_sending(count, tally, now_ns);
        match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(taken) => self.unsent.extend_from_slice(&bytes[taken..]),
            Err(Errno::AGAIN) => self.unsent.extend_from_slice(bytes),
            Err(_) => self.lose(tally),
        }
        Ok(self.unsent.is_empty() && self.next < self.due && self.next - self.base < self.window)
    }

    /// Gives the socket what it did not take before.
    pub(super) fn flush(&mut self, tally: &mut Tally) -> Work {
        if self.unsent.is_empty() || !self.is_alive() {
            return Work::default();
        }
        if self.flush_unsent().is_err() {
            self.lose(tally);
        }
        Work { may_send: self.is_alive() && self.unsent.is_empty() }
    }

    /// Reads what has come and acts on every whole packet in it. A short read ends it, as the next byte raises an event
    /// of its own; but where the end of the stream was announced (`ended`), that event has been and it reads on to it.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        ended: bool,
        tally: &mut Tally,
        mut truth: Option<&mut TruthLog>,
        now_ns: u64,
    ) -> Result<Work> {
        let mut work = Work::default();
        while self.is_alive() {
            let held = self.tail.len();
            scratch[..held].copy_from_slice(&self.tail);
            let room = scratch.len() - held;
            let got = match recv(&self.socket, &mut scratch[held..], RecvFlags::DONTWAIT) {
                Ok((_, got)) if got > 0 => got,
                Err(Errno::AGAIN) => break,
                Ok(_) | Err(_) => {
                    self.lose(tally);
                    break;
                }
            };
            let used = self.take_packets(&scratch[..held + got], tally, truth.as_deref_mut(), now_ns)?;
            self.tail.clear();
            self.tail.extend_from_slice(&scratch[used..held + got]);
            work.may_send = true;
            if got < room && !ended {
                break;
            }
        }
        Ok(work)
    }

    /// Sends PINGREQ, whose answer says that the server has read everything before it.
    pub(super) fn ping(&mut self, tally: &mut Tally) {
        self.pong = false;
        if self.is_alive() {
            self.unsent.extend_from_slice(&mqtt_wire::PINGREQ);
            self.flush(tally);
        }
    }

    /// Sends DISCONNECT, best effort; dropping the client closes the socket.
    pub(super) fn say_goodbye(&mut self) {
        if self.is_connected() {
            let _ = send(&self.socket, &mqtt_wire::DISCONNECT, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Acts on every whole packet and answers how many bytes they took.
    fn take_packets(
        &mut self,
        bytes: &[u8],
        tally: &mut Tally,
        mut truth: Option<&mut TruthLog>,
        now_ns: u64,
    ) -> Result<usize> {
        let mut used = 0;
        let acked_from = self.base;
        while self.is_alive() {
            match mqtt_wire::packet(&bytes[used..]) {
                Ok(Some((packet, length))) => {
                    used += length;
                    if !self.take(packet, tally, truth.as_deref_mut(), now_ns)? {
                        self.lose(tally);
                    }
                }
                Ok(None) => break,
                Err(_) => self.lose(tally),
            }
        }
        // In turn, as nearly always, the acknowledged are one run; those out of turn were logged one by one.
        if let (Some(log), true) = (truth, self.base > acked_from) {
            log.acked(self.index, acked_from, self.base - acked_from)?;
        }
        tally.end_of_read();
        Ok(used.min(bytes.len()))
    }

    /// Acts on one packet; false if the server may not send it here.
    fn take(
        &mut self,
        packet: Packet<'_>,
        tally: &mut Tally,
        truth: Option<&mut TruthLog>,
        now_ns: u64,
    ) -> Result<bool> {
        match packet.kind() {
            4 => match packet.u16_at(0) {
                Ok(id) => self.acknowledge(id, tally, truth, now_ns).map(|()| true),
                Err(_) => Ok(false),
            },
            2 if self.state == State::AwaitConnack && packet.body == [0, 0] => {
                self.state = State::Active;
                Ok(true)
            }
            13 => {
                self.pong = true;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn acknowledge(&mut self, id: u16, tally: &mut Tally, truth: Option<&mut TruthLog>, now_ns: u64) -> Result<()> {
        let mask = self.early.len() - 1;
        // The distance from the oldest open message to the acknowledged one, on the circle of packet ids.
        let distance = (u32::from(id) + 65_535 - u32::from(packet_id(self.base))) % 65_535;
        if id == 0 || distance >= self.next - self.base || self.early[(self.base + distance) as usize & mask] {
            tally.stray_acks += 1;
            return Ok(());
        }
        let sequence = self.base + distance;
        tally.acked(now_ns.saturating_sub(self.since_ns[sequence as usize & mask]));
        if distance > 0 {
            tally.acks_out_of_order += 1;
            self.early[sequence as usize & mask] = true;
            return truth.map_or(Ok(()), |log| log.acked(self.index, sequence, 1));
        }
        self.base += 1;
        while self.base < self.next && std::mem::take(&mut self.early[self.base as usize & mask]) {
            self.base += 1;
        }
        Ok(())
    }

    /// Books `count` messages as sent; their latency starts now, or when they were due.
    fn note_sending(&mut self, count: u32, tally: &mut Tally, now_ns: u64) {
        let mask = self.since_ns.len() - 1;
        for sequence in self.next..self.next + count {
            let since_ns = self.schedule.map_or(now_ns, |schedule| schedule.due_ns(sequence));
            self.since_ns[sequence as usize & mask] = since_ns;
            if self.schedule.is_some() {
                tally.late(now_ns.saturating_sub(since_ns));
            }
        }
        self.next += count;
        if self.qos == 0 {
            self.base = self.next;
        }
        tally.sent += u64::from(count);
    }

    fn flush_unsent(&mut self) -> rustix::io::Result<()> {
        while self.unsent_from < self.unsent.len() {
            let rest = &self.unsent[self.unsent_from..];
            match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(taken) => self.unsent_from += taken,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.unsent_from = 0;
        Ok(())
    }

    /// The connection is gone: what was not sent or not acknowledged will not be.
    fn lose(&mut self, tally: &mut Tally) {
        if self.is_alive() {
            self.state = State::Gone;
            tally.disconnected += 1;
            tally.abandoned += u64::from(self.last - self.next);
            tally.unanswered +=
                u64::from(self.next - self.base) - self.early.iter().filter(|early| **early).count() as u64;
        }
    }
}
