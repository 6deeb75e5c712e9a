//! All results as one HTML file without scripts, fonts or anything else from a network.

use super::plot::{Line, escaped, svg};
use crate::results::{Results, Row, Section};
use crate::run::ACK_QUANTILES;

const STYLE: &str = "body{font:14px system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\
                     table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .5em;text-align:right}\
                     td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}svg{max-width:50em;display:block}";

/// The page.
pub fn page(results: &Results) -> String {
    let sections: String = results.iter().map(|(name, section)| part(name, section)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Aqueduct: measurements</title>\n\
         <style>{STYLE}</style>\n<h1>Aqueduct: measurements</h1>\n{sections}</html>\n"
    )
}

fn part(name: &str, section: &Section) -> String {
    let tables: String = super::markdown::section(section).split("\n\n").map(block).collect();
    format!("<h2>{}</h2>\n{tables}{}", escaped(name), plots(section))
}

/// A block of our own Markdown: a table, a list or a paragraph.
fn block(text: &str) -> String {
    if !text.starts_with('|') {
        return format!("<p>{}</p>\n", escaped(text).replace('\n', "<br>"));
    }
    let row = |(n, line): (usize, &str)| {
        let tag = if n == 0 { "th" } else { "td" };
        let cells = line.trim_matches('|').split(" | ").map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell.trim())));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let lines = text.lines().filter(|line| !line.starts_with("|--")).enumerate();
    format!("<table>\n{}</table>\n", lines.map(row).collect::<String>())
}

/// One plot for each workload that was acknowledged.
fn plots(section: &Section) -> String {
    let mut workloads: Vec<&str> = section.rows.iter().map(|row| row.workload.as_str()).collect();
    workloads.dedup();
    let plot = |workload: &str| {
        let lines: Vec<Line> = section.rows.iter().filter(|row| row.workload == workload).filter_map(line).collect();
        match svg(&lines) {
            empty if empty.is_empty() => empty,
            svg => format!("<h3>Workload {}: time to the acknowledgement</h3>\n{svg}\n", escaped(workload)),
        }
    };
    workloads.into_iter().map(plot).collect()
}

/// The quantiles that were kept; older results have fewer.
fn line(row: &Row) -> Option<Line> {
    let point = |(metric, quantile): (&str, f64)| Some((quantile, row.median.get(metric)? / 1_000.0));
    let points: Vec<(f64, f64)> = ACK_QUANTILES.into_iter().filter_map(point).collect();
    (points.len() > 1).then(|| Line { name: row.system.clone(), points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results;

    #[test]
    fn the_page_needs_no_network() {
        let page = page(&results::load().unwrap());
        assert!(page.contains("<svg") && page.contains("<table>"));
        for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
