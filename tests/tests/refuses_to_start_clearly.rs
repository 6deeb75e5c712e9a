//! Where the node cannot run it says so in one clear sentence with what to do about it, and ends: 1 where the machine is in the way,
//! 2 where the configuration is. Never a panic, never a bare errno.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use aqueduct_tests::support::node::{self, Plan};
use aqueduct_tests::support::peer::{self, Peer};
use aqueduct_tests::support::scratch::Scratch;

#[test]
fn when_a_port_is_taken() {
    for which in ["mqtt", "log", "http"] {
        let plan = Plan::embedded();
        let port = match which {
            "mqtt" => plan.ports().mqtt,
            "log" => plan.ports().log,
            _ => plan.ports().http,
        };
        let _taken = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        refused(&run(&plan), 1, &[&format!("127.0.0.1:{port}"), "taken", "bind"]);
    }
}

#[test]
fn when_another_node_has_the_data_directory() {
    let node = Plan::embedded().start();
    let data = node.folder().join("data");
    let other = Plan::embedded();
    let output = peer::finish(&mut command(&other, &["--data-dir", data.to_str().unwrap()]), b"");
    refused(&output, 1, &[data.to_str().unwrap(), "another"]);
}

/// Two nodes with data directories of their own, whose sinks of the same name are told the same directory.
#[test]
fn when_another_node_has_the_directory_of_a_buffer() {
    let shared = Scratch::new("buffers");
    let sink = format!("query_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.dir = \"{}\"", shared.path().display());
    let node = Plan::embedded().sink(&sink).start();
    let dir = shared.file("main");
    refused(&run(&Plan::embedded().sink(&sink)), 1, &[dir.to_str().unwrap(), "another", "sinks.main.buffer.dir"]);
    drop(node);
    Plan::embedded().sink(&sink).start();
}

#[test]
fn when_the_data_directory_cannot_be_written() {
    if rustix::process::geteuid().is_root() {
        // Root writes everywhere but where a file is in the way.
        let scratch = Scratch::new("unwritable");
        std::fs::write(scratch.file("data"), b"a file").unwrap();
        refused_on_data_dir(scratch.file("data").to_str().unwrap());
    } else {
        let scratch = Scratch::new("unwritable");
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
        refused_on_data_dir(scratch.file("data").to_str().unwrap());
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}

fn refused_on_data_dir(path: &str) {
    let output = peer::finish(&mut command(&Plan::embedded(), &["--data-dir", path]), b"");
    let code = output.status.code().unwrap_or(-1);
    assert!([1, 2].contains(&code), "exit {code}: {}", said(&output));
    refused(&output, code, &[path]);
}

/// Row T23 of docs/explanation/faults.md, at start-up.
#[test]
fn when_the_kernel_forbids_io_uring() {
    // As a container's seccomp profile does it (EPERM), a kernel without it or a sandbox, and a limit that others have used up.
    for (error, remedy) in
        [("EPERM", "seccomp"), ("ENOSYS", "Linux 5.8"), ("ENOMEM", "LimitMEMLOCK"), ("EMFILE", "ulimit -n")]
    {
        let Some(mut strace) = Peer::Strace.command() else { return };
        let plan = Plan::embedded();
        let node = command(&plan, &[]);
        strace.args([
            "-f",
            "-qq",
            "-e",
            "trace=io_uring_setup",
            "-e",
            &format!("inject=io_uring_setup:error={error}"),
            "-o",
            "/dev/null",
        ]);
        strace.arg(node.get_program()).args(node.get_args());
        refused(&peer::finish(&mut strace, b""), 1, &["io_uring", remedy]);
    }
}

/// Row T23 of docs/explanation/faults.md, at start-up: less memory may be locked than a shard needs for its rings.
#[test]
fn when_too_little_memory_may_be_locked() {
    let plan = Plan::embedded();
    let node = command(&plan, &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -l 64 && exec \"$0\" \"$@\""]).arg(node.get_program()).args(node.get_args());
    refused(&peer::finish(&mut limited, b""), 1, &["64 KiB", "ulimit -l", "LimitMEMLOCK="]);
}

#[test]
fn when_the_configuration_is_wrong() {
    let wrong = |plan: Plan, words: &[&str]| refused(&run(&plan), 2, words);
    wrong(Plan::embedded().sink("lingr = \"5ms\""), &["lingr", "linger", "aqueduct.toml"]);
    wrong(Plan::embedded().sink("linger = \"5 parsecs\""), &["linger", "parsecs"]);
    wrong(Plan::embedded().sink("key = \"${clentid}\""), &["clentid", "clientid"]);
    wrong(Plan::embedded().sink("key = \"${clientid\""), &["}"]);
    wrong(Plan::embedded().only_sink("source_topics = [\"a/#/b\"]\ntopic = \"t\""), &["a/#/b"]);
    wrong(Plan::embedded().only_sink("source_topics = [\"#\"]"), &["topic"]);
    wrong(Plan::embedded().section("[listners.x]\nbind = \"127.0.0.1:1\""), &["listners", "listeners"]);
}

#[test]
fn when_the_configuration_is_not_there() {
    let scratch = Scratch::new("none");
    let output = peer::finish(&mut node::command(scratch.path(), &["run", "--config", "no-such-file.toml"]), b"");
    refused(&output, 2, &["no-such-file.toml"]);
}

fn run(plan: &Plan) -> Output {
    peer::finish(&mut command(plan, &[]), b"")
}

fn command(plan: &Plan, more: &[&str]) -> Command {
    let config = plan.write();
    let mut command = node::command(config.parent().unwrap(), &["run", "--config", config.to_str().unwrap()]);
    command.args(more);
    command
}

/// Ended with this code, saying all of `words` on stderr.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is missing in\n{said}");
    }
    for noise in ["panicked", "RUST_BACKTRACE", "Os {"] {
        assert!(!said.contains(noise), "`{noise}` is not for users:\n{said}");
    }
}

/// What it said, with the line breaks and frames of a diagnostic taken out, so that a sentence can be found.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.replace(['│', '×', '╰', '─', '▶'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}
