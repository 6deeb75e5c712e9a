//! The end of what runs beside a test.

use std::sync::atomic::{AtomicBool, Ordering};

/// Says that it is over when it is dropped, also where a test fails: a thread that goes on would hide why.
pub struct Over<'a>(&'a AtomicBool);

impl<'a> Over<'a> {
    /// Threads look at this, and end when it is true.
    pub fn when_dropped(over: &'a AtomicBool) -> Self {
        Self(over)
    }
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
