//! The litmus files that paths name.

use crate::cli::failure::{Failure, refuse};
use std::path::{Path, PathBuf};

/// A litmus file.
pub(super) struct LitmusFile {
    /// Its path, relative to the folder that was given if it is in one.
    pub(super) name: String,
    /// Its content, or why there is none: one such file does not keep the others from being explored.
    pub(super) text: Result<String, String>,
}

/// Reads all files that `paths` name, those in folders by name.
///
/// # Errors
/// A path names nothing, or a folder without litmus files.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<LitmusFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            walk(path, path, &mut files);
            if files.len() == before {
                return refuse(format!("there is no *.litmus file in `{}`", path.display()));
            }
        } else if let Err(error) = std::fs::metadata(path) {
            return refuse(format!("cannot read `{}`: {error}", path.display()));
        } else {
            files.push(LitmusFile { name: path.display().to_string(), text: read(path) });
        }
    }
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<LitmusFile>) {
    let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            let problem = Err(format!("the folder cannot be read: {error}"));
            files.push(LitmusFile { name: folder.display().to_string(), text: problem });
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A link to a folder could lead round in circles.
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            files.push(LitmusFile { name: name(&path), text: read(&path) });
        }
    }
}

/// The text of a file, or why it has none.
fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let file = std::fs::metadata(path).map_err(unreadable)?;
    if !file.is_file() {
        return Err("it is not a regular file".into());
    }
    if file.len() > fencepost::litmus::parse::LONGEST_FILE as u64 {
        return Err("it is too long for a litmus test".into());
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let (before, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line_start = bytes[..before].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = bytes[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(&bytes[line_start..before]).chars().count() + 1;
        format!("it is not text: line {line}, column {column} is no UTF-8")
    })
}
