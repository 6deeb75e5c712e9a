//! One child process: started with its output in a file, waited for, ended by its id.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use rustix::process::{Pid, Signal, kill_process};

use crate::reaper::{self, Duty};

/// How long a system may take until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a system may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(35);
/// How long a system may take to stand still after SIGSTOP.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);
/// Lines of a dead process's output that an error shows.
const TAIL_LINES: usize = 15;

/// A child process that does not outlive this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Process {
    /// Starts a command with its output appended to `output`.
    pub fn start(name: &str, command: &mut Command, output: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(output).into_diagnostic()?;
        let errors = file.try_clone().into_diagnostic()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .into_diagnostic()
            .wrap_err_with(|| format!("starting {name}: {}", command.get_program().to_string_lossy()))?;
        reaper::enrol(Duty::Process(child.id()));
        Ok(Self { child, name: name.to_owned(), output: output.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Its process id as the kernel calls take it.
    pub fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| miette!("a process id out of range"))
    }

    /// Waits until it accepts TCP connections there.
    pub fn await_listener(&mut self, address: SocketAddr) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait().into_diagnostic()? {
                bail!("{} ended before it listened on {address}: {status}\n{}", self.name, self.tail());
            }
            if start.elapsed() > START_TIMEOUT {
                bail!("{} does not listen on {address} after {START_TIMEOUT:?}\n{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it with SIGTERM; one that does not end in time is killed, and that is an error.
    pub fn stop(mut self) -> Result<()> {
        self.terminate().map(drop)
    }

    /// As [`Process::stop`], and how it ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let _ = kill_process(self.pid()?, Signal::TERM);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().into_diagnostic()? {
                return Ok(status);
            }
            if start.elapsed() > STOP_TIMEOUT {
                bail!("{} does not end {STOP_TIMEOUT:?} after SIGTERM\n{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it with SIGSTOP, and waits until none of its threads can do anything more: each is stopped, or in a call of the
    /// kernel from which it will not return.
    pub fn freeze(&self) -> Result<()> {
        kill_process(self.pid()?, Signal::STOP).into_diagnostic()?;
        let start = Instant::now();
        while !self.stands_still()? {
            if start.elapsed() > FREEZE_TIMEOUT {
                bail!("{} goes on {FREEZE_TIMEOUT:?} after SIGSTOP", self.name);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn stands_still(&self) -> Result<bool> {
        for task in fs::read_dir(format!("/proc/{}/task", self.id())).into_diagnostic()? {
            // A thread may end while they are looked at.
            let Ok(stat) = fs::read_to_string(task.into_diagnostic()?.path().join("stat")) else { continue };
            // proc_pid_stat(5): the state follows the name in parentheses, which may hold anything.
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if !matches!(state, Some('T' | 't' | 'D' | 'Z' | 'X')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until it ends by itself or by another's signal.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().into_diagnostic()
    }

    /// The last lines it printed.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        reaper::discharge(&Duty::Process(self.child.id()));
    }
}
