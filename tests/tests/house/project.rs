//! Where the project is, what it consists of, and how to run programs on it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The repository's root.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the repository")
}

/// The guest software, a workspace of its own.
pub(super) fn guest() -> PathBuf {
    root().join("programs/guest")
}

/// A file's text; its path is relative to the root.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path} should be a readable text file: {error}"))
}

/// What git tracks, as paths relative to the root.
pub(super) fn tracked_files() -> Vec<String> {
    git_files(&["--cached"])
}

/// The Rust sources that git tracks or would add, so that a new file is judged before it is committed.
pub(super) fn rust_sources() -> Vec<(String, String)> {
    let paths = git_files(&["--cached", "--others", "--exclude-standard", "--", "*.rs"]);
    paths
        .into_iter()
        .filter(|path| root().join(path).exists())
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

fn git_files(selection: &[&str]) -> Vec<String> {
    let mut git = Command::new("git");
    // A checkout that belongs to another user (a container's volume) is not suspicious when it is only listed.
    git.args(["-c", "safe.directory=*", "ls-files", "-z"]).args(selection).current_dir(root());
    let listing = succeed(git);
    let mut paths: Vec<String> = listing.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    assert!(!paths.is_empty(), "a rule about files means nothing if git lists none");
    paths
}

/// A cargo command in a folder. Its build output goes to the folder that this test itself was built in.
pub(super) fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", target());
    // What the outer cargo says about this package would make crates look changed that read these variables.
    for (name, _) in env::vars_os() {
        let about_this_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "OUT_DIR"];
        let text = name.to_string_lossy();
        if about_this_package.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The target folder in use, however the outer cargo was told about it.
pub(super) fn target() -> &'static Path {
    scratch().parent().expect("cargo puts it at target/tmp")
}

/// Room for build output of our own.
pub(super) fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// `cargo metadata` of a workspace, for the platform that the tests run on.
pub(super) fn metadata(folder: &Path) -> Value {
    let arguments = ["metadata", "--locked", "--format-version=1", "--filter-platform=host-tuple"];
    let text = succeed(cargo(folder, &arguments));
    serde_json::from_str(&text).expect("cargo metadata prints JSON")
}

/// Runs a command to its end and returns what it printed; a failure shows all it said.
pub(super) fn succeed(mut command: Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = words.join(" ");
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{line} failed with {}:\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
