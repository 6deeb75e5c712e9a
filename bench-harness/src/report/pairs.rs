//! What was measured in pairs as a Markdown table: each row against the first, with how sure that is.

use super::markdown::{Column, FAULTS, cell, line, most};
use crate::results::{Estimate, Row, Section};

/// The measured columns.
const COLUMNS: [Column; 4] = [
    ("cpu_s_per_million", "CPU-s per million", 3, 1.0),
    ("kafka_cpu_s_per_million", "Kafka's", 2, 1.0),
    ("own_sent_percent", "% of the bytes sent", 0, 1.0),
    ("delivered", "delivered", 0, 1.0),
];

/// The table.
pub(super) fn table(rows: &[Row]) -> String {
    let of_pairs = ["ratio", "its 95 %", "CPU-s per million more", "its 95 %"];
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|(metric, ..)| rows.iter().any(|row| row.median.contains_key(*metric))).collect();
    let faults: Vec<&str> =
        FAULTS.into_iter().filter(|fault| rows.iter().any(|row| row.spread.contains_key(*fault))).collect();
    let mut heads: Vec<String> = ["workload", "system"].into_iter().chain(of_pairs).map(str::to_owned).collect();
    heads.extend(columns.iter().map(|(_, head, ..)| (*head).to_owned()));
    heads.push(faults.join("/"));
    let mut lines = vec![line(&heads), format!("|---|---|{}", "--:|".repeat(heads.len() - 2))];
    for row in rows {
        let mut cells = vec![row.workload.clone(), row.system.clone()];
        match &row.paired {
            Some(paired) => cells.extend(estimate(&paired.ratio, 2).into_iter().chain(estimate(&paired.more, 3))),
            None => cells.extend(of_pairs.map(|_| "–".to_owned())),
        }
        cells.extend(columns.iter().map(|column| cell(row, column)));
        cells.push(faults.iter().map(|fault| most(row, fault)).collect::<Vec<_>>().join("/"));
        lines.push(line(&cells));
    }
    lines.join("\n")
}

/// How the figures came about.
pub(super) fn runs(section: &Section) -> String {
    let first = section.rows.first().map_or("", |row| row.system.as_str());
    format!(
        "{} pairs of each with {first}, back to back, every second pair the other way round. Ratio and difference are those of the \
         medians (least–greatest of a pair), with the middle 95 % of what they are when the pairs are drawn again",
        section.repeats
    )
}

/// `0.17 (0.12–0.20)`, and `0.15–0.19`.
fn estimate(estimate: &Estimate, decimals: usize) -> [String; 2] {
    let range = |[least, greatest]: [f64; 2]| {
        // A dash between a figure and a minus would read as two of them.
        let between = if greatest < 0.0 { " to " } else { "–" };
        format!("{least:.decimals$}{between}{greatest:.decimals$}")
    };
    let Estimate { of_medians, spread, interval } = *estimate;
    [format!("{of_medians:.decimals$} ({})", range(spread)), interval.map_or("–".to_owned(), range)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::Paired;
    use crate::system::peer::Puback;

    #[test]
    fn a_row_shows_what_the_pairs_say_and_the_first_what_it_costs() {
        let row = |system: &str, cpu: f64, paired| Row {
            workload: "a".to_owned(),
            system: system.to_owned(),
            about: None,
            puback: Puback::AfterKafka,
            median: BTreeMap::from([("cpu_s_per_million".to_owned(), cpu)]),
            spread: BTreeMap::from([("cpu_s_per_million".to_owned(), [cpu, cpu]), ("lost".to_owned(), [0.0, 0.0])]),
            kills: None,
            paired,
        };
        let ratio = Estimate { of_medians: 1.5, spread: [1.2, 1.75], interval: None };
        let more = Estimate { of_medians: -0.1, spread: [-0.2, -0.05], interval: Some([-0.125, 0.0625]) };
        let rows = [row("balanced", 0.2, None), row("feature", 0.3, Some(Paired { ratio, more }))];
        let expected = "| workload | system | ratio | its 95 % | CPU-s per million more | its 95 % | CPU-s per million | lost |\n\
                        |---|---|--:|--:|--:|--:|--:|--:|\n\
                        | a | balanced | – | – | – | – | 0.200 | 0 |\n\
                        | a | feature | 1.50 (1.20–1.75) | – | -0.100 (-0.200 to -0.050) | -0.125–0.062 | 0.300 | 0 |";
        assert_eq!(table(&rows), expected);
    }
}
