//! Strategies: how an exploration chooses what to try.
//!
//! A strategy is one function from a first state to what was found; each file in `strategy/` says where it is from and what its
//! result means. To add one: a file there, and a row in [`Strategy::ALL`], from which the command line has its names and help.
//!
//! Only `exhaustive`, and `bounded` with a bound that nothing reached, are ever complete.

mod bounded;
pub(super) mod exhaustive;
mod pct;
mod random;
mod replay;
mod walk;

use super::found::Found;
use super::hang::Interrupts;
use super::limits::Limits;
use super::state::{State, World};
use crate::choice::Choice;

/// What makes a strategy.
struct Rules {
    name: &'static str,
    summary: &'static str,
    explore: fn(&mut World, &State, &Plan, &Limits) -> Found,
}

/// A strategy, by name.
#[derive(Clone, Copy)]
pub struct Strategy(&'static Rules);

/// A strategy, and what it is told. Each takes what concerns it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How what is tried is chosen.
    pub strategy: Strategy,
    /// The most preemptions of an execution (`bounded`), or the bug depth, from 1 (`pct`).
    pub bound: u32,
    /// How many executions are drawn (`pct`, `random`).
    pub runs: u64,
    /// What they are drawn from.
    pub seed: u64,
    /// What happens, from where exploration begins (`replay`).
    pub choices: Vec<Choice>,
    /// Whether a core may go on where it could take an interrupt instead.
    pub interrupts: Interrupts,
}

impl Strategy {
    /// Everything.
    pub const EXHAUSTIVE: Strategy = Strategy(&exhaustive::RULES);
    /// Everything with few preemptions.
    pub const BOUNDED: Strategy = Strategy(&bounded::RULES);
    /// Executions by random priorities.
    pub const PCT: Strategy = Strategy(&pct::RULES);
    /// Executions whose steps are all equally likely.
    pub const RANDOM: Strategy = Strategy(&random::RULES);
    /// One execution that is given.
    pub const REPLAY: Strategy = Strategy(&replay::RULES);
    /// Every strategy.
    pub const ALL: [Strategy; 5] =
        [Strategy::EXHAUSTIVE, Strategy::BOUNDED, Strategy::PCT, Strategy::RANDOM, Strategy::REPLAY];

    /// The strategy called `name`.
    pub fn named(name: &str) -> Option<Strategy> {
        Strategy::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// One word.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// One line for people.
    pub fn summary(self) -> &'static str {
        self.0.summary
    }
}

impl PartialEq for Strategy {
    fn eq(&self, other: &Strategy) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Strategy {}

impl std::fmt::Debug for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            strategy: Strategy::EXHAUSTIVE,
            bound: 2,
            runs: 1000,
            seed: 0,
            choices: Vec::new(),
            interrupts: Interrupts::Late,
        }
    }
}

impl Plan {
    pub(super) fn explore(&self, world: &mut World, first: &State, limits: &Limits) -> Found {
        (self.strategy.0.explore)(world, first, self, limits)
    }
}
