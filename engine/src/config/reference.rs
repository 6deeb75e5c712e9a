//! The options as pages: `docs/reference/configuration.md` and what `aqueduct config explain` prints.

use std::fmt::Write as _;

use super::SECTIONS;
use super::option::{Row, Section};
use super::overlay::PREFIX;
use super::problem::Problem;

const HEAD: &str = "\
# Configuration

<!-- Written from the rows in engine/src/config; `AQUEDUCT_BLESS=1 cargo tidy` writes it anew. -->

One TOML file, named with `--config`; without one `aqueduct run` uses the file that `aqueduct init` writes.

- Sizes are strings with a unit, `\"896KB\"`; 1 KB is 1024 bytes. Durations too: `\"500us\"`, `\"5ms\"`, `\"30s\"`, `\"10m\"`,
  `\"2h\"`, `\"7d\"`. 0 needs no unit.
- Secrets are `{ file = \"…\" }`, `{ env = \"…\" }` or the secret itself; nothing prints them.
- Names of nodes and objects are 1 to 64 of the characters `A-Z a-z 0-9 _ -`.
- An option can be set in five places. The first of these wins: a flag (`--set sinks.NAME.linger=2ms` or its shorthand),
  a variable (`AQUEDUCT__SINKS__NAME__LINGER=2ms`), the file, the profile (`--profile`), the default.
  `aqueduct config show` prints every value with the place it came from.
- A running node takes a changed file in with `aqueduct reload` or SIGHUP ([live changes](../explanation/live-changes.md)). The
  column *change* says when an option counts: `live` at once, `new clients` for clients that connect from then on, `restart` with
  the next start. A reload that changes one of the last is refused whole.
- Unknown keys are errors. `aqueduct check` reports all errors of a file at once.
";

/// The reference page, in Markdown.
pub fn reference() -> String {
    let mut out = HEAD.to_string();
    for section in SECTIONS {
        let _ = writeln!(out, "\n## {}\n\n{}", header(section), section.about.trim());
        for group in section.groups {
            if let Some(only) = group.only {
                let _ = writeln!(out, "\n### {} with `type = \"{only}\"`\n\n{}", header(section), group.about.trim());
            }
            out.push_str("\n| option | type | default | range | change | what it does |\n|---|---|---|---|---|---|\n");
            for row in group.rows {
                let range = row.kind.range().map_or(String::new(), |range| format!("`{range}`"));
                let _ = writeln!(
                    out,
                    "| `{}` | {} | {} | {} | {} | {} |",
                    row.key,
                    cell(&row.kind.noun()),
                    cell(&row.default_cell()),
                    cell(&range),
                    row.change.word(),
                    cell(row.sentence()),
                );
            }
        }
    }
    out
}

fn header(section: &Section) -> String {
    if section.named { format!("`[{}.NAME]`", section.name) } else { format!("`[{}]`", section.name) }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What there is to say of an option (`sinks.main.linger`, `sinks.linger` or `linger`), or of a section's options.
pub fn explain(key: &str) -> Result<String, Problem> {
    if let Some(section) = SECTIONS.iter().find(|section| section.name == key) {
        return Ok(section_page(section));
    }
    let found: Vec<(&Section, &Row, Option<&str>)> = SECTIONS
        .iter()
        .flat_map(|section| section.rows().map(|(row, only)| (*section, row, only)))
        .filter(|(section, row, _)| names_row(key, section, row))
        .collect();
    if found.is_empty() {
        let keys = SECTIONS.iter().flat_map(|section| section.rows().map(|(row, _)| row.key));
        let last = key.rsplit('.').next().unwrap_or(key);
        let remedy = match crate::suggest::closest(last, keys) {
            Some(known) => format!("did you mean `{known}`?"),
            None => {
                let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
                format!("name an option such as `sinks.linger`, or a section: {}", names.join(", "))
            }
        };
        return Err(Problem::error(format!("there is no option `{key}`"), remedy));
    }
    let pages: Vec<String> = found.into_iter().map(|(section, row, only)| row_page(section, row, only)).collect();
    Ok(pages.join("\n"))
}

/// Whether `key` is the row's key, alone, after its section, or after its section and any object.
fn names_row(key: &str, section: &Section, row: &Row) -> bool {
    let after_section =
        |rest: &str| rest == row.key || section.named && rest.split_once('.').is_some_and(|(_, k)| k == row.key);
    key == row.key || key.strip_prefix(section.name).and_then(|rest| rest.strip_prefix('.')).is_some_and(after_section)
}

fn row_page(section: &Section, row: &Row, only: Option<&str>) -> String {
    let path = section.path(None, row.key);
    let mut out = format!("{path}\n  {}\n\n", row.sentence());
    let _ = writeln!(out, "  type      {}", row.kind.noun());
    let _ = writeln!(out, "  default   {}", row.default_text());
    if let Some(range) = row.kind.range() {
        let _ = writeln!(out, "  range     {range}");
    }
    let _ = writeln!(out, "  change    {}", row.change.word());
    if let Some(only) = only {
        let _ = writeln!(out, "  only with type = \"{only}\"");
    }
    let _ = writeln!(out, "  in a file {} = {}", row.key, row.example());
    let _ = writeln!(out, "  variable  {PREFIX}{}", path.to_uppercase().replace('.', "__"));
    let _ = writeln!(out, "  flag      --set {path}=…");
    out
}

fn section_page(section: &Section) -> String {
    let mut out = format!("{}\n  {}\n\n", header(section).replace('`', ""), section.about.trim());
    let width = section.rows().map(|(row, _)| row.key.len()).max().unwrap_or(0);
    for (row, only) in section.rows() {
        let only = only.map_or(String::new(), |only| format!(" (type \"{only}\")"));
        let _ = writeln!(out, "  {:width$}  {}{only}", row.key, row.sentence());
    }
    out
}
