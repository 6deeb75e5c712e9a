//! What it takes to reach the brokers of a connector: its options, trust, and something to show them.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kafka::sasl::Exchange;
use kafka::sasl::scram::Nonces;

use crate::broker::login::{Credentials, Login};
use crate::config::{Authentication, Connector, KafkaConnector, OauthClient, TlsOptions};
use crate::driver::tls::Client;
use crate::run::{Failure, Identity, Login as KerberosLogin, begin_login, fetch_ticket, fetch_token, random_bytes};

/// How to reach brokers.
pub(super) struct Access<'a> {
    pub(super) kafka: &'a KafkaConnector,
    pub(super) tls: Option<Client>,
    login: Login,
    authentication: &'a Authentication,
    kerberos: Option<Identity>,
}

impl<'a> Access<'a> {
    /// Reads the files that TLS needs.
    ///
    /// # Errors
    /// One sentence without a full stop.
    pub(super) fn new(kafka: &'a KafkaConnector, connector: &'a Connector) -> Result<Self, String> {
        let security = connector.security.as_ref().ok_or("it reaches no brokers")?;
        let tls = Some(&security.tls).filter(|tls: &&TlsOptions| tls.enable).map(Client::new).transpose()?;
        let key = random_bytes().map_err(|error| error.to_string())?;
        let login = Login::new(Credentials::from(&security.authentication), Nonces::new(key, 0));
        let kerberos = Identity::of(connector);
        Ok(Self { kafka, tls, login, authentication: &security.authentication, kerberos })
    }

    /// The client of the authorization server, if brokers want a token.
    pub(super) fn oauth(&self) -> Option<&'a OauthClient> {
        match self.authentication {
            Authentication::OauthBearer(client) => Some(client),
            _ => None,
        }
    }

    /// Fetches a token for all that follows.
    ///
    /// # Errors
    /// One sentence without a full stop.
    pub(super) fn fetch_token(&mut self, client: &OauthClient, connector: &Connector) -> Result<(), String> {
        let ca_file = connector.security.as_ref().and_then(|security| security.tls.ca_file.as_ref());
        self.login.set_token(Ok(fetch_token(client, ca_file)?));
        Ok(())
    }

    /// Who we are in the realm, if brokers want a ticket.
    pub(super) fn kerberos(&self) -> Option<&Identity> {
        self.kerberos.as_ref()
    }

    /// Has a ticket for all that follows, within the time a connection may take.
    ///
    /// # Errors
    /// One sentence without a full stop.
    pub(super) fn fetch_ticket(&self, identity: &Identity) -> Result<(), String> {
        let identity = identity.clone();
        self.in_time(move || fetch_ticket(&identity))
    }

    /// Begins a login with Kerberos: the login, and what to say first.
    ///
    /// # Errors
    /// As there.
    pub(super) fn begin_kerberos(&self, host: &str) -> Result<(KerberosLogin, Vec<u8>), String> {
        let identity = self.kerberos.clone().ok_or("the connector has no Kerberos")?;
        let host = host.to_string();
        self.in_time(move || begin_login(&identity, &host))
    }

    /// The library waits for servers as long as it thinks right; we do not.
    fn in_time<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, String> {
        let limit_ms = self.kafka.connect_timeout_ms;
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(work()));
        match result.recv_timeout(Duration::from_millis(limit_ms)) {
            Ok(result) => result.map_err(|failure| failure.why),
            Err(_) => Err(format!(
                "no ticket within {limit_ms} ms (connect_timeout): the KDC of krb5.conf does not answer; check its address and \
                 the way to it"
            )),
        }
    }

    /// The next authentication, if one is asked of us.
    pub(super) fn exchange(&mut self) -> Option<Exchange> {
        self.login.exchange()
    }

    /// What to look at when brokers refuse it.
    pub(super) fn remedy(&self) -> &'static str {
        self.login.remedy()
    }
}
