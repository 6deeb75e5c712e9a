//! The driver on real sockets, rings and files, with machines small enough to see through.
//!
//! One binary, because every executor of glommio 0.9 leaks an eventfd when it ends.

mod rig;

mod between_shards;
mod clients;
mod cost;
mod disk;
mod links;
mod tls;
