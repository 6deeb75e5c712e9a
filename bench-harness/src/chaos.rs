//! chaos
pub mod proxy;
