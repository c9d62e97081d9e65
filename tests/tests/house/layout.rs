//! The shape of the repository, and the commands that its front page promises.

use std::collections::BTreeSet;

use super::project::{read, tracked_files};

const TOP_LEVEL: [&str; 8] =
    ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "devices", "emu", "programs", "tests"];

const MAIN_COMMAND: &str = "bash .ci/setup && cargo run --release -- run torn-frame --show";
const TEST_COMMAND: &str = "bash .ci/setup && cargo test --workspace";

#[test]
fn the_top_level_is_exactly_the_design() {
    let files = tracked_files();
    let found: BTreeSet<&str> =
        files.iter().filter_map(|path| path.split('/').next()).filter(|name| !name.starts_with('.')).collect();
    assert_eq!(found, BTreeSet::from(TOP_LEVEL));
}

#[test]
fn modules_are_named_files() {
    let nameless: Vec<String> = tracked_files().into_iter().filter(|path| path.ends_with("/mod.rs")).collect();
    assert!(nameless.is_empty(), "foo/mod.rs should be foo.rs beside foo/: {nameless:?}");
}

#[test]
fn readme_gives_both_commands() {
    let readme = read("README.md");
    for command in [MAIN_COMMAND, TEST_COMMAND] {
        assert!(
            readme.lines().any(|line| line.trim() == command),
            "README.md should give this command on a line of its own: {command}"
        );
    }
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let script = read(".ci/run");
    let set = format!("test_command='{TEST_COMMAND}'");
    let used = "bash -c \"$test_command\"";
    assert!(script.lines().any(|line| line == set), ".ci/run should say: {set}");
    assert!(script.lines().any(|line| line.ends_with(used)), ".ci/run should execute it by: {used}");
}
