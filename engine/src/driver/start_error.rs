//! Why the engine could not start: one sentence with the fix. Printed as it is; the process then ends with code 1.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;

/// A sentence for the operator: what failed, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    /// Any other sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// `name` is the configuration key that holds the address (`listeners.tcp.bind`).
    pub fn listen(name: &str, addr: SocketAddr, error: &io::Error) -> Self {
        let (ip, port) = (addr.ip(), addr.port());
        Self(match errno(error) {
            Some(Errno::ADDRINUSE) => format!(
                "cannot listen on {addr} ({name}): the port is taken by another process. Stop that process \
                 (`ss -ltnp 'sport = :{port}'` shows it) or set `{name}` to another port."
            ),
            Some(Errno::ACCESS) => format!(
                "cannot listen on {addr} ({name}): permission denied. Ports below 1024 need the capability \
                 CAP_NET_BIND_SERVICE; grant it, or set `{name}` to a port above 1023."
            ),
            Some(Errno::ADDRNOTAVAIL) => format!(
                "cannot listen on {addr} ({name}): {ip} is not an address of this machine. Set `{name}` to one that \
                 `ip address` lists, or to 0.0.0.0 for all."
            ),
            Some(Errno::MFILE | Errno::NFILE) => format!(
                "cannot listen on {addr} ({name}): no file descriptor is left. Raise the limit (`ulimit -n`, LimitNOFILE= in \
                 the systemd unit)."
            ),
            _ => format!("cannot listen on {addr} ({name}): {error}."),
        })
    }

    /// io_uring cannot be set up.
    pub(super) fn io_uring(errno: Errno) -> Self {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
        let disabled = disabled.trim();
        Self(match errno {
            Errno::PERM if matches!(disabled, "1" | "2") => format!(
                "io_uring is switched off by the sysctl kernel.io_uring_disabled = {disabled}, and the shards need it. \
                 Run `sysctl -w kernel.io_uring_disabled=0` (and put it into /etc/sysctl.d)."
            ),
            Errno::PERM | Errno::ACCESS => {
                "io_uring is forbidden here, most likely by the container's seccomp profile, and the \
                 shards need it. Allow io_uring_setup, io_uring_enter and io_uring_register (docker run --security-opt \
                 seccomp=PROFILE.json, or securityContext.seccompProfile in Kubernetes)."
                    .to_string()
            }
            Errno::NOSYS => "this kernel has no io_uring, and the shards need it. Run Linux 5.8 or newer with \
                 CONFIG_IO_URING, outside sandboxes that hide it (gVisor)."
                .to_string(),
            Errno::NOMEM => {
                "the limit of locked memory is too low for the shards' io_uring rings. Raise it (`ulimit -l 8192`, \
                 LimitMEMLOCK=infinity in the systemd unit) or set fewer shards with `node.shards`."
                    .to_string()
            }
            Errno::MFILE | Errno::NFILE => {
                "no file descriptor is left for the shards' io_uring rings. Raise the limit \
                 (`ulimit -n`, LimitNOFILE= in the systemd unit)."
                    .to_string()
            }
            other => format!("io_uring cannot be set up, and the shards need it: {other}."),
        })
    }

    /// The limit of locked memory is below what the executor of a shard insists on.
    pub(super) fn memlock(limit_bytes: u64, needed_bytes: u64) -> Self {
        Self(format!(
            "the limit of locked memory is {} KiB, and the shards need {} KiB. Raise it (`ulimit -l {}`, LimitMEMLOCK= in the \
             systemd unit, --ulimit memlock= for docker).",
            limit_bytes / 1024,
            needed_bytes / 1024,
            needed_bytes / 1024,
        ))
    }

    /// A file or directory of the data directory.
    pub fn path(doing: &str, path: &Path, error: &io::Error) -> Self {
        let fix = match errno(error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                " Give this user write access to it, or set `node.data_dir` to another directory."
            }
            Some(Errno::NOSPC | Errno::DQUOT) => " Free some space, or set `node.data_dir` to another file system.",
            _ => "",
        };
        Self(format!("cannot {doing} {}: {error}.{fix}", path.display()))
    }

    /// A thread or descriptor of the shards could not be made.
    pub fn system(doing: &str, error: &io::Error) -> Self {
        Self(format!("cannot {doing}: {error}. Check the limits of this process (`ulimit -a`)."))
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
