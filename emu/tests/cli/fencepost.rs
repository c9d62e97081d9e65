//! Running the command in a folder of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder in which the command runs.
pub(super) struct Folder(TempDir);

/// What the command said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Folder {
    /// An empty folder.
    pub(super) fn new() -> Folder {
        Folder(TempDir::new().expect("a temporary folder can be made"))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file into it.
    pub(super) fn with(self, name: &str, content: &[u8]) -> Folder {
        std::fs::write(self.path().join(name), content).expect("the folder can be written");
        self
    }

    /// The content of one of its files.
    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The names of all files in it, sorted, with their sizes.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(self.path()).expect("the folder can be read");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("the folder can be read"))
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().map_or(0, |it| it.len())))
            .collect();
        files.sort();
        files
    }

    /// The command with these arguments, which contain no blanks.
    pub(super) fn run(&self, arguments: &str) -> Said {
        self.run_words(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// The command with these arguments.
    pub(super) fn run_words(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().expect("the command can be started"))
    }

    /// The command, not yet started.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command.env_remove("NO_COLOR").env_remove("COLUMNS");
        command
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code().expect("the command was not killed"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Standard output as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the exit code is `code`.
    pub(super) fn exits_with(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}
