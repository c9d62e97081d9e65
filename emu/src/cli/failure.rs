//! Why a verb could not do what it was asked.

use fencepost::boot::BootError;
use fencepost::explorer::Misfit;
use fencepost::loader::LoadError;
use fencepost::machine::SettingsError;
use fencepost::testbench::BenchError;
use std::io::Write;
use std::path::Path;

/// Why a verb ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Bad use, bad input or a failing host, with a message that names the thing and the way out.
    Refused(String),
    /// A bound was reached before there was an answer, with a message that names the bound and the way out.
    Undecided(String),
    /// Whoever read standard output has gone away: no reason to complain, and none to go on.
    NobodyReads,
}

/// A refusal with this message.
pub(super) fn refuse<T>(problem: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Refused(problem.into()))
}

/// Why the folder `folder` could not be made.
pub(super) fn no_folder(folder: &Path, error: &std::io::Error) -> String {
    if folder.is_file() {
        format!("`{}` is a file, where a folder is wanted; name another", folder.display())
    } else {
        format!("cannot make the folder `{}`: {error}", folder.display())
    }
}

/// Writes a line to standard error. That nobody can read it is no reason to fail.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Failure {
        Failure::Refused(error.to_string())
    }
}

impl From<Misfit> for Failure {
    fn from(error: Misfit) -> Failure {
        Failure::Refused(error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        Failure::Refused(error.to_string())
    }
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Failure {
        Failure::Refused(error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        Failure::Refused(error.to_string())
    }
}
