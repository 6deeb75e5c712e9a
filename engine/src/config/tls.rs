//! `tls.*` of a connector: who a broker has to be, and who we are to it.

use std::path::PathBuf;

use super::kind::choice::{Choice, words};
use super::kind::number::Count;
use super::kind::text::{File, Secret, SecretText};
use super::kind::tls::{CipherList, CipherSuite, ServerNameIndication, ServerNameText, TlsVersionList, TlsVersions};
use super::kind::{Flag, Optional};
use super::option::{absent, derived, options, or};
use super::reader::Reader;

words! {
    /// Whether a broker has to prove who it is.
    pub enum TlsVerify {
        /// Its certificate must be signed by a trusted authority, be valid now, and bear the name that was dialled.
        Peer = "verify_peer",
        /// Anybody may answer: encrypted, and open to whoever stands between.
        None = "verify_none",
    }
}

options! {
    /// TLS towards the brokers.
    pub struct TlsOptions {
        /// Encrypts the connections to the brokers.
        "tls.enable" => enable: bool = Flag, derived("false; true for type \"confluent\"", "false", enabled_by_type);
        /// Whether a broker must prove with its certificate that it is the host that was dialled.
        "tls.verify" => verify: TlsVerify = Choice::of(), or("verify_peer"), live;
        /// Certificates of the authorities to trust, PEM. Without it, those the system trusts. The files of this table are
        /// looked at every second: when they change, new connections use them and old ones go on.
        "tls.cacertfile" => ca_file: Option<PathBuf> = Optional(File), absent("/etc/aqueduct/kafka-ca.pem"), live;
        /// The certificate to show to brokers that ask for one, with those between it and its authority, PEM.
        "tls.certfile" => cert_file: Option<PathBuf> = Optional(File), absent("/etc/aqueduct/client.pem"), live;
        /// The private key of that certificate, PEM: PKCS#8, PKCS#1 or SEC1.
        "tls.keyfile" => key_file: Option<PathBuf> = Optional(File), absent("/etc/aqueduct/client.key"), live;
        /// Opens the private key, if that is encrypted (PKCS#8, `BEGIN ENCRYPTED PRIVATE KEY`).
        "tls.password" => key_password: Option<Secret> =
            Optional(SecretText), absent("{ file = \"/run/secrets/client-key-password\" }"), live;
        /// Most certificates that a broker may show beside its own, those that sign themselves not counted. Whatever it is, a
        /// path of more than six from the broker's to a trusted one is refused.
        "tls.depth" => depth: u32 = Count::within(0, 255), or("10"), live;
        /// Resumes an earlier session at a reconnect, which saves the broker a signature.
        "tls.reuse_sessions" => reuse_sessions: bool = Flag, or("true"), live;
        /// The name a broker is asked for and has to prove: `auto` is the host that is dialled; a name stands for every
        /// broker; `disable` sends none, and still checks the host.
        "tls.server_name_indication" => server_name: ServerNameIndication = ServerNameText, or("auto"), live;
        /// Versions of the protocol. `tlsv1.1` and `tlsv1` are never spoken.
        "tls.versions" => versions: TlsVersions = TlsVersionList, or("tlsv1.3,tlsv1.2"), live;
        /// Cipher suites, best first, by the names of IANA, OpenSSL or rustls. Without it, all that are safe.
        "tls.ciphers" => ciphers: Option<Vec<&'static CipherSuite>> =
            Optional(CipherList), absent("TLS_AES_256_GCM_SHA384,ECDHE-RSA-AES256-GCM-SHA384"), live;
    }
}

fn enabled_by_type(reader: &Reader<'_>) -> String {
    (reader.text("type").as_deref() == Some("confluent")).to_string()
}
