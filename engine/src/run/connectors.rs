//! What connectors have outside the shards: how their links are dialled, with which TLS, and who keeps their tokens and tickets.
//!
//! It is made whole before any of it is used, because files may be missing. A connector that comes while the node runs has all of it
//! before its first link is dialled.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::kerberos::{self, Identity};
use super::tls::{Watched, tls_client};
use super::token::{Expiry, TokenKeeper};
use crate::config::{Connector, ConnectorKind, Security};
use crate::driver::tls::Client;
use crate::driver::{KeepAlive, Shards, SocketOptions, StartError};

/// What one connector has.
#[derive(Debug)]
pub(super) struct Fittings {
    number: u16,
    name: String,
    /// How its links are dialled.
    pub options: SocketOptions,
    /// Where what to show to brokers comes from; `None` if that stays as it is.
    proof: Option<Proof>,
}

/// Where what to show to brokers comes from, if it is not in the configuration.
#[derive(Debug)]
struct Proof {
    keeper: Option<TokenKeeper>,
    identity: Option<Identity>,
}

impl Proof {
    fn of(number: u16, connector: &Connector) -> Result<Self, StartError> {
        Ok(Self { keeper: TokenKeeper::of(number, connector)?, identity: Identity::of(connector) })
    }
}

impl Fittings {
    /// What the connector with this number needs; reads the files that it names.
    ///
    /// # Errors
    /// One sentence: which connector and file, and what to do.
    pub(super) fn of(number: u16, connector: &Connector) -> Result<Self, StartError> {
        let options = socket_options(connector, tls_client(connector)?);
        Ok(Self { number, name: connector.name.clone(), options, proof: Some(Proof::of(number, connector)?) })
    }

    /// As [`of`](Self::of), for all of a configuration.
    ///
    /// # Errors
    /// As there.
    pub(super) fn all(connectors: &[Connector]) -> Result<Vec<Self>, StartError> {
        (0..).zip(connectors).map(|(number, connector)| Self::of(number, connector)).collect()
    }

    /// As [`of`](Self::of), where the connector was `before`: what its options leave as it is goes on, with what it knows of brokers.
    ///
    /// # Errors
    /// As there.
    pub(super) fn after(
        before: &Connector,
        number: u16,
        connector: &Connector,
        watched: &Watched,
    ) -> Result<Self, StartError> {
        let (old, new) = (before.security.as_ref(), connector.security.as_ref());
        let has_same_tls = old.map(|old| &old.tls) == new.map(|new| &new.tls);
        let tls = if has_same_tls { watched.client(number) } else { tls_client(connector)? };
        let trust = |security: &Security| (security.authentication.clone(), security.tls.ca_file.clone());
        let proof = (old.map(trust) != new.map(trust)).then(|| Proof::of(number, connector)).transpose()?;
        Ok(Self { number, name: connector.name.clone(), options: socket_options(connector, tls), proof })
    }
}

/// What all connectors have.
#[derive(Debug)]
pub(super) struct Connectors {
    shards: Shards,
    /// TLS towards brokers.
    pub tls: Watched,
    /// Tickets for brokers that want those.
    pub kerberos: kerberos::Keeper,
    /// Whoever fetches tokens, by number, and when the token in use ends.
    keepers: BTreeMap<u16, (AbortHandle, Expiry)>,
}

impl Connectors {
    /// Nobody has anything yet.
    pub(super) fn new(shards: Shards) -> Self {
        Self { shards, tls: Watched::default(), kerberos: kerberos::Keeper::default(), keepers: BTreeMap::new() }
    }

    /// Has the shards dial like this for later links of a connector.
    pub(super) async fn set_options(&self, fittings: &Fittings) {
        self.shards.set_socket_options(fittings.number, &fittings.options).await;
    }

    /// Keeps the certificates, tickets and tokens of a connector from now on, instead of those that it had. The shards know it.
    pub(super) fn keep(&mut self, fittings: Fittings) {
        let Fittings { number, name, options, proof } = fittings;
        self.tls.set(number, &name, options.tls);
        let Some(Proof { keeper, identity }) = proof else { return };
        self.kerberos.set(number, identity);
        let before = self.keepers.remove(&number);
        let expiry = before.map(|(before, expiry)| {
            before.abort();
            expiry
        });
        if let Some(keeper) = keeper {
            // The token that the shards have is good though another client asks for the next.
            let expiry = expiry.unwrap_or_default();
            let task = tokio::spawn(keeper.keep(self.shards.clone(), expiry.clone()));
            self.keepers.insert(number, (task.abort_handle(), expiry));
        }
    }

    /// Nobody has this connector any more.
    pub(super) async fn close(&mut self, number: u16) {
        self.tls.set(number, "", None);
        self.kerberos.set(number, None);
        self.keepers.remove(&number).inspect(|(keeper, _)| keeper.abort());
        // Lets go of its TLS.
        self.shards.set_socket_options(number, &SocketOptions::default()).await;
    }
}

fn socket_options(connector: &Connector, tls: Option<Arc<Client>>) -> SocketOptions {
    let ConnectorKind::Kafka(kafka) = &connector.kind else { return SocketOptions::default() };
    let size = |bytes: u32| (bytes > 0).then_some(bytes as usize);
    SocketOptions {
        connect_timeout_ms: kafka.connect_timeout_ms,
        nodelay: kafka.socket_nodelay,
        sndbuf_bytes: size(kafka.socket_send_bytes),
        recbuf_bytes: size(kafka.socket_receive_bytes),
        keepalive: kafka.socket_keepalive.map(|keep| KeepAlive {
            idle_s: keep.idle_s,
            interval_s: keep.interval_s,
            probes: keep.probes,
        }),
        tls,
    }
}
