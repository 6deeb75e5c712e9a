//! What it takes to reach the brokers of a connector: its options, trust, and something to show them.

use kafka::sasl::Exchange;
use kafka::sasl::scram::Nonces;

use crate::broker::login::{Credentials, Login};
use crate::config::{Authentication, Connector, KafkaConnector, OauthClient, TlsOptions};
use crate::driver::tls::Client;
use crate::run::{fetch_token, random_bytes};

/// How to reach brokers.
pub(super) struct Access<'a> {
    pub(super) kafka: &'a KafkaConnector,
    pub(super) tls: Option<Client>,
    login: Login,
    authentication: &'a Authentication,
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
        Ok(Self { kafka, tls, login, authentication: &security.authentication })
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

    /// The next authentication, if one is asked of us.
    pub(super) fn exchange(&mut self) -> Option<Exchange> {
        self.login.exchange()
    }

    /// What to look at when brokers refuse it.
    pub(super) fn remedy(&self) -> &'static str {
        self.login.remedy()
    }
}
