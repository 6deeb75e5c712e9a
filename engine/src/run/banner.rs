//! What a run prints when it is ready: what listens where, and what to type next.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{Config, ConnectorKind, HostPort, Sink};
use crate::demo::DemoOptions;
use crate::plan::Plan;

/// Where everything listens.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Listener names and addresses.
    pub mqtt: Vec<(String, SocketAddr)>,
    /// The embedded log.
    pub kafka: Vec<SocketAddr>,
    /// The management port.
    pub http: Option<SocketAddr>,
}

impl Addresses {
    /// Where a client of this machine connects to.
    pub(super) fn first_mqtt(&self) -> Option<SocketAddr> {
        self.mqtt.first().map(|(_, addr)| reachable(*addr))
    }
}

/// A few lines for a person who has just started it.
pub(super) fn banner(config: &Config, plan: &Plan, at: &Addresses, demo: Option<&DemoOptions>) -> String {
    let mut text = format!("aqueduct {}: ready\n", env!("CARGO_PKG_VERSION"));
    let shards = if plan.shards == 1 { "1 shard" } else { &format!("{} shards", plan.shards) };
    let _ = writeln!(text, "  {shards}, data in {}", config.node.data_dir.display());
    for (name, addr) in &at.mqtt {
        let _ = writeln!(text, "  MQTT    {addr}  ({name})");
    }
    for addr in &at.kafka {
        let _ = writeln!(text, "  Kafka   {addr}  (embedded log)");
    }
    if let Some(addr) = at.http {
        let _ = writeln!(text, "  HTTP    http://{addr}/metrics");
    }
    if let Some(devices) = demo {
        let _ = writeln!(text, "  Demo    {}", devices.about());
    }
    let _ = write!(text, "{}", next_steps(config, at));
    text.trim_end().to_string()
}

/// The lines to type next, where they would work.
fn next_steps(config: &Config, at: &Addresses) -> String {
    let mut text = String::new();
    if let Some(mqtt) = at.first_mqtt() {
        let _ = writeln!(text, "Try:");
        let _ = writeln!(text, "  mosquitto_pub -h {} -p {} -q 1 -t demo/1 -m hello", mqtt.ip(), mqtt.port());
    }
    if let Some((kafka, sink)) = config.sinks.iter().find_map(|sink| Some((kafka_of(sink, config, at)?, sink))) {
        let _ = writeln!(text, "  kcat -b {kafka} -t {} -C", sink.topic);
    }
    text
}

/// Where a Kafka client finds what a sink writes.
fn kafka_of(sink: &Sink, config: &Config, at: &Addresses) -> Option<String> {
    match &config.connectors.get(sink.connector)?.kind {
        ConnectorKind::Embedded(_) => at.kafka.first().map(|addr| reachable(*addr).to_string()),
        ConnectorKind::Kafka(kafka) => {
            Some(kafka.bootstrap_hosts.iter().map(HostPort::to_string).collect::<Vec<String>>().join(","))
        }
        ConnectorKind::Discard => None,
    }
}

/// An address to type: "all addresses" is none.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = if addr.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { addr.ip() };
    SocketAddr::new(ip, addr.port())
}
