//! Colours on a terminal, and only there (<https://no-color.org>).

use std::io::IsTerminal;

/// What a text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    /// As it should be.
    Good,
    /// A hazard, or a failed check.
    Bad,
    /// Less important than what is around it.
    Faint,
}

/// Whether `stream` wants colours.
pub(super) fn is_wanted(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// `text` in `colour`, if `wanted`.
pub(super) fn paint(text: &str, colour: Colour, wanted: bool) -> String {
    if !wanted {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Good => 32,
        Colour::Bad => 31,
        Colour::Faint => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
