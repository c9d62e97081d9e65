//! Many runs of one guest: the engines, with what they have translated, are used again.

use super::{BenchError, Run, Testbench, Until};
use crate::machine::{Machine, Snapshot};
use std::ops::ControlFlow;

/// A guest that is run again and again, with one seed after another.
///
/// Runs are the same as those of fresh machines, for engines are only caches; they only take less time.
pub struct Series {
    bench: Testbench,
    start: Option<Snapshot>,
    spare: Option<Machine>,
}

impl Series {
    /// Runs of `bench`.
    pub fn new(bench: Testbench) -> Series {
        Series { bench, start: None, spare: None }
    }

    /// One run to the end, with `seed`. Give it [back](Series::take_back) when it has been looked at.
    ///
    /// # Errors
    /// As for [`Testbench::run`].
    pub fn run(&mut self, seed: u64) -> Result<Run, BenchError> {
        let bench = self.bench.clone().seed(seed);
        let mut machine = match self.spare.take() {
            Some(machine) => machine,
            None => bench.machine()?,
        };
        match &self.start {
            Some(start) => machine.restore(start),
            None => self.start = Some(machine.snapshot()),
        }
        bench.drive(machine, Until::End, None, |_| ControlFlow::Continue(()))
    }

    /// Takes the machine of a finished run for the next one.
    pub fn take_back(&mut self, run: Run) {
        self.spare = Some(run.runner.into_machine());
    }
}
