//! How much memory is in use: by this process, or in its cgroup where that has a limit.
//!
//! Pages of files that the kernel can drop at once are not counted: they would make every busy disk look like an overload.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes in use now; 0 where the kernel does not say.
pub(super) fn used_bytes() -> u64 {
    resident_bytes().unwrap_or(0).max(cgroup_bytes().unwrap_or(0))
}

/// Memory of this process that is not backed by files.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What is charged to the cgroup of this process without files that nobody uses. `None` where it has no limit.
fn cgroup_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |prefix: &str, root: &str| {
        let path = text.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path))?;
        let own = Path::new(root).join(path.trim_start_matches('/'));
        // In a container the path is the host's, and the files lie at the root.
        Some(if own.is_dir() { own } else { PathBuf::from(root) })
    };
    let v2 = || {
        let dir = of("0::", "/sys/fs/cgroup")?;
        number_in(&dir.join("memory.max"))?;
        Some(number_in(&dir.join("memory.current"))?.saturating_sub(stat(&dir, "inactive_file")))
    };
    let v1 = || {
        let dir = of(":memory:", "/sys/fs/cgroup/memory")?;
        number_in(&dir.join("memory.limit_in_bytes")).filter(|&limit| limit < 1 << 60)?;
        Some(number_in(&dir.join("memory.usage_in_bytes"))?.saturating_sub(stat(&dir, "total_inactive_file")))
    };
    v2().or_else(v1)
}

fn stat(dir: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or(0)
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_uses_memory() {
        let before = super::resident_bytes().expect("Linux says so");
        let some = vec![1_u8; 64 << 20];
        let after = super::resident_bytes().expect("Linux says so");
        assert!(before > 0 && after >= before + (32 << 20), "{before} then {after} with {} bytes more", some.len());
        assert!(super::used_bytes() >= after - (32 << 20));
    }
}
