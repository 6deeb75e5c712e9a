//! Can the Kafka clusters of a configuration be used? Step by step, so that a failure names its step: resolve, connect, encrypt,
//! agree on versions, log in, fetch metadata, reach every broker, find the topics, compare their settings with ours, be
//! allowed to write them, get a producer id.
//!
//! This is the connectivity test of `check --connect` too.

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use kafka::ErrorCode;
use kafka::message::metadata::{Metadata, Topic};

use super::Finding;
use super::access::Access;
use super::broker::{Broker, Done, Step};
use super::settings::TopicSettings;
use crate::config::{Config, Connector, ConnectorKind, HostPort, KafkaConnector, Sink};

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
        let metadata = Probe { subject, kafka, findings: &mut findings }.cluster(connector, &sinks);
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
    fn cluster(&mut self, connector: &Connector, sinks: &[&Sink]) -> Option<Metadata> {
        let mut access = self.access(connector)?;
        let resolved: Vec<&HostPort> = self.kafka.bootstrap_hosts.iter().filter(|host| self.resolve(host)).collect();
        let connected: Vec<Broker> = resolved.into_iter().filter_map(|host| self.connect(host, &mut access)).collect();
        let mut broker = connected.into_iter().next()?;
        // Which topics messages will name nobody knows yet.
        let fixed = sinks.iter().filter(|sink| !sink.is_topic_live());
        let mut names: Vec<&str> = fixed.map(|sink| sink.topic.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let began = Instant::now();
        let metadata = match broker.metadata(&names) {
            Ok(metadata) => {
                self.brokers(&metadata, began.elapsed(), &mut access);
                metadata.topics.iter().for_each(|topic| self.topic(topic));
                self.settings(&mut broker, &metadata, sinks);
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

    /// Reads what TLS needs, and fetches a token or a ticket if brokers want one.
    fn access<'a>(&mut self, connector: &'a Connector) -> Option<Access<'a>>
    where
        Self: 'a,
    {
        let ConnectorKind::Kafka(kafka) = &connector.kind else { return None };
        let mut access = match Access::new(kafka, connector) {
            Ok(access) => access,
            Err(error) => {
                let why = "nobody is dialled before it is known whom to trust";
                self.fail(format!("TLS: {error}"), why, "correct tls of the connector");
                return None;
            }
        };
        if let Some(client) = access.oauth() {
            let began = Instant::now();
            let endpoint = &client.token_endpoint;
            match access.fetch_token(client, connector) {
                Ok(()) => self.good(format!("token from {endpoint}: issued ({})", took(began.elapsed()))),
                Err(error) => {
                    let why = "brokers let nobody in without a token";
                    let fix = "correct authentication.token_endpoint, client_id, client_secret or scope";
                    self.fail(format!("token from {endpoint}: {error}"), why, fix);
                    return None;
                }
            }
        }
        if let Some(identity) = access.kerberos() {
            let began = Instant::now();
            let principal = &identity.principal;
            match access.fetch_ticket(identity) {
                Ok(()) => self.good(format!("ticket of {principal}: granted ({})", took(began.elapsed()))),
                Err(error) => {
                    let why = "brokers let nobody in without a ticket";
                    let fix = "correct authentication.principal or keytab_file, or krb5.conf";
                    self.fail(format!("ticket of {principal}: {error}"), why, fix);
                    return None;
                }
            }
        }
        Some(access)
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
        let began = Instant::now();
        match (host.host.as_str(), host.port).to_socket_addrs() {
            Ok(addresses) => {
                let mut addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
                addresses.dedup();
                // An address that stands for itself is not worth a line.
                if addresses != [host.host.clone()] {
                    self.good(format!("resolve {host}: {} ({})", addresses.join(", "), took(began.elapsed())));
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

    fn connect(&mut self, host: &HostPort, access: &mut Access<'_>) -> Option<Broker> {
        let mut done = Vec::new();
        let connected = Broker::connect(host, access, &mut done);
        for Done { step, found, took: time } in &done {
            self.good(format!("{}: {found} ({})", step.with(host), took(*time)));
        }
        match connected {
            Ok(broker) => Some(broker),
            Err((step, error)) => {
                let (why, fix) = match step {
                    Step::Connect | Step::Agree => ("the cluster is found through its bootstrap hosts", HOSTS_FIX),
                    Step::Encrypt => {
                        ("nothing is sent before the broker has proven who it is", "correct tls of the connector")
                    }
                    Step::LogIn => ("the broker lets nobody in whom it does not know", access.remedy()),
                };
                self.fail(format!("{}: {error}", step.with(host)), why, fix);
                None
            }
        }
    }

    /// Every broker is reachable under the address it tells clients.
    fn brokers(&mut self, metadata: &Metadata, time: Duration, access: &mut Access<'_>) {
        self.good(format!("metadata: {} brokers ({})", metadata.brokers.len(), took(time)));
        for broker in &metadata.brokers {
            let host = HostPort { host: broker.host.clone(), port: broker.port };
            if self.kafka.bootstrap_hosts.contains(&host) {
                continue;
            }
            let began = Instant::now();
            match Broker::connect(&host, access, &mut Vec::new()) {
                Ok(_) => self.good(format!("connect {host}: broker {} ({})", broker.id, took(began.elapsed()))),
                Err((step, error)) => {
                    let why = "records go to the broker that leads their partition, at the address it tells clients";
                    let fix = match step {
                        Step::LogIn => access.remedy(),
                        Step::Encrypt => "correct tls of the connector, or the broker's certificate",
                        _ => "set advertised.listeners of that broker to an address this machine can reach",
                    };
                    self.fail(format!("broker {}: {}: {error}", broker.id, step.with(&host)), why, fix);
                }
            }
        }
    }

    /// Settings of the topics against those of the sinks that write them.
    fn settings(&mut self, broker: &mut Broker, metadata: &Metadata, sinks: &[&Sink]) {
        let known = metadata.topics.iter().filter(|topic| topic.error.is_ok());
        let names: Vec<&str> = known.map(|topic| topic.name.as_str()).collect();
        if names.is_empty() {
            return;
        }
        let began = Instant::now();
        let settings = match TopicSettings::ask(broker, &names) {
            Ok(settings) => settings,
            Err(error) => {
                let why = "acks and sizes could not be compared with what the topics allow";
                let fix = "grant this client the right DescribeConfigs on its topics, or compare min.insync.replicas and \
                           max.message.bytes by hand";
                return self.warn(format!("settings of topics: {error}"), why, fix);
            }
        };
        self.good(format!("settings of topics: {} ({})", settings.len(), took(began.elapsed())));
        for of_topic in &settings {
            let topic = metadata.topics.iter().find(|topic| topic.name == of_topic.name);
            for sink in sinks.iter().filter(|sink| sink.topic == of_topic.name) {
                let findings = topic.map(|topic| of_topic.against(&self.subject, topic, sink)).unwrap_or_default();
                self.findings.extend(findings);
            }
        }
    }

    fn topic(&mut self, topic: &Topic) {
        let name = &topic.name;
        if topic.error == ErrorCode::TOPIC_AUTHORIZATION_FAILED {
            let fix = acl_fix("Describe", name);
            return self.fail(format!("topic {name}: we may not even describe it"), topic.error.why(), fix);
        }
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
        match topic.may_write() {
            Some(true) => self.good(format!("topic {name}: we may write it")),
            Some(false) => {
                let why = "a record for a topic that may not be written can never be";
                let fix = acl_fix("Write", name);
                self.fail(format!("topic {name}: we may not write it"), why, fix);
            }
            // Brokers before 2.3 do not say.
            None => {}
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
        let began = Instant::now();
        match broker.producer() {
            Ok(_) => self.good(format!("producer id: granted ({})", took(began.elapsed()))),
            Err(error) => {
                let why = "without a producer id retries could repeat and reorder records";
                let fix = "grant this client the right IdempotentWrite on the cluster (or Write on its topics), or \
                           write idempotence = false";
                self.fail(format!("producer id: {error}"), why, fix);
            }
        }
    }
}

/// The command that gives a right.
fn acl_fix(operation: &str, topic: &str) -> String {
    format!(
        "kafka-acls.sh --add --allow-principal User:NAME --operation {operation} --topic {topic}, with the name that the \
         brokers know this client by"
    )
}

/// A time for people: "0.3 ms", "1.2 s".
fn took(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}
