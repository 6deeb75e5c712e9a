//! The devices of `aqueduct demo`: small clients in a thread of their own, that connect like any other and publish telemetry.
//!
//! ```text
//! demo/north/device-0/telemetry  {"device":"device-0","site":"north","seq":0,"time":1763715600000,"temperature":20.9,…}
//! ```
//!
//! They use QoS 1 and keep few publications open, so a node that holds acknowledgements back (Kafka is away, say) slows them
//! down like real devices. What they would have measured meanwhile is lost, which is all that sets them apart.

mod device;
mod telemetry;

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use device::Device;

/// How long the devices have to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Between the first connections of two devices, so that thousands do not knock at once.
const RAMP: Duration = Duration::from_millis(1);

/// Longest time between two publishes of a device: an hour, in milliseconds.
pub const INTERVAL_MS_MAX: u64 = 3_600_000;

/// What simulated devices do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// How many there are.
    pub devices: u32,
    /// Time between two publishes of one device, in milliseconds; 1 to [`INTERVAL_MS_MAX`].
    pub interval_ms: u64,
}

/// Running devices. When this is dropped they say goodbye too, but nobody waits for it.
#[derive(Debug)]
pub struct Demo {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Starts devices that publish to the MQTT listener at `to`, in a thread of their own. A device that cannot connect tries
/// again until it can.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(to: SocketAddr, options: &DemoOptions) -> io::Result<Demo> {
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (count, interval) = (options.devices, Duration::from_millis(options.interval_ms.clamp(1, INTERVAL_MS_MAX)));
    let thread = std::thread::Builder::new().name("demo".to_owned()).spawn(move || {
        runtime.block_on(async {
            let devices: Vec<_> = (0..count)
                .map(|index| {
                    let delay = (interval * index / count).max(RAMP * index);
                    tokio::spawn(Device::new(index, to, interval).live(delay, stopped.clone()))
                })
                .collect();
            for device in devices {
                // A device that panicked is missed by nobody else.
                let _ = device.await;
            }
        });
    })?;
    Ok(Demo { stop, thread })
}

impl Demo {
    /// Has every device say goodbye, and waits until they have, two seconds at most.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let end = tokio::time::Instant::now() + GOODBYE;
        while !self.thread.is_finished() && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl DemoOptions {
    /// What they are going to do, for the lines that are printed at the start.
    pub fn about(&self) -> String {
        let Self { devices, interval_ms } = self;
        let (devices, each) = if *devices == 1 {
            ("1 simulated device".to_owned(), "")
        } else {
            (format!("{devices} simulated devices"), ", each")
        };
        format!("{devices} on demo/SITE/DEVICE/telemetry{each} every {interval_ms} ms")
    }
}

#[cfg(test)]
mod tests;
