//! Tokens of authorization servers: fetched on the control thread, refreshed ahead of their end, handed to the shards.
//!
//! Left out: what a shard does with a token ([`crate::broker::login`]).

mod endpoint;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use kafka::sasl::Secret;
use tokio::time::{Instant, sleep};

use crate::config::{Authentication, Connector, OauthClient};
use crate::driver::tls::WebTrust;
use crate::driver::{Shards, StartError};

/// The part of a token's life after which the next one is fetched, as a fraction. What is left must outlast some failed
/// tries, and the logins that began with the old one.
const REFRESH_AFTER: (u32, u32) = (3, 4);
/// Between tries that fail; doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// One connector whose brokers want tokens.
#[derive(Debug)]
pub(super) struct TokenKeeper {
    /// Its number.
    connector: u16,
    name: String,
    client: OauthClient,
    trust: WebTrust,
}

/// When the token ends that the shards have for a connector. Whoever fetches the next ones shares it with who comes after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Expiry(Arc<Mutex<Option<Instant>>>);

impl Expiry {
    fn set(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether there is no token that is still good.
    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| at <= Instant::now())
    }
}

/// Fetches one token, for probes.
///
/// # Errors
/// One sentence: the step that failed, and the server's own words.
pub fn fetch_token(client: &OauthClient, ca_file: Option<&PathBuf>) -> Result<Secret, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let trust = WebTrust::new(ca_file.cloned())?;
    runtime.block_on(endpoint::fetch(client, trust.config())).map(|issued| issued.token)
}

/// What an authorization server's answer means: a token and how long it lasts.
///
/// # Errors
/// One sentence without a full stop: why it holds none, in the server's own words. Never a secret.
pub fn read_token(status: u16, body: &[u8]) -> Result<(Secret, Duration), String> {
    let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
    endpoint::understand(status, body).map(|issued| (issued.token, issued.lifetime))
}

impl TokenKeeper {
    /// The keeper of a connector with this number, if its brokers want tokens.
    ///
    /// # Errors
    /// One sentence, if an authority to trust cannot be read.
    pub(super) fn of(number: u16, connector: &Connector) -> Result<Option<Self>, StartError> {
        let Some(security) = &connector.security else { return Ok(None) };
        let Authentication::OauthBearer(client) = &security.authentication else { return Ok(None) };
        let trust = WebTrust::new(security.tls.ca_file.clone());
        let trust = trust.map_err(|why| StartError::new(format!("connectors.{}: {why}.", connector.name)))?;
        let name = connector.name.clone();
        Ok(Some(Self { connector: number, name, client: client.clone(), trust }))
    }

    /// Keeps the shards in tokens for ever; runs on the control thread. `expiry`: of the token that they have.
    pub(super) async fn keep(mut self, shards: Shards, expiry: Expiry) {
        let mut retry = RETRY_FIRST;
        let mut last_error: Option<String> = None;
        loop {
            self.look_at_file().await;
            let asked = Instant::now();
            match endpoint::fetch(&self.client, self.trust.config()).await {
                Ok(issued) => {
                    let seconds = issued.lifetime.as_secs();
                    tracing::debug!("connector {}: a token was issued for {seconds} s", self.name);
                    if last_error.take().is_some() {
                        tracing::info!("connector {}: tokens are issued again", self.name);
                    }
                    shards.set_token(self.connector, Ok(issued.token)).await;
                    // Counted from the question: the server's clock began before we heard of it.
                    expiry.set(asked + issued.lifetime);
                    retry = RETRY_FIRST;
                    let (part, whole) = REFRESH_AFTER;
                    sleep(issued.lifetime * part / whole).await;
                }
                Err(why) => {
                    let why = format!("no token from {}: {why}", self.client.token_endpoint);
                    if last_error.as_ref() != Some(&why) {
                        tracing::error!("connector {}: {why}; it is asked again and again", self.name);
                    }
                    if expiry.is_over() {
                        shards.set_token(self.connector, Err(why.clone())).await;
                    }
                    last_error = Some(why);
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_LAST);
                }
            }
        }
    }

    /// The endpoint's certificate and its authority may have been replaced since it was asked last.
    async fn look_at_file(&mut self) {
        let mut trust = self.trust.clone();
        // A file may lie on a disk that is slow today.
        let looked = tokio::task::spawn_blocking(move || (trust.refresh(), trust));
        let Ok((result, trust)) = looked.await else { return };
        self.trust = trust;
        let name = &self.name;
        match result {
            Ok(false) => {}
            Ok(true) => tracing::info!("connector {name}: tls.cacertfile has changed; tokens are fetched with it"),
            Err(why) => tracing::error!(
                "connector {name}: tls.cacertfile has changed and cannot be used for tokens, the old one goes on: {why}"
            ),
        }
    }
}
