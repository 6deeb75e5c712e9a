//! Starts the shard threads and knows when each runs.

use std::sync::Arc;
use std::sync::mpsc;

use crate::driver::Shards;
use crate::driver::{
    Clock, ControlPort, Disk, Doorbell, Executor, LetterReceiver, Listener, Mailbox, Parts, ShardLoop,
};
use crate::driver::{SocketOptions, StartError, allowed_cpus, letters, weave};
use crate::log::Catalogue;
use crate::log::journal::Journals;
use crate::shard::ShardId;
use crate::shard::io::Machine;

/// What all shards have in common.
#[derive(Debug)]
pub(super) struct Common {
    /// How many.
    pub shards: u16,
    /// Whether each stays on a processor of its own.
    pub pin: bool,
    /// Connections that each takes in a second.
    pub connect_rate: u32,
    /// How long each looks around before it sleeps, nanoseconds.
    pub busy_poll_ns: u64,
    /// Slots of the ring between two shards.
    pub ring_slots: usize,
    /// Socket options by connector.
    pub connectors: Vec<SocketOptions>,
    /// The node's logs, if it has any.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Where the buffers of sinks lie.
    pub journals: Journals,
    /// The clock they share.
    pub clock: Clock,
}

/// The running shard threads.
#[derive(Debug)]
pub(super) struct Running {
    executors: Vec<Executor>,
    /// To give them orders.
    pub shards: Shards,
    /// What they write.
    pub letters: LetterReceiver,
}

/// Starts every shard and waits until each runs. `make` builds the machine, on the shard's own thread, so that its memory is
/// local to it; `listeners` holds each shard's sockets, in shard order.
pub(super) fn start<M: Machine + 'static>(
    common: Common,
    listeners: Vec<Vec<Listener>>,
    mut make: impl FnMut(ShardId) -> Box<dyn FnOnce() -> M + Send>,
) -> Result<Running, StartError> {
    let count = usize::from(common.shards);
    let bells: Vec<Arc<Doorbell>> = (0..count)
        .map(|_| Doorbell::new().map(Arc::new))
        .collect::<Result<_, _>>()
        .map_err(|e| StartError::system("make an eventfd", &e))?;
    let mailboxes: Vec<_> = bells.iter().map(|bell| Arc::new(Mailbox::new(Arc::clone(bell)))).collect();
    let (to_control, letters) = letters();
    let cpus = if common.pin { allowed_cpus() } else { Vec::new() };
    let meshes = weave(&bells, common.ring_slots);
    let mut started = Vec::with_capacity(count);
    for (index, ((listeners, mesh), bell)) in listeners.into_iter().zip(meshes).zip(bells).enumerate() {
        let shard = ShardId(index as u16);
        // Without files it sleeps until a sink comes that has some.
        let (catalogue, journals) = (common.catalogue.clone(), common.journals.clone());
        let disk = Disk::start(shard, catalogue, journals, Arc::clone(&bell))
            .map_err(|e| StartError::system("start a disk writer", &e))?;
        let parts = Parts {
            clock: common.clock,
            listeners,
            connect_rate: common.connect_rate,
            busy_poll_ns: common.busy_poll_ns,
            connectors: common.connectors.clone(),
            mesh,
            bell,
            control: ControlPort::new(shard, Arc::clone(&mailboxes[index]), to_control.clone()),
            disk: Some(disk),
        };
        // More shards than processors share them in turn.
        let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
        started.push(spawn(cpu, make(shard), parts)?);
    }
    let mut executors = Vec::with_capacity(count);
    for (executor, runs) in started {
        executors.push(confirm(executor, &runs)?);
    }
    Ok(Running { executors, shards: Shards::new(mailboxes), letters })
}

/// Starts one shard's thread; the receiver hears when its loop is set up.
fn spawn<M: Machine + 'static>(
    cpu: Option<usize>,
    make: Box<dyn FnOnce() -> M + Send>,
    parts: Parts,
) -> Result<(Executor, mpsc::Receiver<()>), StartError> {
    let (running, runs) = mpsc::channel();
    let task = move || async move {
        let shard = ShardLoop::new(make(), parts).expect("the epoll sets of a shard can be made");
        let _ = running.send(());
        shard.run().expect("the epoll sets of a shard can be waited for");
    };
    let executor = Executor::spawn("shard", cpu, task).map_err(|e| StartError::system("start a shard", &e))?;
    Ok((executor, runs))
}

/// A thread that ends before it runs took its sender with it.
fn confirm(executor: Executor, runs: &mpsc::Receiver<()>) -> Result<Executor, StartError> {
    match runs.recv() {
        Ok(()) => Ok(executor),
        Err(_) => match executor.join() {
            Err(e) => Err(StartError::system("start a shard", &e)),
            Ok(()) => unreachable!("a shard says that it runs before it ends"),
        },
    }
}

impl Running {
    /// Takes apart: the threads, and what the control thread needs.
    pub(super) fn split(self) -> (Threads, Shards, LetterReceiver) {
        (Threads(self.executors), self.shards, self.letters)
    }
}

/// The shard threads, to be joined once they were told to stop.
#[derive(Debug)]
pub(super) struct Threads(Vec<Executor>);

impl Threads {
    /// Waits for all of them.
    pub(super) fn join(self) {
        for executor in self.0 {
            // A shard that panicked has ended the process long ago.
            let _ = executor.join();
        }
    }
}
