//! Aqueduct's engine. The modules stand in the order in which a PUBLISH meets them.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("Aqueduct runs on Linux 5.8 or newer, on x86-64 and arm64");

pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod plan;
pub mod run;

pub mod driver;

pub mod shard;

pub mod listener;
pub mod session;

pub mod event;
pub mod publication;
pub mod rule;
pub mod ticket;

pub mod sink;

pub mod broker;

pub mod log;

pub mod admin;

pub mod buffer;
pub mod clock;
pub mod hash;
pub mod metrics;
pub mod plants;
mod suggest;
