//! House rules that a compiler does not know. `cargo tidy` runs them; `AQUEDUCT_BLESS=1 cargo tidy` writes the reference pages anew.
//!
//! Most rules read the sources as text, skip comments, and name file, line and remedy; two ask the toolchain's own judges.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aqueduct_tests::support::build;

/// Files that grow past this hide more than one noun.
const LINES_MAX: usize = 700;

/// The top level, fixed. Beside these only dot-files and dot-folders.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "bench-harness",
    "benches",
    "codecs",
    "deny.toml",
    "docs",
    "engine",
    "rust-toolchain.toml",
    "tests",
];

/// What a build or a first run leaves there; git ignores it.
const LEFT_BEHIND: &[&str] = &["target", "aqueduct-data"];

/// The only file that knows the runtime.
const RUNTIME_DOOR: &str = "engine/src/driver/io.rs";

/// Where `unsafe` may stand.
const UNSAFE_ADDRESSES: &[&str] =
    &["engine/src/buffer/", RUNTIME_DOOR, "engine/src/run/kerberos/library/credentials.rs", "engine/src/main.rs"];

#[test]
fn the_top_level_holds_what_it_should() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') && !TOP_LEVEL.contains(&&*name) && !LEFT_BEHIND.contains(&&*name) {
            wrong.push(format!("{name}: move it into one of {}", TOP_LEVEL.join(", ")));
        }
    }
    none(wrong);
}

#[test]
fn files_stay_short() {
    none(
        sources().into_iter().filter(|source| source.lines.len() > LINES_MAX).map(|source| {
            format!("{}: {} lines, {LINES_MAX} allowed; split it by noun", source.path, source.lines.len())
        }),
    );
}

#[test]
fn nothing_is_left_to_be_written() {
    // Spelt in pieces, or this file would find itself.
    let marks = [
        concat!("to", "do!("),
        concat!("unimplement", "ed!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    none(sources().iter().flat_map(|source| {
        let hit = move |(i, line): (usize, &String)| {
            let mark = marks.iter().find(|mark| line.contains(**mark))?;
            Some(format!("{}:{}: {mark}", source.path, i + 1))
        };
        source.lines.iter().enumerate().filter_map(hit).collect::<Vec<_>>()
    }));
}

#[test]
fn one_file_knows_the_runtime() {
    none(
        places("glommio", |path| path == RUNTIME_DOOR)
            .map(|place| format!("{place}: only {RUNTIME_DOOR} may name glommio")),
    );
}

/// Tests run development builds only: an item that a release build lacks would break it unseen.
#[test]
fn every_build_has_the_same_items() {
    let is_attribute = |line: &&String| line.trim_start().starts_with("#[cfg") && line.contains("debug_assertions");
    none(sources().iter().flat_map(|source| {
        let hits = source.lines.iter().filter(is_attribute);
        hits.map(|line| format!("{}: {}: ask cfg!(debug_assertions) inside", source.path, line.trim()))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn unsafe_has_few_addresses() {
    let allowed = |path: &str| UNSAFE_ADDRESSES.iter().any(|address| path.starts_with(address));
    none(
        places("unsafe", allowed).map(|place| format!("{place}: unsafe belongs in {}", UNSAFE_ADDRESSES.join(" or "))),
    );
}

/// The engine's modules from top to bottom. A module may use what stands below it, and nothing beside or above it. What neighbours
/// share with the shard below them are its joints (`shard::io` and so on), which hold no behaviour of the shard.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["run"],
    &["demo"],
    &["admin", "client", "driver"],
    &["shard"],
    &["auth", "listener", "rule", "session", "sink", "source"],
    &["broker"],
    &["shard::io"],
    &["shard::budget", "shard::control", "shard::mesh", "shard::placement"],
    &["log"],
    &["event", "metrics", "publication"],
    &["buffer"],
    &["ticket"],
    &["plan"],
    &["config"],
    &["clock", "hash", "plants", "shard::ShardId", "suggest"],
];

/// Uses that go beside or up all the same.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("sink", "rule", "a route's key, value and timestamp are templates"),
    ("listener", "sink", "a connection remembers the route of its last topic"),
    ("config", "rule", "a template is compiled where it is configured, so that its error points at the line"),
];

#[test]
fn modules_use_what_stands_below_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(path) = source.path.strip_prefix("engine/src/") else { continue };
        if path == "lib.rs" || path.ends_with("tests.rs") || path.contains("/tests/") {
            continue;
        }
        let user = module_of_file(path);
        for used in uses(&source.lines) {
            let allowed = ALLOWED.iter().any(|(from, to, _)| (*from, *to) == (&*user, &*used));
            if user != used && !allowed && layer(&user) >= layer(&used) {
                wrong.push(format!("{}: {user} must not know {used}", source.path));
            }
        }
    }
    none(wrong);
}

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("module {module} stands in no layer of tidy.rs; give it one"))
}

/// `driver/io.rs` is of `driver`, but the joints of the shard are modules of their own here.
fn module_of_file(path: &str) -> String {
    let mut names = path.trim_end_matches(".rs").split('/');
    let first = names.next().unwrap();
    names.next().map_or(first.to_owned(), |second| joint(first, second))
}

fn joint(first: &str, second: &str) -> String {
    let whole = format!("{first}::{second}");
    if LAYERS.iter().any(|layer| layer.contains(&&*whole)) { whole } else { first.to_owned() }
}

/// The modules that a file's code names after `crate::`, tests at its end left out.
fn uses(lines: &[String]) -> Vec<String> {
    let tests_at = lines.iter().position(|line| line.starts_with("mod tests {")).unwrap_or(lines.len());
    let code: String = lines[..tests_at].iter().map(|line| code(line)).collect();
    let mut used = Vec::new();
    for after in code.split("crate::").skip(1) {
        assert!(!after.starts_with('{'), "write one `use crate::module` a line");
        let first = words(after).next().unwrap_or_default();
        let rest = after[first.len()..].trim_start_matches("::");
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap_or_default();
                used.extend(list.split(',').filter_map(|item| words(item).next()).map(|second| joint(first, second)));
            }
            None => used.push(joint(first, words(rest).next().unwrap_or_default())),
        }
    }
    used.retain(|module| !module.is_empty());
    used.sort();
    used.dedup();
    used
}

/// Options that take effect within `engine/src/config`, and how.
const SETTLED_IN_CONFIG: &[(&str, &str)] = &[
    ("enable", "what is off is left out"),
    ("description", "for people; `config show` prints it"),
    ("allow_anonymous", "a listener without it is refused: there are no credentials yet"),
    ("buffer_mode", "has one value; those of later versions are refused by name"),
    ("kind", "has one value; those of later versions are refused by name"),
];

#[test]
fn every_option_has_a_reader() {
    let engine: Vec<Source> = sources().into_iter().filter(|source| source.path.starts_with("engine/src/")).collect();
    let (config, rest): (Vec<_>, Vec<_>) =
        engine.iter().partition(|source| source.path.starts_with("engine/src/config/"));
    let readers: String = rest
        .iter()
        .filter(|source| !source.path.contains("tests"))
        .flat_map(|source| source.lines.iter().take_while(|line| !line.starts_with("mod tests {")))
        .map(|line| code(line) + "\n")
        .collect();
    let mut wrong = Vec::new();
    let mut options = 0;
    for (source, line) in config.iter().flat_map(|source| source.lines.iter().map(move |line| (source, line))) {
        // A row of a section: `"key" => field: Type = ...`.
        let Some((_, row)) = line.trim_start().strip_prefix('"').and_then(|rest| rest.split_once("\" => ")) else {
            continue;
        };
        let Some((field, _)) = row.split_once(": ").filter(|(field, _)| words(field).eq([*field])) else { continue };
        options += 1;
        let is_read = readers.split(&format!(".{field}")).skip(1).any(|after| !after.starts_with(is_of_a_word));
        if !is_read && !SETTLED_IN_CONFIG.iter().any(|(known, _)| *known == field) {
            wrong.push(format!("{}: nothing reads `{field}`: give the option an effect, or delete it", source.path));
        }
    }
    assert!(options > 60, "the sections were not understood: {options} options");
    none(wrong);
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn every_dependency_is_argued_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = manifest.split_once("[workspace.dependencies]").expect("the table of dependencies").1;
    let table = table.split("\n[").next().unwrap();
    let lines: Vec<&str> = table.lines().collect();
    let mut argued = 0;
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.contains('=') && !line.starts_with('#')) {
        // Our own crates share one line; everything else has its own.
        let ours = line.contains("path =");
        let above = lines[i - 1];
        assert!(
            ours || (above.starts_with("# ") && !above.starts_with("# ---")),
            "Cargo.toml: `{line}` has no argument above it"
        );
        argued += 1;
    }
    assert!(argued > 10, "the table was not understood");
}

/// The command in faults.md that runs all rows names every test file that a row names, but for those that the page says run by themselves.
#[test]
fn the_command_of_the_faults_runs_every_row() {
    const BY_THEMSELVES: [&str; 2] = ["power_fails_a_thousand_times", "brokers_and_we_know_each_other"];
    let page = fs::read_to_string(root().join("docs/explanation/faults.md")).expect("the page is there");
    let (_, command) = page.split_once("AQUEDUCT_LONG=1 cargo test").expect("the command");
    let (command, _) = command.split_once("```").expect("its end");
    let run: BTreeSet<&str> = command.split_whitespace().collect();
    let rows = page.lines().filter(|line| line.starts_with("| T"));
    let files: BTreeSet<&str> = rows
        .flat_map(|row| row.split('`'))
        .filter(|name| root().join("tests/tests").join(format!("{name}.rs")).is_file())
        .collect();
    assert!(files.len() > 15, "{files:?}");
    let missing = files.iter().filter(|file| !run.contains(*file) && !BY_THEMSELVES.contains(file));
    none(missing.map(|file| format!("{file} is in no command")));
}

#[test]
fn sources_are_formatted() {
    judged(&["fmt", "--all", "--check"], "run: cargo fmt --all");
}

#[test]
fn clippy_has_nothing_to_say() {
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    judged(&clippy, "run: cargo clippy --workspace --all-targets");
}

/// Runs a cargo subcommand, which must succeed.
fn judged(args: &[&str], remedy: &str) {
    let output = build::cargo().args(args).current_dir(root()).output().expect("cargo runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{remedy}", String::from_utf8_lossy(&said));
}

#[test]
fn reference_pages_are_fresh() {
    fresh("docs/reference/cli.md", &aqueduct::cli::reference());
    fresh("docs/reference/configuration.md", &aqueduct::config::reference());
    fresh("docs/reference/metrics.md", &aqueduct::metrics::reference());
}

/// Compares a page with what its table makes of it now, or writes it.
fn fresh(page: &str, expected: &str) {
    let path = root().join(page);
    if std::env::var_os("AQUEDUCT_BLESS").is_some() {
        fs::write(&path, expected).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{page} is not what its table says; run: AQUEDUCT_BLESS=1 cargo tidy");
}

struct Source {
    /// Relative to the root.
    path: String,
    lines: Vec<String>,
}

/// Every Rust file of the workspace.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for package in ["codecs", "engine", "bench-harness", "tests", "benches"] {
        collect(&root().join(package), &mut sources);
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

fn collect(folder: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && name != "node_modules" {
            collect(&path, into);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            into.push(Source { path, lines: text.lines().map(str::to_owned).collect() });
        }
    }
}

/// Where the code, comments and texts aside, holds `word`, outside of the files `allowed`.
fn places(word: &'static str, allowed: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for source in sources().into_iter().filter(|source| !allowed(&source.path)) {
        for (i, line) in source.lines.iter().enumerate() {
            if words(&code(line)).any(|other| other == word) {
                found.push(format!("{}:{}", source.path, i + 1));
            }
        }
    }
    found.into_iter()
}

/// A line without its comment and without the text of its string literals.
fn code(line: &str) -> String {
    let mut code = String::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            continue;
        }
        match part.split_once("//") {
            Some((before, _)) => return code + before,
            None => code.push_str(part),
        }
        code.push(' ');
    }
    code
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[track_caller]
fn none(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
