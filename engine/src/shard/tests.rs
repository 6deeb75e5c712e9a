//! The shard from the outside: bytes in, bytes out, through an `Io` that only remembers.

mod back_pressure;
mod publish;
mod rig;
