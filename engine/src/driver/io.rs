//! The single door to glommio, and the driver's only `unsafe`.
//!
//! glommio pins and runs the shard threads. Everything a shard waits for lies in epoll sets of its own, so the door is narrow:
//! start an executor with one task, wait for its end. Its sockets, timers and channels are not used, and the task never
//! yields to it; `docs/adr/0001-runtime.md` tells why.

#![allow(unsafe_code)]

use std::future::Future;
use std::io;
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::start_error::StartError;

/// Memory an executor registers for storage I/O, which we do not use: its minimum.
const IO_MEMORY: usize = 64 * 1024;
/// Entries of each of an executor's three rings, which stay empty: small, because they are charged to locked memory.
const RING_DEPTH: usize = 128;
/// Rings an executor opens: main, latency, polled I/O.
const RINGS_PER_SHARD: usize = 3;
/// glommio refuses to start below this limit of locked memory, whoever runs it.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// glommio arms this timer once, before the task's first poll. If it fires before that poll, glommio parks instead, and
/// nothing ever wakes it: at 1 ms a busy machine, which takes the processor away just then, left a node that listened and
/// never ran. So it is longer than any thread is kept waiting; its completion interrupts one wait, which does no harm.
const PREEMPT_TIMER: Duration = Duration::from_secs(3_600);

/// A running shard thread.
#[derive(Debug)]
pub struct Executor(ExecutorJoinHandle<()>);

impl Executor {
    /// Starts a thread that runs one future, pinned to `cpu` if given.
    pub fn spawn<F>(name: &str, cpu: Option<usize>, task: impl FnOnce() -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
        LocalExecutorBuilder::new(placement)
            .name(name)
            .io_memory(IO_MEMORY)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(task)
            .map(Executor)
            .map_err(|e| io::Error::other(e.to_string()))
    }

    /// Waits for the future to end.
    pub fn join(self) -> io::Result<()> {
        self.0.join().map_err(|e| io::Error::other(e.to_string()))
    }
}

/// Whether `shards` executors can start here. glommio answers some of these with a panic, so this asks first.
pub fn probe(shards: usize) -> Result<(), StartError> {
    if let Some(limit) = getrlimit(Resource::Memlock).current
        && limit < MEMLOCK_MIN
    {
        return Err(StartError::memlock(limit, MEMLOCK_MIN));
    }
    // The rings are charged to locked memory, per user: only holding as many as the shards will open tells.
    let mut rings = Vec::with_capacity(shards * RINGS_PER_SHARD);
    for _ in 0..shards * RINGS_PER_SHARD {
        let mut params = Default::default();
        // SAFETY: the kernel fills `params`, which lives through the call, and touches no other memory of ours; the rings are
        // neither mapped nor used, only closed.
        let ring = unsafe { rustix::io_uring::io_uring_setup(RING_DEPTH as u32, &mut params) };
        rings.push(ring.map_err(StartError::io_uring)?);
    }
    Ok(())
}

/// The processors this process may run on (affinity and cpuset), ascending.
pub fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}
