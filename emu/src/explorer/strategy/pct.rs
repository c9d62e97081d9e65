//! PCT, probabilistic concurrency testing: executions by random priorities that change at few random moments.
//!
//! (Burckhardt, Kothari, Musuvathi, Nagarakatte, A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, ASPLOS
//! 2010.) Each core, and each core's store buffer, has a random priority; a step of the highest that can take one is taken;
//! at `bound - 1` random moments the highest falls below all others.
//!
//! A bug that needs `bound` ordering constraints is found by one execution with odds of at least 1 in `n * k^(bound - 1)`, for
//! `n` cores and buffers and `k` steps. What is found is there; never complete.

use super::walk::{Choose, Draw, walk};
use super::{Plan, Rules};
use crate::explorer::found::Found;
use crate::explorer::limits::Limits;
use crate::explorer::state::{State, Step, World};
use std::collections::HashMap;

/// Its row.
pub(super) const RULES: Rules =
    Rules { name: "pct", summary: "--runs executions by random priorities; --bound is the bug depth", explore };

fn explore(world: &mut World, first: &State, plan: &Plan, limits: &Limits) -> Found {
    walk(world, first, plan, limits, |draw, length| Priorities::new(draw, plan.bound.max(1), length))
}

/// Who goes first in one execution.
struct Priorities {
    draw: Draw,
    /// Who has which priority; who has none yet gets one when first seen.
    priorities: HashMap<(u8, bool), u64>,
    /// After which steps the highest priority falls.
    changes: Vec<usize>,
}

impl Priorities {
    /// For an execution that is likely to have `length` steps.
    fn new(mut draw: Draw, depth: u32, length: usize) -> Priorities {
        let changes = (1..depth).map(|_| draw.below(length as u64) as usize).collect();
        Priorities { draw, priorities: HashMap::new(), changes }
    }

    fn highest(&mut self, steps: &[Step]) -> Step {
        for &step in steps {
            // Above all to which a priority can fall.
            let priority = self.draw.next() | 1 << 32;
            self.priorities.entry(who(step)).or_insert(priority);
        }
        *steps.iter().max_by_key(|step| self.priorities[&who(**step)]).expect("there is a step to choose")
    }
}

impl Choose for Priorities {
    fn choose(&mut self, steps: &[Step], taken: usize) -> Step {
        let step = self.highest(steps);
        match self.changes.iter().position(|&at| at == taken) {
            Some(change) => {
                self.priorities.insert(who(step), change as u64);
                self.highest(steps)
            }
            None => step,
        }
    }
}

/// Whose step it is: a core's own, its buffer's, or the devices'.
fn who(step: Step) -> (u8, bool) {
    match step {
        Step::Operate(core) => (core.0, false),
        // Somebody else decides when an interrupt comes.
        Step::Interrupt(core) => (u8::MAX - 1 - core.0, true),
        Step::Drain(core, _) => (core.0, true),
        Step::Arrive => (u8::MAX, true),
    }
}
