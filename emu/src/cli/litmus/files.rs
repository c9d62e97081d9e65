//! The litmus files that paths name.

use crate::cli::failure::{Failure, refuse};
use std::path::{Path, PathBuf};

/// A litmus file.
pub(super) struct LitmusFile {
    /// Its path, relative to the folder that was given if it is in one.
    pub(super) name: String,
    /// Its content.
    pub(super) text: String,
}

/// Reads all files that `paths` name, those in folders by name.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<LitmusFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            walk(path, path, &mut files)?;
            if files.len() == before {
                return refuse(format!("there is no *.litmus file in `{}`", path.display()));
            }
        } else {
            files.push(LitmusFile { name: path.display().to_string(), text: read(path)? });
        }
    }
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<LitmusFile>) -> Result<(), Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Refused(format!("cannot read the folder `{}`: {error}", folder.display()));
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).map_err(unreadable)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A link to a folder could lead round in circles.
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            files.push(LitmusFile { name, text: read(&path)? });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    let refused = |problem: String| Failure::Refused(format!("cannot read `{}`: {problem}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if size > fencepost::litmus::parse::LONGEST_FILE as u64 {
        return Err(refused("it is too long for a litmus test".into()));
    }
    let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| refused("it is not text".into()))
}
