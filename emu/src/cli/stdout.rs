//! Standard output that may go away: `fencepost list | head -1` is no error and no panic.

use super::failure::Failure;
use serde::Serialize;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};

/// Standard output, buffered; what is written appears at the latest with [`Stdout::flush`].
pub(super) struct Stdout(BufWriter<std::io::Stdout>);

impl Stdout {
    /// Standard output.
    pub(super) fn new() -> Stdout {
        Stdout(BufWriter::with_capacity(64 << 10, std::io::stdout()))
    }

    /// Whether a person looks at it.
    pub(super) fn is_terminal() -> bool {
        std::io::stdout().is_terminal()
    }

    /// Writes `bytes` as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(failure)
    }

    /// Lets everything written so far appear.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(failure)
    }
}

/// Writes `text` to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = Stdout::new();
    out.write(text.as_bytes())?;
    out.flush()
}

/// Writes `value` to standard output as indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("a report is plain data with text keys");
    print(&(text + "\n"))
}

/// Passes `done` on; where there was no answer and a report `as_json` was asked for, the reason is the report.
pub(super) fn or_no_answer<T>(done: Result<T, Failure>, as_json: bool) -> Result<T, Failure> {
    if let (Err(Failure::Undecided(reason)), true) = (&done, as_json) {
        print_json(&serde_json::json!({ "no_answer": reason }))?;
    }
    done
}

/// Why nothing more can be written to standard output.
pub(super) fn failure(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Refused(format!("cannot write to standard output: {error}")),
    }
}
