//! What TLS may be asked for: protocol versions, cipher suites and the name a server is asked for.

use std::net::IpAddr;
use std::ops::Range;

use super::{Complaint, Described, Kind, World};
use crate::config::value::{Raw, Value, quote};
use crate::suggest::closest;

/// Protocol versions that may be used; at least one is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsVersions {
    /// TLS 1.2 (RFC 5246).
    pub v1_2: bool,
    /// TLS 1.3 (RFC 8446).
    pub v1_3: bool,
    /// Versions that were written and are never used, as they were written.
    pub dropped: Vec<String>,
}

/// A list of versions, or one string with commas.
pub(crate) struct TlsVersionList;

impl Described for TlsVersionList {
    fn noun(&self) -> String {
        "list of \"tlsv1.3\" and \"tlsv1.2\"".to_string()
    }
    fn literal(&self, word: &str) -> String {
        list_literal(word)
    }
}

impl Kind for TlsVersionList {
    type Value = TlsVersions;

    fn read(&self, value: &Value, _: &World) -> Result<TlsVersions, Complaint> {
        let remedy = "write [\"tlsv1.3\", \"tlsv1.2\"], or one of them";
        let mut versions = TlsVersions { v1_2: false, v1_3: false, dropped: Vec::new() };
        for (word, at) in words(value, "a list of TLS versions", remedy)? {
            match word.as_str() {
                "tlsv1.3" => versions.v1_3 = true,
                "tlsv1.2" => versions.v1_2 = true,
                // Broken since 2011 and removed from the standards by RFC 8996; nothing here speaks them.
                "tlsv1.1" | "tlsv1" => versions.dropped.push(word),
                _ => {
                    let fault = format!("names no TLS version: {}", quote(&word));
                    return Err(Complaint { span: at, ..Complaint::new(fault, remedy) });
                }
            }
        }
        if !versions.v1_2 && !versions.v1_3 {
            let fault = format!("leaves no version that is still safe: {}", versions.dropped.join(", "));
            return Err(Complaint::new(fault, remedy));
        }
        Ok(versions)
    }
}

/// A cipher suite in the three spellings people know it by.
#[derive(Debug, PartialEq, Eq)]
pub struct CipherSuite {
    /// The number of the suite on the wire, as IANA registered it.
    pub code: u16,
    /// IANA's name.
    pub iana: &'static str,
    /// OpenSSL's name.
    pub openssl: &'static str,
    /// Whether it belongs to TLS 1.3; the others belong to 1.2.
    pub v1_3: bool,
}

macro_rules! suites {
    ($($code:literal $v1_3:literal $iana:literal $openssl:literal;)*) => {
        /// Every suite there is, strongest first: forward secret and authenticated (RFC 9325).
        pub static CIPHER_SUITES: &[CipherSuite] =
            &[$(CipherSuite { code: $code, iana: $iana, openssl: $openssl, v1_3: $v1_3 }),*];
    };
}

suites! {
    0x1302 true "TLS_AES_256_GCM_SHA384" "TLS_AES_256_GCM_SHA384";
    0x1301 true "TLS_AES_128_GCM_SHA256" "TLS_AES_128_GCM_SHA256";
    0x1303 true "TLS_CHACHA20_POLY1305_SHA256" "TLS_CHACHA20_POLY1305_SHA256";
    0xc02c false "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" "ECDHE-ECDSA-AES256-GCM-SHA384";
    0xc02b false "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" "ECDHE-ECDSA-AES128-GCM-SHA256";
    0xcca9 false "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" "ECDHE-ECDSA-CHACHA20-POLY1305";
    0xc030 false "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" "ECDHE-RSA-AES256-GCM-SHA384";
    0xc02f false "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" "ECDHE-RSA-AES128-GCM-SHA256";
    0xcca8 false "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" "ECDHE-RSA-CHACHA20-POLY1305";
}

impl CipherSuite {
    /// The suite of any of its names; rustls writes `TLS13_` where IANA writes `TLS_`.
    fn find(name: &str) -> Option<&'static Self> {
        let name = name.to_ascii_uppercase();
        let iana = name.strip_prefix("TLS13_").map_or(name.clone(), |rest| format!("TLS_{rest}"));
        CIPHER_SUITES.iter().find(|suite| suite.iana == iana || suite.openssl == name)
    }
}

/// A list of cipher suites, or one string with commas or colons.
pub(crate) struct CipherList;

impl Described for CipherList {
    fn noun(&self) -> String {
        "list of cipher suites".to_string()
    }
    fn literal(&self, word: &str) -> String {
        list_literal(word)
    }
}

impl Kind for CipherList {
    type Value = Vec<&'static CipherSuite>;

    fn read(&self, value: &Value, _: &World) -> Result<Self::Value, Complaint> {
        let names = || CIPHER_SUITES.iter().map(|suite| suite.openssl);
        let possible = format!("the possible ones are {}", names().collect::<Vec<_>>().join(", "));
        let mut suites = Vec::new();
        for (word, at) in words(value, "a list of cipher suites", &possible)? {
            let Some(suite) = CipherSuite::find(&word) else {
                let fault = format!("names no cipher suite of this version: {}", quote(&word));
                let remedy = match closest(&word, names()) {
                    Some(known) => format!("did you mean {}? {possible}", quote(known)),
                    None => possible,
                };
                return Err(Complaint { span: at, ..Complaint::new(fault, remedy) });
            };
            if !suites.contains(&suite) {
                suites.push(suite);
            }
        }
        Ok(suites)
    }
}

/// Which name a server is asked for, and has to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerNameIndication {
    /// The host that is dialled.
    Auto,
    /// No name is sent; the server still has to prove that it is the host that is dialled.
    Disable,
    /// This name, whatever host is dialled.
    Name(String),
}

/// `"auto"`, `"disable"` or a host name.
pub(crate) struct ServerNameText;

impl Described for ServerNameText {
    fn noun(&self) -> String {
        "\"auto\", \"disable\" or a host name".to_string()
    }
}

impl Kind for ServerNameText {
    type Value = ServerNameIndication;

    fn read(&self, value: &Value, _: &World) -> Result<ServerNameIndication, Complaint> {
        let remedy = "write \"auto\", \"disable\", or the name in the server's certificate: \"kafka.example.org\"";
        let text = value.text().ok_or_else(|| Complaint::not("the name of a server", value, remedy))?;
        match text {
            "auto" => Ok(ServerNameIndication::Auto),
            "disable" => Ok(ServerNameIndication::Disable),
            name if is_host_name(name) => Ok(ServerNameIndication::Name(name.to_string())),
            _ => Err(Complaint::not("the name of a server", value, remedy)),
        }
    }
}

/// Labels of letters, digits, `-` and `_` between dots; not an address, which RFC 6066 keeps out of the extension.
fn is_host_name(text: &str) -> bool {
    let legal = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(legal) && text.parse::<IpAddr>().is_err()
}

/// A word, and where it stands if it stands alone.
type PlacedWord = (String, Option<Range<usize>>);

/// The words of a list, or of one string, each with its place.
fn words(value: &Value, wanted: &str, remedy: &str) -> Result<Vec<PlacedWord>, Complaint> {
    let mut words = Vec::new();
    match &value.raw {
        Raw::List(items) => {
            for item in items {
                let word = item.text().ok_or_else(|| Complaint::not(wanted, item, remedy))?;
                words.push((word.trim().to_string(), Some(item.span.clone())));
            }
        }
        _ => {
            let text = value.text().ok_or_else(|| Complaint::not(wanted, value, remedy))?;
            let parts = text.split([',', ':']).map(str::trim).filter(|part| !part.is_empty());
            words.extend(parts.map(|part| (part.to_string(), None)));
        }
    }
    if words.is_empty() {
        return Err(Complaint::new("is empty", remedy));
    }
    Ok(words)
}

fn list_literal(word: &str) -> String {
    let words: Vec<String> = word.split(',').map(|word| quote(word.trim())).collect();
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::word(text, 0)
    }

    #[test]
    fn suites_are_known_by_three_names() {
        let check = |name: &str, code: Option<u16>| {
            assert_eq!(CipherSuite::find(name).map(|suite| suite.code), code, "{name}");
        };
        check("TLS13_AES_128_GCM_SHA256", Some(0x1301));
        check("TLS_AES_128_GCM_SHA256", Some(0x1301));
        check("ECDHE-RSA-AES256-GCM-SHA384", Some(0xc030));
        check("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some(0xc030));
        check("ecdhe-ecdsa-chacha20-poly1305", Some(0xcca9));
        check("AES256-SHA", None);
        check("TLS_RSA_WITH_AES_128_CBC_SHA", None);
    }

    #[test]
    fn a_list_of_suites_names_what_it_does_not_know() {
        let read = |text: &str| CipherList.read(&word(text), &World::default());
        let codes: Vec<u16> =
            read("ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256").unwrap().iter().map(|s| s.code).collect();
        assert_eq!(codes, [0xc02f, 0x1301]);
        let complaint = read("ECDHE-RSA-AES128-GCM-SHA25").unwrap_err();
        assert!(complaint.fault.contains("ECDHE-RSA-AES128-GCM-SHA25"), "{complaint:?}");
        assert!(complaint.remedy.contains("did you mean") && complaint.remedy.contains("TLS_AES_256_GCM_SHA384"));
    }

    #[test]
    fn old_versions_are_dropped_beside_new_ones_and_refused_alone() {
        let read = |text: &str| TlsVersionList.read(&word(text), &World::default());
        let versions = read("tlsv1.2,tlsv1.1,tlsv1").unwrap();
        assert_eq!((versions.v1_2, versions.v1_3), (true, false));
        assert_eq!(versions.dropped, ["tlsv1.1", "tlsv1"]);
        assert!(read("tlsv1.1").unwrap_err().fault.contains("leaves no version"));
        assert!(read("sslv3").is_err());
    }

    #[test]
    fn a_server_is_named_by_words_or_by_its_name() {
        let check = |text: &str, expected: Option<ServerNameIndication>| {
            assert_eq!(ServerNameText.read(&word(text), &World::default()).ok(), expected, "{text}");
        };
        check("auto", Some(ServerNameIndication::Auto));
        check("disable", Some(ServerNameIndication::Disable));
        check("kafka.example.org", Some(ServerNameIndication::Name("kafka.example.org".to_string())));
        check("10.0.0.1", None);
        check("kafka..org", None);
        check("", None);
    }
}
