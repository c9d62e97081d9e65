//! States from which no end can be reached: cores that wait for ever.

use super::found::Found;

/// Groups of states that are never left once entered, and that no end is among: for each the first state met.
///
/// Meaningful only when nothing was cut off: a state that was not expanded leads nowhere, too.
pub(super) fn traps(found: &Found, finals: &[u32]) -> Vec<Vec<u32>> {
    let count = found.met.len();
    let mut backwards: Vec<Vec<u32>> = vec![Vec::new(); count];
    let mut forwards: Vec<Vec<u32>> = vec![Vec::new(); count];
    for &(from, to) in &found.edges {
        backwards[to as usize].push(from);
        forwards[from as usize].push(to);
    }
    let can_end = reach(&backwards, finals, |_| true);
    let mut traps = Vec::new();
    let mut is_done = vec![false; count];
    for state in 0..count as u32 {
        if can_end[state as usize] || is_done[state as usize] {
            continue;
        }
        // Everything reachable from here; it is a trap if all of it leads back here.
        let reached = reach(&forwards, &[state], |_| true);
        let back = reach(&backwards, &[state], |at| reached[at as usize]);
        let members: Vec<u32> = (0..count as u32).filter(|&at| reached[at as usize]).collect();
        if members.iter().all(|&at| back[at as usize]) {
            members.iter().for_each(|&at| is_done[at as usize] = true);
            traps.push(members);
        }
        // A state that leads into a trap found later is no trap itself; one look at each state is enough for few of them.
        if traps.len() >= MOST_TRAPS {
            break;
        }
    }
    traps
}

/// Whether an end can be reached from every state. Cheaper than looking for what it is that goes on for ever.
pub(super) fn every_state_can_end(found: &Found, finals: &[u32]) -> bool {
    let mut can_end = vec![false; found.met.len()];
    finals.iter().for_each(|&at| can_end[at as usize] = true);
    // States were met nearest first, so that one look from the last to the first is nearly always enough.
    loop {
        let mut is_changed = false;
        for &(from, to) in found.edges.iter().rev() {
            let (from, to) = (from as usize, to as usize);
            is_changed |= can_end[to] && !can_end[from];
            can_end[from] |= can_end[to];
        }
        if !is_changed {
            return can_end.iter().all(|can| *can);
        }
    }
}

/// More ways of waiting for ever than this are not told apart.
const MOST_TRAPS: usize = 16;

/// Which states can be reached from `starts` over `edges`, through states that `may` be entered.
fn reach(edges: &[Vec<u32>], starts: &[u32], may: impl Fn(u32) -> bool) -> Vec<bool> {
    let mut reached = vec![false; edges.len()];
    let mut left: Vec<u32> = starts.to_vec();
    while let Some(state) = left.pop() {
        if !std::mem::replace(&mut reached[state as usize], true) {
            left.extend(edges[state as usize].iter().filter(|&&next| may(next)));
        }
    }
    reached
}
