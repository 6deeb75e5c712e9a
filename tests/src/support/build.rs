//! Binaries of this workspace, built for the tests that run them.

use std::path::PathBuf;
use std::process::Command;

/// Builds the binary of a package that bears the same name, in the profile of this test program and into its folder.
///
/// # Panics
/// If it does not build.
pub fn binary(package: &str) -> PathBuf {
    // A tests package gets no CARGO_BIN_EXE_aqueduct, so it is built here, into the folder this program came from.
    let program = std::env::current_exe().expect("this program has a path");
    let profile = program.ancestors().nth(2).expect("target/PROFILE/deps/PROGRAM");
    let target = profile.parent().expect("target/PROFILE");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // Exactly the features that `cargo test --workspace` has built everything with: those of the whole workspace, and of
    // dependencies that only tests have, which cargo counts in as soon as any test is built.
    build.args(["build", "--quiet", "--workspace", "--bin", package, "--test", "tidy", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "{build:?}: {status}");
    profile.join(package)
}
