//! What must hold between options, and what deserves a warning: each finding points at the option to change.

mod security;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::kind::choice::Words;
use super::layer::Origin;
use super::option::Section;
use super::problem::{Place, Problem};
use super::reader::Load;
use super::{
    Config, Connector, ConnectorKind, Deliver, Envelope, Listener, PayloadEncoding, QueryMode, RequiredAcks, Sink,
    connector, http, listener, log, node, sink, unit,
};

/// Checks a configuration whose options are each in order, settles what depends on several, and drops what is not
/// enabled.
pub(crate) fn check(mut config: Config, load: &mut Load) -> Option<Config> {
    let mut check = Check { load };
    check.directories(&config);
    check.addresses(&config);
    check.references(&config);
    for connector in config.connectors.iter().filter(|connector| connector.enable) {
        check.connector_security(connector);
    }
    for sink in config.sinks.iter_mut().filter(|sink| sink.enable) {
        check.sink_sizes(sink);
        check.sink_promises(sink);
        check.sink_compression(sink);
        check.sink_envelope(sink);
        check.sink_patience(sink, &config.connectors);
    }
    check.live_topics(&config);
    check.dead_letters(&config);
    check.completeness(&config);
    Some(enabled(config))
}

/// Keeps what is enabled and renumbers the references.
fn enabled(mut config: Config) -> Config {
    let position = |flags: &[bool], old: usize| flags.iter().take(old).filter(|&&enabled| enabled).count();
    let connectors: Vec<bool> = config.connectors.iter().map(|connector| connector.enable).collect();
    config.connectors.retain(|connector| connector.enable);
    let sinks: Vec<bool> = config.sinks.iter().map(|sink| sink.enable).collect();
    config.sinks.retain(|sink| sink.enable);
    for sink in &mut config.sinks {
        sink.connector = position(&connectors, sink.connector);
        sink.dead_letter = sink.dead_letter.map(|old| position(&sinks, old));
    }
    config
}

struct Check<'a> {
    load: &'a mut Load,
}

impl Check<'_> {
    /// Where an option was set, else where its object begins.
    fn place(&self, section: &Section, name: Option<&str>, key: &str) -> Option<Place> {
        let entry = self.load.layers.get(section.name, name, key);
        entry.and_then(|entry| entry.place()).or_else(|| {
            let objects = self.load.layers.objects(section.name);
            objects.into_iter().find(|object| Some(object.name.as_str()) == name)?.place
        })
    }

    /// Whether the user set an option, rather than a profile or a default.
    fn is_chosen(&self, section: &Section, name: &str, key: &str) -> bool {
        let entry = self.load.layers.get(section.name, Some(name), key);
        entry.is_some_and(|entry| !matches!(entry.origin, Origin::Profile(_)))
    }

    fn report(&mut self, problem: Problem, section: &Section, name: Option<&str>, key: &str) {
        let place = self.place(section, name, key);
        self.load.problems.push(problem.at(place, ""));
    }

    fn directories(&mut self, config: &Config) {
        if let Err(why) = writable_directory(&config.node.data_dir) {
            let remedy = "make it writable for this user, or name another with node.data_dir or --data-dir";
            let problem = Problem::error(format!("`node.data_dir` cannot be used: {why}"), remedy);
            self.report(problem, &node::SECTION, None, "data_dir");
        }
        let Some(file) = &config.log.file else { return };
        let directory = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Err(why) = writable_directory(directory) {
            let remedy = "make the directory writable for this user, or name another file";
            let problem = Problem::error(format!("`log.file` cannot be written: {why}"), remedy);
            self.report(problem, &log::SECTION, None, "file");
        }
    }

    /// No two sockets on one port, and nobody listening to strangers by accident.
    fn addresses(&mut self, config: &Config) {
        let mut bound: Vec<(SocketAddr, String)> = Vec::new();
        for listener in &config.listeners {
            let name = Some(listener.name.as_str());
            self.not_twice(&mut bound, listener.bind, &listener::SECTION, name);
            if !listener.allow_anonymous {
                self.nobody_may_connect(listener);
            }
        }
        for connector in config.connectors.iter().filter(|connector| connector.enable) {
            let ConnectorKind::Embedded(embedded) = &connector.kind else { continue };
            let name = Some(connector.name.as_str());
            self.not_twice(&mut bound, embedded.bind, &connector::SECTION, name);
            if !embedded.bind.ip().is_loopback() {
                let fault = format!(
                    "`{}` lets anybody who reaches it read the embedded log",
                    connector::SECTION.path(name, "bind")
                );
                self.report(Problem::warning(fault, "bind 127.0.0.1"), &connector::SECTION, name, "bind");
            }
        }
        self.not_twice(&mut bound, config.http.bind, &http::SECTION, None);
        if !config.http.bind.ip().is_loopback() {
            let fault = "`http.bind` is reachable from other machines without TLS";
            let remedy = "bind 127.0.0.1, or let a proxy with TLS stand before it";
            self.report(Problem::warning(fault, remedy), &http::SECTION, None, "bind");
        }
    }

    /// Clients of this version have no credentials, so a listener that wants some is one by mistake.
    fn nobody_may_connect(&mut self, listener: &Listener) {
        let name = Some(listener.name.as_str());
        let (key, fault, remedy) = if self.is_chosen(&listener::SECTION, &listener.name, "allow_anonymous") {
            let fault = "refuses every client: this version knows no credentials";
            ("allow_anonymous", fault, "write true, or leave the option out on a loopback address")
        } else {
            let fault = "is reachable from other machines, and clients need no credentials";
            ("bind", fault, "bind 127.0.0.1, or add `allow_anonymous = true` to the listener if that is meant")
        };
        let fault = format!("`{}` {fault}", listener::SECTION.path(name, key));
        self.report(Problem::error(fault, remedy), &listener::SECTION, name, key);
    }

    fn not_twice(
        &mut self,
        bound: &mut Vec<(SocketAddr, String)>,
        address: SocketAddr,
        section: &Section,
        name: Option<&str>,
    ) {
        let path = section.path(name, "bind");
        let overlaps = |other: &SocketAddr| {
            let same = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            address.port() != 0 && other.port() == address.port() && same
        };
        if let Some((other, owner)) = bound.iter().find(|(other, _)| overlaps(other)) {
            let fault = format!("`{path}` takes {address}, and `{owner}` has {other}");
            self.report(Problem::error(fault, "give each a port of its own"), section, name, "bind");
        }
        bound.push((address, path));
    }

    fn references(&mut self, config: &Config) {
        for sink in config.sinks.iter().filter(|sink| sink.enable) {
            let name = Some(sink.name.as_str());
            if let Some(connector) = config.connectors.get(sink.connector).filter(|connector| !connector.enable) {
                let fault =
                    format!("`{}` names a connector that is not enabled", sink::SECTION.path(name, "connector"));
                let remedy = format!(
                    "write enable = true in [connectors.{}], or enable = false in [sinks.{}]",
                    connector.name, sink.name
                );
                self.report(Problem::error(fault, remedy), &sink::SECTION, name, "connector");
            }
        }
    }

    /// `min_batch_bytes, batch_target_bytes <= max_batch_bytes <= buffer.per_partition_limit`. What the user did not choose
    /// gives way to what the user did.
    fn sink_sizes(&mut self, sink: &mut Sink) {
        if !self.is_chosen(&sink::SECTION, &sink.name, "batch_target_bytes") {
            sink.batch_target_bytes = sink.batch_target_bytes.min(sink.batch_bytes_max);
        }
        if !self.is_chosen(&sink::SECTION, &sink.name, "max_batch_bytes") {
            sink.batch_bytes_max = sink.batch_bytes_max.max(sink.batch_target_bytes).max(sink.batch_bytes_min);
        }
        let max = ("max_batch_bytes", u64::from(sink.batch_bytes_max));
        let sizes = [
            (("min_batch_bytes", u64::from(sink.batch_bytes_min)), max),
            (("batch_target_bytes", u64::from(sink.batch_target_bytes)), max),
            (max, ("buffer.per_partition_limit", sink.per_partition_limit_bytes)),
        ];
        for ((low, low_bytes), (high, high_bytes)) in sizes {
            if low_bytes > high_bytes {
                let name = Some(sink.name.as_str());
                let fault = format!(
                    "`{}` is {}, more than `{high}` with {}",
                    sink::SECTION.path(name, low),
                    unit::show_size(low_bytes),
                    unit::show_size(high_bytes)
                );
                let remedy = format!("write at most {}, or raise {high}", unit::show_size(high_bytes));
                self.report(Problem::error(fault, remedy), &sink::SECTION, name, low);
            }
        }
    }

    fn sink_promises(&mut self, sink: &mut Sink) {
        let name = sink.name.clone();
        let name = Some(name.as_str());
        if sink.required_acks != RequiredAcks::AllIsr {
            sink.idempotence = false;
            let fault = format!(
                "`{}` can lose records that were acknowledged, and repeat and reorder them: idempotence is off",
                sink::SECTION.path(name, "required_acks")
            );
            let problem = Problem::warning(fault, "write required_acks = \"all_isr\" unless the records may be lost");
            self.report(problem, &sink::SECTION, name, "required_acks");
        } else if !sink.idempotence {
            let fault = format!("`{}` is off: retries repeat records", sink::SECTION.path(name, "idempotence"));
            let order = if sink.inflight_batches_max > 1 { " and reorder them" } else { "" };
            let problem = Problem::warning(fault + order, "leave idempotence on; it costs nothing at the broker");
            self.report(problem, &sink::SECTION, name, "idempotence");
        }
        if sink.idempotence && sink.inflight_batches_max > 5 {
            let path = sink::SECTION.path(name, "max_inflight");
            let fault = format!("`{path}` is {} with idempotence", sink.inflight_batches_max);
            let remedy = "write at most 5: Kafka remembers the last five batches of a producer, and could not keep \
                          the order of more";
            self.report(Problem::error(fault, remedy), &sink::SECTION, name, "max_inflight");
        }
        if sink.query_mode == QueryMode::Async && sink.deliver == Deliver::AfterKafka {
            sink.deliver = Deliver::AtOnce;
            let path = sink::SECTION.path(name, "deliver");
            let fault = format!("`{path}` has no effect in async: subscribers see publications at once");
            let problem = Problem::warning(fault, "leave it out, or write query_mode = \"sync\"");
            self.report(problem, &sink::SECTION, name, "deliver");
        }
    }

    /// An envelope takes the place of the template, and one of them has the payload in base64 whatever is said.
    fn sink_envelope(&mut self, sink: &Sink) {
        let name = Some(sink.name.as_str());
        if sink.envelope == Envelope::None {
            return;
        }
        let envelope = sink.envelope.word();
        if self.is_chosen(&sink::SECTION, &sink.name, "value") {
            let path = sink::SECTION.path(name, "value");
            let fault = format!("`{path}` has no effect: envelope \"{envelope}\" says what the value is");
            self.report(Problem::error(fault, "write one of the two"), &sink::SECTION, name, "value");
        }
        if sink.envelope == Envelope::RobustMq && sink.payload_encoding == PayloadEncoding::Plain {
            let path = sink::SECTION.path(name, "payload_encoding");
            let fault = format!("`{path}` has no effect: envelope \"{envelope}\" has the payload in base64");
            self.report(Problem::error(fault, "leave it out"), &sink::SECTION, name, "payload_encoding");
        }
    }

    /// A level is one of its codec's.
    fn sink_compression(&mut self, sink: &Sink) {
        let Some(level) = sink.compression_level else { return };
        let (codec, name) = (sink.compression.name(), Some(sink.name.as_str()));
        let path = sink::SECTION.path(name, "compression_level");
        let (fault, remedy) = match sink.compression.levels() {
            Some(levels) if levels.contains(&level) => return,
            Some(levels) => {
                let (least, most) = levels.into_inner();
                let fault = format!("`{path}` is {level}, and {codec} has the levels {least} to {most}");
                (fault, format!("write one of those, or leave it out for {}", sink.compression.level_default()))
            }
            None => {
                let fault = format!("`{path}` is {level}, and compression \"{codec}\" has no levels");
                (fault, "leave it out, or write compression = \"zstd\" or \"gzip\"".to_string())
            }
        };
        self.report(Problem::error(fault, remedy), &sink::SECTION, name, "compression_level");
    }

    /// A broker that may take `ack_timeout` over an answer must not be given up before. What the user did not choose gives
    /// way.
    fn sink_patience(&mut self, sink: &mut Sink, connectors: &[Connector]) {
        let Some(connector) = connectors.get(sink.connector) else { return };
        let ConnectorKind::Kafka(kafka) = &connector.kind else { return };
        if sink.ack_timeout_ms < kafka.request_timeout_ms {
            return;
        }
        if !self.is_chosen(&sink::SECTION, &sink.name, "ack_timeout") {
            sink.ack_timeout_ms = kafka.request_timeout_ms / 2;
            return;
        }
        let name = Some(sink.name.as_str());
        let fault = format!(
            "`{}` is {}, not less than the {} of {}: a broker that waits for its replicas would be given up and asked again",
            sink::SECTION.path(name, "ack_timeout"),
            unit::show_duration(sink.ack_timeout_ms * 1_000),
            unit::show_duration(kafka.request_timeout_ms * 1_000),
            connector::SECTION.path(Some(&connector.name), "request_timeout"),
        );
        let remedy = "lower ack_timeout, or raise request_timeout of the connector";
        self.report(Problem::error(fault, remedy), &sink::SECTION, name, "ack_timeout");
    }

    /// The local log has the topics of the configuration.
    fn live_topics(&mut self, config: &Config) {
        for sink in config.sinks.iter().filter(|sink| sink.enable && sink.is_topic_live()) {
            let kind = config.connectors.get(sink.connector).map(|connector| &connector.kind);
            let name = Some(sink.name.as_str());
            if matches!(kind, Some(ConnectorKind::Embedded(_))) {
                let fault = format!(
                    "`{}` is a template, and the embedded log makes no topics",
                    sink::SECTION.path(name, "topic")
                );
                let remedy = "write the name of one topic, or a connector of type \"kafka\"";
                self.report(Problem::error(fault, remedy), &sink::SECTION, name, "topic");
            }
        }
    }

    /// What can never be written goes one step on, to a sink that is there, and no further.
    fn dead_letters(&mut self, config: &Config) {
        let is_grave = |at: usize| config.sinks.iter().any(|sink| sink.enable && sink.dead_letter == Some(at));
        for (at, sink) in config.sinks.iter().enumerate().filter(|(_, sink)| sink.enable) {
            let name = Some(sink.name.as_str());
            let path = sink::SECTION.path(name, "dead_letter");
            let Some(grave) = sink.dead_letter.and_then(|at| config.sinks.get(at)) else {
                let kafka = config.connectors.get(sink.connector).map(|connector| &connector.kind);
                if sink.query_mode == QueryMode::Sync && matches!(kafka, Some(ConnectorKind::Kafka(_))) && !is_grave(at)
                {
                    let fault = format!("`{path}` is not set: who publishes what Kafka will never take is refused");
                    let remedy = "add a sink without source_topics for such records, and name it there";
                    self.report(Problem::warning(fault, remedy), &sink::SECTION, name, "dead_letter");
                }
                continue;
            };
            let (fault, remedy) = if grave.is_topic_live() {
                ("names a sink whose topic is a template", "name one with a topic of its own")
            } else if sink.dead_letter == Some(at) {
                ("names the sink itself", "name another sink, one without source_topics and without dead_letter")
            } else if !grave.enable {
                ("names a sink that is not enabled", "enable it, or name another")
            } else if grave.dead_letter.is_some() {
                ("names a sink that has a dead_letter itself", "leave dead_letter out of that one")
            } else {
                continue;
            };
            self.report(Problem::error(format!("`{path}` {fault}"), remedy), &sink::SECTION, name, "dead_letter");
        }
    }

    fn completeness(&mut self, config: &Config) {
        if config.listeners.is_empty() {
            let remedy = "add a section [listeners.tcp] with bind = \"127.0.0.1:1883\"";
            self.load.problems.push(Problem::warning("there is no listener: no client can connect", remedy));
        }
        if !config.sinks.iter().any(|sink| sink.enable) {
            let remedy = "add a section [sinks.NAME] with connector, source_topics and topic";
            self.load.problems.push(Problem::warning("there is no enabled sink: nothing reaches Kafka", remedy));
        }
        let is_grave = |at: usize| config.sinks.iter().any(|sink| sink.enable && sink.dead_letter == Some(at));
        let unfed = config.sinks.iter().enumerate().filter(|(_, sink)| sink.enable && sink.source_topics.is_empty());
        for (_, sink) in unfed.filter(|(at, _)| !is_grave(*at)) {
            let fault = format!("nothing reaches the sink {}: it has no source_topics", sink.name);
            let problem = Problem::warning(fault, "add source_topics = [\"#\"]");
            self.report(problem, &sink::SECTION, Some(sink.name.as_str()), "source_topics");
        }
    }
}

/// Whether this user can create files in a directory, or create the directory.
fn writable_directory(directory: &Path) -> Result<(), String> {
    let existing = directory.ancestors().find(|dir| dir.exists());
    let existing: PathBuf = match existing {
        Some(dir) => dir.to_path_buf(),
        None => PathBuf::from("."),
    };
    if !existing.is_dir() {
        return Err(format!("{} is not a directory", existing.display()));
    }
    access(&existing, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let what = if existing == directory { String::new() } else { format!(" to create {}", directory.display()) };
        format!("{} is not writable{what}: {error}", existing.display())
    })
}
