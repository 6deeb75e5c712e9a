//! Facts about the machine and the measured build, without which a number has no home.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where a measurement was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Load average over one minute before the run; above the number of cores the wall times mean little.
    pub load_before: f64,
}

impl Machine {
    /// Reads the facts. What the kernel does not tell is an empty text or 0.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes: u64 = first_word(value_of(&meminfo, "MemTotal")).parse().unwrap_or(0);
        Self {
            cpu: value_of(&cpuinfo, "model name").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kilobytes * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load_before: first_word(&fs::read_to_string("/proc/loadavg").unwrap_or_default()).parse().unwrap_or(0.0),
        }
    }
}

/// The value of the first `key : value` line.
fn value_of<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| (name.trim() == key).then_some(value.trim()))
        .unwrap_or_default()
}

fn first_word(text: &str) -> &str {
    text.split_ascii_whitespace().next().unwrap_or_default()
}

/// The commit of the source tree in which a binary lies, with `-dirty` behind it if the tree has changes; `unknown` when
/// it lies in none. It says what the tree holds now: measure what you have just built.
pub fn commit_of(binary: &Path) -> String {
    let Some(folder) = binary.parent() else { return "unknown".to_owned() };
    let described = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output();
    match described {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_known() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty());
    }

    #[test]
    fn a_value_is_found_by_its_whole_key() {
        assert_eq!(value_of("model\t: 2\nmodel name\t: X Y\n", "model name"), "X Y");
        assert_eq!(value_of("", "model name"), "");
    }
}
