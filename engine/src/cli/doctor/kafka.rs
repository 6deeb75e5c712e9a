//! Can the Kafka clusters of a configuration be used? Step by step, so that a failure names its step: resolve, connect, encrypt,
//! agree on versions, log in, fetch metadata, reach every broker, find the topics, compare their settings with ours, be
//! allowed to write them, get a producer id. Each step tells how long it took, failures too; what is read from one answer bears
//! the time of that answer.
//!
//! Any bootstrap host will do for a run, so one that cannot be used is a warning as soon as another one can.
//!
//! This is the connectivity test of `check --connect` too.

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use kafka::ErrorCode;
use kafka::message::metadata::{Metadata, Topic};

use super::Finding;
use super::access::Access;
use super::broker::{Broker, Done, Step, Stopped};
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
        let (mut broker, reached) = self.bootstrap(&mut access)?;
        // Which topics messages will name nobody knows yet.
        let fixed = sinks.iter().filter(|sink| !sink.is_topic_live());
        let mut names: Vec<&str> = fixed.map(|sink| sink.topic.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let began = Instant::now();
        let metadata = match broker.metadata(&names) {
            Ok(metadata) => {
                let time = began.elapsed();
                self.good(format!("metadata: {} brokers", metadata.brokers.len()), time);
                self.brokers(&metadata, &reached, &mut access);
                metadata.topics.iter().for_each(|topic| self.topic(topic, time));
                self.settings(&mut broker, &metadata, sinks);
                Some(metadata)
            }
            Err(error) => {
                let why = "no record leaves before a broker has named the leaders of its topic";
                self.fail(format!("fetch metadata: {error}"), began.elapsed(), why, HOSTS_FIX);
                None
            }
        };
        if sinks.iter().any(|sink| sink.idempotence) {
            self.producer(&mut broker);
        }
        metadata
    }

    /// Tries every bootstrap host: a connection to the first that can be used, and all that can.
    fn bootstrap(&mut self, access: &mut Access<'_>) -> Option<(Broker, Vec<HostPort>)> {
        let first = self.findings.len();
        let (mut broker, mut reached) = (None, Vec::new());
        for host in &self.kafka.bootstrap_hosts {
            let Some(connected) = self.resolve(host).then(|| self.connect(host, access)).flatten() else { continue };
            broker.get_or_insert(connected);
            reached.push(host.clone());
        }
        let broker = broker?;
        let why = "a run begins at another bootstrap host that answers; this is one fewer to begin at";
        self.findings.iter_mut().skip(first).for_each(|finding| finding.soften(why));
        Some((broker, reached))
    }

    /// Reads what TLS needs, and fetches a token or a ticket if brokers want one.
    fn access<'a>(&mut self, connector: &'a Connector) -> Option<Access<'a>>
    where
        Self: 'a,
    {
        let ConnectorKind::Kafka(kafka) = &connector.kind else { return None };
        let began = Instant::now();
        let mut access = match Access::new(kafka, connector) {
            Ok(access) => access,
            Err(error) => {
                let why = "nobody is dialled before it is known whom to trust";
                self.fail(format!("TLS: {error}"), began.elapsed(), why, "correct tls of the connector");
                return None;
            }
        };
        if let Some(client) = access.oauth() {
            let began = Instant::now();
            let endpoint = &client.token_endpoint;
            match access.fetch_token(client, connector) {
                Ok(()) => self.good(format!("token from {endpoint}: issued"), began.elapsed()),
                Err(error) => {
                    let why = "brokers let nobody in without a token";
                    let fix = "correct authentication.token_endpoint, client_id, client_secret or scope";
                    self.fail(format!("token from {endpoint}: {error}"), began.elapsed(), why, fix);
                    return None;
                }
            }
        }
        if let Some(identity) = access.kerberos() {
            let began = Instant::now();
            let principal = &identity.principal;
            match access.fetch_ticket(identity) {
                Ok(()) => self.good(format!("ticket of {principal}: granted"), began.elapsed()),
                Err(error) => {
                    let why = "brokers let nobody in without a ticket";
                    let fix = "correct authentication.principal or keytab_file, or krb5.conf";
                    self.fail(format!("ticket of {principal}: {error}"), began.elapsed(), why, fix);
                    return None;
                }
            }
        }
        Some(access)
    }

    fn good(&mut self, found: String, time: Duration) {
        self.findings.push(Finding::good(&self.subject, found).in_time(time));
    }

    fn warn(&mut self, found: String, time: Duration, why: &str, fix: impl Into<String>) {
        self.findings.push(Finding::warning(&self.subject, found, why, fix).in_time(time));
    }

    fn fail(&mut self, found: String, time: Duration, why: &str, fix: impl Into<String>) {
        self.findings.push(Finding::failure(&self.subject, found, why, fix).in_time(time));
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
                    self.good(format!("resolve {host}: {}", addresses.join(", ")), began.elapsed());
                }
                true
            }
            Err(error) => {
                let why = "a broker is found by its name, again at every reconnect";
                let fix = "correct bootstrap_hosts, or the resolver (/etc/resolv.conf, /etc/hosts)";
                self.fail(format!("resolve {host}: {error}"), began.elapsed(), why, fix);
                false
            }
        }
    }

    fn connect(&mut self, host: &HostPort, access: &mut Access<'_>) -> Option<Broker> {
        let mut done = Vec::new();
        let connected = Broker::connect(host, access, &mut done);
        for Done { step, found, took: time } in &done {
            self.good(format!("{}: {found}", step.with(host)), *time);
        }
        match connected {
            Ok(broker) => Some(broker),
            Err(Stopped { step, why: error, took }) => {
                let (why, fix) = match step {
                    Step::Connect | Step::Agree => ("the cluster is found through its bootstrap hosts", HOSTS_FIX),
                    Step::Encrypt => {
                        ("nothing is sent before the broker has proven who it is", "correct tls of the connector")
                    }
                    Step::LogIn => ("the broker lets nobody in whom it does not know", access.remedy()),
                };
                self.fail(format!("{}: {error}", step.with(host)), took, why, fix);
                None
            }
        }
    }

    /// Every broker is reachable under the address it tells clients; those of `reached` are.
    fn brokers(&mut self, metadata: &Metadata, reached: &[HostPort], access: &mut Access<'_>) {
        for broker in &metadata.brokers {
            let host = HostPort { host: broker.host.clone(), port: broker.port };
            if reached.contains(&host) {
                continue;
            }
            let began = Instant::now();
            match Broker::connect(&host, access, &mut Vec::new()) {
                Ok(_) => self.good(format!("connect {host}: broker {}", broker.id), began.elapsed()),
                Err(Stopped { step, why: error, took }) => {
                    let why = "records go to the broker that leads their partition, at the address it tells clients";
                    let fix = match step {
                        Step::LogIn => access.remedy(),
                        Step::Encrypt => "correct tls of the connector, or the broker's certificate",
                        _ => "set advertised.listeners of that broker to an address this machine can reach",
                    };
                    self.fail(format!("broker {}: {}: {error}", broker.id, step.with(&host)), took, why, fix);
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
                return self.warn(format!("settings of topics: {error}"), began.elapsed(), why, fix);
            }
        };
        let time = began.elapsed();
        self.good(format!("settings of topics: {}", settings.len()), time);
        for of_topic in &settings {
            let topic = metadata.topics.iter().find(|topic| topic.name == of_topic.name);
            for sink in sinks.iter().filter(|sink| sink.topic == of_topic.name) {
                let findings = topic.map(|topic| of_topic.against(&self.subject, topic, sink)).unwrap_or_default();
                self.findings.extend(findings.into_iter().map(|finding| finding.in_time(time)));
            }
        }
    }

    /// Whether the topic is there and may be written, and how safe it is; `time` is that of the answer which says so.
    fn topic(&mut self, topic: &Topic, time: Duration) {
        let name = &topic.name;
        if topic.error == ErrorCode::TOPIC_AUTHORIZATION_FAILED {
            let fix = acl_fix("Describe", name);
            return self.fail(format!("topic {name}: we may not even describe it"), time, topic.error.why(), fix);
        }
        if !topic.error.is_ok() {
            let hosts: Vec<String> = self.kafka.bootstrap_hosts.iter().map(ToString::to_string).collect();
            let fix = format!(
                "create it (kafka-topics.sh --bootstrap-server {} --create --topic {name} --partitions 4), or allow \
                 this client to describe and write it",
                hosts.join(",")
            );
            let found = format!("topic {name}: {}", topic.error);
            self.warn(found, time, topic.error.why(), fix);
            return;
        }
        match topic.may_write() {
            Some(true) => self.good(format!("topic {name}: we may write it"), time),
            Some(false) => {
                let why = "a record for a topic that may not be written can never be";
                let fix = acl_fix("Write", name);
                self.fail(format!("topic {name}: we may not write it"), time, why, fix);
            }
            // Brokers before 2.3 do not say.
            None => {}
        }
        let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
        let found = format!("topic {name}: {} partitions, {replicas} replicas", topic.partitions.len());
        let leaderless = topic.partitions.iter().filter(|partition| partition.leader < 0).count();
        if leaderless > 0 {
            let why = "records of a partition wait until it has a leader";
            self.warn(format!("{found}, {leaderless} without a leader"), time, why, "start the brokers that hold it");
        } else if replicas < 2 {
            let why = "with one replica, what Kafka acknowledged is gone with that broker's disk";
            self.warn(found, time, why, "give the topic three replicas and min.insync.replicas = 2");
        } else {
            self.good(found, time);
        }
    }

    fn producer(&mut self, broker: &mut Broker) {
        let began = Instant::now();
        match broker.producer() {
            Ok(_) => self.good("producer id: granted".to_string(), began.elapsed()),
            Err(error) => {
                let why = "without a producer id retries could repeat and reorder records";
                let fix = "grant this client the right IdempotentWrite on the cluster (or Write on its topics), or \
                           write idempotence = false";
                self.fail(format!("producer id: {error}"), began.elapsed(), why, fix);
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
