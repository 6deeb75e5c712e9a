//! A file of certificates and keys that an administrator names, and the certificates in it as a broker may show them.
//!
//! Promises: no panic; what is wrong is told in one short sentence that begins with the file's name and quotes nothing of it.
//!
//! Left out: decrypting a key. Whoever may write the file says how many hashes that takes, up to ten millions.

use std::path::Path;

use aqueduct::driver::tls::{certificates_in, expiry_s, is_self_issued, private_key_in};
use rustls::RootCertStore;

use crate::trail;

pub(super) const WORDS: &[&[u8]] = &[
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"-----BEGIN RSA PRIVATE KEY-----\n",
    b"-----BEGIN EC PRIVATE KEY-----\n",
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    b"-----END ENCRYPTED PRIVATE KEY-----\n",
    b"Proc-Type: 4,ENCRYPTED\n",
    b"MII",
    b"AAAA",
    b"==\n",
    b"\r\n",
];

/// Reads the file as certificates and as a key.
pub(super) fn run(bytes: &[u8]) {
    let path = Path::new("the-file");
    match certificates_in(bytes, path) {
        Ok(certificates) => {
            assert!(!certificates.is_empty() && certificates.len() <= bytes.len());
            trail::mark_size(93, certificates.len());
            for der in &certificates {
                let expiry = expiry_s(der);
                let own = is_self_issued(der);
                let taken = RootCertStore::empty().add(der.clone());
                trail::mark(94, u64::from(own) << 2 | u64::from(expiry.is_some()) << 1 | u64::from(taken.is_ok()));
                if let Err(error) = taken {
                    trail::mark_text(95, &error.to_string());
                }
            }
        }
        Err(why) => tells_little(&why, bytes),
    }
    match private_key_in(bytes, path, None) {
        Ok(key) => trail::mark_size(96, key.secret_der().len()),
        Err(why) => tells_little(&why, bytes),
    }
}

fn tells_little(why: &str, bytes: &[u8]) {
    assert!(why.starts_with("the-file ") && why.len() < 250, "{why}");
    let text = String::from_utf8_lossy(bytes);
    let quoted = text.lines().filter(|line| line.len() > 40).find(|line| why.contains(line));
    assert_eq!(quoted, None, "{why}");
    trail::mark_text(97, why);
}
