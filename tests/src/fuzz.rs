//! Fuzzing: guests that do anything, broken executables, broken schedules, broken litmus tests.
//!
//! A *case* is made from its seed alone. Cases run in [worker](serve) processes, so that whatever one of them does to its
//! process, the [`Campaign`] can still say which it was:
//!
//! - a panic, also one in a callback from C, which ends the process;
//! - a case that takes longer than [`LONGEST_CASE`];
//! - memory beyond [`MOST_MEMORY_KIB`], or that grows from case to case up to it;
//! - a schedule that is not what was recorded: each guest's run is replayed, with and without the fast engine;
//! - an exploration that finds something else than brute force.

mod campaign;
mod code;
mod elf;
mod explored;
mod instructions;
mod interrupts;
mod litmus;
mod schedules;

pub use campaign::{Campaign, Failure, Report};

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

/// A case that takes longer hangs. Most take milliseconds; a guest whose every instruction changes code that all engines
/// have translated takes seconds.
pub const LONGEST_CASE: Duration = Duration::from_secs(20);

/// The most memory that a worker may hold, in KiB: many times what a machine of 2 cores and 8 MiB needs.
pub const MOST_MEMORY_KIB: u64 = 1 << 20;

/// What is fuzzed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Guests: random bytes, and random instructions that mean harm.
    Code,
    /// Guests that interrupt themselves and each other.
    Interrupts,
    /// Executables with errors.
    Elf,
    /// Schedules with errors.
    Schedules,
    /// Litmus tests with errors.
    Litmus,
    /// Programs with interrupts, explored and by brute force.
    Explored,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [Kind::Code, Kind::Interrupts, Kind::Elf, Kind::Schedules, Kind::Litmus, Kind::Explored];

    /// `code`, `interrupts`, `elf`, `schedules`, `litmus` or `explored`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Code => "code",
            Kind::Interrupts => "interrupts",
            Kind::Elf => "elf",
            Kind::Schedules => "schedules",
            Kind::Litmus => "litmus",
            Kind::Explored => "explored",
        }
    }

    /// The kind called `name`.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Runs the case of `seed` in this process.
    ///
    /// # Errors
    /// It went wrong in a way that leaves the process alive.
    pub fn case(self, seed: u64) -> Result<(), String> {
        match self {
            Kind::Code => code::case(seed),
            Kind::Interrupts => interrupts::case(seed),
            Kind::Elf => elf::case(seed),
            Kind::Schedules => schedules::case(seed),
            Kind::Litmus => litmus::case(seed),
            Kind::Explored => explored::case(seed),
        }
    }
}

/// What a worker writes before each case, with the seed.
const CASE: &str = "fuzz case";
/// What it writes about a case that went wrong.
const WRONG: &str = "fuzz wrong";
/// What it writes at the end, with its peak of memory in KiB.
const PEAK: &str = "fuzz peak";

/// Runs the cases of `seeds` and writes what the campaign's other side reads.
///
/// # Errors
/// Standard output is gone.
pub fn serve(kind: Kind, seeds: Range<u64>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for seed in seeds {
        writeln!(out, "{CASE} {seed}")?;
        out.flush()?;
        if let Err(problem) = kind.case(seed) {
            writeln!(out, "{WRONG} {}", problem.replace('\n', " / "))?;
        }
        let resident = memory_kib("VmRSS").unwrap_or(0);
        if resident > MOST_MEMORY_KIB {
            writeln!(out, "{WRONG} the process holds {resident} KiB")?;
        }
    }
    writeln!(out, "{PEAK} {}", memory_kib("VmHWM").unwrap_or(0))
}

/// A line of `/proc/self/status` in KiB; `None` where there is no such file.
fn memory_kib(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
