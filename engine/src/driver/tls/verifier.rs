//! Whether a broker is who it should be: webpki's verdict, within our depth, and a look at the expiry of what it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::certificate;

/// When the certificate ends that a broker showed last, in seconds since 1970; 0 before the first.
#[derive(Debug, Default)]
pub(super) struct LastSeen(AtomicI64);

impl LastSeen {
    pub(super) fn expiry_s(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&at| at != 0)
    }
}

/// Judges the certificates of brokers.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: whoever answers is believed, if it has the key of what it shows.
    pub(super) authorities: Option<Arc<WebPkiServerVerifier>>,
    pub(super) provider: Arc<CryptoProvider>,
    /// Most certificates between the broker's and a trusted one.
    pub(super) depth: usize,
    pub(super) seen: Arc<LastSeen>,
}

/// A chain longer than allowed.
#[derive(Debug)]
struct TooDeep {
    depth: usize,
    found: usize,
}

impl std::fmt::Display for TooDeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} certificates stand between the broker's own and a trusted one, tls.depth is {}",
            self.found, self.depth
        )
    }
}

impl std::error::Error for TooDeep {}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(expiry_s) = certificate::expiry_s(own) {
            self.seen.0.store(expiry_s, Ordering::Relaxed);
        }
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        // Many servers send the root as well, which is nobody's link of a chain.
        let found = between.iter().filter(|der| !certificate::is_self_issued(der)).count();
        if found > self.depth {
            let why = OtherError(Arc::new(TooDeep { depth: self.depth, found }));
            return Err(Error::InvalidCertificate(CertificateError::Other(why)));
        }
        authorities.verify_server_cert(own, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
