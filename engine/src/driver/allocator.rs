//! Has the allocator give back to the kernel what a shard has freed.
//!
//! mimalloc does so by itself some time after memory was freed, but only where the same memory is used again: a shard that has shed its
//! buffers and has little to do keeps them, and the process counts as overloaded for as long. Which allocator there is the program
//! knows, not this library.

use std::sync::OnceLock;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// How the program has given back what the calling thread has freed. To be said once, before shards start; else nothing is done.
pub fn set_give_back(give_back: fn()) {
    // Who comes second is not heard.
    let _ = GIVE_BACK.set(give_back);
}

/// Gives back what this thread has freed.
pub(super) fn give_back() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}
