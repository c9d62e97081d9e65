//! Progress on standard error, which is drawn only where a terminal takes colours and the like.

use super::colour;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar for `length` runs, with an estimate of the time left.
pub(super) fn bar(length: u64) -> ProgressBar {
    styled(ProgressBar::new(length), "{bar:30} {human_pos}/{human_len} runs, {eta} left  {msg}")
}

/// A bar for one run of at most `most` steps.
pub(super) fn steps(most: u64) -> ProgressBar {
    styled(ProgressBar::new(most), "{bar:30} {human_pos} steps of at most {human_len}")
}

/// A sign of life for work whose length is not known.
pub(super) fn spinner() -> ProgressBar {
    let spinner = drawn(ProgressBar::new_spinner());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Whether anything is drawn.
pub(super) fn is_drawn() -> bool {
    colour::is_wanted(&std::io::stderr())
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    drawn(bar).with_style(ProgressStyle::with_template(template).expect("the template is well-formed"))
}

fn drawn(bar: ProgressBar) -> ProgressBar {
    if !is_drawn() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
