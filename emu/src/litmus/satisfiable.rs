//! Whether a condition can hold in any state at all: one that cannot is a mistake.

use super::test::{Condition, Place};

/// When more comparisons of literals than this are needed, the condition counts as satisfiable.
const MOST_WORK: usize = 1 << 24;

/// A place, a value, and whether it must be that value or must not.
type Literal<'a> = (&'a Place, i128, bool);

/// Whether some state satisfies `condition`.
pub(super) fn is_satisfiable(condition: &Condition) -> bool {
    match ways(condition, true, &mut 0) {
        Some(ways) => !ways.is_empty(),
        None => true,
    }
}

/// The consistent ways in which `condition` is `wanted`; `None` when `work` becomes too much.
fn ways<'a>(condition: &'a Condition, wanted: bool, work: &mut usize) -> Option<Vec<Vec<Literal<'a>>>> {
    match (condition, wanted) {
        (Condition::Is(place, value), _) => Some(vec![vec![(place, *value, wanted)]]),
        (Condition::Not(inner), _) => ways(inner, !wanted, work),
        (Condition::All(parts), true) | (Condition::Any(parts), false) => {
            let mut all: Vec<Vec<Literal>> = vec![Vec::new()];
            for part in parts {
                let more = ways(part, wanted, work)?;
                *work = work.saturating_add(literals(&all).saturating_mul(literals(&more)));
                if *work > MOST_WORK {
                    return None;
                }
                let joined = all.iter().flat_map(|way| more.iter().filter_map(|other| joined(way, other)));
                all = joined.collect();
            }
            Some(all)
        }
        (Condition::Any(parts), true) | (Condition::All(parts), false) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(ways(part, wanted, work)?);
            }
            Some(all)
        }
    }
}

/// How many literals all `ways` have together, an empty way counting as one.
fn literals(ways: &[Vec<Literal>]) -> usize {
    ways.iter().map(|way| way.len().max(1)).sum()
}

/// Both ways at once, unless they contradict each other.
fn joined<'a>(one: &[Literal<'a>], other: &[Literal<'a>]) -> Option<Vec<Literal<'a>>> {
    let contradicts = |a: &Literal, b: &Literal| match (a.2, b.2) {
        (true, true) => a.0 == b.0 && a.1 != b.1,
        (true, false) | (false, true) => a.0 == b.0 && a.1 == b.1,
        (false, false) => false,
    };
    let is_contradiction = one.iter().any(|a| other.iter().any(|b| contradicts(a, b)));
    (!is_contradiction).then(|| one.iter().chain(other).copied().collect())
}
