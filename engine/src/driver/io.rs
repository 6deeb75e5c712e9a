//! The single door to glommio, and the driver's only `unsafe`.
//!
//! glommio pins and runs the shard threads. Everything a shard waits for lies in epoll sets, so the door is narrow: start an
//! executor, wait for one descriptor, end. Its sockets, timers per connection and channels are not used (their defects in
//! 0.9.0 are the reason; see `docs/adr/0001-runtime.md`).

#![allow(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::poll_fn;
use futures_lite::io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::start_error::StartError;

/// Memory an executor registers for storage I/O, which we do not use: its minimum.
const IO_MEMORY: usize = 64 * 1024;
/// Entries of each of an executor's three rings. Ours hold one poll and one timer.
const RING_DEPTH: usize = 128;
/// Rings an executor opens: main, latency, polled I/O.
const RINGS_PER_SHARD: usize = 3;
/// glommio refuses to start below this limit of locked memory, whoever runs it.
const MEMLOCK_MIN: u64 = 512 * 1024;
/// How late glommio may look at its timers while the shard is busy. The default of 100 ms delays every deadline.
const PREEMPT_TIMER: Duration = Duration::from_millis(2);

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

/// Waits through glommio until `fd` is readable or `timeout` has passed.
///
/// glommio 0.9 cannot wait for a foreign descriptor. Its `TcpStream` submits a poll for whatever descriptor it is made of, and
/// its `poll_read` stays pending until that poll completes; then it tries to receive, which fails with ENOTSOCK on an epoll
/// set. That failure is the event. The stream is spent by then and made anew at the next wait.
pub(super) async fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<()> {
    let duplicate = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
    // SAFETY: the descriptor was opened on the line above, nothing else knows it, and the stream becomes its only owner and
    // closes it. glommio asks for a descriptor it can poll; that it is no socket shows only in errors of later calls.
    let mut stream = unsafe { TcpStream::from_raw_fd(duplicate.into_raw_fd()) };
    let mut scratch = [0u8; 1];
    let mut timer = timeout.map(Timer::new);
    poll_fn(|cx| {
        if Pin::new(&mut stream).poll_read(cx, &mut scratch).is_ready() {
            return Poll::Ready(());
        }
        match timer.as_mut() {
            Some(timer) => pin!(timer).poll(cx).map(|_| ()),
            None => Poll::Pending,
        }
    })
    .await;
    Ok(())
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
