//! The product's own certificate and the authorities it trusts, replaced while it writes over TLS; and a certificate of a broker's that
//! has ended.
//!
//! ```text
//! beginning   the files hold rubbish: connections that stand go on
//! end         the files hold another certificate of the same authority, which new connections show
//! ```
//!
//! The brokers want to see a certificate. The files lie apart from those of the cluster, whose brokers read the same authority.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use miette::{IntoDiagnostic, Result, WrapErr};
use serde::Serialize;

use crate::scrape::Scrape;
use crate::system::kafka::Cluster;

/// The files as the product is told of them: authority, certificate, key.
const FILES: [&str; 3] = ["ca.pem", "own.pem", "own.key"];
/// The second certificate ends sooner than the first, so that it is known by its days.
const NEXT: [&str; 2] = ["now", "100 days"];
/// When the certificate ended that a broker is started with.
const ENDED: [&str; 2] = ["2020-01-01", "2020-02-01"];

/// Three files, and what may lie in them.
#[derive(Debug)]
pub(super) struct Certificates {
    dir: PathBuf,
    /// The cluster's folder of keys.
    source: PathBuf,
    /// The product's ends of its connections to brokers when the files were spoilt.
    standing: BTreeSet<u16>,
    /// Those of them that were gone when the files were good again.
    dropped: u64,
}

/// How the product took the change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Renewal {
    /// Connections to brokers that stood when the files were spoilt.
    pub standing: u64,
    /// Those of them that were gone when the files were good again.
    pub dropped: u64,
    /// Days that the certificate has left which the product shows now.
    pub days_left: u64,
}

impl Certificates {
    /// Puts the cluster's client certificate into files of their own in `dir`, and makes the one that comes after it.
    pub(super) fn create(dir: PathBuf, cluster: &Cluster) -> Result<Self> {
        fs::create_dir_all(&dir).into_diagnostic()?;
        let own = Self { dir, source: cluster.certificates(), standing: BTreeSet::new(), dropped: 0 };
        own.put("client")?;
        cluster.certificate("next", "alice", NEXT)?;
        Ok(own)
    }

    /// Settings that make the product use them.
    pub(super) fn settings(&self) -> Vec<String> {
        let file = |at: usize| self.dir.join(FILES[at]).display().to_string();
        vec![
            "connectors.k.tls.enable=true".to_owned(),
            format!("connectors.k.tls.cacertfile={}", file(0)),
            format!("connectors.k.tls.certfile={}", file(1)),
            format!("connectors.k.tls.keyfile={}", file(2)),
        ]
    }

    /// Writes rubbish into all of them. The product has this process id, and brokers listen there.
    pub(super) fn spoil(&mut self, product: u32, brokers: &[u16]) -> Result<()> {
        self.standing = links(product, brokers)?;
        FILES.iter().try_for_each(|file| fs::write(self.dir.join(file), "rubbish").into_diagnostic())
    }

    /// Puts the next certificate in their place.
    pub(super) fn renew(&mut self, product: u32, brokers: &[u16]) -> Result<()> {
        self.dropped += self.standing.difference(&links(product, brokers)?).count() as u64;
        self.put("next")
    }

    /// How the product took it.
    pub(super) fn renewal(&self, scrape: &Scrape) -> Renewal {
        Renewal {
            standing: self.standing.len() as u64,
            dropped: self.dropped,
            days_left: scrape.sum_where("aqueduct_tls_certificate_days_left", "certificate=\"client\""),
        }
    }

    /// The cluster's certificate of this name.
    fn put(&self, name: &str) -> Result<()> {
        let sources = ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}.key")];
        for (from, to) in sources.into_iter().zip(FILES) {
            let from = self.source.join(from);
            fs::copy(&from, self.dir.join(to)).into_diagnostic().wrap_err_with(|| from.display().to_string())?;
        }
        Ok(())
    }
}

/// A certificate that has ended lies where a broker that is started finds its own, as long as this does.
pub(super) struct Ended {
    path: PathBuf,
    valid: Vec<u8>,
}

impl Ended {
    /// Puts it there.
    pub(super) fn put(cluster: &Cluster) -> Result<Self> {
        let path = cluster.certificates().join("server.both.pem");
        let valid = fs::read(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        let ended = Self { path, valid };
        cluster.certificate("ended", "localhost", ENDED)?;
        fs::copy(cluster.certificates().join("ended.both.pem"), &ended.path).into_diagnostic()?;
        Ok(ended)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.valid);
    }
}

/// The process's ends of its established connections to these ports.
fn links(process: u32, to: &[u16]) -> Result<BTreeSet<u16>> {
    let mut own = BTreeSet::new();
    for fd in fs::read_dir(format!("/proc/{process}/fd")).into_diagnostic()?.flatten() {
        let Ok(link) = fs::read_link(fd.path()) else { continue };
        own.extend(link.to_str().and_then(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())));
    }
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).into_diagnostic()?;
    let port = |text: &str| u16::from_str_radix(text.rsplit(':').next()?, 16).ok();
    let mut links = BTreeSet::new();
    // proc_net(5): the number, the own address, the other, the state (1: established), four more, the inode.
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, from, other, "01", _, _, _, _, _, inode, ..] = words.as_slice() else { continue };
        if own.contains(*inode) && port(other).is_some_and(|port| to.contains(&port)) {
            links.extend(port(from));
        }
    }
    Ok(links)
}
