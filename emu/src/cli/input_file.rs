//! Files that are read whole.
//!
//! What could keep the command waiting or fill its memory is refused before it is read: a pipe, a device without an end, a
//! file that is far too long. The image of a guest is guarded likewise, by the library.

use super::failure::{Failure, refuse};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most bytes that a disk, a module or a capture may have, as many as an image: more is likely the wrong file.
pub(super) const LARGEST_CONTENT: u64 = 1 << 30;

/// The content of the file at `path`, which may have `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    content(path, most).or_else(|problem| refuse(format!("cannot read `{}`: {problem}", path.display())))
}

/// Likewise, for a file of text.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, Failure> {
    text(path, most).or_else(|problem| refuse(format!("cannot read `{}`: {problem}", path.display())))
}

/// The text in the file at `path`, which may have `most` bytes, or why it cannot be had.
pub(super) fn text(path: &Path, most: u64) -> Result<String, String> {
    String::from_utf8(content(path, most)?).map_err(|_| "it is not text".to_owned())
}

fn content(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if found.is_dir() {
        return Err("it is a directory; name a file in it".into());
    }
    if !found.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    if found.len() <= most {
        // Some files of the system's are longer than they say.
        let file = File::open(path).map_err(|error| error.to_string())?;
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    }
    if found.len() > most || bytes.len() as u64 > most {
        return Err(format!("it is longer than the {most} bytes that such a file may have"));
    }
    Ok(bytes)
}
