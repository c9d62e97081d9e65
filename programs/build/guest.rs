//! The guest workspace, built by a cargo inside this cargo.
//!
//! It works on a stable toolchain with nothing but the host's own target installed: the precompiled `core` for Linux is
//! linked by the toolchain's own linker at the machine's address, so neither libc nor a C compiler takes part.

use crate::Built;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Targets whose `core` will do, best first.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "x86_64-unknown-none"];

/// Builds every program in `guest/demos/src/bin`.
pub(crate) fn build(package: &Path, out: &Path) -> Result<Vec<Built>, String> {
    let workspace = package.join("guest");
    let target = target()?;
    // A folder of its own: cargo would wait for ever for the lock of the outer build's folder.
    let target_dir = out.join("guest");
    let output = cargo(&workspace, target, &target_dir)
        .output()
        .map_err(|error| format!("cannot start cargo for the guest programs: {error}"))?;
    if !output.status.success() {
        return Err(format!("the guest programs do not build:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let binaries = target_dir.join(target).join("guest");
    // Named by their sources: the folder of binaries keeps those of programs that were deleted.
    let sources = crate::sources(&workspace.join("demos/src/bin"), "rs")?;
    let built = sources.into_iter().map(|(name, _)| Built {
        source: format!("guest/demos/src/bin/{name}.rs"),
        image: binaries.join(&name),
        name,
    });
    Ok(built.collect())
}

fn cargo(workspace: &Path, target: &str, target_dir: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            command.env_remove(name);
        }
    }
    command
        .current_dir(workspace)
        .args(["build", "--profile", "guest", "--bins", "--locked", "--offline", "--target", target])
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace).join("\u{1f}"))
        .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_")), "rust-lld");
    command
}

/// The outer build's settings must not leak in: a guest is the same whatever the host is built with.
fn is_of_the_outer_build(name: &str) -> bool {
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_OFFLINE", "RUSTC"];
    const OUTER: [&str; 8] = ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR", "RUSTFLAGS"];
    let outer = OUTER.contains(&name) || ["CARGO", "RUST", "CLIPPY"].iter().any(|prefix| name.starts_with(prefix));
    outer && !KEPT.contains(&name) && !name.starts_with("RUSTUP_")
}

fn rustflags(workspace: &Path) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-Clinker-flavor=ld.lld",
        "-Crelocation-model=static",
        // An interrupt pushes its frame right below the stack pointer.
        "-Cno-redzone=yes",
        "-Cforce-frame-pointers=yes",
        "-Cforce-unwind-tables=no",
        "-Ctarget-feature=+cmpxchg16b",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=--build-id=none",
        "-Clink-arg=-zmax-page-size=4096",
    ]
    .map(String::from)
    .into();
    flags.push(format!("-Clink-arg=-T{}", workspace.join("guest.ld").display()));
    // The same bytes in every checkout, and file names that are right in the project's root.
    flags.push(format!("--remap-path-prefix={}=programs/guest", workspace.display()));
    flags
}

fn target() -> Result<&'static str, String> {
    TARGETS.into_iter().find(|target| has_core(target)).ok_or_else(|| {
        format!("no x86-64 `core` library for the guest programs: run `rustup target add {}`", TARGETS[1])
    })
}

fn has_core(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = output else { return false };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("libcore-")))
}
