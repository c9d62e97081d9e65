//! What README shows is what happens: its example crate builds and runs, its console output is the program's.

use std::path::Path;
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
mod example {
    use super::{FENCEPOST, block_after, readme};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    /// The example crate in a folder of its own.
    struct Example(tempfile::TempDir);

    impl Example {
        /// The crate as README has it.
        fn new() -> Example {
            let example = Example(tempfile::tempdir().expect("a temporary folder can be made"));
            for (heading, file) in [
                ("\n`Cargo.toml`:\n", "Cargo.toml"),
                ("\n`.cargo/config.toml`:\n", ".cargo/config.toml"),
                ("\n`src/main.rs`:\n", "src/main.rs"),
            ] {
                example.write(file, block_after(&readme(), heading));
            }
            example
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            std::fs::create_dir_all(path.parent().expect("the file is in a folder")).expect("folders can be made");
            std::fs::write(path, text).expect("files can be written");
        }

        fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.path().join(file)).expect("the file was written")
        }

        /// Runs it on 4 cores in both profiles, and expects this exit code and output.
        fn runs(&self, code: i32, serial: &str) {
            for profile in ["dev", "release"] {
                let output = self.cargo_run(profile);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(code), "{profile}: {errors}");
                assert_eq!(String::from_utf8_lossy(&output.stdout), serial, "{profile}: {errors}");
            }
        }

        fn cargo_run(&self, profile: &str) -> Output {
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
            cargo
                .args(["run", "--quiet", "--offline", "--profile", profile, "--", "--cores", "4"])
                .current_dir(self.0.path())
                .env("PATH", path.expect("the folder's name has no separator"))
                .env("CARGO_TARGET_DIR", self.0.path().join("target"))
                .output()
                .expect("cargo runs")
        }
    }

    #[test]
    fn the_example_crate_builds_and_runs_under_cargo_run() {
        Example::new().runs(0, "All cores are here.\n");
    }

    #[test]
    fn the_example_crate_may_panic() {
        let example = Example::new();
        let greeting = "for byte in b";
        let main = example.read("src/main.rs");
        assert!(main.contains(greeting));
        // Formatted panics and checked indices need more of the precompiled `core` than the example does.
        let panicking = "if [1, 2, 3][core::hint::black_box(1)] == 2 { panic!(\"{core}\") }";
        example.write("src/main.rs", &main.replace(greeting, &format!("{panicking} {greeting}")));
        example.runs(101, "");
    }

    #[test]
    fn a_crate_outside_can_depend_on_the_kit() {
        let example = Example::new();
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs/guest/kit");
        let dependency = format!("\n[dependencies]\nkit = {{ path = {kit:?} }}\n");
        example.write("Cargo.toml", &(example.read("Cargo.toml") + &dependency));
        let main = "#![no_std]
        #![no_main]
        kit::entry!(main);
        fn main(core: kit::Core) {
            if core.index == 0 {
                let copied = *core::hint::black_box(&[7u8; 4096]);
                kit::println!(\"{}\", copied[core::hint::black_box(9)]);
                kit::exit(3)
            }
        }";
        example.write("src/main.rs", main);
        example.runs(3, "7\n");
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
