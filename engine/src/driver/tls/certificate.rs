//! What is read from a certificate beside its signature: until when it is valid, and whether it is its own issuer.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// The end of a certificate's validity, in seconds since 1970 UTC; `None` if it cannot be read.
pub fn expiry_s(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Whether a certificate says that it issued itself, as those of root authorities do.
pub fn is_self_issued(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
}
