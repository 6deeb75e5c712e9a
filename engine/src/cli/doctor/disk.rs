//! How long the disk of the data directory takes to keep a block, and how much room it has.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Finding;
use crate::config::unit;

const SUBJECT: &str = "data directory";
const ROUNDS: usize = 20;
const BLOCK_BYTES: usize = 64 * 1024;
/// A sync slower than this dominates the time to an acknowledgement.
const SLOW: Duration = Duration::from_millis(20);
const ROOM_COMFORTABLE_BYTES: u64 = unit::GB;

pub(super) fn findings(data_dir: &Path) -> Vec<Finding> {
    if !data_dir.is_dir() {
        return vec![Finding::good(SUBJECT, format!("{} does not exist yet; a run creates it", data_dir.display()))];
    }
    let probe = data_dir.join(format!(".doctor-{}", std::process::id()));
    let measured = measure(&probe);
    // Whatever came of it, the file goes; a failure to remove it shows in the directory, and harms nothing.
    let _ = std::fs::remove_file(&probe);
    vec![latency(measured), room(data_dir)]
}

fn latency(measured: std::io::Result<Duration>) -> Finding {
    let subject = "disk sync";
    let why = "with the embedded log an acknowledgement waits for the disk";
    match measured {
        Ok(median) if median <= SLOW => Finding::good(subject, format!("64 KB and fdatasync in {median:.1?} (median)")),
        Ok(median) => {
            let found = format!("64 KB and fdatasync in {median:.1?} (median)");
            Finding::warning(subject, found, why, "put node.data_dir on a local SSD")
        }
        Err(error) => {
            Finding::failure(subject, format!("failed: {error}"), why, "make node.data_dir writable for this user")
        }
    }
}

/// The median time to append a block and wait until it is on the disk.
fn measure(path: &Path) -> std::io::Result<Duration> {
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    let block = vec![0x5a; BLOCK_BYTES];
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times.get(ROUNDS / 2).copied().unwrap_or_default())
}

fn room(data_dir: &Path) -> Finding {
    let subject = "disk room";
    let why = "the embedded log stops taking records when the disk is full";
    match rustix::fs::statvfs(data_dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} MB free", free / unit::MB);
            if free >= ROOM_COMFORTABLE_BYTES {
                Finding::good(subject, found)
            } else {
                Finding::warning(subject, found, why, "free some, or lower retention_bytes of the connector")
            }
        }
        Err(error) => Finding::warning(subject, format!("unknown: {error}"), why, "check the mount of node.data_dir"),
    }
}
