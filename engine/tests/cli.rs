//! The program as its users meet it: what each command prints, and with which code it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for each test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("aqueduct-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct"));
        command.current_dir(&self.0).args(arguments).envs(environment.iter().copied());
        command.env_remove("AQUEDUCT_CONFIG").env_remove("AQUEDUCT_PROFILE").output().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Standard output of a command that ended with `code`.
fn check(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{err}");
    out.to_string()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

#[test]
fn init_writes_a_file_that_check_accepts_and_does_not_overwrite() {
    let scratch = Scratch::new();
    check(&scratch.run(&["init"]), 0);
    let out = check(&scratch.run(&["check", "--config", "aqueduct.toml", "--deny-warnings"]), 0);
    assert_eq!(out, "aqueduct.toml is in order: 1 listener, 1 connector, 1 sink, 0 warnings\n");
    let again = scratch.run(&["init"]);
    check(&again, 1);
    assert!(errors(&again).contains("aqueduct.toml exists"), "{}", errors(&again));
    check(&scratch.run(&["init", "--force"]), 0);
    assert_eq!(
        check(&scratch.run(&["init", "-"]), 0),
        std::fs::read_to_string(scratch.0.join("aqueduct.toml")).unwrap()
    );
}

#[test]
fn the_file_of_init_is_the_default() {
    let scratch = Scratch::new();
    check(&scratch.run(&["init"]), 0);
    let values = |arguments: &[&str]| -> Vec<String> {
        let shown = check(&scratch.run(arguments), 0);
        shown.lines().map(|line| line.split("  #").next().unwrap_or("").trim_end().to_string()).collect()
    };
    assert_eq!(values(&["config", "show"]), values(&["config", "show", "--config", "aqueduct.toml"]));
}

#[test]
fn check_reports_every_error_with_its_line_and_ends_with_2() {
    let scratch = Scratch::new();
    scratch.write("a.toml", "[mqtt]\nreceive_maxium = 1\nqos2_max = 0\n");
    let output = scratch.run(&["check", "--config", "a.toml"]);
    check(&output, 2);
    let errors = errors(&output);
    for expected in ["a.toml:2:1", "did you mean `receive_maximum`?", "a.toml:3:12", "the least is 1", "2 errors"] {
        assert!(errors.contains(expected), "{expected} in\n{errors}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let scratch = Scratch::new();
    let output = scratch.run(&["check", "--config", "nowhere.toml"]);
    check(&output, 2);
    assert!(errors(&output).contains("aqueduct init FILE"), "{}", errors(&output));
}

#[test]
fn a_file_as_data_directory_is_refused_before_anything_starts() {
    let scratch = Scratch::new();
    scratch.write("data", "");
    let output = scratch.run(&["run", "--data-dir", "data"]);
    check(&output, 2);
    assert!(errors(&output).contains("data is not a directory"), "{}", errors(&output));
}

#[test]
fn show_tells_where_a_value_came_from() {
    let scratch = Scratch::new();
    scratch.write("a.toml", "[node]\nname = \"edge-1\"\n");
    let arguments =
        ["config", "show", "--config", "a.toml", "--profile", "throughput", "--set", "node.pin=false", "--changed"];
    let output = scratch.run_with(&arguments, &[("AQUEDUCT__NODE__SHARDS", "2")]);
    let expected = "\
node.name = \"edge-1\"         # a.toml:2
node.shards = 2              # environment AQUEDUCT__NODE__SHARDS
node.pin = false             # flag --set node.pin
mqtt.receive_maximum = 1024  # profile throughput
";
    assert_eq!(check(&output, 0), expected);
}

#[test]
fn a_variable_that_names_nothing_is_an_error() {
    let output = Scratch::new().run_with(&["check"], &[("AQUEDUCT__MQTT__RECEIVE_MAXIMUN", "2")]);
    check(&output, 2);
    assert!(errors(&output).contains("did you mean `receive_maximum`?"), "{}", errors(&output));
}

#[test]
fn explain_answers_for_options_and_sections() {
    let scratch = Scratch::new();
    let expected = "\
sinks.NAME.linger
  Longest a batch waits for more records; time in the kernel's socket buffers counts.

  type      duration
  default   \"5ms\"
  range     0..10s
  change    live
  in a file linger = \"5ms\"
  variable  AQUEDUCT__SINKS__NAME__LINGER
  flag      --set sinks.NAME.linger=…
";
    for key in ["linger", "sinks.linger", "sinks.main.linger"] {
        assert_eq!(check(&scratch.run(&["config", "explain", key]), 0), expected);
    }
    assert!(check(&scratch.run(&["config", "explain", "node"]), 0).contains("data_dir"));
    let unknown = scratch.run(&["config", "explain", "lingr"]);
    check(&unknown, 2);
    assert!(errors(&unknown).contains("did you mean `linger`?"));
}

#[test]
fn profiles_are_listed_and_give_their_reasons() {
    let scratch = Scratch::new();
    let list = check(&scratch.run(&["profile", "list"]), 0);
    for name in ["balanced", "throughput", "latency", "durable", "edge"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{name} in\n{list}");
        let shown = check(&scratch.run(&["profile", "show", name, "--json"]), 0);
        let choices: Vec<serde_json::Value> = serde_json::from_str(&shown).unwrap();
        assert!(choices.iter().all(|choice| choice["why"].as_str().is_some_and(|why| why.len() > 20)), "{shown}");
    }
    scratch.write("ours.toml", "about = \"ours\"\n[sinks.linger]\nvalue = \"7ms\"\nwhy = \"measured here\"\n");
    let shown = check(&scratch.run(&["config", "show", "sinks.mqtt.linger", "--profile", "./ours.toml"]), 0);
    assert_eq!(shown, "sinks.mqtt.linger = \"7ms\"  # profile ./ours.toml\n");
    scratch.write("unargued.toml", "[sinks]\nlinger = \"7ms\"\n");
    let output = scratch.run(&["check", "--profile", "unargued.toml"]);
    check(&output, 2);
    assert!(errors(&output).contains("`linger` gives no reason"), "{}", errors(&output));
    check(&scratch.run(&["check", "--profile", "latncy"]), 2);
}

#[test]
fn doctor_looks_at_each_thing_once() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("aqueduct-data")).unwrap();
    let output = scratch.run(&["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let subjects: Vec<&str> = findings.iter().filter_map(|finding| finding["subject"].as_str()).collect();
    let expected =
        ["kernel", "io_uring", "locked memory", "file descriptors", "cores", "memory", "disk sync", "disk room"];
    assert_eq!(subjects, expected);
    assert!(is_empty(&scratch.0.join("aqueduct-data")), "the probe file is gone");
    let failed = findings.iter().any(|finding| finding["state"] == "failure");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
}

#[test]
fn doctor_and_check_say_that_kafka_is_away() {
    let scratch = Scratch::new();
    // Port 1 on loopback refuses at once.
    let arguments = ["--set", "connectors.main.type=kafka", "--set", "connectors.main.bootstrap_hosts=127.0.0.1:1"];
    let short =
        ["--set", "connectors.main.connect_timeout=200ms", "--set", "connectors.main.metadata_request_timeout=200ms"];
    for command in [vec!["doctor"], vec!["check", "--connect"]] {
        let output = scratch.run(&[command.as_slice(), &arguments, &short].concat());
        let out = check(&output, 1);
        assert!(out.contains("FAIL  connector main"), "{out}");
        assert!(out.contains("fix: correct bootstrap_hosts"), "{out}");
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn completions_and_pages_name_the_commands() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(check(&scratch.run(&["completions", shell]), 0).contains("doctor"), "{shell}");
    }
    assert!(check(&scratch.run(&["man"]), 0).contains(".TH aqueduct"));
    check(&scratch.run(&["man", "--dir", "pages"]), 0);
    assert!(scratch.0.join("pages/aqueduct-run.1").is_file());
}

#[test]
fn a_wrong_command_line_ends_with_2_and_a_hint() {
    let output = Scratch::new().run(&["doctr"]);
    check(&output, 2);
    assert!(errors(&output).contains("'doctor'"), "{}", errors(&output));
}
