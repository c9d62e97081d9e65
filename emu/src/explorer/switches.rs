//! Paths with few context switches: what a person can follow.
//!
//! A search by rising cost (Dijkstra 1959), where what costs is that another core goes on, and after that that a store
//! leaves its buffer only when another core has gone on, or not before the run ends. Nothing is reduced here but what the running core does on its own:
//! orders that partial-order reduction takes for equal differ in how well they read.
//!
//! Bounded by a number of *preemptions* (switches away from a core that could have gone on; Musuvathi and Qadeer, PLDI 2007)
//! the same search is a strategy: most bugs need few.

use super::found::{Found, Met};
use super::limits::{Cut, Limits};
use super::local::fingerprint;
use super::reduction::is_own_business;
use super::sharing::Sharing;
use super::state::{State, Step, World};
use crate::core::CoreId;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Instant;

/// What a search counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Count {
    /// Every change from one core to another.
    Switches,
    /// Only changes away from a core that could have gone on.
    Preemptions,
}

/// Switches, then delayed drains.
type Cost = (u32, u32);

/// A state, reached with some core having gone on last.
struct Node {
    state: State,
    last: Option<CoreId>,
    number: u32,
}

/// Searches for states from which nothing is possible, cheapest first.
pub(super) struct Switches<'a> {
    pub(super) world: &'a mut World,
    pub(super) sharing: &'a Sharing,
    pub(super) count: Count,
    /// Beyond this many switches nothing is looked at.
    pub(super) bound: Option<u32>,
    pub(super) limits: &'a Limits,
}

impl Switches<'_> {
    /// Everything within the bounds; ends early at the first state that is one of `targets`.
    pub(super) fn search(&mut self, first: &State, targets: Option<&HashSet<u128>>) -> (Found, Option<u32>) {
        let began = Instant::now();
        let mut found = Found::default();
        let mut nodes = vec![Node { state: first.clone(), last: None, number: 0 }];
        found.met.push(Met { from: None });
        let mut queue = BinaryHeap::from([Reverse(((0, 0), 0usize))]);
        let mut best: HashMap<u128, Cost> = HashMap::new();
        let mut seen_finals = HashSet::new();
        while let Some(Reverse((cost, index))) = queue.pop() {
            let key = fingerprint(&(&nodes[index].state, nodes[index].last));
            if best.get(&key).is_some_and(|known| *known <= cost) {
                continue;
            }
            best.insert(key, cost);
            if found.met.len() > self.limits.states {
                found.cuts.insert(Cut::States);
                break;
            }
            if self.limits.time.is_some_and(|limit| began.elapsed() > limit) {
                found.cuts.insert(Cut::Time);
                break;
            }
            let Node { state, last, number } = &nodes[index];
            let (state, last, number) = (state.clone(), *last, *number);
            if targets.is_some_and(|targets| targets.contains(&state.end_name())) {
                return (found, Some(number));
            }
            let steps = self.steps(&state, last, &mut found);
            if steps.is_empty() {
                if seen_finals.insert(fingerprint(&state)) {
                    found.finals.push((number, state));
                }
                continue;
            }
            for step in steps {
                let cost = self.cost_of(&state, last, step, cost);
                if self.bound.is_some_and(|bound| cost.0 > bound) {
                    found.cuts.insert(Cut::Bound);
                    continue;
                }
                let after = self.world.after(&state, step, &mut Vec::new());
                found.transitions += 1;
                let last = match step {
                    Step::Operate(core) => Some(core),
                    Step::Drain(..) | Step::Arrive => last,
                };
                let cost = (cost.0, cost.1 + left_behind(&after, last) as u32);
                let next = found.met.len() as u32;
                found.met.push(Met { from: Some((number, step)) });
                queue.push(Reverse((cost, nodes.len())));
                nodes.push(Node { state: after, last, number: next });
            }
        }
        found.executions = found.finals.len() as u64;
        (found, None)
    }

    /// What can happen: only the running core's own business, if it has any.
    fn steps(&mut self, state: &State, last: Option<CoreId>, found: &mut Found) -> Vec<Step> {
        if state.stop.is_none()
            && let Some(core) = last
            && is_own_business(self.world, self.sharing, state, core)
        {
            return vec![Step::Operate(core)];
        }
        for index in 0..state.cores.len() {
            if let super::op::Op::Beyond { reason, .. } = self.world.op(state, CoreId(index as u8)) {
                found.cuts.insert(Cut::Beyond(*reason));
            }
        }
        self.world.possible_steps(state)
    }

    fn cost_of(&mut self, state: &State, last: Option<CoreId>, step: Step, (switches, delays): Cost) -> Cost {
        match (step, last) {
            (Step::Operate(core), Some(last)) if core != last => {
                let is_counted = match self.count {
                    Count::Switches => true,
                    Count::Preemptions => self.world.can_operate(state, last),
                };
                (switches + u32::from(is_counted), delays)
            }
            (Step::Drain(core, _), Some(last)) if core != last => (switches, delays + 1),
            (Step::Operate(_) | Step::Drain(..) | Step::Arrive, _) => (switches, delays),
        }
    }
}

/// How many stores are still in their buffers where a run ends, after a step of another core than theirs, `last`'s.
pub(super) fn left_behind(state: &State, last: Option<CoreId>) -> usize {
    let cores = state.cores.iter().enumerate();
    let others = cores.filter(|(index, _)| state.stop.is_some() && last.is_none_or(|last| last.index() != *index));
    others.map(|(_, at)| at.buffer.entries().len()).sum()
}
