//! The mesh: order under load with sleeps and full rings, and connections that move with their unread bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aqueduct::clock::{Mono, Now};
use aqueduct::shard::ShardId;
use aqueduct::shard::io::{CloseReason, ConnKey, Input, Io, Machine, Recv, Wait};
use aqueduct::shard::mesh::{MeshMsg, Moved};
use aqueduct::ticket::Outcome;

use crate::rig::{self, Options, eventually, numbered};

/// Every shard sends numbered batches to every other, in bursts with pauses; receivers check the order and send them back.
struct Chatter {
    me: ShardId,
    shards: u16,
    total: i64,
    sent: i64,
    next_burst: Mono,
    seen: Vec<i64>,
    returned: Vec<i64>,
    progress: Arc<AtomicU64>,
}

impl Machine for Chatter {
    fn on(&mut self, _: Now, input: Input<'_>, io: &mut impl Io) {
        match input {
            Input::Mesh(from, MeshMsg::HandOver(batch)) => {
                assert_eq!(batch.base_timestamp_ms, self.seen[from.0 as usize], "order from {from:?} to {:?}", self.me);
                self.seen[from.0 as usize] += 1;
                io.mesh(from, MeshMsg::Return(batch, Outcome::Stored { base_offset: 0 }));
            }
            Input::Mesh(from, MeshMsg::Return(batch, _)) => {
                assert_eq!(batch.base_timestamp_ms, self.returned[from.0 as usize], "order of returns");
                self.returned[from.0 as usize] += 1;
                self.progress.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("not for a chatter: {other:?}"),
        }
    }

    fn end_round(&mut self, now: Now, io: &mut impl Io) -> Wait {
        if now.mono >= self.next_burst && self.sent < self.total {
            // From single messages to far more than the ring holds.
            let burst = 1 + (self.sent * 7919) % 97;
            for _ in 0..burst.min(self.total - self.sent) {
                for to in (0..self.shards).filter(|&to| to != self.me.0) {
                    io.mesh(ShardId(to), MeshMsg::HandOver(numbered(self.sent)));
                }
                self.sent += 1;
            }
            self.next_burst = now.mono + (self.sent as u64 * 31) % 400_000;
        }
        Wait { deadline: (self.sent < self.total).then_some(self.next_burst), clients: true }
    }
}

#[test]
fn messages_keep_their_order() {
    let (shards, total) = (2, 20_000);
    let progress = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&progress);
    let make = move |me| Chatter {
        me,
        shards,
        total,
        sent: 0,
        next_burst: Mono(0),
        seen: vec![0; shards as usize],
        returned: vec![0; shards as usize],
        progress: Arc::clone(&shared),
    };
    let options = Options { shards: shards as usize, mesh_capacity: 16, ..Options::default() };
    let _rig = rig::start(options, make);
    eventually("every message came and went back", || progress.load(Ordering::Relaxed) == 2 * total as u64);
}

/// Reads a little of each new connection, then gives it to the next shard with what it read; a connection that arrived is
/// echoed, beginning with those unread bytes.
struct Mover {
    me: ShardId,
    shards: u16,
    here: Vec<(ConnKey, Vec<u8>)>,
    arrived: Arc<AtomicU64>,
}

impl Machine for Mover {
    fn on(&mut self, _: Now, input: Input<'_>, io: &mut impl Io) {
        match input {
            Input::Accepted(..) => {}
            Input::Arrived(conn, moved) => {
                self.arrived.fetch_add(1, Ordering::Relaxed);
                self.here.push((conn, moved.unread));
            }
            Input::Readable(conn) | Input::Writable(conn) => match self.here.iter().position(|(key, _)| *key == conn) {
                Some(at) => self.echo(at, io),
                None => self.give_away(conn, io),
            },
            Input::Closed(conn) => io.close(conn, CloseReason::Peer),
            other => panic!("not for a mover: {other:?}"),
        }
    }

    fn end_round(&mut self, _: Now, _: &mut impl Io) -> Wait {
        Wait { deadline: None, clients: true }
    }
}

impl Mover {
    fn give_away(&mut self, conn: ConnKey, io: &mut impl Io) {
        let mut some = [0; 100];
        if let Recv::Got { n, .. } = io.recv(conn, &mut some) {
            let peer = ([127, 0, 0, 1], 0).into();
            let moved = Moved { unread: some[..n].to_vec(), listener: 0, peer };
            io.move_conn(conn, ShardId((self.me.0 + 1) % self.shards), Box::new(moved));
            assert_eq!(io.recv(conn, &mut some), Recv::Error, "the key is dead");
        }
    }

    fn echo(&mut self, at: usize, io: &mut impl Io) {
        let (conn, waiting) = &mut self.here[at];
        let mut buffer = [0; 4096];
        loop {
            let sent = io.send(*conn, waiting);
            waiting.drain(..sent);
            if !waiting.is_empty() {
                return;
            }
            match io.recv(*conn, &mut buffer) {
                Recv::Got { n, .. } => waiting.extend_from_slice(&buffer[..n]),
                Recv::Empty => return,
                Recv::Eof | Recv::Error => {
                    io.close(*conn, CloseReason::Peer);
                    self.here.remove(at);
                    return;
                }
            }
        }
    }
}

#[test]
fn a_moved_connection_keeps_its_bytes_and_their_order() {
    let arrived = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&arrived);
    let make = move |me| Mover { me, shards: 2, here: Vec::new(), arrived: Arc::clone(&shared) };
    let rig = rig::start(Options { shards: 2, mesh_capacity: 4, ..Options::default() }, make);
    let connections = 60;
    let clients: Vec<_> = (0..connections)
        .map(|i| {
            let mut stream = TcpStream::connect(rig.addr).expect("connects");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            std::thread::spawn(move || {
                let data: Vec<u8> = (0..50_000).map(|j| ((i * 131 + j * 7) >> 2) as u8).collect();
                let mut reader = stream.try_clone().expect("a second handle");
                let expected = data.clone();
                let writer = std::thread::spawn(move || {
                    for piece in data.chunks(1 + i * 37) {
                        stream.write_all(piece).expect("sends");
                    }
                    stream.shutdown(std::net::Shutdown::Write).expect("half close");
                });
                let mut back = Vec::new();
                reader.read_to_end(&mut back).expect("all comes back");
                writer.join().expect("the writer ends");
                assert!(back == expected, "connection {i} got back what it sent");
            })
        })
        .collect();
    for client in clients {
        client.join().expect("the client is content");
    }
    assert_eq!(arrived.load(Ordering::Relaxed), connections as u64, "each moved once");
}
