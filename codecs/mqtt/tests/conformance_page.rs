//! Every clause that the code names is tested, and `docs/reference/mqtt-conformance.md` says where.
//!
//! Setup: the sources of this crate. Action: collect the clause tags of code and of tests. Expectation: no clause in the
//! code is without a test, and the page is their join. `AQUEDUCT_BLESS=1 cargo test -p aqueduct-mqtt --test
//! conformance_page` writes the page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What is known of one clause.
#[derive(Default)]
struct Row {
    /// The mistakes that are refused in its name.
    refused: BTreeSet<String>,
    checked_in: BTreeSet<String>,
    tested_in: BTreeSet<String>,
}

/// A document, its numbers, and whether it is a section: `MQTT-3.3.1-4` before `MQTT5 3.3.2.3.4` before `MQTT311-…`.
type Key = (u8, Vec<u32>, String);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The clause at the start of `text`: `MQTT-1.2.3-4`, `MQTT311-1.2.3-4`, `MQTT5 1.2.3` or `MQTT311 1.2`.
fn clause(text: &str) -> Option<&str> {
    let document = ["MQTT311-", "MQTT311 ", "MQTT5 ", "MQTT-"].into_iter().find(|name| text.starts_with(name))?;
    let numbers = &text[document.len()..];
    let len = numbers.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(numbers.len());
    let clause = text[..document.len() + len].trim_end_matches(['.', '-']);
    clause[document.len().min(clause.len())..].contains('.').then_some(clause)
}

fn key(clause: &str) -> Key {
    let (document, numbers) = clause.split_at(clause.find(['-', ' ']).unwrap());
    let numbers = numbers.split(['-', ' ', '.']).filter_map(|n| n.parse().ok()).collect();
    (u8::from(document == "MQTT311"), numbers, clause.to_owned())
}

/// Each clause in `text`, with the string that follows it as the next argument, if one does.
fn clauses(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("MQTT") {
        if let Some(clause) = clause(&text[at..]) {
            let after = text[at + clause.len()..].strip_prefix("\",").map(str::trim_start);
            let what = after.and_then(|rest| rest.strip_prefix('"')).and_then(|rest| rest.split('"').next());
            found.push((clause, what));
        }
    }
    found
}

fn collect() -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    files.retain(|path| !path.ends_with("conformance_page.rs") && !path.ends_with("lib.rs"));
    for path in files {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_test = name.starts_with("tests/") || name.ends_with("/tests.rs");
        let (code, tests) =
            if is_test { ("", &text[..]) } else { text.split_once("#[cfg(test)]").unwrap_or((&text, "")) };
        for (clause, what) in clauses(code) {
            let row = rows.entry(key(clause)).or_default();
            row.checked_in.insert(name.clone());
            row.refused.extend(what.map(str::to_owned));
        }
        for (clause, _) in clauses(tests) {
            rows.entry(key(clause)).or_default().tested_in.insert(name.clone());
        }
    }
    rows
}

fn page(rows: &BTreeMap<Key, Row>) -> String {
    let mut page = String::from(
        "# MQTT conformance\n\n\
         <!-- Made from the clause tags in codecs/mqtt;\n     \
         `AQUEDUCT_BLESS=1 cargo test -p aqueduct-mqtt --test conformance_page` writes it anew. -->\n\n\
         Which clauses the MQTT codec and `ServerConnection` enforce, and which files test that. `MQTT-x.y.z-n` is a numbered\n\
         statement of MQTT 5.0, `MQTT5 x.y.z` a rule of that section without a number, `MQTT311` stands before what only\n\
         3.1.1 says. Files are those of `codecs/mqtt`. Clauses about sessions and delivery are the engine's and not listed.\n\n\
         | clause | refused in its name | checked in | tested in |\n|---|---|---|---|\n",
    );
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    for ((_, _, clause), row) in rows {
        let refused = row.refused.iter().cloned().collect::<Vec<_>>().join("; ");
        writeln!(page, "| {clause} | {refused} | {} | {} |", list(&row.checked_in), list(&row.tested_in)).unwrap();
    }
    page
}

#[test]
fn every_clause_in_the_code_is_tested() {
    let rows = collect();
    assert!(rows.len() > 60, "only {} clauses were found", rows.len());
    let untested: Vec<_> = rows.iter().filter(|(_, row)| row.tested_in.is_empty()).map(|(key, _)| &key.2).collect();
    assert!(untested.is_empty(), "no test names {untested:?}");
    let unchecked: Vec<_> = rows.iter().filter(|(_, row)| row.checked_in.is_empty()).map(|(key, _)| &key.2).collect();
    assert!(unchecked.is_empty(), "no code names {unchecked:?}");
}

#[test]
fn the_page_is_fresh() {
    let path = root().join("../../docs/reference/mqtt-conformance.md");
    let expected = page(&collect());
    if std::env::var_os("AQUEDUCT_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let command = "AQUEDUCT_BLESS=1 cargo test -p aqueduct-mqtt --test conformance_page";
    assert!(found == expected, "{} is stale; run: {command}", path.display());
}
