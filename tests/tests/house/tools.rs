//! Formatting, lints and documentation, as the tools that come with Rust see them.

use std::{path::Path, process::Command};

use super::project::{cargo, guest, root, scratch, succeed};

/// With `cargo test --release` the dependencies' release builds are the ones that exist already.
const PROFILE: &str = if cfg!(debug_assertions) { "--profile=dev" } else { "--profile=release" };

/// Only the names of the files that `cargo fmt --all` would change.
const FORMATTED: [&str; 5] = ["fmt", "--all", "--check", "--", "--files-with-diff"];

#[test]
fn host_code_is_formatted() {
    succeed(cargo(root(), &FORMATTED));
}

#[test]
fn guest_code_is_formatted() {
    succeed(cargo(&guest(), &FORMATTED));
}

#[test]
fn host_code_has_no_lint() {
    let mut clippy = cargo(root(), &["clippy", "--workspace", "--all-targets", "--locked"]);
    clippy.args([PROFILE, "--", "-Dwarnings"]);
    succeed(clippy);
}

#[test]
fn guest_code_has_no_lint() {
    // Without --all-targets: that would add the test harness, which does not exist on a bare machine.
    let mut clippy = cargo(&guest(), &["clippy", "--workspace", "--locked"]);
    clippy.args(["--target", guest_target(), "--", "-Dwarnings"]);
    // The guests' flags come from their own configuration, and what is built with them is kept apart from the host's.
    clippy.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    clippy.env("CARGO_TARGET_DIR", scratch().join("guest"));
    succeed(clippy);
}

#[test]
fn documentation_has_no_warning() {
    let mut doc = cargo(root(), &["doc", "--workspace", "--no-deps", "--locked", PROFILE]);
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    succeed(doc);
}

/// The first of the targets that guests can be built for whose `core` is installed.
fn guest_target() -> &'static str {
    let targets = ["x86_64-unknown-linux-gnu", "x86_64-unknown-none"];
    let installed = |target: &&str| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print=target-libdir", "--target", target]);
        Path::new(succeed(rustc).trim()).exists()
    };
    targets.into_iter().find(installed).unwrap_or_else(|| panic!("run `rustup target add {}`", targets[1]))
}
