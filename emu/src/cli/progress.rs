//! A progress bar on standard error, which is not drawn when that is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `length` runs, with an estimate of the time left.
pub(super) fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} runs, {eta} left  {msg}");
    ProgressBar::new(length).with_style(style.expect("the template is well-formed"))
}

/// A sign of life for work whose length is not known.
pub(super) fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}
