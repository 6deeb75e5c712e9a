//! What a user would pick instead: systems of others, each declared by `peers/NAME/peer.toml`.
//!
//! ```toml
//! about = "what it is, with versions"
//! puback = "after-kafka"                    # or "before-kafka": what an acknowledgement of it promises
//! install = [["go", "build", "-o", "${home}/x", "."]]   # run in this folder; packages come from their registries by name
//! files = ["x.conf"]                        # copied with their placeholders filled in
//! settle_ms = 0                             # from listening to being ready
//! settings = { linger = "5ms" }             # what a sweep may change, with the values it chose
//! [[process]]                               # in the order in which they start; the first is the one that is killed
//! command = ["${home}/x", "-listen", "${mqtt}"]
//! ```
//!
//! Placeholders: `home` (where it was installed), `dir` (of this run), `mqtt`, `mqtt_port`, `kafka`, `topic`, `partitions`, and the settings.
//!
//! Peers are never started by a test and never installed by CI.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::{Connector, Running, Setup, free_port};

/// What a PUBACK of a system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Puback {
    /// Kafka has the message.
    AfterKafka,
    /// The system has it, on its own disk, where it outlives a loss of power.
    OnDisk,
    /// The system has it, in memory.
    BeforeKafka,
}

/// A peer's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What it is.
    pub about: String,
    /// What its PUBACK says.
    pub puback: Puback,
    install: Vec<Vec<String>>,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    settle_ms: u64,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    process: Vec<Part>,
}

/// One of its processes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    command: Vec<String>,
}

impl Peer {
    /// Reads the file of a peer.
    pub fn load(name: &str) -> Result<Self> {
        let path = folder(name).join("peer.toml");
        let text = fs::read_to_string(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        let peer: Self = toml::from_str(&text).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        if peer.process.iter().any(|part| part.command.is_empty()) || peer.process.is_empty() {
            bail!("{}: a peer has at least one process, and each has a command", path.display());
        }
        Ok(peer)
    }

    /// Installs it into the user's cache.
    pub fn install(name: &str) -> Result<()> {
        let peer = Self::load(name)?;
        let home = home(name)?;
        fs::create_dir_all(&home).into_diagnostic()?;
        let places = BTreeMap::from([("home".to_owned(), home.display().to_string())]);
        for words in &peer.install {
            let words: Vec<String> = words.iter().map(|word| fill(word, &places)).collect::<Result<_>>()?;
            let Some((program, arguments)) = words.split_first() else { continue };
            let status = Command::new(program).args(arguments).current_dir(folder(name)).status().into_diagnostic();
            let status = status.wrap_err_with(|| format!("installing {name}: {program}"))?;
            if !status.success() {
                bail!("installing {name}: {} ended with {status}", words.join(" "));
            }
        }
        Ok(())
    }
}

/// Where a peer's file and configurations lie.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// Where a peer is installed.
fn home(name: &str) -> Result<PathBuf> {
    let user = std::env::var_os("HOME").ok_or_else(|| miette!("HOME is not set"))?;
    Ok(PathBuf::from(user).join(".cache/aqueduct/peers").join(name))
}

/// Starts every process of the peer.
pub(super) fn start(name: &str, setup: &Setup) -> Result<Running> {
    let (Connector::Kafka, Some(kafka)) = (setup.connector, &setup.bootstrap) else {
        bail!("{name} has the connector kafka only");
    };
    let peer = Peer::load(name)?;
    let home = home(name)?;
    if !home.is_dir() {
        bail!("{name} is not installed; run: aqueduct-bench peers {name}");
    }
    fs::create_dir_all(&setup.dir).into_diagnostic()?;
    let mqtt = free_port()?;
    let places = places(&peer, setup, &home, mqtt, kafka)?;
    for file in &peer.files {
        let from = folder(name).join(file);
        let text = fs::read_to_string(&from).into_diagnostic().wrap_err_with(|| from.display().to_string())?;
        fs::write(setup.dir.join(file), fill(&text, &places)?).into_diagnostic()?;
    }
    let mut parts = Vec::new();
    for (n, part) in peer.process.iter().enumerate() {
        let words: Vec<String> = part.command.iter().map(|word| fill(word, &places)).collect::<Result<_>>()?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&setup.dir);
        let mut process = Process::start(name, &mut command, &setup.dir.join(format!("{name}-{n}.log")))?;
        if n == 0 {
            process.await_listener(mqtt)?;
        }
        parts.push(process);
    }
    thread::sleep(Duration::from_millis(peer.settle_ms));
    let process = parts.remove(0);
    Ok(Running { process, others: parts, mqtt, http: None, kafka: Some(kafka.clone()) })
}

fn places(peer: &Peer, setup: &Setup, home: &Path, mqtt: SocketAddr, kafka: &str) -> Result<BTreeMap<String, String>> {
    let mut places = peer.settings.clone();
    for pair in &setup.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| miette!("{pair} is no setting: write key=value"))?;
        if places.insert(key.to_owned(), value.to_owned()).is_none() {
            bail!("{key} is none of the peer's settings: {:?}", peer.settings.keys());
        }
    }
    let fixed = [
        ("home", home.display().to_string()),
        ("dir", setup.dir.display().to_string()),
        ("mqtt", mqtt.to_string()),
        ("mqtt_port", mqtt.port().to_string()),
        ("kafka", kafka.to_owned()),
        ("topic", setup.topic.clone()),
        ("partitions", setup.partitions.to_string()),
    ];
    places.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
    Ok(places)
}

/// Puts values in the place of `${name}`.
fn fill(text: &str, places: &BTreeMap<String, String>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').ok_or_else(|| miette!("a placeholder is not closed: {after}"))?;
        let value = places.get(name).ok_or_else(|| miette!("${{{name}}} is no placeholder: {:?}", places.keys()))?;
        out.push_str(before);
        out.push_str(value);
        rest = behind;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::System;

    #[test]
    fn placeholders_are_filled_or_named() {
        let places = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(fill("x${a}y${a}", &places).unwrap(), "x1y1");
        assert!(fill("${b}", &places).unwrap_err().to_string().contains("${b}"));
        assert!(fill("${a", &places).is_err());
    }

    #[test]
    fn every_peer_has_a_file_that_reads() {
        for name in System::ALL.iter().filter_map(|system| system.peer()) {
            let peer = Peer::load(name).unwrap();
            assert!(!peer.about.is_empty() && !peer.install.is_empty());
            let setup_places = |text: &str| {
                let mut places = peer.settings.clone();
                for key in ["home", "dir", "mqtt", "mqtt_port", "kafka", "topic", "partitions"] {
                    places.insert(key.to_owned(), String::new());
                }
                fill(text, &places).map(drop)
            };
            peer.process.iter().flat_map(|part| &part.command).for_each(|word| setup_places(word).unwrap());
            for file in &peer.files {
                setup_places(&fs::read_to_string(folder(name).join(file)).unwrap()).unwrap();
            }
        }
    }
}
