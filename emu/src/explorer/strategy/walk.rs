//! Walks: executions one after the other, from the first state to where nothing more is possible.
//!
//! What the strategies that draw executions share. How each step is chosen is theirs ([`Choose`]); every execution draws from
//! a seed of its own, so that one more execution changes none of those before it.

use super::Plan;
use crate::core::emulate::split_mix;
use crate::explorer::found::{Found, Met};
use crate::explorer::limits::{Cut, Limits};
use crate::explorer::local::fingerprint;
use crate::explorer::state::{State, Step, World};
use std::collections::HashSet;
use std::time::Instant;

/// The longest execution, in steps: one that spins for ever is given up.
const LONGEST: usize = 20_000;
/// Steps that the first execution is taken to have; each later one as many as the one before it had.
const FIRST_LENGTH: usize = 64;

/// Chooses the steps of one execution.
pub(super) trait Choose {
    /// One of `steps`, of which there is at least one, after so many have been `taken`.
    fn choose(&mut self, steps: &[Step], taken: usize) -> Step;
}

impl<F: FnMut(&[Step], usize) -> Step> Choose for F {
    fn choose(&mut self, steps: &[Step], taken: usize) -> Step {
        self(steps, taken)
    }
}

/// The random numbers of one execution.
pub(super) struct Draw(u64);

impl Draw {
    fn of(seed: u64, run: u64) -> Draw {
        let mut draw = Draw(seed.wrapping_add(run));
        draw.next();
        draw
    }

    /// 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        split_mix(&mut self.0)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// As many executions from `first` on as `plan` says, each with the chooser that `chooser` makes of its random numbers and of
/// how long it is likely to be.
pub(super) fn walk<C: Choose>(
    world: &mut World,
    first: &State,
    plan: &Plan,
    limits: &Limits,
    chooser: impl Fn(Draw, usize) -> C,
) -> Found {
    let began = Instant::now();
    let mut found = Found::default();
    found.met.push(Met { from: None });
    // Every walk is a sample, so no number of walks is a proof.
    found.cuts.insert(Cut::Sample);
    let mut known_finals = HashSet::new();
    let mut length = FIRST_LENGTH;
    for run in 0..plan.runs {
        if limits.time.is_some_and(|limit| began.elapsed() > limit) || found.met.len() > limits.states {
            break;
        }
        let (steps, end) = execute(world, first, chooser(Draw::of(plan.seed, run), length));
        found.transitions += steps.len() as u64;
        found.executions += 1;
        length = steps.len().max(1);
        if steps.len() < LONGEST && known_finals.insert(fingerprint(&end)) {
            found.add_path(&steps, end);
        }
    }
    found
}

/// One execution: its steps, and where it ends.
fn execute(world: &mut World, first: &State, mut chooser: impl Choose) -> (Vec<Step>, State) {
    let mut state = first.clone();
    let mut steps = Vec::new();
    while steps.len() < LONGEST {
        let possible = world.possible_steps(&state);
        if possible.is_empty() {
            break;
        }
        let step = chooser.choose(&possible, steps.len());
        state = world.after(&state, step, &mut Vec::new());
        steps.push(step);
    }
    (steps, state)
}
