//! Files that are written whole or not at all, and whose refusal comes before the work and not after it.
//!
//! A regular file is written beside its place and renamed onto it. Anything else that can be written (a pipe, a terminal,
//! `/dev/null`) is written as it is. Left out: nothing removes the unfinished file if the process is killed.

use super::failure::{Failure, refuse};
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that can be written.
#[derive(Clone, Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    destination: Destination,
}

#[derive(Clone, Debug)]
enum Destination {
    /// Renamed onto this path, which is free of symbolic links, with these permissions.
    Renamed { place: PathBuf, permissions: Option<Permissions> },
    /// Written as it is.
    Direct,
}

impl OutputFile {
    /// Makes sure that `path` can be written, and leaves it as it is.
    pub(super) fn check(path: &Path) -> Result<OutputFile, Failure> {
        let fail = |problem: &str| refuse(format!("cannot write `{}`: {problem}", path.display()));
        let found = std::fs::metadata(path).ok();
        let names_directory = path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if found.as_ref().is_some_and(std::fs::Metadata::is_dir) || names_directory {
            return fail("it is a directory; name a file in it");
        }
        if found.as_ref().is_some_and(|found| !found.is_file()) {
            return Ok(OutputFile { path: path.to_owned(), destination: Destination::Direct });
        }
        let permissions = found.map(|found| found.permissions());
        if permissions.as_ref().is_some_and(Permissions::readonly) {
            return fail("it is read-only; name another file");
        }
        let place = match place_of(path) {
            Ok(place) => place,
            Err(error) => return fail(&format!("its directory cannot be used ({error}); create it first")),
        };
        let output = OutputFile { path: path.to_owned(), destination: Destination::Renamed { place, permissions } };
        output.begin()?;
        Ok(output)
    }

    /// What the user called it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses two names for one file among `outputs` (each with its flag), and an output that is one of `inputs`.
    pub(super) fn all_differ(outputs: &[(&str, &OutputFile)], inputs: &[&Path]) -> Result<(), Failure> {
        for (index, (flag, output)) in outputs.iter().enumerate() {
            let Destination::Renamed { place, .. } = &output.destination else { continue };
            let is_same = |other: &&(&str, &OutputFile)| other.1.place() == Some(place);
            if let Some((other, _)) = outputs[..index].iter().find(is_same) {
                return refuse(format!(
                    "{other} and {flag} both name `{}`; give each a file of its own",
                    output.path.display()
                ));
            }
            if inputs.iter().any(|input| is_same_file(input, place)) {
                return refuse(format!(
                    "{flag} would overwrite `{}`, which is read by this very run; name another file",
                    output.path.display()
                ));
            }
        }
        Ok(())
    }

    /// Writes `bytes` as the whole file.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stream = self.begin()?;
        stream.write(bytes)?;
        stream.finish()
    }

    /// Begins to write the file, which appears when it is finished.
    pub(super) fn begin(&self) -> Result<OutputStream, Failure> {
        let sink = match &self.destination {
            Destination::Direct => File::options().write(true).open(&self.path).map(Sink::Direct),
            Destination::Renamed { place, permissions } => beside(place, permissions).map(Sink::Renamed),
        };
        match sink {
            Ok(sink) => Ok(OutputStream { output: self.clone(), sink: BufWriter::with_capacity(64 << 10, sink) }),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn place(&self) -> Option<&PathBuf> {
        match &self.destination {
            Destination::Renamed { place, .. } => Some(place),
            Destination::Direct => None,
        }
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        Failure::Refused(format!("cannot write `{}`: {error}", self.path.display()))
    }
}

/// A file that is being written; it is gone if it is dropped unfinished.
pub(super) struct OutputStream {
    output: OutputFile,
    sink: BufWriter<Sink>,
}

enum Sink {
    Direct(File),
    Renamed(NamedTempFile),
}

impl OutputStream {
    /// Adds `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write_all(bytes).map_err(|error| self.output.failure(&error))
    }

    /// The file is complete.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let OutputStream { output, sink } = self;
        let sink = sink.into_inner().map_err(|error| output.failure(error.error()))?;
        match (sink, &output.destination) {
            (Sink::Renamed(file), Destination::Renamed { place, .. }) => {
                file.persist(place).map(|_| ()).map_err(|error| output.failure(&error.error))
            }
            (Sink::Direct(_) | Sink::Renamed(_), _) => Ok(()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Sink::Direct(file) => file.write(bytes),
            Sink::Renamed(file) => file.as_file_mut().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Sink::Direct(file) => file.flush(),
            Sink::Renamed(file) => file.as_file_mut().flush(),
        }
    }
}

/// Whether both paths name one file that is there, by links of either kind too.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(one), Ok(other)) = (std::fs::metadata(one), std::fs::metadata(other)) {
        use std::os::unix::fs::MetadataExt;
        return (one.dev(), one.ino()) == (other.dev(), other.ino());
    }
    std::fs::canonicalize(one).is_ok_and(|one| std::fs::canonicalize(other).is_ok_and(|other| one == other))
}

/// The path without symbolic links; of the directory only, while the file does not exist.
fn place_of(path: &Path) -> std::io::Result<PathBuf> {
    if path.exists() {
        return std::fs::canonicalize(path);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = std::fs::canonicalize(directory)?;
    Ok(directory.join(path.file_name().unwrap_or_default()))
}

/// A new file in the directory of `place`.
fn beside(place: &Path, permissions: &Option<Permissions>) -> std::io::Result<NamedTempFile> {
    let directory = place.parent().unwrap_or(Path::new("."));
    // Made and written as any program's new file: with the rights that the user's umask leaves, and with the system's own
    // errors. The library's name the file that nobody has asked for.
    let file = tempfile::Builder::new().prefix(".fencepost-").make_in(directory, |path| File::create_new(path))?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions.clone())?;
    }
    Ok(file)
}
