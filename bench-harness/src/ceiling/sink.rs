//! The MQTT side of the ceiling: connections, the least parsing a frame needs, acknowledgements.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::batch::{Acks, Batch};
use crate::mqtt_wire::{self, CONNACK_ACCEPTED, PINGRESP, Packet};

/// One receive buffer for all connections; what a connection sent more of waits for its next turn.
const BUFFER_BYTES: usize = 256 * 1024;

/// All connections.
pub(super) struct Sink {
    listener: TcpListener,
    partitions: u32,
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
    /// Connections with acknowledgements to send, each once.
    owing: Vec<u32>,
}

struct Connection {
    socket: TcpStream,
    key: Vec<u8>,
    /// The start of a frame whose end has not come yet.
    tail: Vec<u8>,
    acks: Vec<u8>,
    owing: bool,
}

impl Connection {
    fn answer(&mut self, number: u32, bytes: &[u8], owing: &mut Vec<u32>) {
        self.acks.extend_from_slice(bytes);
        if !self.owing {
            self.owing = true;
            owing.push(number);
        }
    }
}

impl Sink {
    pub(super) fn new(listener: TcpListener, partitions: u32) -> Self {
        Self { listener, partitions, connections: Vec::new(), buffer: vec![0; BUFFER_BYTES], owing: Vec::new() }
    }

    /// The partition that a connection's records go to.
    pub(super) fn partition_of(&self, number: u32) -> usize {
        (number % self.partitions) as usize
    }

    /// Takes every connection that waits.
    pub(super) fn accept(&mut self, set: &OwnedFd) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).into_diagnostic().wrap_err("accepting a connection"),
            };
            socket.set_nodelay(true).into_diagnostic()?;
            socket.set_nonblocking(true).into_diagnostic()?;
            let key = EventData::new_u64(self.connections.len() as u64);
            epoll::add(set, &socket, key, EventFlags::IN | EventFlags::OUT | EventFlags::ET).into_diagnostic()?;
            let connection = Connection { socket, key: Vec::new(), tail: Vec::new(), acks: Vec::new(), owing: false };
            self.connections.push(Some(connection));
        }
    }

    /// Reads one buffer's worth. Answers how many messages came, and whether more may be there.
    pub(super) fn read(&mut self, number: u32, filling: &mut [Batch], acks: Acks) -> Result<(u32, bool)> {
        let partition = self.partition_of(number);
        let Some(slot) = self.connections.get_mut(number as usize) else { return Ok((0, false)) };
        let Some(connection) = slot else { return Ok((0, false)) };
        let held = connection.tail.len();
        self.buffer[..held].copy_from_slice(&connection.tail);
        let got = match recv(&connection.socket, &mut self.buffer[held..], RecvFlags::DONTWAIT) {
            Ok((_, got)) if got > 0 => got,
            Err(Errno::AGAIN) => return Ok((0, false)),
            Ok(_) | Err(_) => {
                *slot = None;
                return Ok((0, false));
            }
        };
        let bytes = &self.buffer[..held + got];
        let partition = &mut filling[partition];
        let (mut used, mut messages) = (0, 0);
        while let Some((packet, length)) = mqtt_wire::packet(&bytes[used..]).into_diagnostic()? {
            used += length;
            messages += u32::from(packet.kind() == 3);
            take(connection, number, packet, partition, acks, &mut self.owing)?;
        }
        connection.tail.clear();
        connection.tail.extend_from_slice(&bytes[used..]);
        Ok((messages, held + got == BUFFER_BYTES))
    }

    /// Owes the PUBACKs of a stored batch.
    pub(super) fn acknowledge(&mut self, batch: &Batch) {
        let mut ids = batch.packet_ids.iter();
        for run in &batch.runs {
            let Some(Some(connection)) = self.connections.get_mut(run.connection as usize) else {
                ids.by_ref().take(run.count as usize).for_each(drop);
                continue;
            };
            for id in ids.by_ref().take(run.count as usize) {
                connection.answer(run.connection, &mqtt_wire::puback(*id), &mut self.owing);
            }
        }
    }

    /// The socket takes bytes again: what it did not take before is tried at the end of the round.
    pub(super) fn wants_flush(&mut self, number: u32) {
        if let Some(Some(connection)) = self.connections.get_mut(number as usize)
            && !connection.acks.is_empty()
        {
            connection.answer(number, &[], &mut self.owing);
        }
    }

    /// One send for every connection that is owed something.
    pub(super) fn flush_acks(&mut self) -> Result<()> {
        for number in self.owing.drain(..) {
            let Some(Some(connection)) = self.connections.get_mut(number as usize) else { continue };
            connection.owing = false;
            match send(&connection.socket, &connection.acks, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(taken) if taken == connection.acks.len() => connection.acks.clear(),
                Ok(taken) => drop(connection.acks.drain(..taken)),
                Err(Errno::AGAIN) => {}
                Err(_) => self.connections[number as usize] = None,
            }
        }
        Ok(())
    }
}

/// Acts on one packet.
fn take(
    connection: &mut Connection,
    number: u32,
    packet: Packet<'_>,
    partition: &mut Batch,
    acks: Acks,
    owing: &mut Vec<u32>,
) -> Result<()> {
    match packet.kind() {
        3 => publish(connection, number, packet, partition, acks, owing),
        1 => {
            let id_bytes = usize::from(packet.u16_at(10).into_diagnostic()?);
            let id = packet.body.get(12..12 + id_bytes).ok_or_else(|| miette!("a CONNECT that is too short"))?;
            connection.key = id.to_vec();
            connection.answer(number, &CONNACK_ACCEPTED, owing);
            Ok(())
        }
        12 => {
            connection.answer(number, &PINGRESP, owing);
            Ok(())
        }
        _ => Ok(()),
    }
}

#[inline]
fn publish(
    connection: &mut Connection,
    number: u32,
    packet: Packet<'_>,
    partition: &mut Batch,
    acks: Acks,
    owing: &mut Vec<u32>,
) -> Result<()> {
    let topic_end = 2 + usize::from(packet.u16_at(0).into_diagnostic()?);
    let qos0 = packet.first & 0b0110 == 0;
    let payload_at = if qos0 { topic_end } else { topic_end + 2 };
    let payload = packet.body.get(payload_at..).ok_or_else(|| miette!("a PUBLISH that is too short"))?;
    if acks != Acks::Discarded {
        partition.append(&connection.key, payload);
    }
    if !qos0 {
        let id = packet.u16_at(topic_end).into_diagnostic()?;
        match acks {
            Acks::AfterKafka => partition.owe(number, id),
            Acks::Discarded | Acks::TooEarly => connection.answer(number, &mqtt_wire::puback(id), owing),
        }
    }
    Ok(())
}
