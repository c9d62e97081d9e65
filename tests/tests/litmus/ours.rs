//! Our litmus tests: exactly the final states that were reviewed, and the verdict that each file was written with, on any
//! processor and on Intel's.
//!
//! `FENCEPOST_BLESS=1 cargo test -p fencepost-tests --test litmus` writes `litmus/expected.jsonl` and
//! `litmus/expected-intel.jsonl` anew, to be reviewed as a diff. The verdicts are not written by anything but people.

use super::suite::{Ours, Pools, folder, ours, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::Pool;
use fencepost::processor::Processor;
use rayon::prelude::*;
use serde_json::{Value, json};

/// Set to write what is found as what is expected.
const BLESS: &str = "FENCEPOST_BLESS";

#[test]
fn ours_have_exactly_the_final_states_that_were_reviewed() {
    check(Processor::ANY, "expected.jsonl");
    check(Processor::INTEL, "expected-intel.jsonl");
}

#[test]
fn ours_have_the_verdicts_they_were_written_with() {
    let check = |pools: &mut Pools, ours: &Ours| {
        let any = unexpected(&mut pools.any, ours, ours.verdict());
        any.or_else(|| unexpected(&mut pools.intel, ours, ours.header("Intel").unwrap_or_else(|| ours.verdict())))
    };
    let wrong: Vec<String> = ours().par_iter().map_init(Pools::new, check).flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Fails unless ours have, on `processor`, the final states in the file called `name`.
fn check(processor: Processor, name: &str) {
    let found: Vec<Value> = ours().par_iter().map_init(|| Pool::on(processor), row).collect();
    let lines: String = found.iter().map(|row| format!("{row}\n")).collect();
    let file = folder().join(name);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&file, &lines).expect("the expectations can be written");
    }
    let expected = std::fs::read_to_string(&file).expect("the expectations can be read");
    let different: Vec<&str> = lines.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    assert!(different.is_empty(), "{processor}: {} differ, the first: {}", different.len(), different[0]);
    assert_eq!(lines.lines().count(), expected.lines().count(), "{processor}: an expectation has no test");
}

/// What was found out about a test, as it is stored.
fn row(pool: &mut Pool, ours: &Ours) -> Value {
    let test = &ours.test;
    let mut row = json!({
        "path": ours.path, "name": test.name, "arch": test.dialect.name(),
        "threads": test.threads.len(), "condition": test.condition_text,
    });
    for (model, outcome) in outcomes(pool, test, &Limits::default()) {
        assert!(outcome.complete, "{} under {model}: {:?} {:?}", ours.path, outcome.cuts, outcome.faults);
        row[model.name()] = json!({ "observation": outcome.observation(), "states": outcome.states });
    }
    row
}

/// How the verdicts differ from `line`, such as `sc:Never tso:Sometimes pso:Sometimes`.
fn unexpected(pool: &mut Pool, ours: &Ours, line: &str) -> Option<String> {
    let found: Vec<String> = outcomes(pool, &ours.test, &Limits::default())
        .iter()
        .map(|(model, outcome)| format!("{}:{:?}", model.name(), outcome.observation()))
        .collect();
    let found = found.join(" ");
    (line != found).then(|| format!("{}: expected {line}, found {found}", ours.path))
}
