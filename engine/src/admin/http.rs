//! The management port: health, readiness and metrics.
//!
//! `/healthz` and `/readyz` answer anybody. `/metrics` names sinks and rates, so on an address that others can reach it asks
//! for the token, unless `metrics.public` says otherwise.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::log::Catalogue;
use crate::metrics::{CONTENT_TYPE, LogCounters, ShardSample, render};

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

/// What the handlers share.
pub struct Http {
    /// Where the counters come from.
    pub scrape: Scrape,
    /// Names of the sinks, in the order of their counters.
    pub sink_names: Vec<String>,
    /// The embedded log; `None` where there is none.
    pub log: Option<Arc<Catalogue>>,
    /// What `/metrics` wants as `Authorization: Bearer`; `None` for nothing.
    pub token: Option<String>,
    /// Whether the node takes clients.
    pub stage: watch::Receiver<Stage>,
}

impl Http {
    fn log_counters(&self) -> LogCounters {
        let damage = self.log.as_ref().map(|log| log.damage());
        damage.map_or_else(LogCounters::default, |damage| LogCounters {
            damaged: damage.batches(),
            damaged_bytes: damage.bytes(),
        })
    }
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

async fn ready(State(http): State<Arc<Http>>) -> (StatusCode, &'static str) {
    match *http.stage.borrow() {
        Stage::Ready => (StatusCode::OK, "ready\n"),
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting: not every shard runs yet\n"),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining: no new clients are taken\n"),
    }
}

async fn metrics(State(http): State<Arc<Http>>, headers: HeaderMap) -> Response {
    if !http.token.as_ref().is_none_or(|token| shows(&headers, token)) {
        let text = "show the token of the data directory as `Authorization: Bearer TOKEN`\n";
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response();
    }
    let samples = (http.scrape)().await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(&samples, &http.sink_names, http.log_counters())).into_response()
}

/// Whether a request bears the token; takes the same time wherever the two differ.
fn shows(headers: &HeaderMap, token: &str) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let shown = shown.unwrap_or_default();
    shown.len() == token.len() && shown.iter().zip(token.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
