//! One device: connects, publishes what it measures, and connects again when it has lost its server.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mqtt::{QoS, Version};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::telemetry::Telemetry;
use crate::client::{Connection, Fault, Happening, Options};

/// Publications that are not acknowledged, at most. Small, as in a device.
const OPEN_MAX: usize = 4;

/// Pauses before a device tries again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What may stay unread until the protocol's machine has dealt with it.
const READ_BYTES: usize = 1024;

/// How long the last packet may take.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Device {
    to: SocketAddr,
    interval: Duration,
    options: Options,
    topic: String,
    telemetry: Telemetry,
    began: Instant,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl Device {
    pub(super) fn new(index: u32, to: SocketAddr, interval: Duration) -> Self {
        let telemetry = Telemetry::new(index);
        let client_id = format!("demo-{}", telemetry.device());
        let options = Options {
            version: Version::V5,
            client_id,
            keep_session: false,
            keep_alive_s: 60,
            username: None,
            password: None,
        };
        Self { to, interval, options, topic: telemetry.topic(), telemetry, began: Instant::now() }
    }

    /// From `delay` on until `stopped` says so.
    pub(super) async fn live(mut self, delay: Duration, mut stopped: watch::Receiver<bool>) {
        let mut pause = delay;
        let mut retry = RETRY.0;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = told(&mut stopped) => return,
            }
            let connected = Instant::now();
            let Err(lost) = self.connection(&mut stopped).await else { return };
            tracing::debug!("{} lost its connection: {lost}", self.options.client_id);
            // One that held for a while was worth something: the next attempt comes soon.
            retry = if connected.elapsed() > RETRY.1 { RETRY.0 } else { (retry * 2).min(RETRY.1) };
            pause = retry;
        }
    }

    /// One connection. Ok if the device is to stop.
    async fn connection(&mut self, stopped: &mut watch::Receiver<bool>) -> Result<(), Lost> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let mut machine = Connection::new(self.now_ms(), &self.options, None);
        let mut ticks = self.ticks();
        loop {
            self.react(&mut machine, &mut ticks)?;
            write(&stream, &mut machine)?;
            let interest =
                if machine.output().is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let deadline = machine.deadline_ms().map(|ms| self.began + Duration::from_millis(ms));
            tokio::select! {
                ready = stream.ready(interest) => if ready?.is_readable() { read(&stream, &mut machine)? },
                _ = ticks.tick(), if machine.is_active() => self.publish(&mut machine),
                () = sleep_until(deadline.unwrap_or(self.began)), if deadline.is_some() => {}
                () = told(stopped) => {
                    // The process is about to end; a server that takes no more is its own affair.
                    let _ = timeout(GOODBYE, goodbye(&stream, &mut machine)).await;
                    return Ok(());
                }
            }
        }
    }

    /// Deals with what was received and with what is due.
    fn react(&self, machine: &mut Connection, ticks: &mut Interval) -> Result<(), Fault> {
        while let Some(happening) = machine.poll(self.now_ms())? {
            if let Happening::Connected { .. } = happening {
                ticks.reset_immediately();
            }
        }
        machine.handle_timeout(self.now_ms())
    }

    fn publish(&mut self, machine: &mut Connection) {
        if machine.open() >= OPEN_MAX {
            return;
        }
        let reading = self.telemetry.next(wall_ms());
        // The server may take less than it used to; the next reading is another attempt.
        let _ = machine.publish(self.now_ms(), &self.topic, reading.as_bytes(), QoS::AtLeastOnce, false);
    }

    fn ticks(&self) -> Interval {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns when the devices are to stop, or when whoever would tell them is gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn write(stream: &TcpStream, machine: &mut Connection) -> io::Result<()> {
    while !machine.output().is_empty() {
        match stream.try_write(machine.output()) {
            Ok(n) => machine.written(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read(stream: &TcpStream, machine: &mut Connection) -> io::Result<()> {
    let mut buffer = [0; READ_BYTES];
    match stream.try_read(&mut buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => {
            machine.receive(buffer.get(..n).unwrap_or_default());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

async fn goodbye(stream: &TcpStream, machine: &mut Connection) -> io::Result<()> {
    machine.disconnect();
    while !machine.output().is_empty() {
        stream.writable().await?;
        write(stream, machine)?;
    }
    Ok(())
}
