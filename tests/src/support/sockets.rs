//! The connections of a node, as the kernel knows them.

use std::collections::BTreeSet;
use std::fs;

use super::node::Node;

/// Connections that are established, each by its own port and its peer's.
#[derive(Debug)]
pub struct Sockets(Vec<(u16, u16)>);

impl Sockets {
    /// Those of a node now.
    ///
    /// # Panics
    /// If it does not run.
    pub fn of(node: &Node) -> Self {
        let pid = node.pid().as_raw_nonzero();
        let inode = |fd: fs::DirEntry| {
            let link = fs::read_link(fd.path()).ok()?;
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        };
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        let own: BTreeSet<String> = fds.flatten().filter_map(inode).collect();
        let port = |text: &str| text.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
        let mut all = Vec::new();
        for file in ["tcp", "tcp6"] {
            let table = fs::read_to_string(format!("/proc/{pid}/net/{file}")).expect("the kernel's table");
            for line in table.lines().skip(1) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (Some(from), Some(to)) = (port(words[1]), port(words[2])) else { continue };
                if words[3] == "01" && own.contains(words[9]) {
                    all.push((from, to));
                }
            }
        }
        Self(all)
    }

    /// Own ports of connections to this port of somebody else.
    pub fn to(&self, port: u16) -> BTreeSet<u16> {
        self.0.iter().filter(|(_, to)| *to == port).map(|(from, _)| *from).collect()
    }

    /// Ports of those who are connected to this port of the node.
    pub fn from(&self, port: u16) -> BTreeSet<u16> {
        self.0.iter().filter(|(from, _)| *from == port).map(|(_, to)| *to).collect()
    }
}

/// The port of the first address in a list.
///
/// # Panics
/// If there is none.
pub fn port_of(addresses: &str) -> u16 {
    addresses.split(',').next().and_then(|to| to.rsplit(':').next()?.parse().ok()).expect("a port")
}
