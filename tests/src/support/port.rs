//! Free TCP ports on the loopback.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below 32768, where the kernel takes the ports of outgoing connections from; above what `kafka.sh` picks its own from.
const FIRST: u16 = 12_000;
const COUNT: u16 = 8_000;

/// A port that nobody listens on. Two calls in one process never give the same one.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at once begin at different places.
    let start = (std::process::id() as u16).wrapping_mul(67) % COUNT;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
