//! What deserves a warning in how a connector reaches its brokers.

use super::Check;
use crate::config::problem::Problem;
use crate::config::tls::{TlsOptions, TlsVerify};
use crate::config::{Authentication, CipherSuite, Connector, KERBEROS_REMEDY, Security, connector};

impl Check<'_> {
    /// Passwords in clear, strangers trusted, keys without certificates.
    pub(super) fn connector_security(&mut self, connector: &Connector) {
        let Some(Security { authentication, tls }) = &connector.security else { return };
        if tls.enable {
            self.tls(connector, tls);
        } else {
            self.secret_in_clear(connector, authentication);
        }
        if matches!(authentication, Authentication::Gssapi { .. }) && !cfg!(feature = "gssapi") {
            let fault = self.path_of(connector, "authentication.mechanism")
                + " is gssapi, which this build does not have: the feature `gssapi` is off";
            self.about(connector, Problem::error(fault, KERBEROS_REMEDY), "authentication.mechanism");
        }
    }

    fn tls(&mut self, connector: &Connector, tls: &TlsOptions) {
        if tls.verify == TlsVerify::None {
            let fault =
                self.path_of(connector, "tls.verify") + " is verify_none: whoever answers is taken for the broker";
            let remedy = "write verify_peer, and cacertfile with the authority that signed the brokers' certificates";
            self.about(connector, Problem::warning(fault, remedy), "tls.verify");
        }
        if !tls.versions.dropped.is_empty() {
            let dropped = tls.versions.dropped.join(", ");
            let fault = format!("{} leaves out {dropped}, which is not safe", self.path_of(connector, "tls.versions"));
            let remedy = "leave it out of the list; brokers have spoken tlsv1.2 since Kafka 0.9";
            self.about(connector, Problem::warning(fault, remedy), "tls.versions");
        }
        let halves = [("tls.certfile", "tls.keyfile"), ("tls.keyfile", "tls.certfile")];
        let set = [tls.cert_file.is_some(), tls.key_file.is_some()];
        for ((has, lacks), is_set) in halves.into_iter().zip(set) {
            if is_set && !set.iter().all(|&set| set) {
                let fault = format!("{} is set without {lacks}", self.path_of(connector, has));
                self.about(connector, Problem::error(fault, "write both, or neither"), has);
            }
        }
        if let Some(suites) = &tls.ciphers {
            let usable = |suite: &&'static CipherSuite| {
                if suite.v1_3 { tls.versions.v1_3 } else { tls.versions.v1_2 }
            };
            if !suites.iter().any(usable) {
                let fault = self.path_of(connector, "tls.ciphers") + " holds no suite of the allowed versions";
                let remedy = "add a suite of that version: those that begin with TLS_ are for tlsv1.3";
                self.about(connector, Problem::error(fault, remedy), "tls.ciphers");
            }
        }
    }

    fn secret_in_clear(&mut self, connector: &Connector, authentication: &Authentication) {
        let what = match authentication {
            Authentication::Plain { .. } => "the password",
            Authentication::OauthBearer(_) => "the token",
            _ => return,
        };
        let path = self.path_of(connector, "authentication.mechanism");
        let fault = format!("{path} sends {what} to the brokers unencrypted");
        let remedy = "write tls = { enable = true }, or use scram_sha_512";
        self.about(connector, Problem::warning(fault, remedy), "authentication.mechanism");
    }

    fn path_of(&self, connector: &Connector, key: &str) -> String {
        format!("`{}`", connector::SECTION.path(Some(&connector.name), key))
    }

    fn about(&mut self, connector: &Connector, problem: Problem, key: &str) {
        self.report(problem, &connector::SECTION, Some(&connector.name), key);
    }
}
