//! The schedule that `--schedule` names, and its agreement with the rest of the command line.

use super::failure::{Failure, refuse};
use super::input_file;
use super::machine_options::MachineOptions;
use fencepost::schedule::{MAGIC, Schedule};
use std::path::{Path, PathBuf};

/// Schedule files larger than this are refused before they are read; the longest schedule there may be is shorter.
const LARGEST_FILE: u64 = 1 << 30;

/// A schedule, and the file it came from.
pub(super) struct Replayed {
    /// The schedule.
    pub(super) schedule: Schedule,
    /// Its file; `None` when it was given as text.
    pub(super) file: Option<PathBuf>,
}

impl Replayed {
    /// Reads the schedule in `given`, which is the text itself if it begins like one, else a file.
    pub(super) fn read(given: &str) -> Result<Replayed, Failure> {
        let (text, file) = if is_text(given) {
            (given.to_owned(), None)
        } else {
            let path = PathBuf::from(given);
            (read_file(&path)?, Some(path))
        };
        let place = file.as_ref().map_or("--schedule".to_owned(), |path| format!("`{}`", path.display()));
        match text.parse() {
            Ok(schedule) => Ok(Replayed { schedule, file }),
            Err(error) => refuse(format!("{place} is not a schedule: {error}")),
        }
    }

    /// Refuses options that say something else than the schedule does; `command_line` is the guest's, if any is said.
    pub(super) fn agree(&self, machine: &MachineOptions, command_line: Option<&str>) -> Result<(), Failure> {
        let settings = &self.schedule.settings;
        for (flag, here, there) in machine.beside(settings) {
            if here != there {
                return refuse(format!(
                    "--{flag} {here} contradicts the schedule, which was recorded with {there}; leave --{flag} out"
                ));
            }
        }
        match command_line {
            Some(here) if here != settings.command_line => refuse(format!(
                "the schedule was recorded with the command line `{}`, not `{here}`; leave variant and words out",
                settings.command_line
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether `given` is a schedule and not the name of its file: comments, then the magic word.
fn is_text(given: &str) -> bool {
    let first = given.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line.starts_with(MAGIC))
}

fn read_file(path: &Path) -> Result<String, Failure> {
    input_file::text(path, LARGEST_FILE).or_else(|problem| {
        refuse(format!(
            "cannot read the schedule `{}`: {problem} (a schedule given as text begins with `{MAGIC}`)",
            path.display()
        ))
    })
}
