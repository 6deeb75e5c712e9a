//! Starts shards with test machines, and stops them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct::buffer::{Batch, BatchPool, PartKey};
use aqueduct::clock::Mono;
use aqueduct::driver::{
    Clock, ControlPort, Disk, Doorbell, Executor, Letter, Mailbox, Order, Parts, Seats, ShardLoop, SocketOptions, bind,
    letters, weave,
};
use aqueduct::shard::ShardId;
use aqueduct::shard::control::Command;
use aqueduct::shard::io::{ListenerId, Machine};
use tokio::sync::mpsc;

/// Running shards; stopped and joined when dropped.
pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    pub(crate) letters: mpsc::Receiver<(ShardId, Letter)>,
    executors: Vec<Executor>,
    mailboxes: Vec<Arc<Mailbox>>,
}

/// What a rig is made of besides its machines.
pub(crate) struct Options {
    pub(crate) shards: usize,
    pub(crate) mesh_capacity: usize,
    pub(crate) connector: SocketOptions,
    /// Clients at once; 0 is any number.
    pub(crate) connections_max: u32,
    /// Connections a second.
    pub(crate) connect_rate: u32,
    /// How long a shard looks around before it sleeps.
    pub(crate) busy_poll_ns: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            mesh_capacity: 64,
            connector: SocketOptions::default(),
            connections_max: 0,
            connect_rate: 1_000_000,
            busy_poll_ns: 0,
        }
    }
}

/// Starts shards that listen on one port of the loopback interface.
pub(crate) fn start<M: Machine + 'static>(
    options: Options,
    make: impl Fn(ShardId) -> M + Clone + Send + 'static,
) -> Rig {
    start_with_disk(options, make, |_, _| None)
}

/// The same with a disk writer for each shard.
pub(crate) fn start_with_disk<M: Machine + 'static>(
    options: Options,
    make: impl Fn(ShardId) -> M + Clone + Send + 'static,
    disk: impl Fn(ShardId, Arc<Doorbell>) -> Option<Disk>,
) -> Rig {
    let clock = Clock::start();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let seats = Seats::of_listener(options.connections_max, &Seats::of_node(u32::MAX));
    let bound = bind(ListenerId(0), "listeners.test.bind", loopback, options.shards, &seats);
    let (listeners, addr) = bound.expect("a free port");
    let bells: Vec<_> = (0..options.shards).map(|_| Arc::new(Doorbell::new().expect("an eventfd"))).collect();
    let mailboxes: Vec<_> = bells.iter().map(|bell| Arc::new(Mailbox::new(Arc::clone(bell)))).collect();
    let (to_control, letters) = letters();
    let mut executors = Vec::new();
    let ends = weave(&bells, options.mesh_capacity);
    for (index, ((listener, mesh), bell)) in listeners.into_iter().zip(ends).zip(&bells).enumerate() {
        let shard = ShardId(index as u16);
        let parts = Parts {
            clock,
            listeners: vec![listener],
            connect_rate: options.connect_rate,
            busy_poll_ns: options.busy_poll_ns,
            connectors: vec![options.connector.clone()],
            mesh,
            bell: Arc::clone(bell),
            control: ControlPort::new(shard, Arc::clone(&mailboxes[index]), to_control.clone()),
            disk: disk(shard, Arc::clone(bell)),
        };
        let make = make.clone();
        let task = move || async move {
            let shard = ShardLoop::new(make(shard), parts).expect("epoll sets");
            shard.run().expect("the loop ends in peace");
        };
        executors.push(Executor::spawn("test-shard", None, task).expect("a thread"));
    }
    Rig { addr, letters, executors, mailboxes }
}

impl Rig {
    /// Gives a shard an order.
    pub(crate) fn order(&self, shard: usize, order: Order) {
        self.mailboxes[shard].put(order).expect("room in the mailbox");
    }

    /// Gives every shard a command.
    pub(crate) fn command_all(&self, mut command: impl FnMut() -> Command) {
        for shard in 0..self.mailboxes.len() {
            self.order(shard, Order::Command(command()));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for mailbox in &self.mailboxes {
            let _ = mailbox.put(Order::Stop);
        }
        for executor in self.executors.drain(..) {
            let ended = executor.join();
            if !std::thread::panicking() {
                ended.expect("the shard thread did not panic");
            }
        }
    }
}

/// Looks again and again until `condition` holds, for ten seconds at most.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A batch that carries a number.
pub(crate) fn numbered(number: i64) -> Box<Batch> {
    batch_of(number, Vec::new())
}

/// A numbered batch with these bytes.
pub(crate) fn batch_of(number: i64, bytes: Vec<u8>) -> Box<Batch> {
    let part = PartKey { sink: 0, partition: 0 };
    let mut batch = BatchPool::new(ShardId(0), 0).take(part, 0, Mono(0));
    batch.base_timestamp_ms = number;
    batch.bytes = bytes;
    batch
}
