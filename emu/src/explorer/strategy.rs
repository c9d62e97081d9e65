//! The strategies by name.

use super::exhaustive::{self, Found, Limits};
use super::sharing::Sharing;
use super::state::{State, World};
use super::switches::{Count, Switches};
use super::walk::{self, Choosing};

/// How an exploration chooses what to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// Everything.
    #[default]
    Exhaustive,
    /// Everything with at most so many preemptions.
    Bounded {
        /// Switches away from a core that could have gone on.
        preemptions: u32,
    },
    /// Executions by random priorities.
    Pct {
        /// How many ordering constraints a bug may need, from 1.
        depth: u32,
        /// How many executions.
        runs: u64,
        /// What they are drawn from.
        seed: u64,
    },
    /// Executions whose steps are all equally likely.
    Random {
        /// How many executions.
        runs: u64,
        /// What they are drawn from.
        seed: u64,
    },
}

impl Strategy {
    pub(super) fn explore(self, world: &mut World, first: &State, limits: &Limits) -> Found {
        match self {
            Strategy::Exhaustive => exhaustive::explore(world, first, limits),
            Strategy::Bounded { preemptions } => {
                // What nobody shares is not known before everything is explored: only stores into buffers go first.
                let sharing = Sharing::everything();
                let (count, bound) = (Count::Preemptions, Some(preemptions));
                Switches { world, sharing: &sharing, count, bound, limits }.search(first, None).0
            }
            Strategy::Pct { depth, runs, seed } => {
                walk::walk(world, first, Choosing::ByPriority { depth }, runs, seed, limits)
            }
            Strategy::Random { runs, seed } => walk::walk(world, first, Choosing::Evenly, runs, seed, limits),
        }
    }
}
