//! Whom a client of web services trusts: the authorities of the system, and those of a file, which is read anew when it changes.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::files::{self, Stamp};

/// The authorities, as they were read last.
#[derive(Debug, Clone)]
pub struct WebTrust {
    ca_file: Option<PathBuf>,
    /// Of the file as it was read, or failed to be read, last.
    stamp: Option<Stamp>,
    config: Arc<ClientConfig>,
}

impl WebTrust {
    /// Trusts the authorities of the system, and those of `ca_file`.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub fn new(ca_file: Option<PathBuf>) -> Result<Self, String> {
        // Taken first: a change while we read is seen by the next look.
        let stamp = ca_file.as_deref().map(Stamp::of);
        let config = read(ca_file.as_ref())?;
        Ok(Self { ca_file, stamp, config })
    }

    /// What new connections are made with.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Reads the file again if it has changed. `Ok(true)`: new connections trust what was read.
    ///
    /// # Errors
    /// One sentence about a change that cannot be used. It is said once; what was read before goes on.
    pub fn refresh(&mut self) -> Result<bool, String> {
        let stamp = self.ca_file.as_deref().map(Stamp::of);
        if self.stamp == stamp {
            return Ok(false);
        }
        self.stamp = stamp;
        self.config = read(self.ca_file.as_ref())?;
        Ok(true)
    }
}

fn read(ca_file: Option<&PathBuf>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        roots.add_parsable_certificates(files::certificates(path)?);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
