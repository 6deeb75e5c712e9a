//! From a checked configuration to a running engine.
//!
//! The order matters: everything that can be refused is asked for before the first thread starts, so that a refusal is one
//! sentence and leaves nothing behind.
//!
//! ```text
//! plan → probe io_uring → lock the data directory → recover logs and buffers → bind ports → shard threads → control thread → drained
//! ```

mod banner;
mod buffers;
mod connectors;
mod control;
mod data_dir;
mod kerberos;
mod lock;
mod logs;
mod memory;
mod random;
mod reload;
mod say;
mod shards;
mod tls;
mod token;

pub use kerberos::{Failure, Identity, Login, begin_login, fetch_ticket};
pub use reload::Reload;
pub use tls::tls_clients;
pub use token::{fetch_token, read_token};

pub(crate) use random::bytes as random_bytes;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use crate::admin::socket::{self, ControlSocket};
use crate::config::{Config, ConnectorKind};
use crate::demo::DemoOptions;
use crate::driver::{self, Clock, Listener, Seats, StartError};
use crate::log::Opened;
use crate::log::journal::OpenedJournals;
use crate::plan::Plan;
use crate::shard::io::ListenerId;
use crate::shard::{Settings, Shard};

use banner::Addresses;
use buffers::Buffers;
use connectors::Fittings;
use data_dir::DataDir;

/// What a run is asked for beside its configuration.
#[derive(Debug)]
pub struct RunOptions {
    /// Simulated devices to publish with.
    pub demo: Option<DemoOptions>,
    /// The configuration file, for the lines printed at start; without one this is the embedded default.
    pub file: Option<String>,
    /// How the configuration is read again.
    pub reload: Reload,
}

/// Runs the engine within the limits of `plan`, on the calling thread and one more for each shard, until it is told to stop.
///
/// # Errors
/// One sentence with the fix, if it cannot start.
pub fn run(config: Config, plan: Plan, options: RunOptions) -> miette::Result<ExitCode> {
    abort_on_panic();
    driver::pages::ordinary();
    match start(&config, &plan, options) {
        Ok(code) => Ok(code),
        Err(refusal) => {
            say::sentence(&refusal.to_string());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn start(config: &Config, plan: &Plan, options: RunOptions) -> Result<ExitCode, StartError> {
    let RunOptions { demo, reload, .. } = options;
    let settings = Settings::new(config, plan).map_err(|e| StartError::new(format!("{e}.")))?;
    let count = usize::from(plan.shards);
    driver::probe(count)?;
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let opened = logs::open_logs(config, data_dir.path())?;
    let buffers = Buffers::new(data_dir.path().to_path_buf(), plan.shards);
    let found = buffers.open(config, 0..config.sinks.len() as u16).map_err(|refusal| refusal.why)?;
    for note in opened.iter().flat_map(|opened| &opened.notes).chain(&found.notes) {
        tracing::warn!("{note}");
    }
    let mut addresses = Addresses::default();
    let listeners = bind_mqtt(config, plan, &mut addresses)?;
    let http = bind_one("http.bind", config.http.bind)?;
    addresses.http = http.local_addr().ok();
    let kafka = bind_kafka(config, opened.as_ref(), &mut addresses)?;
    let token = token(config, &data_dir)?;
    let fittings = Fittings::all(&config.connectors)?;

    let control_thread = control::ControlThread::start()?;
    let running = start_shards(config, plan, &settings, opened.as_ref(), found, listeners, &fittings)?;
    let (threads, shards, letters) = running.split();
    let code = control_thread.run(control::Control {
        shards,
        letters,
        http,
        kafka,
        socket: control_socket(&data_dir),
        reload,
        buffers: buffers.clone(),
        fittings,
        token,
        banner: banner::banner(config, plan, &addresses, demo.as_ref()),
        demo: demo.and_then(|devices| Some((addresses.first_mqtt()?, devices))),
    })?;
    threads.join();
    // Held to the very end: nobody else may write while a disk writer of ours still does.
    drop((data_dir, buffers));
    Ok(code)
}

fn start_shards(
    config: &Config,
    plan: &Plan,
    settings: &Settings,
    opened: Option<&Opened>,
    buffers: OpenedJournals,
    listeners: Vec<Vec<Listener>>,
    fittings: &[Fittings],
) -> Result<shards::Running, StartError> {
    let clock = Clock::start();
    let common = shards::Common {
        shards: plan.shards,
        pin: config.node.pin,
        connect_rate: config.mqtt.connect_rate,
        busy_poll_ns: config.node.busy_poll_us * 1_000,
        ring_slots: plan.mesh.ring_slots,
        connectors: fittings.iter().map(|fittings| fittings.options.clone()).collect(),
        catalogue: opened.map(|opened| Arc::clone(&opened.catalogue)),
        journals: buffers.journals,
        clock,
    };
    // Hash keys and partition choices must not be guessable from outside.
    let seed = u64::from_ne_bytes(random::bytes()?);
    let nonce_key = random::bytes()?;
    let mut starts = buffers.starts;
    shards::start(common, listeners, |shard| {
        let writers = logs::writers(config, shard, plan.shards, opened, nonce_key);
        let settings = settings.clone();
        let starts = starts.get_mut(usize::from(shard.0)).map(std::mem::take).unwrap_or_default();
        Box::new(move || Shard::new(shard, settings, writers, seed, clock.mono()).with_journals(starts))
    })
}

/// Binds every MQTT listener once for each shard; the result is by shard.
fn bind_mqtt(config: &Config, plan: &Plan, addresses: &mut Addresses) -> Result<Vec<Vec<Listener>>, StartError> {
    let shards = usize::from(plan.shards);
    let node = Seats::of_node(plan.connections_max);
    let mut by_shard: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    for (index, listener) in config.listeners.iter().enumerate() {
        let key = format!("listeners.{}.bind", listener.name);
        let seats = Seats::of_listener(listener.connections_max, &node);
        let (sockets, addr) = driver::bind(ListenerId(index as u16), &key, listener.bind, shards, &seats)?;
        addresses.mqtt.push((listener.name.clone(), addr));
        for (shard, socket) in by_shard.iter_mut().zip(sockets) {
            shard.push(socket);
        }
    }
    Ok(by_shard)
}

/// Binds the listeners of the embedded log, one for each embedded connector; all show the same log.
fn bind_kafka(
    config: &Config,
    opened: Option<&Opened>,
    addresses: &mut Addresses,
) -> Result<Option<control::KafkaListener>, StartError> {
    let Some(opened) = opened else { return Ok(None) };
    let mut listeners = Vec::new();
    for connector in &config.connectors {
        if let ConnectorKind::Embedded(log) = &connector.kind {
            let listener = bind_one(&format!("connectors.{}.bind", connector.name), log.bind)?;
            addresses.kafka.push(listener.local_addr().unwrap_or(log.bind));
            listeners.push(listener);
        }
    }
    Ok(Some(control::KafkaListener { listeners, catalogue: Arc::clone(&opened.catalogue) }))
}

fn bind_one(key: &str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).map_err(|e| StartError::listen(key, addr, &e))
}

/// The socket on which this node takes orders. A node runs without one as well.
fn control_socket(data_dir: &DataDir) -> Option<ControlSocket> {
    let made = ControlSocket::listen(data_dir.path());
    let complain = |error: &std::io::Error| {
        tracing::warn!(
            "{} cannot be made, so `aqueduct reload` finds nobody: {error}",
            data_dir.path().join(socket::NAME).display()
        );
    };
    made.inspect_err(complain).ok()
}

/// What `/metrics` asks for: nothing on the loopback interface or where metrics are public.
fn token(config: &Config, data_dir: &DataDir) -> Result<Option<String>, StartError> {
    if config.http.bind.ip().is_loopback() || config.metrics.public {
        return Ok(None);
    }
    match &config.http.token {
        Some(secret) => Ok(Some(secret.expose().to_string())),
        None => data_dir.token().map(Some),
    }
}

/// A shard that panicked would leave a node that is half alive, which is worse than a dead one: a supervisor restarts that.
/// Release builds abort anyway; this does it for every build, after the message.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
