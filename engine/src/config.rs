//! Configuration: from text, variables and flags to the typed values the engine runs on.
//!
//! An option is one row in the file of its section; parsing, range checks, the sample file, `config explain` and the
//! reference page follow from it. To add one, add a row. [`Config`] is plain data; who wants to know where a value
//! came from asks [`Loaded`].
//!
//! This module decides nothing about queues and buffers: what follows from the options is in `plan`.

pub mod authentication;
mod check;
pub mod connector;
mod difference;
mod gather;
mod hidden;
pub mod http;
pub(crate) mod kind;
mod layer;
pub mod listener;
pub mod log;
mod machine;
pub mod mqtt;
pub mod node;
pub(crate) mod option;
mod overlay;
mod problem;
mod profile;
mod reader;
mod reference;
mod sample;
pub mod sink;
pub mod tls;
pub mod unit;
mod value;

pub(crate) use authentication::KERBEROS_REMEDY;
pub use authentication::{Authentication, OauthClient};
pub use connector::{ConnectionStrategy, Connector, ConnectorKind, EmbeddedConnector, KafkaConnector, Security};
pub use difference::{Difference, What, differences, refusals};
pub use http::{Http, Metrics};
pub(crate) use kind::choice::Words;
pub use kind::network::{HostPort, TcpKeepalive};
pub use kind::text::Secret;
pub use kind::tls::{CIPHER_SUITES, CipherSuite, ServerNameIndication, TlsVersions};
pub use kind::url::Url;
pub use layer::Origin;
pub use listener::{Listener, ListenerKind};
pub use log::{Log, LogFormat, LogLevel};
pub use machine::Machine;
pub use mqtt::{Mqtt, Qos0OnFull};
pub use node::Node;
pub use option::Change;
pub use overlay::{Flag, PREFIX};
pub use problem::{Document, Place, Problem, Problems};
pub use profile::{Profile, ProfileChoice};
pub use reader::Effective;
pub use reference::{explain, reference};
pub use sample::sample;
pub use sink::{
    BufferMode, Deliver, Envelope, HeaderEncoding, KeyHash, MissingValue, OnFailedV3, OnSyncTimeout, Overflow,
    PartitionStrategy, PayloadEncoding, QueryMode, RequiredAcks, Sink,
};
pub use tls::{TlsOptions, TlsVerify};

use std::path::PathBuf;

use kind::World;
use layer::Layers;
use option::Section;
use reader::{Load, Reader};

/// Every section, in the order a message meets them.
pub(crate) static SECTIONS: &[&Section] = &[
    &node::SECTION,
    &listener::SECTION,
    &mqtt::SECTION,
    &connector::SECTION,
    &sink::SECTION,
    &http::SECTION,
    &http::METRICS_SECTION,
    &log::SECTION,
];

/// A whole, checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This process.
    pub node: Node,
    /// Where clients connect; in the order of the file.
    pub listeners: Vec<Listener>,
    /// Limits of clients.
    pub mqtt: Mqtt,
    /// The enabled connectors; [`Sink::connector`] is a position here.
    pub connectors: Vec<Connector>,
    /// The enabled sinks; counters and batches name them by their position here.
    pub sinks: Vec<Sink>,
    /// The management port.
    pub http: Http,
    /// Who may read the metrics.
    pub metrics: Metrics,
    /// What is logged.
    pub log: Log,
}

/// Where a configuration is read from. Of two that set an option the later field wins.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Values below those of the file.
    pub profile: Option<Profile>,
    /// The configuration file.
    pub file: Document,
    /// Variables; those that do not begin with [`PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    /// Options of the command line.
    pub flags: Vec<Flag>,
}

/// A configuration and where each of its values came from.
#[derive(Debug)]
pub struct Loaded {
    /// What the engine runs on.
    pub config: Config,
    /// Every option with its value and origin.
    pub effective: Vec<Effective>,
    /// What works and deserves a second thought.
    pub warnings: Vec<Problem>,
    /// Where each value was written.
    layers: Layers,
}

impl Sources {
    /// The data directory they name, whatever else is wrong with them.
    pub fn data_dir(&self) -> PathBuf {
        let (mut layers, mut problems) = (Layers::default(), Vec::new());
        if let Some(profile) = &self.profile {
            profile.apply(&mut layers);
        }
        gather::what_reads(&self.file, &mut layers, &mut problems);
        overlay::environment(&self.environment, &mut layers, &mut problems);
        overlay::flags(&self.flags, &mut layers, &mut problems);
        let entry = layers.get(node::SECTION.name, None, "data_dir");
        entry.and_then(|entry| entry.value.text()).unwrap_or(node::DATA_DIR).into()
    }

    /// One file and nothing else.
    pub fn file(file: Document) -> Self {
        Self { profile: None, file, environment: Vec::new(), flags: Vec::new() }
    }

    /// The embedded default: the file `aqueduct init` writes.
    pub fn embedded() -> Self {
        Self::file(Document::new("embedded default", &sample()))
    }
}

impl Loaded {
    /// Reads a configuration; every problem is found before it gives up.
    pub fn load(sources: &Sources, machine: &Machine) -> Result<Self, Problems> {
        let mut layers = Layers::default();
        let mut problems = Vec::new();
        if let Some(profile) = &sources.profile {
            profile.apply(&mut layers);
        }
        gather::file(&sources.file, &mut layers, &mut problems);
        overlay::environment(&sources.environment, &mut layers, &mut problems);
        overlay::flags(&sources.flags, &mut layers, &mut problems);
        let world = World { memory_bytes: machine.memory_bytes, ..World::default() };
        let mut load = Load { layers, world, problems, effective: Vec::new() };
        let config = read(&mut load);
        let (errors, warnings): (Vec<_>, Vec<_>) = load.problems.into_iter().partition(Problem::is_error);
        match config {
            Some(config) if errors.is_empty() => {
                Ok(Self { config, effective: load.effective, warnings, layers: load.layers })
            }
            _ => Err(Problems::new(errors)),
        }
    }
}

fn read(load: &mut Load) -> Option<Config> {
    let node = Node::read(&mut Reader::section(load, &node::SECTION));
    load.world.node_name = node.as_ref().map(|node| node.name.clone()).unwrap_or_default();
    let listeners = objects(load, &listener::SECTION, Listener::read);
    let mqtt = Mqtt::read(&mut Reader::section(load, &mqtt::SECTION));
    load.world.connectors = names(load, &connector::SECTION);
    let connectors = objects(load, &connector::SECTION, Connector::read);
    load.world.sinks = names(load, &sink::SECTION);
    let sinks = objects(load, &sink::SECTION, Sink::read);
    let http = Http::read(&mut Reader::section(load, &http::SECTION));
    let metrics = Metrics::read(&mut Reader::section(load, &http::METRICS_SECTION));
    let log = Log::read(&mut Reader::section(load, &log::SECTION));
    let config = Config {
        node: node?,
        listeners: listeners?,
        mqtt: mqtt?,
        connectors: connectors?,
        sinks: sinks?,
        http: http?,
        metrics: metrics?,
        log: log?,
    };
    check::check(config, load)
}

fn names(load: &Load, section: &Section) -> Vec<String> {
    load.layers.objects(section.name).into_iter().map(|object| object.name).collect()
}

/// Reads every object of a section; `None` if one of them has a problem.
fn objects<T>(
    load: &mut Load,
    section: &'static Section,
    read: impl Fn(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let objects = load.layers.objects(section.name);
    // Not short-circuited: the problems of every object are wanted.
    let read: Vec<Option<T>> = objects
        .into_iter()
        .map(|object| read(&mut Reader::object(load, section, &object.name, object.place)))
        .collect();
    read.into_iter().collect()
}

#[cfg(test)]
mod tests;
