//! Binaries of this workspace, built for the tests that run them.

use std::path::PathBuf;
use std::process::Command;

/// Builds the binary of a package that bears the same name, in the profile of this test program and into its folder.
///
/// # Panics
/// If it does not build.
pub fn binary(package: &str) -> PathBuf {
    // Exactly the features that `cargo test --workspace` has built everything with: those of the whole workspace, and of
    // dependencies that only tests have, which cargo counts in as soon as any test is built.
    let (mut build, profile) = build(&["--bin", package, "--test", "tidy"]);
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "{build:?}: {status}");
    profile.join(package)
}

/// Builds the program `aqueduct` with the feature `gssapi`, beside the one without.
///
/// # Errors
/// What it needs is not installed.
///
/// # Panics
/// If it does not build for another reason.
pub fn gssapi_binary() -> Result<PathBuf, String> {
    let remedy = "apt install libkrb5-dev libclang-dev pkg-config";
    let found = Command::new("krb5-config").args(["--libs", "gssapi"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Err(format!("the Kerberos library is missing; {remedy}"));
    }
    let (mut build, profile) = build(&["--example", "aqueduct-gssapi", "--features", "aqueduct/gssapi"]);
    let output = build.output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.contains("libgssapi-sys") {
        return Err(format!("the Kerberos library cannot be built with; {remedy}"));
    }
    assert!(output.status.success(), "{build:?}: {}\n{said}", output.status);
    Ok(profile.join("examples/aqueduct-gssapi"))
}

/// A build of the whole workspace's `targets`, and the folder it goes to.
fn build(targets: &[&str]) -> (Command, PathBuf) {
    // A tests package gets no CARGO_BIN_EXE_aqueduct, so it is built here, into the folder this program came from.
    let program = std::env::current_exe().expect("this program has a path");
    let profile = program.ancestors().nth(2).expect("target/PROFILE/deps/PROGRAM");
    let target = profile.parent().expect("target/PROFILE");
    let mut build = cargo();
    build.args(["build", "--quiet", "--workspace"]).args(targets).arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    (build, profile.to_owned())
}

/// The cargo that runs this program. What it told us of our package is not told on: some build scripts would take it for a change, and
/// much would be built again, then and by whoever builds next.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(of_package) {
            cargo.env_remove(name);
        }
    }
    cargo
}
