//! How other threads wake a shard: push into one of its queues, then ring.
//!
//! One eventfd and one flag serve all producers (other shards, the disk writer, the control thread). A bell costs a system
//! call only while the shard sleeps. Why no wake-up is lost is told, and checked, in `sleep_flag`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::sleep_flag::SleepFlag;

/// The bell of one shard.
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
    flag: SleepFlag,
}

impl Doorbell {
    /// A bell nobody sleeps at yet.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, flag: SleepFlag::default() })
    }

    /// Wakes the shard if it sleeps. To be called after the push it announces.
    #[inline]
    pub fn ring(&self) {
        if self.flag.must_wake() {
            // The counter never overflows: one write for each time the shard went to sleep.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Sleeps at the bell: see [`SleepFlag::sleep`].
    #[inline]
    pub(super) fn sleep<T>(&self, idle: impl FnOnce() -> bool, wait: impl FnOnce(bool) -> T) -> T {
        self.flag.sleep(idle, wait)
    }

    /// The descriptor, registered edge-triggered so that it need never be read.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
