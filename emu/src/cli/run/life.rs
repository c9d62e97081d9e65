//! A sign of life of a run that says nothing: how many of its steps are done.
//!
//! It is shown on the terminal's last line, and gone before anything else is.

use crate::cli::progress;
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// After how long a silence it is shown.
const SILENCE: Duration = Duration::from_secs(2);

/// How far a run has come.
pub(super) struct Life {
    /// The bound on steps.
    most: u64,
    steps: u64,
    silent_since: Instant,
    bar: Option<ProgressBar>,
}

impl Life {
    /// A run of at most `most` steps begins.
    pub(super) fn new(most: u64) -> Life {
        Life { most, steps: 0, silent_since: Instant::now(), bar: None }
    }

    /// It has taken `steps` steps more; `may_show` says whether the terminal's last line is free.
    pub(super) fn went_on(&mut self, steps: u64, may_show: bool) {
        self.steps += steps;
        if may_show && self.silent_since.elapsed() > SILENCE {
            self.bar.get_or_insert_with(|| progress::steps(self.most)).set_position(self.steps);
        }
    }

    /// Something else is to be shown.
    pub(super) fn give_way(&mut self) {
        self.silent_since = Instant::now();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
