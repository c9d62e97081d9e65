//! Random walks: each execution takes, at every moment, any of the possible steps with equal odds.
//!
//! The plainest sampler, and the yardstick for the others: what it finds is there, and how often says little, because orders
//! of a program are far from equally likely. Never complete.

use super::Rules;
use super::walk::walk;
use crate::explorer::state::Step;

/// Its row.
pub(super) const RULES: Rules = Rules {
    name: "random",
    summary: "--runs executions, each step equally likely",
    explore: |world, first, plan, limits| {
        walk(world, first, plan, limits, |mut draw, _| {
            move |steps: &[Step], _| steps[draw.below(steps.len() as u64) as usize]
        })
    },
};
