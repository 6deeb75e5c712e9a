//! Ends what the harness started, also when the harness itself is interrupted.
//!
//! Every started process and every Kafka cluster is enrolled here and discharged when it has ended. Ctrl-C and SIGTERM
//! end what is still enrolled, and then the harness. Only processes of our own are ever signalled, each by its id, and an
//! id cannot be reused before we have waited for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miette::{IntoDiagnostic, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Something that must not outlive the harness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// A child process, to be killed.
    Process(u32),
    /// A Kafka cluster of `kafka.sh`, to be ended with its data: the script and KAFKA_DIR.
    Cluster(PathBuf, PathBuf),
    /// A directory, to be removed.
    Directory(PathBuf),
    /// A file system of ours, to be unmounted.
    Mount(PathBuf),
    /// A control group, to be left by all and removed; before that its limit is lifted by writing this text into this file of it.
    Group(PathBuf, &'static str, String),
}

/// How often the removal of a control group is tried, and the time between: five seconds in all.
const GROUP_TRIES: u32 = 250;
const GROUP_PAUSE: Duration = Duration::from_millis(20);

static DUTIES: Mutex<Vec<Duty>> = Mutex::new(Vec::new());

fn duties() -> MutexGuard<'static, Vec<Duty>> {
    DUTIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enrols something to be ended.
pub fn enrol(duty: Duty) {
    duties().push(duty);
}

/// It has ended by itself or by other means.
pub fn discharge(duty: &Duty) {
    duties().retain(|enrolled| enrolled != duty);
}

/// Ends everything enrolled, the youngest first.
pub fn end_all() {
    let enrolled: Vec<Duty> = duties().drain(..).collect();
    enrolled.iter().rev().for_each(end);
}

/// Ends one thing; it need not be enrolled.
pub fn end(duty: &Duty) {
    match duty {
        Duty::Process(pid) => {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Duty::Cluster(script, dir) => {
            let down = Command::new("bash").arg(script).args(["down", "--wipe"]).env("KAFKA_DIR", dir).status();
            if !down.is_ok_and(|status| status.success()) {
                eprintln!("aqueduct-bench: could not end the Kafka cluster in {}", dir.display());
            }
        }
        Duty::Mount(dir) => {
            let _ = Command::new("umount").arg("--lazy").arg(dir).status();
        }
        Duty::Group(group, limit, lifted) => {
            let _ = fs::write(group.join(limit), lifted);
            // A process that is about to end leaves with its end only.
            for _ in 0..GROUP_TRIES {
                let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in members.lines() {
                    let _ = fs::write(group.with_file_name("cgroup.procs"), pid);
                }
                if fs::remove_dir(group).is_ok() || !group.exists() {
                    return;
                }
                std::thread::sleep(GROUP_PAUSE);
            }
            eprintln!("aqueduct-bench: could not remove the control group {}", group.display());
        }
        Duty::Directory(dir) => {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// From here on SIGINT and SIGTERM end what is enrolled, then the harness with code 130.
pub fn watch_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().into_diagnostic()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
            match terminate {
                Ok(mut terminate) => tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                },
                Err(_) => {
                    let _ = tokio::signal::ctrl_c().await;
                }
            }
        });
        end_all();
        std::process::exit(130);
    });
    Ok(())
}
