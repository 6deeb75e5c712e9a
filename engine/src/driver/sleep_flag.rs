//! Whether a shard sleeps, as the threads see it that put things into its queues.
//!
//! ```text
//! sleeper   flag = true | fence | look at the queues once more | sleep, or not | flag = false
//! producer  push        | fence | flag? then, for the one who takes it back, wake
//! ```
//!
//! No wake-up is lost: of the two steps on either side of the fences at least one sees the other's. If the producer's push came too
//! late for the sleeper's second look, the flag was up before the producer looked; if the flag came too late for the producer, the
//! push was there for the second look. The fences are what makes that true: a processor lets a load pass an earlier store.
//!
//! Generic over the flag, so that the tests check this very code under loom, which tries every interleaving and every stale value that
//! the memory model allows.

use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The atomic operations the protocol needs.
pub(super) trait Flag: Default {
    /// A fence that all threads agree on the order of.
    fn fence();
    /// A relaxed load.
    fn get(&self) -> bool;
    /// Sets it, and says what it was. Every change is a swap, so that all of them stand in one order that the model can follow too;
    /// beside the system call that sleeping is, it costs nothing.
    fn swap(&self, value: bool) -> bool;
}

impl Flag for AtomicBool {
    #[inline]
    fn fence() {
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn get(&self) -> bool {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn swap(&self, value: bool) -> bool {
        self.swap(value, Ordering::AcqRel)
    }
}

/// The flag of one sleeper and any number of producers.
#[derive(Debug, Default)]
pub(super) struct SleepFlag<F = AtomicBool> {
    asleep: F,
}

impl<F: Flag> SleepFlag<F> {
    /// For the sleeper: `wait` sleeps, and is told whether it may or must only look around, which is what `idle` says, the second
    /// look at the queues.
    #[inline]
    pub(super) fn sleep<T>(&self, idle: impl FnOnce() -> bool, wait: impl FnOnce(bool) -> T) -> T {
        self.asleep.swap(true);
        F::fence();
        let result = wait(idle());
        self.asleep.swap(false);
        result
    }

    /// For a producer, after its push: whether it is the one to wake the sleeper.
    #[inline]
    pub(super) fn must_wake(&self) -> bool {
        F::fence();
        // Most of the time the shard is awake, and a load costs less than a swap.
        self.asleep.get() && self.asleep.swap(false)
    }
}

#[cfg(test)]
mod tests;
