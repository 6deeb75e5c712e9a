//! The reference pages say what the code says.
//!
//! Each page is written from the declarations and compared with the file; `UPDATE=1` writes the file instead.

use std::path::Path;

fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a page has a folder")).expect("the folder can be made");
        std::fs::write(&path, expected).expect("the page can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1;
    assert!(
        found == expected,
        "docs/reference/{page} is stale from line {line} on; run `UPDATE=1 cargo test -p aqueduct --test docs`"
    );
}

#[test]
fn the_configuration_page_is_fresh() {
    check("configuration.md", &aqueduct::config::reference());
}

#[test]
fn the_command_line_page_is_fresh() {
    check("cli.md", &aqueduct::cli::reference());
}
