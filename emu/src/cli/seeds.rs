//! Many runs of one guest, each with a seed of its own, on all of the host's processors.
//!
//! What comes out does not depend on how many processors there are, or on which run ends first.

use super::failure::{Failure, refuse};
use super::stanza::{Judgement, judge};
use fencepost::machine::Stop;
use fencepost::memory_model::MemoryModel;
use fencepost::programs::Variant;
use fencepost::runner::Ended;
use fencepost::testbench::{Run, Series, Testbench};
use indicatif::ProgressBar;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a run ended, as far as runs are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ending {
    /// The guest ended it and had reported this.
    Outcome(String),
    /// The guest exited with this code and had reported nothing.
    ExitCode(u8),
    /// Every core halted, and nothing had been reported.
    AllHalted,
    /// The guest reset the machine, and nothing had been reported.
    Reset,
    /// A core faulted at this address.
    Fault(u64),
    /// The bound on steps was reached.
    StepLimit,
}

impl Ending {
    fn of(run: &Run) -> Ending {
        match (run.stop(), run.outcome()) {
            (Some(Stop::Faulted { pc, .. }), _) => Ending::Fault(pc),
            (Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset), Some(outcome)) => {
                Ending::Outcome(outcome.to_owned())
            }
            (Some(Stop::Exited { code }), None) => Ending::ExitCode(code),
            (Some(Stop::AllHalted), None) => Ending::AllHalted,
            (Some(Stop::Reset), None) => Ending::Reset,
            // Nothing is typed: for the guest that is the end.
            (None, outcome) if run.ended() == Ended::AwaitsInput => {
                outcome.map_or(Ending::AllHalted, |outcome| Ending::Outcome(outcome.to_owned()))
            }
            (None, _) => {
                assert_eq!(run.ended(), Ended::StepLimit, "a run to the end by a seed ends by itself or by the limit");
                Ending::StepLimit
            }
        }
    }

    /// The outcome reported, if the guest came to an end.
    pub(super) fn outcome(&self) -> Option<&str> {
        match self {
            Ending::Outcome(outcome) => Some(outcome),
            Ending::ExitCode(_) | Ending::AllHalted | Ending::Reset | Ending::Fault(_) | Ending::StepLimit => None,
        }
    }

    /// Whether the guest came to no end of its own.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Ending::Fault(_) | Ending::StepLimit => true,
            Ending::Outcome(_) | Ending::ExitCode(_) | Ending::AllHalted | Ending::Reset => false,
        }
    }

    /// What the stanza of `variant` says about it; a failure is never listed. `None` when there is nothing to judge by.
    pub(super) fn judged(&self, variant: Option<&Variant>, model: MemoryModel) -> Option<Judgement> {
        judge(variant?, model, self.outcome())
    }

    /// Whether this must not happen: a failure, or what the stanza does not list.
    pub(super) fn is_wrong(&self, variant: Option<&Variant>, model: MemoryModel) -> bool {
        self.is_failure() || self.judged(variant, model) == Some(Judgement::Unlisted)
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Outcome(outcome) => f.write_str(outcome),
            Ending::ExitCode(code) => write!(f, "(exit code {code}, no outcome)"),
            Ending::Reset => f.write_str("(the machine was reset, no outcome)"),
            Ending::AllHalted => f.write_str("(every core halted, no outcome)"),
            Ending::Fault(pc) => write!(f, "(fault at {pc:#x})"),
            Ending::StepLimit => f.write_str("(step limit)"),
        }
    }
}

/// How often an ending was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// In how many runs.
    pub(super) count: u64,
    /// The smallest seed that led to it.
    pub(super) first_seed: u64,
}

/// What many runs ended in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally(BTreeMap<Ending, Seen>);

impl Tally {
    /// All endings, the most frequent first, equally frequent ones by name.
    pub(super) fn by_count(&self) -> Vec<(&Ending, Seen)> {
        let mut endings: Vec<_> = self.0.iter().map(|(ending, &seen)| (ending, seen)).collect();
        endings.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.count));
        endings
    }

    /// How often `outcome` was reported.
    pub(super) fn seen(&self, outcome: &str) -> Option<Seen> {
        self.0.get(&Ending::Outcome(outcome.to_owned())).copied()
    }

    fn add(mut self, ending: Ending, seen: Seen) -> Tally {
        let total = self.0.entry(ending).or_insert(Seen { count: 0, ..seen });
        total.count += seen.count;
        total.first_seed = total.first_seed.min(seen.first_seed);
        self
    }

    fn merge(self, other: Tally) -> Tally {
        other.0.into_iter().fold(self, |tally, (ending, seen)| tally.add(ending, seen))
    }
}

/// The seeds of `runs` runs from `first` on.
pub(super) fn seeds(first: u64, runs: u64) -> Result<Range<u64>, Failure> {
    match first.checked_add(runs) {
        Some(end) => Ok(first..end),
        None => refuse(format!("seeds end at {}; {runs} runs from --seed {first} go beyond", u64::MAX)),
    }
}

/// As many threads as `jobs` says, else as the host has processors.
pub(super) fn pool(jobs: Option<u16>) -> Result<ThreadPool, Failure> {
    let threads = jobs.map_or(0, usize::from);
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Failure::Refused(format!("cannot start the threads for the runs: {error}; use fewer --jobs")))
}

/// Runs `bench` once with each of `seeds`.
pub(super) fn tally(bench: &Testbench, seeds: Range<u64>, bar: &ProgressBar) -> Result<Tally, Failure> {
    tally_until(bench, seeds, bar, |_| false)
}

/// Like [`tally`], but an ending that `is_wrong` makes larger seeds pointless.
///
/// The smallest seed with such an ending is found whatever the order of the runs; counts are complete only without one.
pub(super) fn tally_until(
    bench: &Testbench,
    seeds: Range<u64>,
    bar: &ProgressBar,
    is_wrong: impl Fn(&Ending) -> bool + Sync,
) -> Result<Tally, Failure> {
    let first_wrong = AtomicU64::new(u64::MAX);
    let run = |series: &mut Series, seed: u64| {
        bar.inc(1);
        if seed > first_wrong.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let run = series.run(seed)?;
        let ending = Ending::of(&run);
        series.take_back(run);
        if is_wrong(&ending) {
            first_wrong.fetch_min(seed, Ordering::Relaxed);
        }
        Ok(Some((ending, seed)))
    };
    let count = |tally: Tally, counted: Result<Option<(Ending, u64)>, Failure>| match counted? {
        Some((ending, first_seed)) => Ok(tally.add(ending, Seen { count: 1, first_seed })),
        None => Ok(tally),
    };
    seeds
        .into_par_iter()
        .map_init(|| Series::new(bench.clone().unrecorded()), run)
        .try_fold(Tally::default, count)
        .try_reduce(Tally::default, |one, other| Ok(one.merge(other)))
}
