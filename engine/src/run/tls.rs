//! TLS of the connectors: made at start, its files looked at from then on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::driver::StartError;
use crate::driver::tls::Client;
use crate::metrics::CertificateDays;

/// How often files are looked at: three calls of stat.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The TLS of every connector that has it, by position; reads all files that are named.
///
/// # Errors
/// One sentence: which connector and file, and what to do.
pub fn tls_clients(config: &Config) -> Result<Vec<Option<Arc<Client>>>, StartError> {
    let client = |connector: &crate::config::Connector| {
        let tls = connector.security.as_ref().map(|security| &security.tls).filter(|tls| tls.enable);
        let made = tls.map(|tls| Client::new(tls).map(Arc::new)).transpose();
        made.map_err(|why| StartError::new(format!("connectors.{}.tls: {why}.", connector.name)))
    };
    config.connectors.iter().map(client).collect()
}

/// The TLS clients of a node by the names of their connectors.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Vec<(String, Arc<Client>)>>);

impl Watched {
    pub(super) fn new(config: &Config, clients: &[Option<Arc<Client>>]) -> Self {
        let named = config.connectors.iter().zip(clients);
        let named = named.filter_map(|(of, client)| Some((of.name.clone(), Arc::clone(client.as_ref()?))));
        Self(Arc::new(named.collect()))
    }

    /// Looks at the files for ever; runs on the control thread.
    pub(super) async fn watch(self) {
        if self.0.is_empty() {
            return;
        }
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let all = self.clone();
            // A file may lie on a disk that is slow today.
            let _ = tokio::task::spawn_blocking(move || all.look()).await;
        }
    }

    fn look(&self) {
        for (connector, client) in self.0.iter() {
            match client.refresh() {
                Ok(false) => {}
                Ok(true) => tracing::info!("connector {connector}: TLS files have changed; new connections use them"),
                Err(why) => {
                    tracing::error!(
                        "connector {connector}: TLS files have changed and cannot be used, the old ones go on: {why}"
                    );
                }
            }
        }
    }

    /// For the metrics.
    pub(super) fn certificate_days(&self) -> Vec<CertificateDays> {
        let days = |(connector, client): &(String, Arc<Client>)| {
            let connector = connector.clone();
            let all = client.certificate_days().into_iter();
            all.map(move |(of, days)| CertificateDays { connector: connector.clone(), of, days }).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(days).collect()
    }
}
