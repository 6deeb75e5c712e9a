//! TLS, below the border to the shard: a shard sends and receives plaintext, and does not know.
//!
//! ```text
//! outbox ── Session::write ── cipher queue (bounded) ── Session::send ──> socket
//! frames <── plaintext ── Session::take_in <── scratch of the driver <── recv
//! ```
//!
//! [`Client`] is what a connector dials with: trust, own certificate, versions and suites, made from its options and made anew
//! when one of its files changes. [`WebTrust`] is the same for web services, as far as they need it. [`Session`] is one connection, whichever side opened it.
//!
//! rustls reads the clock and randomness, so it stands here and not in the shard. Its provider is ring.
//!
//! Left out: sockets and their events ([`super::link`]), kernel TLS.

mod certificate;
mod client;
mod fault;
mod files;
mod session;
mod verifier;
mod web;

pub use certificate::{expiry_s, is_self_issued};
pub use client::Client;
pub use fault::explain;
pub use files::{certificates_in, private_key_in};
pub(in crate::driver) use session::{Room, Sent, Session};
pub use web::WebTrust;
