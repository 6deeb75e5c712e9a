//! TLS of the connectors: made when they come, its files looked at from then on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, Connector};
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
    config.connectors.iter().map(tls_client).collect()
}

/// The TLS of one connector, if it has any; reads all files that are named.
///
/// # Errors
/// One sentence: which file, and what to do.
pub(super) fn tls_client(connector: &Connector) -> Result<Option<Arc<Client>>, StartError> {
    let tls = connector.security.as_ref().map(|security| &security.tls).filter(|tls| tls.enable);
    let made = tls.map(|tls| Client::new(tls).map(Arc::new)).transpose();
    made.map_err(|why| StartError::new(format!("connectors.{}.tls: {why}.", connector.name)))
}

/// The TLS clients of a node by the numbers of their connectors, with the names; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<RwLock<Clients>>);

type Clients = BTreeMap<u16, (String, Arc<Client>)>;

impl Watched {
    /// Looks at the files of this connector from now on, instead of those that it had.
    pub(super) fn set(&self, connector: u16, name: &str, client: Option<Arc<Client>>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match client {
            Some(client) => all.insert(connector, (name.to_owned(), client)),
            None => all.remove(&connector),
        };
    }

    /// The TLS of this connector.
    pub(super) fn client(&self, connector: u16) -> Option<Arc<Client>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&connector).map(|(_, client)| Arc::clone(client))
    }

    fn all(&self) -> Vec<(String, Arc<Client>)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Looks at the files for ever; runs on the control thread.
    pub(super) async fn watch(self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let all = self.all();
            if !all.is_empty() {
                // A file may lie on a disk that is slow today.
                let _ = tokio::task::spawn_blocking(move || look(&all)).await;
            }
        }
    }

    /// For the metrics.
    pub(super) fn certificate_days(&self) -> Vec<CertificateDays> {
        let days = |(connector, client): (&String, &Arc<Client>)| {
            let connector = connector.clone();
            let all = client.certificate_days().into_iter();
            all.map(move |(of, days)| CertificateDays { connector: connector.clone(), of, days }).collect::<Vec<_>>()
        };
        // Of several of one name, all but the last have left.
        let newest: BTreeMap<_, _> = self.all().into_iter().collect();
        newest.iter().flat_map(days).collect()
    }
}

fn look(all: &[(String, Arc<Client>)]) {
    for (connector, client) in all {
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
