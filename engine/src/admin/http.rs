//! The management port: health, readiness and metrics.
//!
//! `/healthz` and `/readyz` answer anybody. `/metrics` and the details of `/readyz` name sinks and brokers, so on an address
//! that others can reach they ask for the token, unless `metrics.public` says otherwise.
//!
//! A node is ready when it takes clients. It stays so while Kafka is away: what clients publish is held, and a load balancer
//! that took every node out would only make them reconnect. Why a sink does not write stands in the details.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::log::Catalogue;
use crate::metrics::{
    CONTENT_TYPE, CertificateDays, ConfigCounters, Health, LogCounters, NodeSample, ShardSample, render,
};
use crate::shard::roster::SlotName;

/// Whether the node takes clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not every shard runs yet.
    Starting,
    /// Every shard runs and listens.
    Ready,
    /// Told to stop.
    Draining,
}

/// Asks every shard for its counters; those that answer in time are in the result.
pub type Scrape = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<ShardSample>> + Send>> + Send + Sync>;

/// Tells who has the slots of sinks.
pub type Sinks = Box<dyn Fn() -> Arc<Vec<SlotName>> + Send + Sync>;

/// Tells the names of connectors by number; empty where nobody has it any more.
pub type Connectors = Box<dyn Fn() -> Arc<Vec<String>> + Send + Sync>;

/// Tells what became of reloads.
pub type Reloads = Box<dyn Fn() -> ConfigCounters + Send + Sync>;

/// Tells how long certificates in use are still valid.
pub type Certificates = Box<dyn Fn() -> Vec<CertificateDays> + Send + Sync>;

/// What the handlers share.
pub struct Http {
    /// Where the counters come from.
    pub scrape: Scrape,
    /// Where the names of sinks and their connectors are known, in the order of their counters.
    pub sinks: Sinks,
    /// Where reloads are counted.
    pub reloads: Reloads,
    /// Where the names of connectors are known, those without sinks too, in the order of their health.
    pub connector_names: Connectors,
    /// The embedded log; `None` where there is none.
    pub log: Option<Arc<Catalogue>>,
    /// Where the certificates are known.
    pub certificates: Certificates,
    /// What `/metrics` and the details of `/readyz` want as `Authorization: Bearer`; `None` for nothing.
    pub token: Option<String>,
    /// Whether the node takes clients.
    pub stage: watch::Receiver<Stage>,
}

/// Answers requests until the future is dropped.
///
/// # Errors
/// If the listening socket breaks.
pub async fn serve(listener: TcpListener, http: Http) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(http));
    axum::serve(listener, router).await
}

async fn ready(State(http): State<Arc<Http>>, headers: HeaderMap) -> Response {
    let stage = *http.stage.borrow();
    let (code, word, reason) = match stage {
        Stage::Ready => (StatusCode::OK, "ready", None),
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting", Some("not every shard runs yet")),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", Some("no new clients are taken")),
    };
    let mut body = json!({ "ready": code == StatusCode::OK, "stage": word, "reason": reason });
    if stage != Stage::Starting && http.admits(&headers) {
        let samples = (http.scrape)().await;
        (body["connectors"], body["sinks"]) = http.health(&samples);
    }
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

async fn metrics(State(http): State<Arc<Http>>, headers: HeaderMap) -> Response {
    if !http.admits(&headers) {
        let text = "show the token of the data directory as `Authorization: Bearer TOKEN`\n";
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response();
    }
    let samples = (http.scrape)().await;
    let names: Vec<String> = (http.sinks)().iter().map(|slot| slot.sink.clone()).collect();
    let node = NodeSample { config: (http.reloads)(), log: http.log_counters(), certificates: (http.certificates)() };
    let text = render(&samples, &names, node);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

impl Http {
    fn admits(&self, headers: &HeaderMap) -> bool {
        self.token.as_ref().is_none_or(|token| shows(headers, token))
    }

    /// How connectors and sinks stand: of all shards' views the worst, of a connector's sinks too.
    fn health(&self, samples: &[ShardSample]) -> (Value, Value) {
        let (names, slots) = ((self.connector_names)(), (self.sinks)());
        let (mut worst, mut sinks) = (Vec::<(&str, &Health)>::new(), Vec::<(&str, &Health)>::new());
        let own = |index: usize| samples.iter().filter_map(move |sample| sample.connectors.get(index));
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            worsen(&mut worst, name, own(index).fold(&Health::Connected, Health::worse));
        }
        for (index, SlotName { sink, connector }) in slots.iter().enumerate().filter(|(_, slot)| !slot.sink.is_empty())
        {
            let views = samples.iter().filter_map(|sample| sample.health.get(index));
            let health = views.fold(&Health::Connected, Health::worse);
            worsen(&mut sinks, sink, health);
            worsen(&mut worst, connector, health);
        }
        let all = |of: Vec<(&str, &Health)>| -> Map<String, Value> {
            of.into_iter().map(|(name, health)| (name.to_string(), shown(health))).collect()
        };
        (all(worst).into(), all(sinks).into())
    }

    fn log_counters(&self) -> LogCounters {
        let damage = self.log.as_ref().map(|log| log.damage());
        damage.map_or_else(LogCounters::default, |damage| LogCounters {
            damaged: damage.batches(),
            damaged_bytes: damage.bytes(),
        })
    }
}

/// Of those that have one name the worst counts: one may have left, and not ended what it had.
fn worsen<'a>(all: &mut Vec<(&'a str, &'a Health)>, name: &'a str, health: &'a Health) {
    match all.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = known.worse(health),
        None => all.push((name, health)),
    }
}

fn shown(health: &Health) -> Value {
    json!({ "health": health.word(), "reason": health.reason() })
}

/// Whether a request bears the token; takes the same time wherever the two differ.
fn shows(headers: &HeaderMap, token: &str) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let shown = shown.unwrap_or_default();
    shown.len() == token.len() && shown.iter().zip(token.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
