//! Walks: executions one after the other, from the first state to where nothing more is possible.
//!
//! What the strategies that draw executions share. How each step is chosen is theirs ([`Choose`]); every execution draws from
//! a seed of its own, so that one more execution changes none of those before it.
//!
//! An execution that is still going on after many steps is given up. Whether it could have ended is found out by exploring
//! everything from there, for a while: if it could not, that is a hang; otherwise it is counted, and said.

use super::{Plan, exhaustive};
use crate::core::emulate::split_mix;
use crate::explorer::found::{Found, Met};
use crate::explorer::limits::{Cut, Limits};
use crate::explorer::local::fingerprint;
use crate::explorer::state::{State, Step, World};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// The longest execution, in steps: one that spins for ever is given up.
const LONGEST: usize = 20_000;
/// Steps of an execution between two looks at whether it is where no end can be reached.
const BETWEEN_LOOKS: usize = 1000;
/// States that are looked at to find out whether an execution that was given up can end.
const MOST_LOOKED_AT: usize = 10_000;
/// Executions for which that is found out.
const MOST_OUTLOOKS: usize = 64;
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
    let mut found = Found { is_graph: true, ..Found::default() };
    found.met.push(Met { from: None });
    // Every walk is a sample, so no number of walks is a proof.
    found.cuts.insert(Cut::Sample);
    let mut known_finals = HashSet::new();
    // Whether it is certain that no end can be reached, of states in which executions were given up.
    let mut outlooks = HashMap::new();
    let (mut length, mut unended) = (FIRST_LENGTH, 0);
    for run in 0..plan.runs {
        let left = limits.time.map(|limit| limit.saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            found.cuts.insert(Cut::Time);
            break;
        }
        if found.met.len() > limits.states {
            found.cuts.insert(Cut::States);
            break;
        }
        let (steps, end, is_over) = execute(world, first, chooser(Draw::of(plan.seed, run), length), &outlooks);
        found.transitions += steps.len() as u64;
        found.executions += 1;
        length = steps.len().max(1);
        let name = fingerprint(&end);
        found.cuts.extend(world.cuts_at(&end));
        found.places.extend(world.places_at(&end));
        if is_over {
            if known_finals.insert(name) {
                let number = found.add_path(&steps);
                found.finals.push((number, end));
            }
            continue;
        }
        let is_new = !outlooks.contains_key(&name) && outlooks.len() < MOST_OUTLOOKS;
        if is_new {
            let rest = hopeless(world, &end, left);
            outlooks.insert(name, rest.is_some());
            if let Some(rest) = rest {
                let number = found.add_path(&without_circles(world, first, &steps));
                found.graft(number, &rest);
            }
        }
        unended += u64::from(!outlooks.get(&name).is_some_and(|is_hopeless| *is_hopeless));
    }
    found.leave_open();
    if unended > 0 {
        found.cuts.insert(Cut::Unended(unended));
    }
    found
}

/// One execution: its steps, where they lead, and whether nothing more is possible there. It is given up when it is too long,
/// or where it is known that no end can be reached.
fn execute(
    world: &mut World,
    first: &State,
    mut chooser: impl Choose,
    outlooks: &HashMap<u128, bool>,
) -> (Vec<Step>, State, bool) {
    let mut state = first.clone();
    let mut steps = Vec::new();
    while steps.len() < LONGEST {
        let possible = world.possible_steps(&state);
        if possible.is_empty() {
            return (steps, state, true);
        }
        if steps.len() % BETWEEN_LOOKS == BETWEEN_LOOKS - 1 && outlooks.get(&fingerprint(&state)) == Some(&true) {
            break;
        }
        let step = chooser.choose(&possible, steps.len());
        state = world.after(&state, step, &mut Vec::new());
        steps.push(step);
    }
    (steps, state, false)
}

/// Everything that can happen from `state` on, if no end can be reached; `None` if one can, or if that is not found out soon.
fn hopeless(world: &mut World, state: &State, time: Option<Duration>) -> Option<Found> {
    // Without reduction, so that each step is one of the execution's.
    let limits = Limits { states: MOST_LOOKED_AT, time, reduces: false, threads: 1 };
    let found = exhaustive::explore(world, state, &limits);
    (found.is_graph && found.finals.is_empty()).then_some(found)
}

/// A shorter way to where `steps` lead: what leads back to a state met before is left out.
fn without_circles(world: &mut World, first: &State, steps: &[Step]) -> Vec<Step> {
    let mut state = first.clone();
    let mut way: Vec<Step> = Vec::new();
    let mut names = vec![fingerprint(first)];
    let mut places = HashMap::from([(names[0], 0)]);
    for &step in steps {
        state = world.after(&state, step, &mut Vec::new());
        let name = fingerprint(&state);
        if let Some(&place) = places.get(&name) {
            way.truncate(place);
            names.drain(place + 1..).for_each(|name| _ = places.remove(&name));
        } else {
            way.push(step);
            places.insert(name, names.len());
            names.push(name);
        }
    }
    way
}
