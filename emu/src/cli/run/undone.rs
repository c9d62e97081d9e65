//! What was to be typed and sent, and was not.

use crate::cli::table::counted;
use fencepost::input::{Script, What};
use serde::Serialize;

/// What of `--keys` and `--input` the guest has not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Undone {
    /// Characters of `--keys`.
    keys: usize,
    /// Lines of `--input`, the first perhaps in part.
    lines: usize,
    /// The first of these lines, from 1.
    first_line: Option<usize>,
    /// What comes first, as a line of a script.
    first: String,
}

impl Undone {
    /// What is left of `script`, if anything is.
    pub(super) fn of(script: &Script) -> Option<Undone> {
        let first = script.undone().next()?.to_string();
        let characters = script.undone().filter(|cue| cue.line.is_none()).map(|cue| match &cue.what {
            What::Keys(text) | What::Serial(text) => text.chars().count(),
            What::Move { .. } | What::Press(_) | What::Release(_) => 0,
        });
        let lines: Vec<usize> = script.undone().filter_map(|cue| cue.line).collect();
        Some(Undone { keys: characters.sum(), lines: lines.len(), first_line: lines.first().copied(), first })
    }
}

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = (self.keys > 0).then(|| format!("{} of --keys", counted(self.keys as u64, "character")));
        let lines = self.first_line.map(|first| {
            let from = if self.lines == 1 { "line" } else { "from line" };
            format!("{} of --input ({from} {first})", counted(self.lines as u64, "line"))
        });
        let parts: Vec<String> = keys.into_iter().chain(lines).collect();
        write!(f, "not done: {}, first {}", parts.join(" and "), self.first)
    }
}
