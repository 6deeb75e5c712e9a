//! `[connectors.NAME]`: how to reach one Kafka cluster, the embedded log, or nothing at all.

use std::net::SocketAddr;

use super::authentication::{Authentication, AuthenticationOptions};
use super::kind::choice::{Choice, Words, words};
use super::kind::network::{Address, HostPort, Hosts, KeepaliveTriple, TcpKeepalive};
use super::kind::number::{Count, Millis, Size};
use super::kind::text::Text;
use super::kind::{Flag, Optional};
use super::option::{Group, Section, absent, derived, options, or};
use super::reader::Reader;
use super::tls::TlsOptions;
use super::unit::{DAY, HOUR, KB, MB, MILLISECOND, SECOND, TB};

pub(crate) static SECTION: Section = Section {
    name: "connectors",
    named: true,
    about: "One Kafka cluster, the embedded log, or nothing at all; sinks name the connector they write to.",
    groups: &[
        Group { only: None, about: Head::ABOUT, rows: Head::ROWS },
        Group { only: Some("kafka"), about: KafkaConnector::ABOUT, rows: KafkaConnector::ROWS },
        Group { only: Some("kafka"), about: AuthenticationOptions::ABOUT, rows: AuthenticationOptions::ROWS },
        Group { only: Some("kafka"), about: TlsOptions::ABOUT, rows: TlsOptions::ROWS },
        Group { only: Some("embedded"), about: EmbeddedConnector::ABOUT, rows: EmbeddedConnector::ROWS },
    ],
};

/// Where a sink's records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it is used; false only while a configuration is read.
    pub(crate) enable: bool,
    /// What it reaches.
    pub kind: ConnectorKind,
    /// How it and the brokers of a Kafka cluster trust each other; `None` where there are no brokers.
    pub security: Option<Security>,
}

/// How a connector and the brokers trust each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// How we prove who we are.
    pub authentication: Authentication,
    /// How brokers prove who they are, and what others can read.
    pub tls: TlsOptions,
}

/// What a connector reaches, with the options of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorKind {
    /// A Kafka cluster.
    Kafka(KafkaConnector),
    /// The log of this process, served to Kafka clients.
    Embedded(EmbeddedConnector),
    /// Nothing: records are counted and dropped.
    Discard,
}

impl Connector {
    /// Reads the connector of `reader`; `None` if something is wrong with it.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let head = Head::read(reader)?;
        reader.refuse_rows_of_other_types(head.kind.family());
        let mut security = None;
        let kind = match head.kind {
            ConnectorType::Kafka | ConnectorType::Confluent => {
                // The problems of all are wanted before the first of them ends it.
                let (authentication, tls) = (Authentication::read(reader), TlsOptions::read(reader));
                let kafka = KafkaConnector::read(reader)?;
                security = Some(Security { authentication: authentication?, tls: tls? });
                ConnectorKind::Kafka(kafka)
            }
            ConnectorType::Embedded => ConnectorKind::Embedded(EmbeddedConnector::read(reader)?),
            ConnectorType::Discard => ConnectorKind::Discard,
        };
        Some(Self { name: reader.name(), enable: head.enable, kind, security })
    }

    /// The keys of options that have another value in `other`.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = match (&self.kind, &other.kind) {
            (ConnectorKind::Kafka(own), ConnectorKind::Kafka(other)) => own.differing(other),
            (ConnectorKind::Embedded(own), ConnectorKind::Embedded(other)) => own.differing(other),
            (ConnectorKind::Discard, ConnectorKind::Discard) => Vec::new(),
            _ => return vec!["type"],
        };
        if let (Some(own), Some(other)) = (&self.security, &other.security) {
            keys.extend(own.authentication.differing(&other.authentication));
            keys.extend(own.tls.differing(&other.tls));
        }
        keys
    }

    /// What is left of it when it is gone: its name. Secrets go.
    pub(crate) fn bare(&self) -> Self {
        Self { name: self.name.clone(), enable: false, kind: ConnectorKind::Discard, security: None }
    }

    /// The word of its `type`.
    pub fn type_word(&self) -> &'static str {
        match self.kind {
            ConnectorKind::Kafka(_) => ConnectorType::Kafka.word(),
            ConnectorKind::Embedded(_) => ConnectorType::Embedded.word(),
            ConnectorKind::Discard => ConnectorType::Discard.word(),
        }
    }
}

words! {
    /// What a connector reaches.
    pub enum ConnectorType {
        /// A Kafka cluster.
        Kafka = "kafka",
        /// A Kafka cluster of Confluent Cloud: TLS with the system's authorities, and an API key.
        Confluent = "confluent",
        /// The log of this process.
        Embedded = "embedded",
        /// Nothing.
        Discard = "discard",
    }
}

impl ConnectorType {
    /// The type whose options it has.
    fn family(self) -> &'static str {
        match self {
            Self::Kafka | Self::Confluent => Self::Kafka.word(),
            Self::Embedded | Self::Discard => self.word(),
        }
    }
}

options! {
    /// What every connector has.
    pub struct Head {
        /// What it reaches: a Kafka cluster, the log inside this process, or nothing (records are counted and dropped).
        /// `confluent` is `kafka` with other defaults: TLS, and mechanism plain with an API key.
        "type" => kind: ConnectorType = Choice::of(), or("kafka");
        /// A connector that is not enabled is not dialled; no enabled sink may name it.
        "enable" => enable: bool = Flag, or("true"), live;
        /// For people.
        "description" => description: Option<String> = Optional(Text), absent("the cluster of plant 3"), live;
    }
}

words! {
    /// How partitions are divided over connections.
    pub enum ConnectionStrategy {
        /// Those of one broker share its connections.
        PerBroker = "per_broker",
        /// Each has one of its own.
        PerPartition = "per_partition",
    }
}

options! {
    /// How to reach a Kafka cluster.
    pub struct KafkaConnector {
        /// Brokers to ask for the others. Names are resolved again at every reconnect; the default port is 9092.
        "bootstrap_hosts" => bootstrap_hosts: Vec<HostPort> = Hosts, or("127.0.0.1:9092");
        /// How brokers log and meter this client.
        "client_id" => client_id: String = Text,
            derived("\"aqueduct-\" and the node's name", "aqueduct-aqueduct", client_id_of_node), live;
        /// Lets a broker create a topic that does not exist, if it is configured to.
        "allow_auto_topic_creation" => allow_auto_topic_creation: bool = Flag, or("false"), live;
        /// Time to reach a broker, TLS and authentication included.
        "connect_timeout" => connect_timeout_ms: u64 = Millis::within(100 * MILLISECOND, HOUR), or("5s"), live;
        /// How long it may take until a broker is connected to for the first time. Nothing waits for that: listeners are open, and
        /// what clients publish is held. Until then the connector's health is `connecting`; from then on it is `disconnected`, and
        /// the log says why, once.
        "start_timeout" => start_timeout_ms: u64 = Millis::within(100 * MILLISECOND, HOUR), or("5s");
        /// Silence after which a broker is asked whether it is there, on the connection for questions about the cluster; one that does not
        /// answer within `metadata_request_timeout` is given up, and another one asked.
        "health_check_interval" => health_check_interval_ms: u64 = Millis::within(100 * MILLISECOND, DAY), or("15s"), live;
        /// Silence on a connection with open requests after which it is closed and they are sent again.
        "request_timeout" => request_timeout_ms: u64 = Millis::within(100 * MILLISECOND, HOUR), or("30s"), live;
        /// Pause between attempts to reach a broker.
        "reconnect_delay" => reconnect_delay_ms: u64 = Millis::within(10 * MILLISECOND, HOUR), or("2s"), live;
        /// Time a broker has to answer a question about topics.
        "metadata_request_timeout" => metadata_request_timeout_ms: u64 =
            Millis::within(100 * MILLISECOND, HOUR), or("5s"), live;
        /// Least time between two questions about topics; one that a message names for the first time is asked for at once.
        "min_metadata_refresh_interval" => min_metadata_refresh_interval_ms: u64 =
            Millis::within(10 * MILLISECOND, HOUR), or("3s"), live;
        /// Whether the partitions of a broker share its connections, or each has one of its own, so that none waits for another's
        /// request: a broker handles the requests of a connection one after the other.
        "connection_strategy" => connection_strategy: ConnectionStrategy = Choice::of(), or("per_broker");
        /// Connections of each shard to each broker with `per_broker`. Partitions are divided over them, so order holds.
        "connections_per_broker" => connections_per_broker: u32 = Count::within(1, 64), or("1");
        /// Sends small requests at once instead of waiting for more bytes.
        "socket.nodelay" => socket_nodelay: bool = Flag, or("true"), live;
        /// Send buffer of the socket; 0 leaves it to the kernel.
        "socket.sndbuf" => socket_send_bytes: u32 = Size::within(0, 64 * MB), or("1024KB"), live;
        /// Receive buffer of the socket; 0 leaves it to the kernel.
        "socket.recbuf" => socket_receive_bytes: u32 = Size::within(0, 64 * MB), or("1024KB"), live;
        /// Probes of a silent connection: seconds of silence, seconds between probes, probes.
        "socket.keepalive" => socket_keepalive: Option<TcpKeepalive> = KeepaliveTriple, or("none"), live;
    }
}

options! {
    /// The log of this process, in Kafka's segment format, served to Kafka clients.
    pub struct EmbeddedConnector {
        /// Address and port on which Kafka clients read it.
        "bind" => bind: SocketAddr = Address, or("127.0.0.1:9092");
        /// Partitions of a topic it creates.
        "partitions" => partitions: u32 = Count::within(1, 1024), or("4");
        /// Age after which records may be deleted.
        "retention_time" => retention_ms: u64 = Millis::within(SECOND, 3650 * DAY), or("7d");
        /// Bytes of a partition above which its oldest segments are deleted.
        "retention_bytes" => retention_bytes: u64 = Size::within(MB, 1024 * TB), or("1GB");
        /// Bytes after which a partition begins a new file; whole files are deleted.
        "segment_bytes" => segment_bytes: u64 = Size::within(64 * KB, 2048 * MB - KB), or("100MB");
    }
}

fn client_id_of_node(reader: &Reader<'_>) -> String {
    format!("aqueduct-{}", reader.node_name())
}
