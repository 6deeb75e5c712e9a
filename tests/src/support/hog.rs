//! Somebody else who uses memory.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

use super::cgroup::MemoryGroup;
use super::peer::Background;

/// A process that holds memory as long as this lives.
#[derive(Debug)]
pub struct Hog {
    _process: Background,
    /// It would print what it holds and end if this were closed.
    _input: ChildStdin,
}

impl Hog {
    /// One of this control group, with so many bytes.
    ///
    /// # Panics
    /// If it does not take them.
    pub fn inside(group: &MemoryGroup, mebibytes: usize) -> Self {
        let mut shell = Command::new("sh");
        // `tail` keeps the last bytes of a pipe in memory until it sees its end.
        shell.args(["-c", "echo $$ > \"$0\" && exec tail -c \"$1\""]).arg(group.processes());
        shell.arg((mebibytes << 20).to_string()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = Background::start(&mut shell);
        let mut input = process.0.stdin.take().expect("piped");
        let some = vec![b'x'; 1 << 20];
        for _ in 0..mebibytes {
            input.write_all(&some).expect("it reads");
        }
        Self { _process: process, _input: input }
    }
}
