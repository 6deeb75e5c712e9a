//! Can the Kafka clusters of a configuration be used? Step by step, so that a failure names its step: resolve, connect,
//! agree on versions, fetch metadata, reach every broker, find the topics, get a producer id.
//!
//! This is the connectivity test of `check --connect` too.

use std::net::ToSocketAddrs as _;

use kafka::message::metadata::{Metadata, Topic};

use super::Finding;
use super::broker::Broker;
use crate::config::{Config, ConnectorKind, HostPort, KafkaConnector, Sink};

const HOSTS_FIX: &str = "correct bootstrap_hosts, start the broker, or open the firewall";

/// What was found of one Kafka cluster.
#[derive(Debug)]
pub(in crate::cli) struct Probed {
    /// Position of its connector in the configuration.
    pub(in crate::cli) connector: usize,
    /// Step by step.
    pub(in crate::cli) findings: Vec<Finding>,
    /// Its brokers and the topics of its sinks; `None` if it could not be asked.
    pub(in crate::cli) metadata: Option<Metadata>,
}

/// Looks at every Kafka cluster of the configuration.
pub(in crate::cli) fn probe(config: &Config) -> Vec<Probed> {
    let mut probed = Vec::new();
    for (at, connector) in config.connectors.iter().enumerate() {
        let ConnectorKind::Kafka(kafka) = &connector.kind else { continue };
        let sinks: Vec<&Sink> = config.sinks.iter().filter(|sink| sink.connector == at).collect();
        let subject = format!("connector {}", connector.name);
        let mut findings = Vec::new();
        let metadata = Probe { subject, kafka, findings: &mut findings }.cluster(&sinks);
        probed.push(Probed { connector: at, findings, metadata });
    }
    probed
}

/// What was found of all of them.
pub(in crate::cli) fn findings(config: &Config) -> Vec<Finding> {
    probe(config).into_iter().flat_map(|cluster| cluster.findings).collect()
}

/// One connector under test.
struct Probe<'a> {
    subject: String,
    kafka: &'a KafkaConnector,
    findings: &'a mut Vec<Finding>,
}

impl Probe<'_> {
    fn cluster(&mut self, sinks: &[&Sink]) -> Option<Metadata> {
        let resolved: Vec<&HostPort> = self.kafka.bootstrap_hosts.iter().filter(|host| self.resolve(host)).collect();
        let connected: Vec<Broker> = resolved.into_iter().filter_map(|host| self.connect(host)).collect();
        let mut broker = connected.into_iter().next()?;
        let mut names: Vec<&str> = sinks.iter().map(|sink| sink.topic.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let metadata = match broker.metadata(&names) {
            Ok(metadata) => {
                self.brokers(&metadata);
                metadata.topics.iter().for_each(|topic| self.topic(topic));
                Some(metadata)
            }
            Err(error) => {
                let why = "no record leaves before a broker has named the leaders of its topic";
                self.fail(format!("fetch metadata: {error}"), why, HOSTS_FIX);
                None
            }
        };
        if sinks.iter().any(|sink| sink.idempotence) {
            self.producer(&mut broker);
        }
        metadata
    }

    fn good(&mut self, found: String) {
        self.findings.push(Finding::good(&self.subject, found));
    }

    fn warn(&mut self, found: String, why: &str, fix: impl Into<String>) {
        self.findings.push(Finding::warning(&self.subject, found, why, fix));
    }

    fn fail(&mut self, found: String, why: &str, fix: impl Into<String>) {
        self.findings.push(Finding::failure(&self.subject, found, why, fix));
    }

    /// Whether the host's name means an address.
    fn resolve(&mut self, host: &HostPort) -> bool {
        match (host.host.as_str(), host.port).to_socket_addrs() {
            Ok(addresses) => {
                let mut addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
                addresses.dedup();
                // An address that stands for itself is not worth a line.
                if addresses != [host.host.clone()] {
                    self.good(format!("resolve {host}: {}", addresses.join(", ")));
                }
                true
            }
            Err(error) => {
                let why = "a broker is found by its name, again at every reconnect";
                let fix = "correct bootstrap_hosts, or the resolver (/etc/resolv.conf, /etc/hosts)";
                self.fail(format!("resolve {host}: {error}"), why, fix);
                false
            }
        }
    }

    fn connect(&mut self, host: &HostPort) -> Option<Broker> {
        match Broker::connect(host, self.kafka) {
            Ok(broker) => {
                self.good(format!("connect {host}: a broker that speaks our versions"));
                Some(broker)
            }
            Err(error) => {
                self.fail(error, "the cluster is found through its bootstrap hosts", HOSTS_FIX);
                None
            }
        }
    }

    /// Every broker is reachable under the address it tells clients.
    fn brokers(&mut self, metadata: &Metadata) {
        self.good(format!("metadata: {} brokers", metadata.brokers.len()));
        for broker in &metadata.brokers {
            let host = HostPort { host: broker.host.clone(), port: broker.port };
            if self.kafka.bootstrap_hosts.contains(&host) {
                continue;
            }
            match Broker::connect(&host, self.kafka) {
                Ok(_) => self.good(format!("connect {host}: broker {}", broker.id)),
                Err(error) => {
                    let why = "records go to the broker that leads their partition, at the address it tells clients";
                    let fix = "set advertised.listeners of that broker to an address this machine can reach";
                    self.fail(format!("broker {}: {error}", broker.id), why, fix);
                }
            }
        }
    }

    fn topic(&mut self, topic: &Topic) {
        let name = &topic.name;
        if !topic.error.is_ok() {
            let hosts: Vec<String> = self.kafka.bootstrap_hosts.iter().map(ToString::to_string).collect();
            let fix = format!(
                "create it (kafka-topics.sh --bootstrap-server {} --create --topic {name} --partitions 4), or allow \
                 this client to describe and write it",
                hosts.join(",")
            );
            let found = format!("topic {name}: {}", topic.error);
            self.warn(found, topic.error.why(), fix);
            return;
        }
        let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
        let found = format!("topic {name}: {} partitions, {replicas} replicas", topic.partitions.len());
        let leaderless = topic.partitions.iter().filter(|partition| partition.leader < 0).count();
        if leaderless > 0 {
            let why = "records of a partition wait until it has a leader";
            self.warn(format!("{found}, {leaderless} without a leader"), why, "start the brokers that hold it");
        } else if replicas < 2 {
            let why = "with one replica, what Kafka acknowledged is gone with that broker's disk";
            self.warn(found, why, "give the topic three replicas and min.insync.replicas = 2");
        } else {
            self.good(found);
        }
    }

    fn producer(&mut self, broker: &mut Broker) {
        match broker.producer() {
            Ok(_) => self.good("producer id: granted".to_string()),
            Err(error) => {
                let why = "without a producer id retries could repeat and reorder records";
                let fix = "grant this client the right IdempotentWrite on the cluster (or Write on its topics), or \
                           write idempotence = false";
                self.fail(format!("producer id: {error}"), why, fix);
            }
        }
    }
}
