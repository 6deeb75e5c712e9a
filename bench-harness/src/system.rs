//! What is measured: how it is started, watched and ended.
//!
//! A system is a process of its own that speaks MQTT on a loopback port and, with the Kafka connector, writes to a
//! cluster that we started. `process` starts and ends it; `aqueduct` and `ceiling` know their command lines, `peer` reads those of
//! the systems that users would pick instead.

pub mod aqueduct;
pub mod ceiling;
pub mod kafka;
pub mod peer;
pub mod process;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use clap::ValueEnum;
use miette::{Result, bail};
use serde::Serialize;

use self::kafka::TlsListener;
use self::peer::{Peer, Puback};
use self::process::Process;
use crate::measure::{CpuSample, Memory};

/// Which system is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// The product.
    Aqueduct,
    /// A bare epoll sink fused with a raw producer: what the task costs at least.
    Ceiling,
    /// mochi-mqtt and franz-go, joined by a program of ours.
    Mochi,
    /// mosquitto, and Telegraf behind it.
    Telegraf,
    /// rmqtt with its Kafka egress plugin.
    Rmqtt,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Aqueduct, Self::Ceiling, Self::Mochi, Self::Telegraf, Self::Rmqtt];

    /// The folder of a system of others.
    pub fn peer(self) -> Option<&'static str> {
        match self {
            Self::Aqueduct | Self::Ceiling => None,
            Self::Mochi => Some("mochi-franz-go"),
            Self::Telegraf => Some("mosquitto-telegraf"),
            Self::Rmqtt => Some("rmqtt-kafka"),
        }
    }

    /// What its PUBACK says.
    pub fn puback(self) -> Result<Puback> {
        self.peer().map_or(Ok(Puback::AfterKafka), |name| Peer::load(name).map(|peer| peer.puback))
    }
}

/// Where the messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Connector {
    /// A real Kafka on the loopback.
    Kafka,
    /// Nowhere: counted and dropped.
    Discard,
    /// The product's own log.
    Embedded,
}

/// How to start a system.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which one.
    pub system: System,
    /// The product's binary; the ceiling is in our own.
    pub binary: PathBuf,
    /// Holds the configuration file, the log output and the data.
    pub dir: PathBuf,
    /// Where the messages go.
    pub connector: Connector,
    /// Kafka's address, with the Kafka connector.
    pub bootstrap: Option<String>,
    /// Where Kafka is reached over TLS, if it can be; the product is where it is set to use TLS.
    pub tls: Option<TlsListener>,
    /// The Kafka topic.
    pub topic: String,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Shards of the product.
    pub shards: u32,
    /// Profile of the product.
    pub profile: Option<String>,
    /// `key=value` handed to the product as they are.
    pub set: Vec<String>,
    /// Arguments handed to the ceiling as they are.
    pub ceiling_args: Vec<String>,
    /// For each sink the filter of its MQTT topics and its Kafka topic; where there are none, everything goes to `topic`.
    pub routes: Vec<(String, String)>,
    /// Sinks of the product beside those, each with a topic of its own, that match no message.
    pub unmatched_sinks: u32,
    /// Variables it is started with.
    pub variables: Vec<(String, String)>,
    /// It is started inside of the control group whose processes are listed here.
    pub group: Option<PathBuf>,
    /// It is started when it listens, whether or not it has reached Kafka.
    pub eager: bool,
}

/// A system that accepts connections.
pub struct Running {
    /// Its process; of several the one that listens.
    pub process: Process,
    /// The others it needs, which end with this value.
    pub others: Vec<Process>,
    /// Its MQTT listener.
    pub mqtt: SocketAddr,
    /// Its HTTP listener; the ceiling has none.
    pub http: Option<SocketAddr>,
    /// Where its records can be read back; `None` with the discard connector.
    pub kafka: Option<String>,
}

impl Running {
    /// CPU time of all its processes.
    pub fn cpu(&self) -> Result<CpuSample> {
        let own = CpuSample::of(self.process.id())?;
        self.others.iter().try_fold(own, |sum, other| Ok(sum.and(CpuSample::of(other.id())?)))
    }

    /// Memory of all its processes.
    pub fn memory(&self) -> Result<Memory> {
        let own = Memory::of(self.process.id())?;
        self.others.iter().try_fold(own, |sum, other| Ok(sum.and(Memory::of(other.id())?)))
    }
}

impl Setup {
    /// Starts the system and waits until it accepts MQTT connections.
    pub fn start(&self) -> Result<Running> {
        match (self.system, self.system.peer()) {
            (System::Ceiling, _) => ceiling::start(self),
            (_, Some(peer)) => peer::start(peer, self),
            (_, None) => aqueduct::start(self),
        }
    }
}

/// A loopback port that nobody listens on. Below 32768, where the kernel takes ports for outgoing connections: the port
/// is free only as long as nobody else takes it, and thousands of outgoing connections follow.
pub fn free_port() -> Result<SocketAddr> {
    let spread = (std::process::id() as u16).wrapping_mul(37) % 10_000;
    for offset in 0..10_000 {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + (spread + offset) % 10_000));
        // Without SO_REUSEADDR's leniency for TIME_WAIT a port of the previous repeat would look taken; std sets it.
        if TcpListener::bind(at).is_ok() {
            return Ok(at);
        }
    }
    bail!("no free loopback port from 20000 to 29999")
}
