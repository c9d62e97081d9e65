//! Random strategies: many executions, each drawn from a seed.
//!
//! *Random* takes each step with equal odds. *PCT* (probabilistic concurrency testing; Burckhardt, Kothari, Musuvathi,
//! Nagarakatte, ASPLOS 2010) gives each core, and each core's store buffer, a random priority, always takes a step of the
//! highest, and lowers it at `depth - 1` random moments: a bug that needs `depth` ordering constraints is found with odds of
//! at least 1 in `n * k^(depth - 1)`, for `n` of them and `k` steps.
//! Neither is ever complete.

use super::exhaustive::{Cut, Found, Limits, Met, possible_steps};
use super::local::fingerprint;
use super::state::{State, Step, World};
use crate::core::emulate::split_mix;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// The longest execution, in steps: one that spins for ever is given up.
const LONGEST: usize = 20_000;

/// How a walk chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choosing {
    /// Every step is equally likely.
    Evenly,
    /// By priorities that change at `depth - 1` moments.
    ByPriority {
        /// The bug depth looked for, from 1.
        depth: u32,
    },
}

/// `runs` executions from `first` on.
pub(super) fn walk(
    world: &mut World,
    first: &State,
    choosing: Choosing,
    runs: u64,
    seed: u64,
    limits: &Limits,
) -> Found {
    let began = Instant::now();
    let mut found = Found::default();
    found.met.push(Met { from: None });
    // Every walk is a sample, so no number of walks is a proof.
    found.cuts.insert(Cut::Sample);
    let mut known_finals = HashSet::new();
    let mut length = 64;
    for run in 0..runs {
        if limits.time.is_some_and(|limit| began.elapsed() > limit) || found.met.len() > limits.states {
            break;
        }
        let mut random = seed.wrapping_add(run);
        split_mix(&mut random);
        let mut chooser = Chooser::new(choosing, random, length);
        let mut state = first.clone();
        let mut steps = Vec::new();
        while steps.len() < LONGEST {
            let possible = possible_steps(world, &state);
            if possible.is_empty() {
                break;
            }
            let step = chooser.choose(&possible, steps.len());
            state = world.after(&state, step, &mut Vec::new());
            steps.push(step);
        }
        found.transitions += steps.len() as u64;
        found.executions += 1;
        length = steps.len().max(1);
        if steps.len() < LONGEST && known_finals.insert(fingerprint(&state)) {
            found.add_path(&steps, state);
        }
    }
    found
}

/// Chooses the next step of one execution.
struct Chooser {
    choosing: Choosing,
    random: u64,
    /// Who has which priority; who has none yet gets one when first seen.
    priorities: HashMap<(u8, bool), u64>,
    /// After which steps the highest priority falls.
    changes: Vec<usize>,
}

impl Chooser {
    fn new(choosing: Choosing, random: u64, length: usize) -> Chooser {
        let mut chooser = Chooser { choosing, random, priorities: HashMap::new(), changes: Vec::new() };
        if let Choosing::ByPriority { depth } = choosing {
            chooser.changes = (1..depth).map(|_| chooser.below(length as u64) as usize).collect();
        }
        chooser
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(split_mix(&mut self.random)) * u128::from(bound)) >> 64) as u64
    }

    fn choose(&mut self, steps: &[Step], taken: usize) -> Step {
        match self.choosing {
            Choosing::Evenly => steps[self.below(steps.len() as u64) as usize],
            Choosing::ByPriority { .. } => {
                let step = self.highest(steps);
                if let Some(change) = self.changes.iter().position(|&at| at == taken) {
                    // Below every priority given at first, and above those lowered later.
                    self.priorities.insert(who(step), change as u64);
                    return self.highest(steps);
                }
                step
            }
        }
    }

    fn highest(&mut self, steps: &[Step]) -> Step {
        for &step in steps {
            let priority = split_mix(&mut self.random) | 1 << 32;
            self.priorities.entry(who(step)).or_insert(priority);
        }
        *steps.iter().max_by_key(|step| self.priorities[&who(**step)]).expect("there is a step to choose")
    }
}

/// Whose step it is: a core's own, its buffer's, or the devices'.
fn who(step: Step) -> (u8, bool) {
    match step {
        Step::Operate(core) => (core.0, false),
        Step::Drain(core, _) => (core.0, true),
        Step::Arrive => (u8::MAX, true),
    }
}
