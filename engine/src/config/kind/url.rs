//! Addresses of web services, as far as one is asked here: scheme, host, port and path.

use std::fmt;

use super::{Complaint, Described, Kind, World};
use crate::config::value::Value;

/// `http://host[:port]/path` or `https://…`, without user, query or fragment of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// With TLS.
    pub https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// TCP port, 1..65535.
    pub port: u16,
    /// From the first slash on, query included; never empty.
    pub path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl Url {
    /// Host and port as they stand in a URL and in the `Host` header.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (https, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://")?),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(host, port)| (host, port.strip_prefix(':')))?,
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|&port: &u16| port != 0)?,
            None if https => 443,
            None => 80,
        };
        let host_ok = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
        let path_ok = path.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#');
        (host_ok && path_ok).then(|| Self { https, host: host.to_string(), port, path: path.to_string() })
    }
}

/// An http or https address.
pub(crate) struct UrlText;

impl Described for UrlText {
    fn noun(&self) -> String {
        "http or https address".to_string()
    }
}

impl Kind for UrlText {
    type Value = Url;

    fn read(&self, value: &Value, _: &World) -> Result<Url, Complaint> {
        let remedy = "write an address such as \"https://login.example.org/oauth2/token\", without user or password";
        value.text().and_then(Url::parse).ok_or_else(|| {
            // The value is not repeated: somebody may have written a password into it.
            Complaint::new("is not an http or https address", remedy)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_parts() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Url::parse(text).map(|url| url.to_string()).as_deref(), expected, "{text}");
        };
        check("https://a.example/token", Some("https://a.example:443/token"));
        check("http://127.0.0.1:8080/t?x=y", Some("http://127.0.0.1:8080/t?x=y"));
        check("http://[::1]:8080", Some("http://[::1]:8080/"));
        check("https://user:secret@a.example/token", None);
        check("ftp://a.example", None);
        check("https://", None);
        check("https://a.example:0/", None);
        check("https://a.example/a b", None);
    }
}
