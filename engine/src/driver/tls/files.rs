//! The files that TLS options name: read, decrypted, and looked at for changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::Document;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::{Secret, TlsOptions};

/// The label of an encrypted private key (RFC 7468, section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// What OpenSSL writes into older key files that it encrypts itself; never a standard.
const ENCRYPTED_BEFORE_PKCS8: &str = "Proc-Type: 4,ENCRYPTED";

/// What tells one content of a file from the next: device, inode, size and both times of change, so that neither a rename
/// over it nor a write into it is missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(PathBuf, Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    /// That of a file, which may not be there.
    pub(super) fn of(path: &Path) -> Self {
        let facts = fs::metadata(path).ok();
        let facts = facts.map(|m| (m.dev(), m.ino(), m.size(), m.mtime() * 1_000_000_000 + m.mtime_nsec(), m.ctime()));
        Self(path.to_owned(), facts)
    }
}

/// The stamps of every file that the options name; a file that is not there has one too.
pub(super) fn stamps(options: &TlsOptions) -> Vec<Stamp> {
    let paths = [&options.ca_file, &options.cert_file, &options.key_file];
    paths.into_iter().flatten().map(|path| Stamp::of(path)).collect()
}

/// Every certificate of a PEM file; at least one.
///
/// # Errors
/// One sentence that names the file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates_in(&read(path)?, path)
}

/// The same of what was read from the file.
///
/// # Errors
/// One sentence that names the file.
pub fn certificates_in(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{} holds no certificate in PEM (BEGIN CERTIFICATE)", path.display())),
        Err(error) => Err(format!("{} is not PEM: {}", path.display(), fault(&error))),
    }
}

/// What is wrong. The error's own words repeat a line, which in a file whose line breaks were lost is all of it.
fn fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } | pem::Error::IllegalSectionStart { .. } => {
            "a section lacks a BEGIN or END line of its own; were its line breaks lost?"
        }
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "no section of it is whole",
    }
}

/// The private key of a PEM file, decrypted if need be.
///
/// # Errors
/// One sentence that names the file; never a part of its content.
pub(super) fn private_key(path: &Path, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    private_key_in(&read(path)?, path, password)
}

/// The same of what was read from the file.
///
/// # Errors
/// One sentence that names the file; never a part of its content.
pub fn private_key_in(pem: &[u8], path: &Path, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let text = String::from_utf8_lossy(pem);
    if text.contains(ENCRYPTED_BEFORE_PKCS8) {
        return Err(format!(
            "{shown} is encrypted in a form of before PKCS#8; convert it: openssl pkcs8 -topk8 -in {shown} -out NEW"
        ));
    }
    if let Some(at) = text.find(&format!("-----BEGIN {ENCRYPTED}")) {
        let password = password.ok_or_else(|| format!("{shown} is encrypted; set tls.password"))?;
        return decrypt(text.get(at..).unwrap_or_default(), password).map_err(|why| format!("{shown} {why}"));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        format!("{shown} holds no private key in PEM (BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY)")
    })
}

fn decrypt(pem: &str, password: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    let (_, document) = Document::from_pem(pem).map_err(|_| "is not PEM".to_string())?;
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(
        |_| "is encrypted in a way that is not supported; openssl pkcs8 -topk8 -v2 aes-256-cbc makes one that is",
    )?;
    let key = info
        .decrypt(password.expose())
        .map_err(|_| "cannot be decrypted: tls.password is wrong, or the encryption is older than PBES2")?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_line_breaks_is_not_repeated() {
        let whole = "-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMGByqGSM49\\n-----END PRIVATE KEY-----";
        for pem in [whole, &whole[..60]] {
            let why = certificates_in(pem.as_bytes(), Path::new("f")).unwrap_err();
            assert!(why.starts_with("f is not PEM: a section lacks") && why.len() < 100, "{why}");
        }
    }
}
