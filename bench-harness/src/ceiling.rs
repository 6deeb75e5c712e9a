//! The ceiling: what the task costs at least on this machine. A bare epoll MQTT sink fused with a raw Kafka producer.
//!
//! One thread reads PUBLISH frames with as little parsing as a frame needs, appends each payload to the record batch of
//! its connection's partition, produces with `acks=all` and answers PUBACK when Kafka has answered. The figures of the
//! product are held against it, so it does the same work by the same means, and nothing else: no validation, sessions,
//! subscriptions, retries, idempotence, metrics or memory limit. Anything unexpected ends the process.
//!
//! It reads in rounds: after a request that carried several messages it leaves the clients alone for the linger, so the
//! kernel's socket buffers gather what comes, and serves only the link to Kafka meanwhile. `--rounds false` reads at
//! once whatever arrives.

mod batch;
mod producer;
mod sink;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use clap::{ArgAction, Args};
use miette::{IntoDiagnostic, Result, WrapErr};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

use self::batch::{Acks, Batch};
use self::producer::Producer;
use self::sink::Sink;
use crate::measure;

/// Event data of the listener and of the link; connections use their number.
const LISTENER: u64 = u64::MAX;
const LINK: u64 = u64::MAX - 1;
/// A request of fewer messages is no sign of load: the clients are listened to at once again.
const ROUND_MESSAGES_MIN: u32 = 8;
/// Connections whose partition's batch has grown so far are left unread until it is sent. One more read of 256 KiB then
/// still stays below the broker's limit of 1 MiB.
const BATCH_BYTES_FULL: usize = 640 * 1024;

/// Arguments of `aqueduct-bench ceiling`.
#[derive(Debug, Clone, Args)]
pub struct CeilingArgs {
    /// Where to listen for MQTT.
    #[arg(long)]
    pub bind: SocketAddr,
    /// The one broker to produce to; without it messages are acknowledged at once and dropped.
    #[arg(long)]
    pub kafka: Option<SocketAddr>,
    /// The Kafka topic; it must exist.
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Partitions of the topic; a connection keeps to one.
    #[arg(long, default_value_t = 4)]
    pub partitions: u32,
    /// How long a message may wait for company.
    #[arg(long, default_value_t = 5)]
    pub linger_ms: u64,
    /// A batch of so many bytes is sent without waiting.
    #[arg(long, default_value_t = 128 * 1024)]
    pub target_bytes: usize,
    /// Produce requests that may be unanswered.
    #[arg(long, default_value_t = 5)]
    pub max_inflight: usize,
    /// Leave the clients unread for the linger while there is load.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub rounds: bool,
    /// A planted defect for the control run of `kill`: acknowledge what Kafka does not have yet.
    #[arg(long)]
    pub early_ack: bool,
}

/// Runs until the process is killed.
pub fn run(args: &CeilingArgs) -> Result<()> {
    Ceiling::new(args)?.serve()
}

struct Ceiling {
    linger_ns: u64,
    target_bytes: usize,
    max_inflight: usize,
    rounds: bool,
    acks: Acks,
    sink: Sink,
    producer: Option<Producer>,
    /// Everything; and the link alone, for when the clients are left waiting.
    all: OwnedFd,
    link_only: OwnedFd,
    events: Vec<epoll::Event>,
    /// By partition: what is being filled.
    filling: Vec<Batch>,
    /// Records in `filling`, and when the oldest was read.
    gathered: u32,
    oldest_ns: u64,
    /// Clients are not listened to before this.
    quiet_until_ns: Option<u64>,
    /// What was read last had its linger in the kernel already.
    lingered: bool,
    /// Connections with bytes left to read after the round's share.
    unread: Vec<u32>,
}

impl Ceiling {
    fn new(args: &CeilingArgs) -> Result<Self> {
        let listener = TcpListener::bind(args.bind).into_diagnostic().wrap_err_with(|| args.bind.to_string())?;
        rustix::net::listen(&listener, 4_096).into_diagnostic()?;
        listener.set_nonblocking(true).into_diagnostic()?;
        let all = epoll::create(epoll::CreateFlags::CLOEXEC).into_diagnostic()?;
        let link_only = epoll::create(epoll::CreateFlags::CLOEXEC).into_diagnostic()?;
        epoll::add(&all, &listener, EventData::new_u64(LISTENER), EventFlags::IN).into_diagnostic()?;
        let producer = args.kafka.map(|broker| Producer::connect(broker, &args.topic)).transpose()?;
        if let Some(producer) = &producer {
            let edge = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            for set in [&all, &link_only] {
                epoll::add(set, producer.socket(), EventData::new_u64(LINK), edge).into_diagnostic()?;
            }
        }
        Ok(Self {
            linger_ns: args.linger_ms * 1_000_000,
            target_bytes: args.target_bytes,
            max_inflight: args.max_inflight,
            rounds: args.rounds,
            acks: match (&producer, args.early_ack) {
                (None, _) => Acks::Discarded,
                (Some(_), true) => Acks::TooEarly,
                (Some(_), false) => Acks::AfterKafka,
            },
            sink: Sink::new(listener, args.partitions),
            producer,
            all,
            link_only,
            events: Vec::with_capacity(512),
            filling: (0..args.partitions).map(|_| Batch::default()).collect(),
            gathered: 0,
            oldest_ns: 0,
            quiet_until_ns: None,
            lingered: false,
            unread: Vec::new(),
        })
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            let now_ns = measure::mono_ns();
            if self.quiet_until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
                self.quiet_until_ns = None;
                self.lingered = true;
            }
            let listening = self.quiet_until_ns.is_none() && !self.is_full();
            self.wait(listening, now_ns)?;
            let read = self.serve_events(listening)?;
            let now_ns = measure::mono_ns();
            if self.producer.is_some() {
                if self.gathered == 0 {
                    self.oldest_ns = now_ns;
                }
                self.gathered += read;
                self.produce(now_ns)?;
            }
            self.sink.flush_acks()?;
        }
    }

    /// Waits for the clients and the link, or for the link alone, at most until the next deadline.
    fn wait(&mut self, listening: bool, now_ns: u64) -> Result<()> {
        let sealing_ns = (self.gathered > 0 && self.has_slot()).then_some(self.oldest_ns + self.linger_ns);
        let mut until_ns = [self.quiet_until_ns, sealing_ns].into_iter().flatten().min();
        if listening && !self.unread.is_empty() {
            until_ns = Some(now_ns);
        }
        let timeout = until_ns.map(|until| until.saturating_sub(now_ns)).map(|left| Timespec {
            tv_sec: (left / 1_000_000_000) as i64,
            // Whole milliseconds, rounded up: the older kernel call takes no finer ones, and none is needed.
            tv_nsec: (left % 1_000_000_000).next_multiple_of(1_000_000).min(999_000_000) as i64,
        });
        let set = if listening { &self.all } else { &self.link_only };
        self.events.clear();
        match epoll::wait(set, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).into_diagnostic(),
        }
    }

    /// Serves what has come and answers how many messages were read.
    fn serve_events(&mut self, listening: bool) -> Result<u32> {
        let mut read = 0;
        if listening {
            for connection in std::mem::take(&mut self.unread) {
                read += self.read(connection)?;
            }
        }
        for at in 0..self.events.len() {
            let epoll::Event { flags, data } = self.events[at];
            match data.u64() {
                LISTENER => self.sink.accept(&self.all)?,
                LINK => self.serve_link()?,
                connection => {
                    if flags.intersects(EventFlags::OUT) {
                        self.sink.wants_flush(connection as u32);
                    }
                    if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                        read += self.read(connection as u32)?;
                    }
                }
            }
        }
        Ok(read)
    }

    fn read(&mut self, connection: u32) -> Result<u32> {
        if self.filling[self.sink.partition_of(connection)].bytes() >= BATCH_BYTES_FULL {
            self.unread.push(connection);
            return Ok(0);
        }
        let (read, more) = self.sink.read(connection, &mut self.filling, self.acks)?;
        if more {
            self.unread.push(connection);
        }
        Ok(read)
    }

    /// Takes Kafka's answers and turns them into PUBACKs.
    fn serve_link(&mut self) -> Result<()> {
        if let Some(producer) = &mut self.producer {
            producer.write()?;
            producer.read(|batch| self.sink.acknowledge(batch))?;
        }
        Ok(())
    }

    /// Sends everything in one request, if it is due and the link has a slot.
    fn produce(&mut self, now_ns: u64) -> Result<()> {
        let due = self.lingered
            || now_ns >= self.oldest_ns + self.linger_ns
            || self.filling.iter().any(|batch| batch.bytes() >= self.target_bytes);
        if self.gathered == 0 || !due || !self.has_slot() {
            return Ok(());
        }
        if self.rounds && self.gathered >= ROUND_MESSAGES_MIN {
            self.quiet_until_ns = Some(now_ns + self.linger_ns);
        }
        self.gathered = 0;
        self.lingered = false;
        match &mut self.producer {
            Some(producer) => producer.produce(&mut self.filling),
            None => Ok(()),
        }
    }

    fn has_slot(&self) -> bool {
        self.producer.as_ref().is_none_or(|producer| producer.unanswered() < self.max_inflight)
    }

    fn is_full(&self) -> bool {
        !self.has_slot() && self.filling.iter().any(|batch| batch.bytes() >= BATCH_BYTES_FULL)
    }
}
