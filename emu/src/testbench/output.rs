//! What a guest has said so far, bounded: a guest may write without end.

use crate::trace::Event;

/// How much of each line is kept, in bytes. What comes later is counted only.
const KEPT: usize = 1 << 20;

/// How much of one debug-console line is looked at, in bytes: outcomes are short.
const LONGEST_OUTCOME: usize = 4096;

/// What the guest prints on the debug console before an outcome.
const OUTCOME: &str = "outcome: ";

/// The guest's output.
#[derive(Clone, Debug, Default)]
pub struct Output {
    serial: Kept,
    debug_console: Kept,
    /// The debug-console line that has not ended yet.
    line: Vec<u8>,
    outcome: Option<String>,
    serial_line: Vec<u8>,
    ended_serial_line: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    lost: u64,
}

impl Output {
    /// Takes in an event.
    pub fn take(&mut self, event: &Event) {
        self.ended_serial_line = None;
        match *event {
            Event::Serial { byte } => {
                self.serial.push(byte);
                if byte == b'\n' {
                    let line = String::from_utf8_lossy(&self.serial_line).trim_end_matches('\r').to_owned();
                    self.ended_serial_line = Some(line);
                    self.serial_line.clear();
                } else if self.serial_line.len() < LONGEST_OUTCOME {
                    self.serial_line.push(byte);
                }
            }
            Event::DebugConsole { byte } => {
                self.debug_console.push(byte);
                if byte == b'\n' {
                    let line = String::from_utf8_lossy(&self.line);
                    if let Some(outcome) = line.strip_prefix(OUTCOME) {
                        self.outcome = Some(outcome.trim_end().to_owned());
                    }
                    self.line.clear();
                } else if self.line.len() < LONGEST_OUTCOME {
                    self.line.push(byte);
                }
            }
            _ => (),
        }
    }

    /// The serial output; bytes that are not UTF-8 are replaced.
    pub fn serial(&self) -> String {
        self.serial.text()
    }

    /// The debug console's output.
    pub fn debug_console(&self) -> String {
        self.debug_console.text()
    }

    /// The last outcome reported.
    pub fn outcome(&self) -> Option<&str> {
        self.outcome.as_deref()
    }

    /// The serial line that the last event ended.
    pub(super) fn ended_serial_line(&self) -> Option<&str> {
        self.ended_serial_line.as_deref()
    }
}

impl Kept {
    fn push(&mut self, byte: u8) {
        if self.bytes.len() < KEPT {
            self.bytes.push(byte);
        } else {
            self.lost += 1;
        }
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.lost > 0 {
            text.push_str(&format!("\n[{} more bytes not kept]\n", self.lost));
        }
        text
    }
}
