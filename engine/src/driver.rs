//! The driver: everything between a shard and the operating system. The only code that touches glommio, descriptors, threads
//! and clocks; it knows nothing of MQTT, and of Kafka only that frames begin with their length.
//!
//! One thread per shard runs one task, [`ShardLoop`], which waits for its epoll sets, turns what happened into
//! [`Input`](crate::shard::io::Input)s for the machine and serves the machine's calls through
//! [`Io`](crate::shard::io::Io). Beside the shards run a disk writer for each and one control thread.
//!
//! Invariants:
//! - A shard never waits for anything but its epoll sets: no lock, no file, no name look-up.
//! - Client sockets are registered once for all edges; a key names one socket for its whole life, and late events find nothing.
//! - Parcels of a pair of shards, requests of a link and operations of a log keep their order.
//! - Every source of input has a share of a round.

mod admission;
pub mod allocator;
mod clock;
mod control;
mod dial;
mod disk;
mod doorbell;
mod io;
mod link;
mod links;
mod listener;
mod mailbox;
mod mesh;
pub mod pages;
mod poller;
mod shard_loop;
mod sleep_flag;
mod sockets;
mod start_error;
pub mod tls;
mod world;

pub use admission::Seats;
pub use clock::Clock;
pub use control::{Dropped, Shards};
pub use dial::{KeepAlive, SocketOptions};
pub use disk::Disk;
pub use doorbell::Doorbell;
pub use io::{Executor, allowed_cpus, probe};
pub use listener::{Listener, bind};
pub use mailbox::{ControlPort, Letter, LetterReceiver, LetterSender, LoginAsk, Mailbox, Order, letters};
pub use mesh::{MeshEnd, weave};
pub use shard_loop::{Parts, ShardLoop};
pub use start_error::StartError;
