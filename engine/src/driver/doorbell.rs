//! How other threads wake a shard: push into one of its queues, then ring.
//!
//! One eventfd and one flag serve all producers (other shards, the disk writer, the control thread). A bell costs a system
//! call only while the shard sleeps. No wake-up is lost: the sleeper sets the flag, then looks at its queues once more; the
//! producer pushes, then looks at the flag. With a fence between the two steps on either side at least one of them sees the
//! other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// The bell of one shard.
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
    asleep: AtomicBool,
}

impl Doorbell {
    /// A bell nobody sleeps at yet.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, asleep: AtomicBool::new(false) })
    }

    /// Wakes the shard if it sleeps. To be called after the push it announces.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // The counter never overflows: one write for each time the shard went to sleep.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Announces sleep. The queues must be looked at once more after this and before sleeping.
    #[inline]
    pub(super) fn doze(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Ends sleep, for whatever reason it ended.
    #[inline]
    pub(super) fn rise(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// The descriptor, registered edge-triggered so that it need never be read.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
