//! Paths with few context switches: what a person can follow.
//!
//! A search by rising cost (Dijkstra 1959), where what costs is that another core goes on, and after that that a store which
//! others could see leaves its buffer only when another core has gone on, or not before the run ends. Nothing is reduced here but what the running core does on its own:
//! orders that partial-order reduction takes for equal differ in how well they read.
//!
//! Bounded by a number of *preemptions* (switches away from a core that could have gone on; Musuvathi and Qadeer, PLDI 2007)
//! the same search is a strategy: most bugs need few.

use super::found::{Found, Met};
use super::limits::{Cut, Limits};
use super::local::fingerprint;
use super::op::Op;
use super::reduction::is_own_business;
use super::sharing::{Interrupted, Note, Sharing};
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
    /// Only changes away from a core that could have gone on to another state.
    Preemptions,
}

/// Switches, then delayed drains.
type Cost = (u32, u32);

/// A state, reached with some core having gone on last.
struct Node {
    state: State,
    /// What the state is recognised by.
    name: u128,
    last: Option<CoreId>,
    number: u32,
}

/// The steps between states, each state under the number with which it was first met.
#[derive(Default)]
struct Graph {
    numbers: HashMap<u128, u32>,
    /// From where to where, and whether the step's core could have taken an interrupt instead.
    edges: Vec<(u32, u32, bool)>,
    /// States all of whose steps, or enough to stand for them, are among the edges.
    closed: HashSet<u32>,
}

impl Graph {
    fn number(&mut self, name: u128, number: u32) -> u32 {
        *self.numbers.entry(name).or_insert(number)
    }

    fn into_found(self, found: &mut Found) {
        found.open = (0..found.met.len() as u32).filter(|number| !self.closed.contains(number)).collect();
        self.edges.into_iter().for_each(|(from, to, is_late)| found.add_edge(from, to, is_late));
        found.is_graph = true;
    }
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
        let mut graph = Graph::default();
        let mut nodes = vec![Node { state: first.clone(), name: fingerprint(first), last: None, number: 0 }];
        found.met.push(Met { from: None });
        let mut queue = BinaryHeap::from([Reverse(((0, 0), 0usize))]);
        let mut best: HashMap<u128, Cost> = HashMap::new();
        let mut seen_finals = HashSet::new();
        let mut seen = Sharing::default();
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
            let Node { state, name, last, number } = &nodes[index];
            let (state, name, last, number) = (state.clone(), *name, *last, *number);
            if targets.is_some_and(|targets| targets.contains(&state.end_name())) {
                return (found, Some(number));
            }
            if targets.is_none() {
                self.note(&state, &mut seen);
            }
            let (steps, mut is_closed) = self.steps(&state, last, &mut found);
            if steps.is_empty() {
                if seen_finals.insert(name) {
                    found.finals.push((number, state));
                }
                continue;
            }
            let is_counted = self.is_counted(&state, last);
            for step in steps {
                let cost = self.cost_of(&state, step, last, is_counted, cost);
                if self.bound.is_some_and(|bound| cost.0 > bound) {
                    found.cuts.insert(Cut::Bound);
                    is_closed = false;
                    continue;
                }
                let after = self.world.after(&state, step, &mut Vec::new());
                found.transitions += 1;
                let last = match step {
                    Step::Operate(core) | Step::Interrupt(core) => Some(core),
                    Step::Drain(..) | Step::Arrive => last,
                };
                let cost = (cost.0, cost.1 + left_behind(self.sharing, &after, last) as u32);
                let next = found.met.len() as u32;
                found.met.push(Met { from: Some((number, step)) });
                let after_name = fingerprint(&after);
                if targets.is_none() {
                    let (from, to) = (graph.number(name, number), graph.number(after_name, next));
                    graph.edges.push((from, to, self.world.is_late(&state, step)));
                }
                queue.push(Reverse((cost, nodes.len())));
                nodes.push(Node { state: after, name: after_name, last, number: next });
            }
            if is_closed && targets.is_none() {
                let number = graph.number(name, number);
                graph.closed.insert(number);
            }
        }
        graph.into_found(&mut found);
        found.witness = targets.is_none().then(|| seen.witness());
        found.executions = found.finals.len() as u64;
        (found, None)
    }

    /// Notes what the cores do next in `state`.
    fn note(&mut self, state: &State, seen: &mut Sharing) {
        let ram_bytes = self.world.stage.base().ram_bytes();
        for (index, at) in state.cores.iter().enumerate() {
            let core = CoreId(index as u8);
            let interrupt = match (self.world.can_interrupt(state, core), self.world.is_at_mark(state, core)) {
                (false, _) => Interrupted::No,
                (true, false) => Interrupted::Yes,
                (true, true) => Interrupted::AtMark,
            };
            let op = self.world.op(state, core).clone();
            if interrupt != Interrupted::No || !seen.knows(core, at.local) && !matches!(op, Op::Beyond { .. }) {
                let pc = self.world.locals.local(at.local).cpu.linear_pc();
                seen.note(&Note { core, op, of: Some((at.local, pc)), interrupt }, ram_bytes);
            }
        }
    }

    /// What can happen, and whether that is all: only the running core's own business, if it has any.
    fn steps(&mut self, state: &State, last: Option<CoreId>, found: &mut Found) -> (Vec<Step>, bool) {
        if state.stop.is_none()
            && let Some(core) = last
            && self.stands_for_all(state, core)
        {
            return (vec![Step::Operate(core)], true);
        }
        let cuts = self.world.cuts_at(state);
        let is_all = cuts.is_empty();
        found.cuts.extend(cuts);
        if !is_all {
            found.places.extend(self.world.places_at(state));
        }
        (self.world.possible_steps(state), is_all)
    }

    /// Whether the next step of `core` may be taken without trying any other.
    fn stands_for_all(&mut self, state: &State, core: CoreId) -> bool {
        let is_own = is_own_business(self.world, self.sharing, state, core);
        match self.count {
            Count::Switches => is_own,
            // Stores alone make no circles, in which what the others do would be put off for ever.
            Count::Preemptions => is_own && matches!(self.world.op(state, core), Op::Store(_)),
        }
    }

    /// What it costs to take `step`, when it costs something or nothing that another core than `last` goes on.
    fn cost_of(
        &self,
        state: &State,
        step: Step,
        last: Option<CoreId>,
        is_counted: bool,
        (switches, delays): Cost,
    ) -> Cost {
        match (step, last) {
            (Step::Operate(core) | Step::Interrupt(core), Some(last)) if core != last => {
                (switches + u32::from(is_counted), delays)
            }
            (Step::Drain(..), _) => (switches, delays + u32::from(is_delayed_drain(self.sharing, state, step, last))),
            (Step::Operate(_) | Step::Interrupt(_) | Step::Arrive, _) => (switches, delays),
        }
    }

    /// Whether it costs something that another core than `last` goes on.
    fn is_counted(&mut self, state: &State, last: Option<CoreId>) -> bool {
        let Some(core) = last else { return false };
        match self.count {
            Count::Switches => true,
            // A core whose step leads nowhere waits, too.
            Count::Preemptions => {
                let step = Step::Operate(core);
                self.world.can_operate(state, core) && self.world.after(state, step, &mut Vec::new()) != *state
            }
        }
    }
}

/// How many stores that others could see are still in their buffers where a run ends, after a step of another core than theirs,
/// `last`'s.
pub(super) fn left_behind(sharing: &Sharing, state: &State, last: Option<CoreId>) -> usize {
    let cores = state.cores.iter().enumerate();
    let others = cores.filter(|(index, _)| state.stop.is_some() && last.is_none_or(|last| last.index() != *index));
    let entries = others.flat_map(|(_, at)| at.buffer.entries());
    entries.filter(|entry| !sharing.is_private(entry.address, u64::from(entry.length))).count()
}

/// Whether `step` lets a store that others could see leave its buffer only after another core than its own, `last`, has gone on.
fn is_delayed_drain(sharing: &Sharing, state: &State, step: Step, last: Option<CoreId>) -> bool {
    let Step::Drain(core, index) = step else { return false };
    let entry = &state.cores[core.index()].buffer.entries()[usize::from(index)];
    last.is_some_and(|last| last != core) && !sharing.is_private(entry.address, u64::from(entry.length))
}
