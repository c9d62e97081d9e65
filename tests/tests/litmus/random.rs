//! Random programs: the explorer against brute force.
//!
//! ```text
//! cargo test --release -p fencepost-tests --test litmus -- --ignored --nocapture twenty_thousand
//! ```

use super::second_opinion::{compare, compare_loops, contains, nests, reduces_nothing_away};
use super::suite::{Pools, ours, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::{Pool, parse};
use fencepost_tests::brute_force::{Ends, Maker, Model, enumerate, generate_loops};
use rayon::prelude::*;

#[test]
fn the_explorer_agrees_with_brute_force_on_random_programs() {
    let compared = agree_on(600, compare);
    assert!(compared >= 590, "only {compared} of 600 were small enough");
}

#[test]
#[ignore = "takes minutes: run it after a change to the explorer or the memory models"]
fn the_explorer_agrees_with_brute_force_on_twenty_thousand_random_programs() {
    let compared = agree_on(20_000, compare);
    println!("{compared} of 20,000 were small enough and agree");
    assert!(compared >= 19_500);
}

#[test]
fn the_explorer_agrees_with_brute_force_on_loops_and_branches_and_on_what_waits_for_ever() {
    let compared = agree_on(500, compare_loops);
    assert!(compared >= 480, "only {compared} of 500 were small enough");
}

#[test]
fn programs_with_loops_end_hang_or_may_do_either() {
    let all = (0..200).filter_map(|seed| enumerate(&generate_loops(seed), Model::Tso, Maker::Any, 100_000));
    let (mut end, mut hang, mut either) = (0, 0, 0);
    for Ends { finals, hangs } in all {
        match (finals.is_empty(), hangs) {
            (false, false) => end += 1,
            (true, _) => hang += 1,
            (false, true) => either += 1,
        }
    }
    assert!(end >= 50 && hang >= 20 && either >= 20, "{end} end, {hang} hang, {either} may do either");
}

#[test]
#[ignore = "takes minutes: run it after a change to the explorer"]
fn the_explorer_agrees_with_brute_force_on_twenty_thousand_programs_with_loops() {
    let compared = agree_on(20_000, compare_loops);
    println!("{compared} of 20,000 were small enough and agree");
    assert!(compared >= 19_500);
}

#[test]
fn a_cmpxchg_of_4_bytes_that_succeeds_leaves_the_upper_half_of_rax() {
    let text =
        "X86_64 A\n{ uint64_t x; uint64_t 0:rax=0x100000000; }\nP0;\nlock cmpxchgl %ebx,(x);\nexists (0:rax=0)\n";
    let test = parse::parse(text).expect("it is a litmus test");
    for (model, outcome) in outcomes(&mut Pool::new(), &test, &Limits::default()) {
        assert_eq!(outcome.states, ["0:rax=4294967296;"], "{model}");
    }
}

#[test]
fn stronger_models_and_single_processors_allow_no_more_and_the_reduction_loses_nothing_in_ours() {
    let wrong: Vec<String> = ours()
        .par_iter()
        .map_init(Pools::new, |pools, ours| {
            let [any, intel] =
                [&mut pools.any, &mut pools.intel].map(|pool| outcomes(pool, &ours.test, &Limits::default()));
            let checked = nests(&any)
                .and_then(|()| nests(&intel))
                .and_then(|()| contains(&any, &intel))
                .and_then(|()| reduces_nothing_away(&mut pools.any, &ours.test, &any));
            checked.err().map(|problem| format!("{}: {problem}", ours.path))
        })
        .flatten()
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// How many of the programs with seeds below `count` were small enough to be compared; all of those agree.
fn agree_on(count: u64, compare: fn(&mut Pools, u64) -> bool) -> usize {
    (0..count).into_par_iter().map_init(Pools::new, compare).filter(|compared| *compared).count()
}
