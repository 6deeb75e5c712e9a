//! What the tests stand on. The promises themselves are in `tests/tests`, one file each.

pub mod in_memory;
pub mod support;
