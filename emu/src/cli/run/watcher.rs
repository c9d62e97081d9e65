//! What leaves a run while it lasts: serial output, debug console, trace.

use crate::cli::failure::{Failure, note, refuse};
use crate::cli::output_file::OutputStream;
use crate::cli::run::life::Life;
use crate::cli::stdout::Stdout;
use fencepost::schedule::MOST_CHOICES;
use fencepost::trace::{Event, Line};
use std::ops::ControlFlow;

/// How much of a debug-console line is shown, in bytes.
const LONGEST_LINE: usize = 4096;

/// Where events go as JSON.
pub(super) enum Trace {
    /// Nowhere.
    None,
    /// To standard output.
    Stdout,
    /// To a file.
    File(OutputStream),
}

/// Sees every event and passes on what is wanted.
pub(super) struct Watcher {
    /// Standard output, while somebody reads it.
    stdout: Option<Stdout>,
    /// Whether the serial output goes there.
    shows_serial: bool,
    /// Whether the debug console's lines go to standard error.
    shows_console: bool,
    trace: Trace,
    /// Whether it is worth going on when nobody reads standard output any more.
    has_other_outputs: bool,
    /// Choices recorded so far, at least; `None` when none are recorded.
    recorded: Option<usize>,
    /// Shows that a silent run goes on; `None` where nobody looks.
    life: Option<Life>,
    console_line: Vec<u8>,
    last_serial: Option<u8>,
    failure: Option<Failure>,
}

impl Watcher {
    /// Passes nothing on.
    pub(super) fn new() -> Watcher {
        Watcher {
            stdout: Some(Stdout::new()),
            shows_serial: false,
            shows_console: false,
            trace: Trace::None,
            has_other_outputs: false,
            recorded: None,
            life: None,
            console_line: Vec::new(),
            last_serial: None,
            failure: None,
        }
    }

    /// Serial output to standard output.
    pub(super) fn serial(mut self, wanted: bool) -> Watcher {
        self.shows_serial = wanted;
        self
    }

    /// Debug console to standard error, except for outcomes.
    pub(super) fn console(mut self, wanted: bool) -> Watcher {
        self.shows_console = wanted;
        self
    }

    /// Every event to `trace`.
    pub(super) fn trace(mut self, trace: Trace) -> Watcher {
        self.trace = trace;
        self
    }

    /// The run goes on without a reader of standard output.
    pub(super) fn other_outputs(mut self, has_them: bool) -> Watcher {
        self.has_other_outputs = has_them;
        self
    }

    /// The run is recorded, and so may not have too many choices.
    pub(super) fn recorded(mut self, is_recorded: bool) -> Watcher {
        self.recorded = is_recorded.then_some(0);
        self
    }

    /// A silent run shows that it goes on.
    pub(super) fn life(mut self, life: Option<Life>) -> Watcher {
        self.life = life;
        self
    }

    /// Takes an event.
    pub(super) fn take(&mut self, line: &Line) -> ControlFlow<()> {
        match self.pass_on(line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Failure::NobodyReads) if self.has_other_outputs => {
                self.stdout = None;
                ControlFlow::Continue(())
            }
            Err(failure) => {
                // What stopped the run is the first failure, not one that follows from it.
                self.failure.get_or_insert(failure);
                ControlFlow::Break(())
            }
        }
    }

    /// The run is over: lets the rest appear and completes the trace.
    pub(super) fn finish(mut self) -> Result<Finished, Failure> {
        self.give_way();
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(stdout) = &mut self.stdout {
            match stdout.flush() {
                Err(Failure::NobodyReads) if self.has_other_outputs => (),
                done => done?,
            }
        }
        if self.shows_console && !self.console_line.is_empty() {
            note(&String::from_utf8_lossy(&self.console_line));
        }
        let finished = Finished { is_inside_line: self.is_inside_line() };
        if let Trace::File(file) = self.trace {
            file.finish()?;
        }
        Ok(finished)
    }

    /// Whether serial output was shown and its last line has not ended.
    fn is_inside_line(&self) -> bool {
        self.last_serial.is_some_and(|byte| byte != b'\n')
    }

    fn give_way(&mut self) {
        self.life.iter_mut().for_each(Life::give_way);
    }

    fn show_life(&mut self, steps: u64) {
        let may_show = !self.is_inside_line();
        self.life.iter_mut().for_each(|life| life.went_on(steps, may_show));
    }

    fn pass_on(&mut self, line: &Line) -> Result<(), Failure> {
        self.pass_to_trace(line)?;
        match line.event {
            Event::Serial { byte } => self.pass_serial(byte),
            Event::DebugConsole { byte } => {
                self.pass_console(byte);
                Ok(())
            }
            // A choice has ended: what it said appears, so that a prompt without a newline is seen.
            Event::Ran { steps, .. } => {
                self.show_life(steps);
                self.end_choice()
            }
            Event::Accessed { .. } => self.end_choice(),
            _ => Ok(()),
        }
    }

    fn end_choice(&mut self) -> Result<(), Failure> {
        self.count_choice()?;
        self.stdout.as_mut().map_or(Ok(()), Stdout::flush)
    }

    fn pass_to_trace(&mut self, line: &Line) -> Result<(), Failure> {
        let text = || serde_json::to_string(line).expect("an event is plain data") + "\n";
        match &mut self.trace {
            Trace::None => Ok(()),
            Trace::Stdout => self.stdout.as_mut().map_or(Ok(()), |stdout| stdout.write(text().as_bytes())),
            Trace::File(file) => file.write(text().as_bytes()),
        }
    }

    fn pass_serial(&mut self, byte: u8) -> Result<(), Failure> {
        if !self.shows_serial {
            return Ok(());
        }
        self.give_way();
        self.last_serial = Some(byte);
        self.stdout.as_mut().map_or(Ok(()), |stdout| stdout.write(&[byte]))
    }

    fn pass_console(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.console_line.len() < LONGEST_LINE {
                self.console_line.push(byte);
            }
            return;
        }
        // Outcomes are in the summary.
        if self.shows_console && !self.console_line.starts_with(b"outcome: ") {
            self.give_way();
            note(&String::from_utf8_lossy(&self.console_line));
        }
        self.console_line.clear();
    }

    fn count_choice(&mut self) -> Result<(), Failure> {
        let Some(recorded) = &mut self.recorded else { return Ok(()) };
        *recorded += 1;
        if *recorded > MOST_CHOICES {
            return refuse(too_long());
        }
        Ok(())
    }
}

/// What a recorded run is told that has more choices than a schedule may have.
pub(super) fn too_long() -> String {
    format!("the run has more choices than the {MOST_CHOICES} a schedule may have; record less of it with --max-steps")
}

/// What the output looks like at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Finished {
    /// Serial output was shown and its last line did not end.
    pub(super) is_inside_line: bool,
}
