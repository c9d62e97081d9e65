//! The explorer and the brute force of [`fencepost_tests::brute_force`] on the same program.

use super::suite::{Pools, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::{Outcome, Pool, parse};
use fencepost::memory_model::MemoryModel;
use fencepost_tests::brute_force::{Ends, Maker, Model, Program, enumerate, generate, generate_loops};
use std::collections::BTreeSet;

/// The most states on the way of the brute force; a program with more is left out, and counted.
const MOST: usize = 300_000;
/// The most states on the way with the reduction for which it is also tried without.
const SMALL: usize = 2000;

/// Whether the program of `seed` was compared.
pub(super) fn compare(pools: &mut Pools, seed: u64) -> bool {
    compare_program(pools, seed, &generate(seed))
}

/// Whether the program with loops of `seed` was compared.
pub(super) fn compare_loops(pools: &mut Pools, seed: u64) -> bool {
    compare_program(pools, seed, &generate_loops(seed))
}

fn compare_program(pools: &mut Pools, seed: u64, program: &Program) -> bool {
    let any = compare_on(&mut pools.any, Maker::Any, seed, program);
    let intel = compare_on(&mut pools.intel, Maker::Intel, seed, program);
    let (Some(any), Some(intel)) = (any, intel) else { return false };
    contains(&any, &intel).unwrap_or_else(|problem| panic!("seed {seed}: {problem}\n{}", program.litmus()));
    true
}

/// What the explorer finds on processors of `maker`, which is what the brute force finds, if that is not too much for it.
fn compare_on(pool: &mut Pool, maker: Maker, seed: u64, program: &Program) -> Option<Vec<(MemoryModel, Outcome)>> {
    let models = [Model::Sc, Model::Tso, Model::Pso].into_iter();
    let expected: Option<Vec<Ends>> = models.map(|model| enumerate(program, model, maker, MOST)).collect();
    let expected = expected?;
    let text = program.litmus();
    let test = parse::parse(&text).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong:?}\n{text}"));
    let found = outcomes(pool, &test, &Limits::default());
    nests(&found).unwrap_or_else(|problem| panic!("seed {seed}: {problem}\n{text}"));
    reduces_nothing_away(pool, &test, &found).unwrap_or_else(|problem| panic!("seed {seed}: {problem}\n{text}"));
    for ((name, outcome), expected) in found.iter().zip(expected) {
        let found: BTreeSet<String> = outcome.states.iter().cloned().collect();
        // A thread that goes on for ever is a fault to litmus tests, and nothing was cut off for it.
        let is_complete = outcome.cuts.is_empty() && (outcome.complete || outcome.hangs);
        assert!(is_complete, "seed {seed} under {name}: {:?} {:?}\n{text}", outcome.cuts, outcome.faults);
        let (more, less): (Vec<_>, Vec<_>) =
            (found.difference(&expected.finals).collect(), expected.finals.difference(&found).collect());
        assert!(
            more.is_empty() && less.is_empty(),
            "seed {seed} under {name} ({maker:?}): the explorer alone has {more:#?}, the brute force alone has {less:#?}\n{text}"
        );
        assert_eq!(outcome.hangs, expected.hangs, "seed {seed} under {name}: only one finds a hang\n{text}");
    }
    Some(found)
}

/// Whether any processor, under each model, may do all that `some` processor may.
pub(super) fn contains(any: &[(MemoryModel, Outcome)], some: &[(MemoryModel, Outcome)]) -> Result<(), String> {
    for ((model, many), (_, few)) in any.iter().zip(some) {
        if let Some(state) = few.states.iter().find(|state| !many.states.contains(state)) {
            return Err(format!("under {model} `{state}` is possible on some processor and not on any"));
        }
    }
    Ok(())
}

/// Whether every final state under a model is one under the weaker models.
pub(super) fn nests(outcomes: &[(MemoryModel, Outcome)]) -> Result<(), String> {
    for pair in outcomes.windows(2) {
        let ((strong, few), (weak, many)) = (&pair[0], &pair[1]);
        if let Some(state) = few.states.iter().find(|state| !many.states.contains(state)) {
            return Err(format!("`{state}` is possible under {strong} and not under {weak}"));
        }
    }
    Ok(())
}

/// Whether the final states are the same without the reduction, where there are not too many states.
pub(super) fn reduces_nothing_away(
    pool: &mut Pool,
    test: &fencepost::litmus::test::Test,
    reduced: &[(MemoryModel, Outcome)],
) -> Result<(), String> {
    if reduced.iter().any(|(_, outcome)| outcome.explored > SMALL) {
        return Ok(());
    }
    let limits = Limits { reduces: false, ..Limits::default() };
    for ((model, whole), (_, reduced)) in outcomes(pool, test, &limits).iter().zip(reduced) {
        if whole.states != reduced.states || !whole.cuts.is_empty() || whole.hangs != reduced.hangs {
            return Err(format!("under {model} the reduction has {:#?}, without {:#?}", reduced.states, whole.states));
        }
    }
    Ok(())
}
