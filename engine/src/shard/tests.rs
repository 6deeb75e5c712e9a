//! The shard from the outside: bytes in, bytes out, through an `Io` that only remembers.

mod back_pressure;
mod batch_size;
mod behind;
mod change;
mod cluster;
mod dead_letter;
mod deliver;
mod growth;
mod hybrid;
mod live_topics;
mod mqtt_client;
mod overload;
mod publish;
mod random;
mod rig;
mod several_shards;
mod standstill;
mod subscribe;
mod timeouts;
mod too_large;
mod will;
