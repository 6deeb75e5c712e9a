//! The control thread: the management port, the embedded log's listener, signals, and the end.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::http::{self, Certificates, Http, Scrape, Stage};
use crate::admin::kafka;
use crate::admin::socket::{self, ControlSocket};
use crate::demo::{self, Demo, DemoOptions};
use crate::driver::{Dropped, LetterReceiver, Shards, StartError};
use crate::log::Catalogue;
use crate::shard::control::Command;

use super::buffers::Buffers;
use super::connectors::{Connectors, Fittings};
use super::reload::{self, Live, Parts, Reload, Requests};
use super::tls::Watched;
use super::{memory, say};

/// How often memory in use is looked at.
const MEMORY_LOOK: Duration = Duration::from_millis(100);
/// While it is above the watermark, shards are told again after so many looks: what they have freed since is given back then.
const LOOKS_BETWEEN_TELLINGS: u32 = 10;

/// Threads for look-ups of names, files and Kerberos; made when they are needed. One connector's KDC that is silent holds up one.
const BLOCKING_THREADS_MAX: usize = 64;

/// Sent when a file would grow past its limit. Its default action ends the process; handled, the write fails instead, and
/// the disk writer reports that like any other failure.
const SIGXFSZ: i32 = 25;

/// What the control thread serves.
#[derive(Debug)]
pub(super) struct Control {
    pub shards: Shards,
    pub letters: LetterReceiver,
    pub http: TcpListener,
    pub kafka: Option<KafkaListener>,
    /// Where the command line speaks to this node, if that could be made.
    pub socket: Option<ControlSocket>,
    /// How the configuration is read again.
    pub reload: Reload,
    /// Buffers on disk.
    pub buffers: Buffers,
    /// What the connectors have outside the shards.
    pub fittings: Vec<Fittings>,
    pub token: Option<String>,
    /// Printed once everything listens.
    pub banner: String,
    /// Simulated devices, and the listener they connect to.
    pub demo: Option<(SocketAddr, DemoOptions)>,
}

/// The embedded log towards Kafka clients.
#[derive(Debug)]
pub(super) struct KafkaListener {
    pub listeners: Vec<TcpListener>,
    pub catalogue: Arc<Catalogue>,
}

/// What the calling thread becomes once there are shards.
#[derive(Debug)]
pub(super) struct ControlThread {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl ControlThread {
    /// From now on signals wait to be heard. Before there are shards, which take messages: a signal that ended the process then would
    /// end it without a drain.
    pub(super) fn start() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()
            .map_err(|e| StartError::new(format!("cannot start the control thread: {e}.")))?;
        let context = runtime.enter();
        let signals = Signals::new()?;
        drop(context);
        Ok(Self { runtime, signals })
    }

    /// Runs until the shards have drained.
    pub(super) fn run(self, control: Control) -> Result<ExitCode, StartError> {
        let code = self.runtime.block_on(serve(control, self.signals))?;
        // A look-up that hangs in the resolver must not hold up the end.
        self.runtime.shutdown_background();
        Ok(code)
    }
}

async fn serve(control: Control, mut signals: Signals) -> Result<ExitCode, StartError> {
    let mut connectors = Connectors::new(control.shards.clone());
    control.fittings.into_iter().for_each(|fittings| connectors.keep(fittings));
    let (tls, kerberos) = (connectors.tls.clone(), connectors.kerberos.clone());
    let parts = Parts { shards: control.shards.clone(), buffers: control.buffers, connectors };
    let (reloader, requests, live) = reload::reloader(control.reload, parts);
    let (stage, seen_stage) = watch::channel(Stage::Starting);
    let http = Http {
        scrape: scrape(control.shards.clone()),
        sinks: names(live.clone()),
        reloads: reloads(live.clone()),
        log: control.kafka.as_ref().map(|kafka| Arc::clone(&kafka.catalogue)),
        connector_names: connector_names(live.clone()),
        token: control.token,
        certificates: certificates(tls.clone()),
        stage: seen_stage,
    };
    let http_listener = into_tokio(control.http)?;
    tokio::spawn(async move {
        if let Err(e) = http::serve(http_listener, http).await {
            tracing::error!("the management port has ended: {e}");
        }
    });
    if let Some(kafka) = control.kafka {
        serve_kafka(kafka)?;
    }
    let (asks, asked) = mpsc::unbounded_channel();
    tokio::spawn(control.shards.clone().read_letters(control.letters, asks));
    tokio::spawn(kerberos.keep(control.shards.clone(), asked));
    tokio::spawn(tls.watch());
    tokio::spawn(watch_memory(control.shards.clone(), live.clone()));
    tokio::spawn(reloader.serve());
    let socket = control.socket.map(|socket| tokio::spawn(serve_socket(socket, requests.clone())));
    stage.send_replace(Stage::Ready);
    say::out(&control.banner);
    let demo = start_demo(control.demo)?;

    let name = loop {
        match signals.next().await {
            Wish::End(name) => break name,
            // In its turn, beside the signals: the end must not wait for it.
            Wish::Reload => {
                let requests = requests.clone();
                tokio::spawn(async move { requests.reload_and_log().await });
            }
        }
    };
    // From now on nobody reloads.
    socket.inspect(|socket| socket.abort());
    drop(requests);
    let shutdown_timeout = live.borrow().shutdown_timeout;
    stage.send_replace(Stage::Draining);
    if let Some(demo) = demo {
        demo.stop().await;
    }
    tracing::info!("{name}: draining, for {} at most; another signal ends at once", seconds(shutdown_timeout));
    let dropped = tokio::select! {
        dropped = control.shards.drain(shutdown_timeout) => dropped,
        name = signals.end() => {
            say::sentence(&format!("{name} again: ended without draining"));
            std::process::exit(1);
        }
    };
    control.shards.stop().await;
    Ok(verdict(dropped))
}

/// Tells the shards when more memory is in use than the watermark, and when it is no longer.
async fn watch_memory(shards: Shards, mut live: watch::Receiver<Live>) {
    let (mut overloaded, mut looks) = (false, 0);
    loop {
        let watermark = live.borrow_and_update().memory_high_watermark_bytes;
        let Some(watermark_bytes) = watermark else {
            // Nobody acts on it, until another configuration says so.
            if live.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::time::sleep(MEMORY_LOOK).await;
        let used_bytes = memory::used_bytes();
        looks += 1;
        let is_new = (used_bytes > watermark_bytes) != overloaded;
        if is_new {
            (overloaded, looks) = (!overloaded, 0);
            let limit = if overloaded { "above" } else { "below" };
            tracing::warn!(
                "{} MB of memory are in use, {limit} node.memory_high_watermark with {} MB",
                used_bytes >> 20,
                watermark_bytes >> 20
            );
        }
        if is_new || overloaded && looks % LOOKS_BETWEEN_TELLINGS == 0 {
            shards.tell(|| Command::Overloaded(overloaded)).await;
        }
    }
}

fn start_demo(wanted: Option<(SocketAddr, DemoOptions)>) -> Result<Option<Demo>, StartError> {
    let started = wanted.map(|(to, devices)| demo::start(to, &devices)).transpose();
    started.map_err(|e| StartError::new(format!("cannot start the simulated devices: {e}.")))
}

fn serve_kafka(kafka: KafkaListener) -> Result<(), StartError> {
    let opened = kafka::State::open(kafka.catalogue);
    let state = opened.map_err(|e| StartError::new(format!("cannot read the committed offsets of consumers: {e}.")))?;
    let state = Arc::new(state);
    for listener in kafka.listeners {
        let listener = into_tokio(listener)?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            if let Err(e) = kafka::serve(listener, state).await {
                tracing::error!("the embedded log's listener has ended: {e}");
            }
        });
    }
    Ok(())
}

/// Answers the command line.
async fn serve_socket(socket: ControlSocket, requests: Requests) {
    let answer: socket::Answer = Box::new(move |question| {
        let requests = requests.clone();
        Box::pin(async move {
            match question.get("command").and_then(serde_json::Value::as_str) {
                Some("reload") => requests.answer(&question).await,
                _ => socket::refusal("this node knows the command `reload`"),
            }
        })
    });
    if let Err(e) = socket.serve(answer).await {
        tracing::error!("the control socket has ended: {e}");
    }
}

/// The sinks by slot, as the management port asks for them.
fn names(live: watch::Receiver<Live>) -> http::Sinks {
    Box::new(move || Arc::clone(&live.borrow().names))
}

/// The connectors by number, as the management port asks for them.
fn connector_names(live: watch::Receiver<Live>) -> http::Connectors {
    Box::new(move || Arc::clone(&live.borrow().connector_names))
}

/// What became of reloads, as the management port asks for it.
fn reloads(live: watch::Receiver<Live>) -> http::Reloads {
    Box::new(move || live.borrow().reloads)
}

/// The counters of all shards, as the management port asks for them.
fn scrape(shards: Shards) -> Scrape {
    Box::new(move || {
        let shards = shards.clone();
        Box::pin(async move { shards.scrape().await })
    })
}

fn certificates(tls: Watched) -> Certificates {
    Box::new(move || tls.certificate_days())
}

/// Turns a bound socket into tokio's.
fn into_tokio(listener: TcpListener) -> Result<tokio::net::TcpListener, StartError> {
    let made = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    made.map_err(|e| StartError::new(format!("cannot watch a listening socket: {e}.")))
}

/// Code 1 if something was lost that a client was told is safe; what was never acknowledged its client sends again.
fn verdict(dropped: Dropped) -> ExitCode {
    let Dropped { acked_records, unacked_records, silent_shards } = dropped;
    if unacked_records > 0 {
        say::sentence(&format!(
            "{unacked_records} unacknowledged records were dropped; their clients will send them again"
        ));
    }
    if acked_records > 0 {
        say::sentence(&format!(
            "{acked_records} acknowledged records were dropped: time for draining was up, and they are lost"
        ));
    }
    if silent_shards > 0 {
        say::sentence(&format!("{silent_shards} shards did not answer; what they held is not counted"));
    }
    if acked_records > 0 || silent_shards > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// What a signal asks for.
#[derive(Debug)]
enum Wish {
    /// The end; the signal's name.
    End(&'static str),
    /// The configuration is to be read again.
    Reload,
}

/// The signals that ask for something.
#[derive(Debug)]
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    _file_size: Signal,
}

impl Signals {
    fn new() -> Result<Self, StartError> {
        let handle = |kind| signal(kind).map_err(|e| StartError::new(format!("cannot handle signals: {e}.")));
        Ok(Self {
            hangup: handle(SignalKind::hangup())?,
            terminate: handle(SignalKind::terminate())?,
            interrupt: handle(SignalKind::interrupt())?,
            _file_size: handle(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
        }
    }

    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
