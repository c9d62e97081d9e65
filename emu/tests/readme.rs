//! What README shows is what happens: its example crate builds and runs, its console output is the program's.

use std::path::{Path, PathBuf};
use std::process::Command;

const FENCEPOST: &str = env!("CARGO_BIN_EXE_fencepost");

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    std::fs::read_to_string(path).expect("README.md is beside emu/")
}

/// The content of the first fenced block after `heading`.
fn block_after<'a>(readme: &'a str, heading: &str) -> &'a str {
    let after = readme.split_once(heading).unwrap_or_else(|| panic!("README has `{heading}`")).1;
    let block = after.split_once("```").expect("a block begins").1;
    let content = block.split_once('\n').expect("a block has lines").1;
    content.split_once("```").expect("a block ends").0
}

// The example names the host's own target, which is this one for most readers.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn the_example_crate_builds_and_runs_under_cargo_run() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (heading, file) in [
        ("\n`Cargo.toml`:\n", "Cargo.toml"),
        ("\n`.cargo/config.toml`:\n", ".cargo/config.toml"),
        ("\n`src/main.rs`:\n", "src/main.rs"),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("the file is in a folder")).expect("folders can be made");
        std::fs::write(path, block_after(&readme(), heading)).expect("files can be written");
    }
    for profile in ["dev", "release"] {
        let mut cargo = Command::new(std::env::var_os("CARGO").expect("cargo runs the tests"));
        for (name, _) in std::env::vars_os() {
            let is_ours = name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_") && name != "CARGO_HOME" || name == "RUSTFLAGS" || name == "RUSTC_WRAPPER"
            });
            if is_ours {
                cargo.env_remove(name);
            }
        }
        let path = std::env::join_paths(
            std::iter::once(PathBuf::from(FENCEPOST).parent().expect("the binary is in a folder").to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").expect("PATH is set"))),
        );
        let output = cargo
            .args(["run", "--quiet", "--offline", "--profile", profile, "--", "--cores", "4"])
            .current_dir(folder.path())
            .env("PATH", path.expect("the folder's name has no separator"))
            .env("CARGO_TARGET_DIR", folder.path().join("target"))
            .output()
            .expect("cargo runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{profile}: {errors}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "All cores are here.\n", "{profile}: {errors}");
    }
}

#[test]
fn the_console_output_is_the_programs() {
    let readme = readme();
    let mut compared = 0;
    for block in readme.split("```console\n").skip(1) {
        let block = block.split_once("```").expect("a block ends").0;
        let (command, shown) = block.split_once('\n').expect("a block has a command and its output");
        let arguments = command.strip_prefix("$ fencepost ").expect("the command is ours").split_whitespace();
        let output = Command::new(FENCEPOST).args(arguments).env("NO_COLOR", "1").output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "of `{command}`");
        compared += 1;
    }
    assert!(compared > 0, "README shows some console output");
}
