//! Addresses to listen on, hosts to reach and TCP keep-alive.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Complaint, Described, Kind, World};
use crate::config::value::{Raw, Value, quote};

/// The port of a Kafka broker where none is written.
const KAFKA_PORT: u16 = 9092;

/// A host and its port; the host is resolved when it is dialled, again at every reconnect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// TCP port, 1..65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The address and port a listener binds.
pub(crate) struct Address;

impl Described for Address {
    fn noun(&self) -> String {
        "address:port".to_string()
    }
}

impl Kind for Address {
    type Value = SocketAddr;

    fn read(&self, value: &Value, _: &World) -> Result<SocketAddr, Complaint> {
        let remedy = "write an IP address and a port, such as \"127.0.0.1:1883\", \"0.0.0.0:1883\" or \"[::]:1883\"";
        let parsed = value.text().and_then(parse_address);
        parsed.ok_or_else(|| Complaint::not("an address to listen on", value, remedy))
    }
}

/// `ip:port`; `localhost` is the one name allowed, because any other could mean several addresses.
pub(crate) fn parse_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

/// Hosts of a Kafka cluster: a list, or one string with commas.
pub(crate) struct Hosts;

impl Described for Hosts {
    fn noun(&self) -> String {
        "list of host:port".to_string()
    }
    fn literal(&self, word: &str) -> String {
        let hosts: Vec<String> = word.split(',').map(|host| quote(host.trim())).collect();
        format!("[{}]", hosts.join(", "))
    }
}

impl Kind for Hosts {
    type Value = Vec<HostPort>;

    fn read(&self, value: &Value, _: &World) -> Result<Vec<HostPort>, Complaint> {
        let remedy =
            "write host:port, such as [\"kafka-1:9092\", \"10.0.0.2\", \"[::1]:9093\"]; the default port is 9092";
        let mut hosts = Vec::new();
        match &value.raw {
            Raw::List(items) => {
                for item in items {
                    let host = item.text().and_then(parse_host);
                    let complaint =
                        || Complaint { span: Some(item.span.clone()), ..Complaint::not("a host", item, remedy) };
                    hosts.push(host.ok_or_else(complaint)?);
                }
            }
            _ => {
                let text = value.text().ok_or_else(|| Complaint::not("a list of hosts", value, remedy))?;
                for part in text.split(',') {
                    hosts.push(parse_host(part).ok_or_else(|| Complaint::not("a list of hosts", value, remedy))?);
                }
            }
        }
        if hosts.is_empty() {
            return Err(Complaint::new("is empty", remedy));
        }
        Ok(hosts)
    }
}

/// `name`, `name:port`, `1.2.3.4:port`, `::1` or `[::1]:port`.
fn parse_host(text: &str) -> Option<HostPort> {
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').map_or_else(|| port.is_empty().then_some(None), |port| Some(Some(port)))?)
        }
        None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    if host.is_empty() || host.len() > 255 || !plain {
        return None;
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port: &u16| port != 0)?,
        None => KAFKA_PORT,
    };
    Some(HostPort { host: host.to_string(), port })
}

/// When the kernel probes a silent connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe, in seconds.
    pub idle_s: u32,
    /// Time between probes, in seconds.
    pub interval_s: u32,
    /// Unanswered probes after which the connection is dead.
    pub probes: u32,
}

/// `"none"`, or idle seconds, interval seconds and probes.
pub(crate) struct KeepaliveTriple;

impl Described for KeepaliveTriple {
    fn noun(&self) -> String {
        "\"none\" or \"idle,interval,probes\" in seconds".to_string()
    }
}

impl Kind for KeepaliveTriple {
    type Value = Option<TcpKeepalive>;

    fn read(&self, value: &Value, _: &World) -> Result<Self::Value, Complaint> {
        let remedy = "write \"none\", or seconds of silence, seconds between probes and probes: \"240,30,5\"";
        let complaint = || Complaint::not("a keep-alive", value, remedy);
        let text = value.text().ok_or_else(complaint)?;
        if text == "none" {
            return Ok(None);
        }
        let numbers: Vec<u32> =
            text.split(',').map_while(|n| n.trim().parse().ok().filter(|n| (1..=32_767).contains(n))).collect();
        match (numbers.as_slice(), text.matches(',').count()) {
            (&[idle_s, interval_s, probes], 2) if probes <= 127 => {
                Ok(Some(TcpKeepalive { idle_s, interval_s, probes }))
            }
            _ => Err(complaint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_ports_and_brackets() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_host(text).map(|host| host.to_string()).as_deref(), expected, "{text}");
        };
        check("kafka", Some("kafka:9092"));
        check(" kafka.example.org:1234 ", Some("kafka.example.org:1234"));
        check("10.0.0.1:9093", Some("10.0.0.1:9093"));
        check("::1", Some("[::1]:9092"));
        check("[::1]", Some("[::1]:9092"));
        check("[::1]:9093", Some("[::1]:9093"));
        check("[kafka]:9093", None);
        check("[::1]9093", None);
        check("kafka:0", None);
        check("kafka:70000", None);
        check("kafka:", None);
        check("", None);
        check("a b", None);
        check("http://kafka:9092", None);
    }

    #[test]
    fn addresses_are_ip_and_port() {
        assert_eq!(parse_address("localhost:1883"), Some("127.0.0.1:1883".parse().unwrap()));
        assert_eq!(parse_address("[::]:1"), Some("[::]:1".parse().unwrap()));
        assert_eq!(parse_address("example.org:1883"), None);
        assert_eq!(parse_address("1883"), None);
    }
}
