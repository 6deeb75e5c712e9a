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
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use serde::Serialize;

use crate::scrape::Scrape;

/// The files as the product is told of them: authority, certificate, key.
const FILES: [&str; 3] = ["ca.pem", "own.pem", "own.key"];
/// The second certificate ends sooner than the first, so that it is known by its days.
const NEXT_DAYS: &str = "100";
/// Makes `next.pem` and `next.key` in its folder, under the authority of the folder given.
const MAKE: &str = r#"
set -e
cd "$1"
openssl req -newkey rsa:2048 -nodes -subj /CN=alice -keyout next.key -out next.csr 2>/dev/null
# With an extension it is of version 3; the product takes no other.
echo subjectAltName=DNS:alice >next.ext
openssl x509 -req -days "$3" -extfile next.ext -in next.csr -CA "$2/ca.pem" -CAkey "$2/ca.key" -CAcreateserial -CAserial next.srl -out next.pem 2>/dev/null
"#;

/// Makes `ended.both.pem` of the brokers' key: a certificate of January 2020.
const MAKE_ENDED: &str = r#"
set -e
cd "$1"
rm -rf ended.db; mkdir ended.db; : >ended.db/index; echo 01 >ended.db/serial
cat >ended.db/conf <<EOF
[ca]
default_ca=own
[own]
database=ended.db/index
serial=ended.db/serial
new_certs_dir=ended.db
default_md=sha256
policy=any
x509_extensions=names
[any]
commonName=supplied
[names]
subjectAltName=DNS:localhost,IP:127.0.0.1
EOF
openssl ca -batch -notext -config ended.db/conf -cert ca.pem -keyfile ca.key -startdate 20200101000000Z -enddate 20200201000000Z \
  -in server.csr -out ended.pem 2>/dev/null
cat server.key ended.pem >ended.both.pem
"#;

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
    pub(super) fn create(dir: PathBuf, source: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).into_diagnostic()?;
        let own = Self { dir, source, standing: BTreeSet::new(), dropped: 0 };
        own.put(&own.source.join("client.pem"), &own.source.join("client.key"))?;
        let mut make = Command::new("bash");
        make.args(["-c", MAKE, "make"]).args([&own.dir, &own.source]).arg(NEXT_DAYS);
        let made = make.status().into_diagnostic()?;
        if !made.success() {
            bail!("openssl made no certificate: {made}");
        }
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
        self.put(&self.dir.join("next.pem"), &self.dir.join("next.key"))
    }

    /// How the product took it.
    pub(super) fn renewal(&self, scrape: &Scrape) -> Renewal {
        Renewal {
            standing: self.standing.len() as u64,
            dropped: self.dropped,
            days_left: scrape.sum_where("aqueduct_tls_certificate_days_left", "certificate=\"client\""),
        }
    }

    fn put(&self, certificate: &Path, key: &Path) -> Result<()> {
        let authority = self.source.join("ca.pem");
        for (from, to) in [authority.as_path(), certificate, key].into_iter().zip(FILES) {
            fs::copy(from, self.dir.join(to)).into_diagnostic().wrap_err_with(|| from.display().to_string())?;
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
    /// Puts it there; `source` is the cluster's folder of keys.
    pub(super) fn put(source: &Path) -> Result<Self> {
        let path = source.join("server.both.pem");
        let valid = fs::read(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        let ended = Self { path, valid };
        let made = Command::new("bash").args(["-c", MAKE_ENDED, "make"]).arg(source).status().into_diagnostic()?;
        if !made.success() {
            bail!("openssl made no certificate: {made}");
        }
        fs::copy(source.join("ended.both.pem"), &ended.path).into_diagnostic()?;
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
