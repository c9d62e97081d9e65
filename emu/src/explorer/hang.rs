//! States from which no end can be reached: cores that wait for ever.
//!
//! Of these, the ones that are never left once entered are what the cores wait in: strongly connected components without a
//! way out (Tarjan, Depth-First Search and Linear Graph Algorithms, SIAM J. Comput. 1, 1972). All others lead into one.
//! Costs a look at each step between states; more only where something hangs.
//!
//! Interrupts that can be taken may be late, and then a core goes on a little before it takes one. What could come to an end
//! only by that is a hang all the same ([`Interrupts::Prompt`]): nobody may count on an interrupt's being late, and a line
//! that asks again as soon as it has been served would then keep a core from ever executing an instruction of its own.

use super::found::Found;
use std::collections::HashSet;

/// When interrupts are taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Interrupts {
    /// Now or some time later.
    Late,
    /// Before the core's next instruction.
    Prompt,
}

/// A group of states that are never left once entered, and that no end is among.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Trap {
    /// Its states, the one that was met first before the others.
    pub(super) states: Vec<u32>,
    /// Whether it is left when an interrupt is late.
    pub(super) interrupts: Interrupts,
}

/// All traps: those that nothing leads out of, and those that only late interrupts lead out of.
///
/// A state that may have more steps than are known counts as one from which an end can be reached: what is found here is proven.
pub(super) fn traps(found: &Found, finals: &[u32]) -> Vec<Trap> {
    let can_end = can_end(found, finals, Interrupts::Late);
    let mut traps = without_way_out(found, &can_end, Interrupts::Late, |state| !can_end[state]);
    if !found.late.is_empty() {
        let can_end_promptly = self::can_end(found, finals, Interrupts::Prompt);
        let needs_delay = |state: usize| can_end[state] && !can_end_promptly[state];
        traps.extend(without_way_out(found, &can_end_promptly, Interrupts::Prompt, needs_delay));
    }
    traps.sort_unstable();
    traps
}

/// Whether an end can be reached from every state.
pub(super) fn every_state_can_end(found: &Found, finals: &[u32]) -> bool {
    can_end(found, finals, Interrupts::Late).iter().all(|can| *can)
}

/// The steps between states, with interrupts like that.
fn steps(found: &Found, interrupts: Interrupts) -> impl DoubleEndedIterator<Item = (usize, usize)> + '_ {
    let late: HashSet<usize> = match interrupts {
        Interrupts::Late => HashSet::new(),
        Interrupts::Prompt => found.late.iter().copied().collect(),
    };
    let edges = found.edges.iter().enumerate();
    edges.filter(move |(index, _)| !late.contains(index)).map(|(_, &(from, to))| (from as usize, to as usize))
}

/// Traps among the states that cannot end, of those that `counts` says yes to.
fn without_way_out(
    found: &Found,
    can_end: &[bool],
    interrupts: Interrupts,
    counts: impl Fn(usize) -> bool,
) -> Vec<Trap> {
    if can_end.iter().all(|can| *can) {
        return Vec::new();
    }
    let mut next: Vec<Vec<u32>> = vec![Vec::new(); can_end.len()];
    for (from, to) in steps(found, interrupts).filter(|(from, _)| !can_end[*from]) {
        next[from].push(to as u32);
    }
    let roots = (0..can_end.len()).filter(|&state| counts(state)).map(|state| state as u32);
    let mut traps = Components::new(&next).without_way_out(roots);
    traps.retain(|states| counts(states[0] as usize));
    traps.iter_mut().for_each(|states| states.sort_unstable());
    traps.into_iter().map(|states| Trap { states, interrupts }).collect()
}

/// From which states an end can be reached, or may be.
fn can_end(found: &Found, finals: &[u32], interrupts: Interrupts) -> Vec<bool> {
    let mut can_end = vec![false; found.met.len()];
    finals.iter().chain(&found.open).for_each(|&at| can_end[at as usize] = true);
    // States were met nearest first, so that a look or two from the last to the first are enough.
    loop {
        let mut is_changed = false;
        for (from, to) in steps(found, interrupts).rev() {
            is_changed |= can_end[to] && !can_end[from];
            can_end[from] |= can_end[to];
        }
        if !is_changed {
            return can_end;
        }
    }
}

/// Tarjan's algorithm, with a stack of its own instead of recursion.
struct Components<'a> {
    next: &'a [Vec<u32>],
    /// When each state was entered.
    entered: Vec<u32>,
    /// The earliest state known to be in the same component.
    low: Vec<u32>,
    count: u32,
    /// States whose component is not known yet.
    open: Vec<u32>,
    is_open: Vec<bool>,
    /// The way to the current state: states, and how many of each one's steps have been taken.
    path: Vec<(u32, usize)>,
}

/// Not entered yet.
const NEVER: u32 = u32::MAX;

impl Components<'_> {
    fn new(next: &[Vec<u32>]) -> Components<'_> {
        let states = next.len();
        Components {
            next,
            entered: vec![NEVER; states],
            low: vec![NEVER; states],
            count: 0,
            open: Vec::new(),
            is_open: vec![false; states],
            path: Vec::new(),
        }
    }

    /// The components that can be reached from `roots` and that no step leaves.
    fn without_way_out(&mut self, roots: impl Iterator<Item = u32>) -> Vec<Vec<u32>> {
        let mut closed = Vec::new();
        for root in roots {
            if self.entered[root as usize] == NEVER {
                self.enter(root);
            }
            while let Some((state, taken)) = self.path.pop() {
                match self.next[state as usize].get(taken) {
                    Some(&next) => {
                        self.path.push((state, taken + 1));
                        self.step(state, next);
                    }
                    None => closed.extend(self.leave(state)),
                }
            }
        }
        closed
    }

    fn enter(&mut self, state: u32) {
        (self.entered[state as usize], self.low[state as usize]) = (self.count, self.count);
        self.count += 1;
        self.open.push(state);
        self.is_open[state as usize] = true;
        self.path.push((state, 0));
    }

    fn step(&mut self, from: u32, to: u32) {
        if self.entered[to as usize] == NEVER {
            self.enter(to);
        } else if self.is_open[to as usize] {
            let low = &mut self.low[from as usize];
            *low = (*low).min(self.entered[to as usize]);
        }
    }

    /// All steps of `state` have been taken. Returns its component, if it is the first of it and no step leaves it.
    fn leave(&mut self, state: u32) -> Option<Vec<u32>> {
        let low = self.low[state as usize];
        if let Some(&(before, _)) = self.path.last() {
            let of_before = &mut self.low[before as usize];
            *of_before = (*of_before).min(low);
        }
        if low != self.entered[state as usize] {
            return None;
        }
        let start =
            self.open.iter().rposition(|&open| open == state).expect("a state is open until its component is known");
        let members = self.open.split_off(start);
        // What they lead to is of the same component, or its component is known already.
        let mut steps = members.iter().flat_map(|&member| &self.next[member as usize]);
        let has_way_out = steps.any(|&to| !self.is_open[to as usize]);
        members.iter().for_each(|&member| self.is_open[member as usize] = false);
        (!has_way_out).then_some(members)
    }
}
