//! A section of results as Markdown tables.
//!
//! Systems that acknowledge before Kafka has a message promise less, so they stand in a table of their own: their figures are not
//! those of the same task.

use super::pairs;
use crate::machine::Machine;
use crate::results::{Row, Section};
use crate::system::peer::Puback;

/// A column: metric, head, decimals, divisor.
pub(super) type Column = (&'static str, &'static str, usize, f64);

/// The measured columns; one that no row has a value for is left out.
const COLUMNS: [Column; 12] = [
    ("cpu_s_per_million", "CPU-s per million", 3, 1.0),
    ("kafka_cpu_s_per_million", "Kafka's", 2, 1.0),
    ("generator_cpu_s_per_million", "generator's", 3, 1.0),
    ("messages_per_second", "messages/s", 0, 1.0),
    ("of_disk_percent", "% of the disk's", 0, 1.0),
    ("syncs_per_second", "syncs/s", 0, 1.0),
    ("ack_p50_us", "ack p50, ms", 2, 1_000.0),
    ("ack_p99_us", "ack p99, ms", 2, 1_000.0),
    ("rss_peak_bytes", "peak RSS, MiB", 0, 1_048_576.0),
    ("rss_bytes_per_connection", "RSS bytes per connection", 0, 1.0),
    ("idle_cpu_percent", "idle CPU, % of a core", 3, 1.0),
    ("delivered", "delivered", 0, 1.0),
];

/// What must be 0 in every repeat, in the order of the last column, which shows the most of any repeat.
pub(super) const FAULTS: [&str; 4] = ["lost", "duplicated", "reordered", "corrupt"];

/// Every table of a section, and where its figures come from.
pub fn section(section: &Section) -> String {
    if section.rows.iter().any(|row| row.paired.is_some()) {
        return format!("{}\n\n{}", pairs::table(&section.rows), origin(section, &pairs::runs(section)));
    }
    let mut parts = Vec::new();
    for puback in [Puback::AfterKafka, Puback::OnDisk, Puback::BeforeKafka] {
        let rows: Vec<&Row> = section.rows.iter().filter(|row| row.puback == puback).collect();
        // What idles and what is loaded have no column in common.
        let (idle, loaded): (Vec<&Row>, Vec<&Row>) =
            rows.into_iter().partition(|row| row.median.contains_key("idle_cpu_percent"));
        if puback == Puback::BeforeKafka && !(loaded.is_empty() && idle.is_empty()) {
            parts.push("These acknowledge **before** Kafka has the message:".to_owned());
        }
        parts.extend([loaded, idle].iter().filter(|rows| !rows.is_empty()).map(|rows| table(rows, section)));
    }
    parts.extend(kills(section));
    parts.extend(abouts(section));
    parts.push(origin(section, &runs(section)));
    parts.join("\n\n")
}

fn table(rows: &[&Row], section: &Section) -> String {
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|(metric, ..)| rows.iter().any(|row| row.median.contains_key(*metric))).collect();
    let faults: Vec<&str> =
        FAULTS.into_iter().filter(|fault| rows.iter().any(|row| row.spread.contains_key(*fault))).collect();
    let mut heads = vec!["workload".to_owned(), "system".to_owned(), "ratio".to_owned()];
    heads.extend(columns.iter().map(|(_, head, ..)| (*head).to_owned()));
    if !faults.is_empty() {
        heads.push(faults.join("/"));
    }
    let mut lines = vec![line(&heads), format!("|---|---|{}", "--:|".repeat(heads.len() - 2))];
    for row in rows {
        let first = section.rows.iter().find(|first| first.workload == row.workload).unwrap_or(row);
        let mut cells = vec![row.workload.clone(), row.system.clone(), ratio(row, first)];
        cells.extend(columns.iter().map(|column| cell(row, column)));
        if !faults.is_empty() {
            cells.push(faults.iter().map(|fault| most(row, fault)).collect::<Vec<_>>().join("/"));
        }
        lines.push(line(&cells));
    }
    lines.join("\n")
}

pub(super) fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// CPU of a row over that of the first row of its workload.
fn ratio(row: &Row, first: &Row) -> String {
    let cpu = |row: &Row| row.median.get("cpu_s_per_million").copied();
    match (cpu(row), cpu(first)) {
        (Some(ours), Some(base)) => format!("{:.2}", ours / base),
        _ => "–".to_owned(),
    }
}

/// `median (least–greatest)`.
pub(super) fn cell(row: &Row, (metric, _, decimals, divisor): &Column) -> String {
    let (Some(median), Some([least, most])) = (row.median.get(*metric), row.spread.get(*metric)) else {
        return "–".to_owned();
    };
    let show = |value: &f64| format!("{:.decimals$}", value / divisor);
    if show(least) == show(most) {
        show(median)
    } else {
        format!("{} ({}–{})", show(median), show(least), show(most))
    }
}

pub(super) fn most(row: &Row, fault: &str) -> String {
    row.spread.get(fault).map_or("–".to_owned(), |[_, most]| format!("{most:.0}"))
}

/// What kill -9 under load lost, system by system.
fn kills(section: &Section) -> Option<String> {
    let rows: Vec<(&Row, _)> = section.rows.iter().filter_map(|row| Some((row, row.kills?))).collect();
    let head = "| system | PUBACK | kills | acknowledged | of these lost | duplicated | reordered |\n|---|---|--:|--:|--:|--:|--:|";
    let lines = rows.iter().map(|(row, kills)| {
        let puback = match row.puback {
            Puback::AfterKafka => "after Kafka's",
            Puback::OnDisk => "when it is on disk",
            Puback::BeforeKafka => "before Kafka's",
        };
        let counts = [u64::from(kills.cycles), kills.acknowledged, kills.lost, kills.duplicated, kills.reordered];
        format!("| {} | {puback} | {} |", row.system, counts.map(|count| count.to_string()).join(" | "))
    });
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| format!("Killed with signal 9 under load:\n\n{head}\n{}", lines.join("\n")))
}

/// What the systems of others are.
fn abouts(section: &Section) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for (row, about) in section.rows.iter().filter_map(|row| Some((row, row.about.as_ref()?))) {
        let line = format!("- **{}**: {about}", row.system);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// How often, and what the ratio is of.
fn runs(section: &Section) -> String {
    let first = section.rows.first();
    let compared = first.filter(|first| first.median.contains_key("cpu_s_per_million"));
    let ratio = compared.map_or(String::new(), |first| format!("; the ratio is of CPU to that of {}", first.system));
    let runs = match section.repeats {
        1 => "One run".to_owned(),
        repeats => format!("Median of {repeats} (least–greatest), systems in turn"),
    };
    format!("{runs}{ratio}")
}

/// How, commit, machine, command.
fn origin(section: &Section, runs: &str) -> String {
    let Machine { cpu, cores, kernel, load_before, memory_bytes } = &section.machine;
    let gib = memory_bytes / (1 << 30);
    // Results from before the load was kept have none.
    let load = if *load_before > 0.0 { format!(", load {load_before} before") } else { String::new() };
    format!(
        "{runs}. Commit {}; {cores} cores of {cpu}, {gib} GiB, kernel {kernel}{load}.\n\
         Made by `aqueduct-bench {}`.",
        section.commits.join(", "),
        section.command,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::Kills;

    fn row(system: &str, puback: Puback, cpu: [f64; 3]) -> Row {
        let metric = |value| BTreeMap::from([("cpu_s_per_million".to_owned(), value)]);
        Row {
            workload: "a".to_owned(),
            system: system.to_owned(),
            about: None,
            puback,
            median: metric(cpu[1]),
            spread: BTreeMap::from([
                ("cpu_s_per_million".to_owned(), [cpu[0], cpu[2]]),
                ("lost".to_owned(), [0.0, 3.0]),
            ]),
            paired: None,
            kills: Some(Kills { cycles: 2, acknowledged: 10, lost: 1, duplicated: 0, reordered: 0 }),
        }
    }

    #[test]
    fn a_row_shows_median_spread_ratio_and_faults_and_the_weaker_stand_apart() {
        let rows = vec![
            row("ours", Puback::AfterKafka, [0.1, 0.1, 0.1]),
            row("peer", Puback::AfterKafka, [0.2, 0.25, 0.4]),
            row("weak", Puback::BeforeKafka, [0.05, 0.05, 0.05]),
        ];
        let machine = Machine { cpu: "x".into(), cores: 2, memory_bytes: 0, kernel: "k".into(), load_before: 0.0 };
        let all = Section { command: "c".into(), machine, commits: vec!["1".into()], repeats: 3, rows };
        let text = section(&all);
        let expected = [
            "| workload | system | ratio | CPU-s per million | lost |\n|---|---|--:|--:|--:|",
            "| a | ours | 1.00 | 0.100 | 3 |\n| a | peer | 2.50 | 0.250 (0.200–0.400) | 3 |\n\n",
            "These acknowledge **before**",
            "| a | weak | 0.50 | 0.050 | 3 |",
            "| weak | before Kafka's | 2 | 10 | 1 | 0 | 0 |",
            "Made by `aqueduct-bench c`.",
        ];
        let mut rest = text.as_str();
        for part in expected {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{part} in {text}")).1;
        }
    }
}
