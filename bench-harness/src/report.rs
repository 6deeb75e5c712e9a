//! `aqueduct-bench report`: the pages that are made from `results.json`: the tables of `docs/performance.md`, between the marks
//! `<!-- results: NAME -->` and `<!-- end -->`, and an HTML page with plots that needs no network.

pub mod html;
pub mod markdown;
pub mod pairs;
pub mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use miette::{IntoDiagnostic, Result, bail, miette};

use crate::results::{self, Results};

const BEGIN: &str = "<!-- results: ";
const BEGIN_ENDS: &str = " -->\n";
const END: &str = "<!-- end -->";

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Write the HTML report there as well
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Writes the pages.
pub fn run(args: &ReportArgs) -> Result<()> {
    let results = results::load()?;
    let page = page_path();
    let text = fs::read_to_string(&page).into_diagnostic()?;
    fs::write(&page, fill(&text, &results)?).into_diagnostic()?;
    println!("{}", page.display());
    if let Some(path) = &args.html {
        fs::write(path, html::page(&results)).into_diagnostic()?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Where the page is.
pub fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md")
}

/// The page with every marked section made anew. What stands outside of the marks is left as it is.
///
/// # Errors
/// If a mark is not closed, or there are results that are nowhere on the page.
pub fn fill(page: &str, results: &Results) -> Result<String> {
    let (mut out, mut rest, mut used) = (String::new(), page, Vec::new());
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, body) = after.split_once(BEGIN_ENDS).ok_or_else(|| miette!("a mark without a name"))?;
        let (_, behind) = body.split_once(END).ok_or_else(|| miette!("the section {name} has no end"))?;
        // What has not been measured yet has its place all the same.
        let made = results.get(name).map(|section| format!("\n{}\n\n", markdown::section(section))).unwrap_or_default();
        out += &format!("{before}{BEGIN}{name}{BEGIN_ENDS}{made}{END}");
        used.push(name);
        rest = behind;
    }
    if let Some(unused) = results.keys().find(|name| !used.contains(&name.as_str())) {
        bail!("the results {unused} are not on the page: write `{BEGIN}{unused}{BEGIN_ENDS}{END}` where they belong");
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_results_say() {
        let page = fs::read_to_string(page_path()).unwrap();
        let fresh = fill(&page, &results::load().unwrap()).unwrap();
        assert!(page == fresh, "docs/performance.md is stale; run: cargo harness report");
    }

    #[test]
    fn marks_must_agree_with_the_results() {
        let results = results::load().unwrap();
        assert!(fill("<!-- results: canonical -->\n", &results).is_err());
        assert!(fill("", &results).is_err());
        let none = Results::new();
        let unmeasured = "a\n<!-- results: later -->\nstale\n<!-- end -->\nb\n";
        assert_eq!(fill(unmeasured, &none).unwrap(), "a\n<!-- results: later -->\n<!-- end -->\nb\n");
    }
}
