//! States from which no end can be reached: cores that wait for ever.
//!
//! Of these, the ones that are never left once entered are what the cores wait in: strongly connected components without a
//! way out (Tarjan, Depth-First Search and Linear Graph Algorithms, SIAM J. Comput. 1, 1972). All others lead into one.
//! Costs a look at each step between states; more only where something hangs.

use super::found::Found;

/// Groups of states that are never left once entered, and that no end is among: for each its states, the first met first.
///
/// A state that may have more steps than are known counts as one from which an end can be reached: what is found here is proven.
pub(super) fn traps(found: &Found, finals: &[u32]) -> Vec<Vec<u32>> {
    let can_end = can_end(found, finals);
    if can_end.iter().all(|can| *can) {
        return Vec::new();
    }
    let mut next: Vec<Vec<u32>> = vec![Vec::new(); can_end.len()];
    for &(from, to) in &found.edges {
        if !can_end[from as usize] {
            next[from as usize].push(to);
        }
    }
    let roots = (0..can_end.len() as u32).filter(|&state| !can_end[state as usize]);
    let mut traps = Components::new(&next).without_way_out(roots);
    traps.iter_mut().for_each(|members| members.sort_unstable());
    traps.sort_unstable();
    traps.truncate(MOST_TRAPS);
    traps
}

/// Whether an end can be reached from every state.
pub(super) fn every_state_can_end(found: &Found, finals: &[u32]) -> bool {
    can_end(found, finals).iter().all(|can| *can)
}

/// More ways of waiting for ever than this are not told apart.
const MOST_TRAPS: usize = 16;

/// From which states an end can be reached, or may be.
fn can_end(found: &Found, finals: &[u32]) -> Vec<bool> {
    let mut can_end = vec![false; found.met.len()];
    finals.iter().chain(&found.open).for_each(|&at| can_end[at as usize] = true);
    // States were met nearest first, so that a look or two from the last to the first are enough.
    loop {
        let mut is_changed = false;
        for &(from, to) in found.edges.iter().rev() {
            let (from, to) = (from as usize, to as usize);
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
