//! Builds the guest software and embeds it: `cargo build` is all there is.
//!
//! The steps are one file each in `build/`; what they produce is `OUT_DIR/programs.rs`, which `src/lib.rs` includes.

#[path = "build/foreign.rs"]
mod foreign;
#[path = "build/guest.rs"]
mod guest;
#[path = "build/requirements.rs"]
mod requirements;
#[path = "build/stanza.rs"]
mod stanza;
#[path = "build/table.rs"]
mod table;

use std::env;
use std::path::{Path, PathBuf};

/// A guest program on its way into the table: where its source is and where its image was built.
pub(crate) struct Built {
    name: String,
    /// Relative to the package.
    source: String,
    image: PathBuf,
}

fn main() {
    for input in ["build.rs", "build", "guest", "c", "asm"] {
        println!("cargo::rerun-if-changed={input}");
    }
    // An error line fails the build, and unlike a panic it shows nothing but the message.
    if let Err(message) = requirements::check().and_then(|()| build()) {
        for line in message.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), String> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut programs = guest::build(&package, &out)?;
    programs.extend(foreign::build(&package, &out)?);
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    table::write(&package, &programs, &out.join("programs.rs"))
}

/// The files of a folder with this extension, sorted by name, as (stem, path).
pub(crate) fn sources(folder: &Path, extension: &str) -> Result<Vec<(String, PathBuf)>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .collect();
    found.sort();
    Ok(found)
}
