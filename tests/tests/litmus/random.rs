//! Random programs: the explorer against brute force.
//!
//! ```text
//! cargo test --release -p fencepost-tests --test litmus -- --ignored --nocapture twenty_thousand
//! ```

use super::second_opinion::{compare, nests, reduces_nothing_away};
use super::suite::{ours, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::{Pool, parse};
use rayon::prelude::*;

#[test]
fn the_explorer_agrees_with_brute_force_on_random_programs() {
    let compared = agree_on(600);
    assert!(compared >= 590, "only {compared} of 600 were small enough");
}

#[test]
#[ignore = "takes minutes: run it after a change to the explorer or the memory models"]
fn the_explorer_agrees_with_brute_force_on_twenty_thousand_random_programs() {
    let compared = agree_on(20_000);
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
fn stronger_models_allow_no_more_and_the_reduction_loses_nothing_in_ours() {
    let wrong: Vec<String> = ours()
        .par_iter()
        .map_init(Pool::new, |pool, ours| {
            let found = outcomes(pool, &ours.test, &Limits::default());
            let checked = nests(&found).and_then(|()| reduces_nothing_away(pool, &ours.test, &found));
            checked.err().map(|problem| format!("{}: {problem}", ours.path))
        })
        .flatten()
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// How many of the programs with seeds below `count` were small enough to be compared; all of those agree.
fn agree_on(count: u64) -> usize {
    (0..count).into_par_iter().map_init(Pool::new, compare).filter(|compared| *compared).count()
}
