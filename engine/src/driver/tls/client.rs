//! What a connector dials with: made from its options, shared by the shards, made anew when a file changes.
//!
//! Shards only take what is here at their next dial; the files are read at start and by the control thread, which asks
//! [`Client::refresh`] every second. A change that cannot be used is told once, and the old files go on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::certificate;
use super::files::{self, Stamp};
use super::verifier::{LastSeen, Verifier};
use crate::config::{ServerNameIndication, TlsOptions, TlsVerify};

/// Sessions remembered for resumption, of all brokers together.
const SESSIONS_MAX: usize = 256;
const DAY_S: i64 = 24 * 60 * 60;

/// How a connector speaks TLS.
#[derive(Debug)]
pub struct Client {
    options: TlsOptions,
    current: Mutex<Current>,
    seen: Arc<LastSeen>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ClientConfig>,
    /// Of the files as they were read, or failed to be read, last.
    stamps: Vec<Stamp>,
    /// The first end of an authority's certificate, of those in a file of ours, in seconds since 1970.
    authority_expiry_s: Option<i64>,
    /// The same of our own.
    own_expiry_s: Option<i64>,
}

impl Client {
    /// Reads every file the options name.
    ///
    /// # Errors
    /// One sentence: which file or option, and what to do.
    pub fn new(options: &TlsOptions) -> Result<Self, String> {
        let seen = Arc::default();
        let current = Mutex::new(Current::read(options, &seen)?);
        Ok(Self { options: options.clone(), current, seen })
    }

    /// A new session with a broker that is dialled by this name or address.
    ///
    /// # Errors
    /// One sentence.
    pub fn connect(&self, host: &str) -> Result<ClientConnection, String> {
        let name = match &self.options.server_name {
            ServerNameIndication::Name(name) => name.as_str(),
            ServerNameIndication::Auto | ServerNameIndication::Disable => host,
        };
        // A name that ends with a dot is the same name, and no certificate bears it.
        let name = ServerName::try_from(name.trim_end_matches('.').to_string())
            .map_err(|_| format!("TLS: {host} is not a name that a certificate can bear"))?;
        let config = Arc::clone(&self.current().config);
        ClientConnection::new(config, name).map_err(|error| super::explain(&error))
    }

    /// Reads the files again if one of them has changed. `Ok(true)`: new sessions use what was read.
    ///
    /// # Errors
    /// One sentence about a change that cannot be used. It is said once; what was read before goes on.
    pub fn refresh(&self) -> Result<bool, String> {
        let stamps = files::stamps(&self.options);
        if self.current().stamps == stamps {
            return Ok(false);
        }
        match Current::read(&self.options, &self.seen) {
            Ok(read) => {
                *self.current() = read;
                Ok(true)
            }
            Err(why) => {
                self.current().stamps = stamps;
                Err(why)
            }
        }
    }

    /// How long the certificates in use are still valid, in whole days, negative once they have expired: ours, those of our
    /// authorities that come from a file, and the one a broker showed last.
    pub fn certificate_days(&self) -> Vec<(&'static str, i64)> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let days = |of, expiry_s: Option<i64>| expiry_s.map(|at| (of, (at - now_s).div_euclid(DAY_S)));
        let (authority, own) = {
            let current = self.current();
            (current.authority_expiry_s, current.own_expiry_s)
        };
        let all = [days("authority", authority), days("client", own), days("broker", self.seen.expiry_s())];
        all.into_iter().flatten().collect()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // It is replaced whole, so it is whole whatever happened to the thread that held it.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn read(options: &TlsOptions, seen: &Arc<LastSeen>) -> Result<Self, String> {
        // Taken first: a change while we read is seen by the next look.
        let stamps = files::stamps(options);
        let provider = Arc::new(provider(options));
        let (authorities, authority_expiry_s) = match options.verify {
            TlsVerify::Peer => {
                let (roots, expiry_s) = roots(options)?;
                let made = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
                (Some(made.map_err(|error| format!("tls.cacertfile cannot be used: {error}"))?), expiry_s)
            }
            TlsVerify::None => (None, None),
        };
        let verifier = Verifier {
            authorities,
            provider: Arc::clone(&provider),
            depth: options.depth as usize,
            seen: Arc::clone(seen),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(options))
            .map_err(|error| format!("tls.versions and tls.ciphers do not fit together: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut own_expiry_s = None;
        let mut config = match (&options.cert_file, &options.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let chain = files::certificates(cert_file)?;
                own_expiry_s = first_expiry(&chain);
                let key = files::private_key(key_file, options.key_password.as_ref())?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    format!("{} and {} do not belong together: {error}", cert_file.display(), key_file.display())
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.enable_sni = options.server_name != ServerNameIndication::Disable;
        config.resumption = match options.reuse_sessions {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        Ok(Self { config: Arc::new(config), stamps, authority_expiry_s, own_expiry_s })
    }
}

/// Whom to trust, and when the first certificate of a file of ours ends.
fn roots(options: &TlsOptions) -> Result<(RootCertStore, Option<i64>), String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &options.ca_file else {
        let found = rustls_native_certs::load_native_certs();
        // Some systems keep one or two that nobody can read; what counts is that there are others.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        return match added {
            0 => Err("the system trusts no authority; install its certificates (Debian: ca-certificates), or set \
                      tls.cacertfile"
                .to_string()),
            _ => Ok((roots, None)),
        };
    };
    let certificates = files::certificates(path)?;
    let expiry_s = first_expiry(&certificates);
    for certificate in certificates {
        roots.add(certificate).map_err(|error| format!("{} holds a broken certificate: {error}", path.display()))?;
    }
    Ok((roots, expiry_s))
}

fn first_expiry(certificates: &[CertificateDer<'_>]) -> Option<i64> {
    certificates.iter().filter_map(|der| certificate::expiry_s(der)).min()
}

/// The cryptography, with the suites that are allowed, in the order they are wanted.
fn provider(options: &TlsOptions) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(wanted) = &options.ciphers {
        let known = |code: u16| provider.cipher_suites.iter().find(|suite| u16::from(suite.suite()) == code).copied();
        provider.cipher_suites = wanted.iter().filter_map(|suite| known(suite.code)).collect();
    }
    provider
}

fn versions(options: &TlsOptions) -> Vec<&'static SupportedProtocolVersion> {
    let v1_3 = options.versions.v1_3.then_some(&rustls::version::TLS13);
    let v1_2 = options.versions.v1_2.then_some(&rustls::version::TLS12);
    v1_3.into_iter().chain(v1_2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CIPHER_SUITES;

    /// Every suite the configuration offers is one the provider has.
    #[test]
    fn every_suite_that_can_be_configured_is_there() {
        let provider = ring::default_provider();
        for suite in CIPHER_SUITES {
            let found = provider.cipher_suites.iter().find(|known| u16::from(known.suite()) == suite.code);
            let found = found.unwrap_or_else(|| panic!("{} is not there", suite.iana));
            assert_eq!(found.tls13().is_some(), suite.v1_3, "{}", suite.iana);
        }
        assert_eq!(provider.cipher_suites.len(), CIPHER_SUITES.len(), "each of the provider's has a name");
    }
}
