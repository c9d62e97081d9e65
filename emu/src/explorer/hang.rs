//! States from which no end can be reached: cores that wait for ever.

use super::exhaustive::Found;

/// More ways of waiting for ever than this are not told apart.
const MOST_TRAPS: usize = 16;

/// No number of a state, and of nothing that is counted by states.
const NONE: u32 = u32::MAX;

/// Groups of states that are never left once entered, and that no end is among: for each the states in the order in which
/// they were met.
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
    let can_end = reach(&backwards, finals);
    let mut traps = closed_groups(&forwards, |state| !can_end[state as usize]);
    traps.sort_unstable();
    traps.truncate(MOST_TRAPS);
    traps
}

/// Which states can be reached from `starts` over `edges`.
fn reach(edges: &[Vec<u32>], starts: &[u32]) -> Vec<bool> {
    let mut reached = vec![false; edges.len()];
    let mut left: Vec<u32> = starts.to_vec();
    while let Some(state) = left.pop() {
        if !std::mem::replace(&mut reached[state as usize], true) {
            left.extend(&edges[state as usize]);
        }
    }
    reached
}

/// The strongly connected components (Tarjan, SIAM Journal on Computing 1, 1972) among the states that are `meant` which no
/// edge leads out of. No edge leads from a state that is meant to one that is not.
fn closed_groups(edges: &[Vec<u32>], meant: impl Fn(u32) -> bool) -> Vec<Vec<u32>> {
    let mut groups = Vec::new();
    // When each state was first seen, the earliest state known to be in its group, and the group's first state.
    let (mut seen, mut earliest, mut group) =
        (vec![NONE; edges.len()], vec![NONE; edges.len()], vec![NONE; edges.len()]);
    let mut count = 0;
    let mut open: Vec<u32> = Vec::new();
    for start in (0..edges.len() as u32).filter(|state| meant(*state)) {
        let mut path = if seen[start as usize] == NONE { vec![(start, 0)] } else { Vec::new() };
        while let Some((state, next)) = path.last_mut() {
            let at = *state as usize;
            if seen[at] == NONE {
                (seen[at], earliest[at]) = (count, count);
                count += 1;
                open.push(*state);
            }
            if let Some(&to) = edges[at].get(*next) {
                *next += 1;
                if seen[to as usize] == NONE {
                    path.push((to, 0));
                } else if group[to as usize] == NONE {
                    earliest[at] = earliest[at].min(seen[to as usize]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                let parent = *parent as usize;
                earliest[parent] = earliest[parent].min(earliest[at]);
            }
            if earliest[at] == seen[at] {
                let first = open.iter().rposition(|state| *state as usize == at).expect("a state seen is open");
                let mut members = open.split_off(first);
                members.iter().for_each(|&member| group[member as usize] = at as u32);
                let stays = |member: &u32| edges[*member as usize].iter().all(|&to| group[to as usize] == at as u32);
                if members.iter().all(stays) {
                    members.sort_unstable();
                    groups.push(members);
                }
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::closed_groups;

    #[test]
    fn closed_groups_are_circles_that_nothing_leads_out_of() {
        // 0 leads into the circle 1 2 3 and to 4, which is a circle of its own; 5 6 is a circle with a way to 4.
        let edges = [vec![1, 4], vec![2], vec![3], vec![1, 2], vec![4], vec![6], vec![5, 4]];
        let mut groups = closed_groups(&edges, |_| true);
        groups.sort_unstable();
        assert_eq!(groups, [vec![1, 2, 3], vec![4]]);
        assert_eq!(closed_groups(&edges, |state| state >= 4), [vec![4]]);
    }

    #[test]
    fn a_long_way_is_no_long_call() {
        let edges: Vec<Vec<u32>> = (0..1_000_000).map(|state| vec![(state + 1).min(999_999)]).collect();
        assert_eq!(closed_groups(&edges, |_| true), [vec![999_999]]);
    }
}
