//! The product: its configuration file and its command line.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use toml::{Table, Value};

use super::process::Process;
use super::{Connector, Running, Setup, free_port};
use crate::scrape;

/// The setting that has it use Kafka's listener for TLS.
const TLS: &str = "connectors.k.tls.enable=true";

/// How long it may take from listening to being ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts it and waits until it is ready.
pub(super) fn start(setup: &Setup) -> Result<Running> {
    if !setup.binary.is_file() {
        bail!(
            "{} is not there; build it with 'cargo build --release' or name it with --binary",
            setup.binary.display()
        );
    }
    let mqtt = free_port()?;
    let http = free_port_beside(&[mqtt])?;
    let embedded = free_port_beside(&[mqtt, http])?;
    let config = configuration(setup, mqtt, http, embedded)?;
    fs::create_dir_all(&setup.dir).into_diagnostic()?;
    let path = setup.dir.join("aqueduct.toml");
    fs::write(&path, config.to_string()).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
    let mut command = Command::new(&setup.binary);
    command.arg("run").arg("--config").arg(&path);
    if let Some(profile) = &setup.profile {
        command.args(["--profile", profile]);
    }
    for pair in &setup.set {
        command.args(["--set", pair]);
    }
    if let Some(group) = &setup.group {
        command = within(group, &command);
    }
    command.envs(setup.variables.iter().map(|(name, value)| (name, value)));
    let mut process = Process::start("aqueduct", &mut command, &setup.dir.join("aqueduct.log"))?;
    process.await_listener(mqtt)?;
    if !setup.eager {
        await_ready(&mut process, http)?;
    }
    let kafka = match setup.connector {
        Connector::Kafka => setup.bootstrap.clone(),
        Connector::Embedded => Some(embedded.to_string()),
        Connector::Discard => None,
    };
    Ok(Running { process, others: Vec::new(), mqtt, http: Some(http), kafka })
}

/// The same command in a control group: a shell joins it, and becomes the command.
fn within(processes: &Path, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(processes);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// The listener opens whatever Kafka does; what is measured begins when Kafka is reached as well.
fn await_ready(process: &mut Process, http: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while !scrape::is_ready(http) {
        if !process.is_running() {
            bail!("aqueduct ended before it was ready: {}\n{}", process.wait()?, process.tail());
        }
        if start.elapsed() > READY_TIMEOUT {
            bail!("aqueduct listens and is not ready after {READY_TIMEOUT:?}\n{}", process.tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn free_port_beside(taken: &[SocketAddr]) -> Result<SocketAddr> {
    // A port is only tried, not held, so two calls in a row would answer the same one.
    let mut held = Vec::new();
    for address in taken {
        held.push(std::net::TcpListener::bind(address).into_diagnostic()?);
    }
    free_port()
}

fn configuration(setup: &Setup, mqtt: SocketAddr, http: SocketAddr, embedded: SocketAddr) -> Result<Table> {
    let connector = match setup.connector {
        Connector::Kafka => {
            let tls = setup.tls.as_ref().filter(|_| setup.set.iter().any(|pair| pair == TLS));
            let bootstrap = tls.map_or(setup.bootstrap.as_deref(), |tls| Some(&tls.bootstrap));
            let bootstrap = bootstrap.ok_or_else(|| miette!("the Kafka connector needs a Kafka"))?;
            let hosts: Vec<&str> = bootstrap.split(',').collect();
            let authority = tls.map(|tls| table([("cacertfile", tls.authority.display().to_string().into())]));
            let hosts = [("type", "kafka".into()), ("bootstrap_hosts", texts(&hosts))];
            pairs(hosts.into_iter().chain(authority.map(|authority| ("tls", authority))))
        }
        Connector::Discard => table([("type", "discard".into())]),
        Connector::Embedded => table([
            ("type", "embedded".into()),
            ("bind", embedded.to_string().into()),
            ("partitions", i64::from(setup.partitions).into()),
        ]),
    };
    let sink = |filter: &str, topic: &str| {
        table([
            ("connector", "k".into()),
            ("source_topics", texts(&[filter])),
            ("topic", topic.into()),
            ("value", "${payload}".into()),
        ])
    };
    let mut sinks = Table::new();
    for (number, (filter, topic)) in (1..).zip(&setup.routes) {
        sinks.insert(format!("s{number}"), sink(filter, topic));
    }
    if sinks.is_empty() {
        sinks.insert("s".to_owned(), sink("#", &setup.topic));
    }
    for number in 1..=setup.unmatched_sinks {
        sinks.insert(format!("unmatched-{number}"), sink(&format!("unmatched/{number}/#"), &unmatched_topic(number)));
    }
    let data_dir = setup.dir.join("data").display().to_string();
    let node = table([("data_dir", data_dir.into()), ("shards", i64::from(setup.shards).into())]);
    let listener = table([("kind", "tcp".into()), ("bind", mqtt.to_string().into())]);
    let Value::Table(whole) = table([
        ("node", node),
        ("listeners", table([("default", listener)])),
        ("http", table([("bind", http.to_string().into())])),
        ("connectors", table([("k", connector)])),
        ("sinks", Value::Table(sinks)),
    ]) else {
        unreachable!("a table is a table")
    };
    Ok(whole)
}

/// The Kafka topic of a sink that matches no message; the first is 1.
pub fn unmatched_topic(number: u32) -> String {
    format!("unmatched-{number}")
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    pairs(entries)
}

fn pairs<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn texts(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(*text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::System;
    use std::path::PathBuf;

    #[test]
    fn the_configuration_is_the_documented_one() {
        let setup = Setup {
            system: System::Aqueduct,
            binary: PathBuf::new(),
            dir: PathBuf::from("/x"),
            connector: Connector::Kafka,
            bootstrap: Some("127.0.0.1:9092".to_owned()),
            tls: None,
            topic: "bench".to_owned(),
            partitions: 4,
            shards: 2,
            profile: None,
            set: Vec::new(),
            ceiling_args: Vec::new(),
            routes: Vec::new(),
            unmatched_sinks: 1,
            variables: Vec::new(),
            group: None,
            eager: false,
        };
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let config = configuration(&setup, at(1), at(2), at(3)).unwrap();
        let expected: Table = toml::from_str(
            r##"
            node = { data_dir = "/x/data", shards = 2 }
            listeners.default = { kind = "tcp", bind = "127.0.0.1:1" }
            http.bind = "127.0.0.1:2"
            connectors.k = { type = "kafka", bootstrap_hosts = ["127.0.0.1:9092"] }
            sinks.s = { connector = "k", source_topics = ["#"], topic = "bench", value = "${payload}" }
            sinks.unmatched-1 = { connector = "k", source_topics = ["unmatched/1/#"], topic = "unmatched-1", value = "${payload}" }
            "##,
        )
        .unwrap();
        assert_eq!(config, expected);
    }
}
