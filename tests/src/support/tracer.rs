//! strace, which makes system calls of a node fail.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::node::Node;
use super::peer::{self, Peer};
use super::wait;

/// strace at work; it ends with this value.
#[derive(Debug)]
pub struct Tracer(Child);

impl Tracer {
    /// From when this returns these system calls (their names, with commas) of the node, or of one of its threads, fail with an error
    /// (its name). `None` where there is no strace.
    ///
    /// # Panics
    /// If strace does not attach.
    pub fn attach(node: &Node, thread: Option<i32>, calls: &str, error: &str) -> Option<Self> {
        let mut strace = Peer::Strace.command()?;
        let target = thread.unwrap_or(node.pid().as_raw_nonzero().get());
        if thread.is_none() {
            strace.arg("-f");
        }
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}")]);
        strace.args(["-o", "/dev/null", "-p", &target.to_string()]);
        let mut tracer = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("strace starts");
        let mut said = BufReader::new(tracer.stderr.take().expect("piped")).lines();
        let attached = wait::until("strace is attached", 10, || said.next().map(|line| line.unwrap_or_default()));
        assert!(attached.contains("attached"), "{attached}");
        // What it says at the end must find a reader.
        std::thread::spawn(move || said.for_each(drop));
        Some(Self(tracer))
    }

    /// From when this returns system calls do what they did before.
    pub fn detach(mut self) {
        // By its own means: a tracer that is killed may leave a call behind that was made to fail.
        let _ = peer::finish(Command::new("kill").arg(self.0.id().to_string()), b"");
        wait::until("strace ends", 10, || self.0.try_wait().ok().flatten());
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shard of the node panics: its wait for events fails. `None` where there is no strace; else how the node ended.
///
/// # Panics
/// If the node goes on.
pub fn end_shard(node: &mut Node, name: &str) -> Option<ExitStatus> {
    let shard = thread_of(node, name);
    let tracer = Tracer::attach(node, Some(shard), "epoll_wait,epoll_pwait,epoll_pwait2", "EBADF")?;
    // Something to wake the shard, which may be waiting in a call that was made before.
    let _ = TcpStream::connect(node.mqtt());
    let ended = node.ended();
    tracer.detach();
    Some(ended)
}

/// The oldest thread of that name: a shard's helpers bear its name too. A thread names itself, so that may take a moment.
///
/// # Panics
/// If there is none.
fn thread_of(node: &Node, name: &str) -> i32 {
    let tasks = format!("/proc/{}/task", node.pid().as_raw_nonzero());
    wait::until(&format!("a thread {name}"), 10, || {
        let of_name = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim() == name)
        };
        let found = std::fs::read_dir(&tasks).expect("it runs").flatten().filter(of_name);
        found.filter_map(|task| task.file_name().to_str()?.parse().ok()).min()
    })
}
