//! The host's processors as a second opinion: what they show must be among what exploration finds.
//!
//! Each test of two threads is turned into an assembler file and run natively by a small C program, on two processors:
//! `cargo test --release -p fencepost-tests --test litmus -- --ignored --nocapture host_shows`. Nothing is said about
//! outcomes that do not show: a processor need not do all that it may.
//!
//! What shows must be possible on any processor, whoever has made the host's. How much of it the rules of Intel's do not allow
//! is told, and is nothing to fail for.

mod host;

use super::suite::{Ours, Pools, ours, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::test::Test;
use fencepost::litmus::{Pool, parse};
use fencepost::memory_model::MemoryModel;
use fencepost_tests::brute_force::{Maker, Model, Program, enumerate, generate};
use host::{is_suitable, natively};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Rounds of each test, unless the variable `FENCEPOST_ROUNDS` says otherwise.
const ROUNDS: u64 = 10_000_000;
/// Rounds of each generated program, by the same variable.
const ROUNDS_GENERATED: u64 = 1_000_000;
/// How many generated programs are run.
const GENERATED: usize = 300;

#[test]
#[ignore = "runs for half an hour, and needs gcc and two processors to itself: by hand"]
fn what_the_host_shows_is_among_what_is_explored() {
    let folder = Folder::new("tests");
    let mut pools = Pools::new();
    let (mut wrong, mut run) = (Vec::new(), 0);
    for Ours { path, test, .. } in ours().iter().filter(|ours| is_suitable(&ours.test)) {
        let seen = natively(test, rounds(ROUNDS), &folder.0);
        let [any, intel] = [&mut pools.any, &mut pools.intel].map(|pool| explored(pool, test));
        println!("{path}: {} of {} states seen", seen.intersection(&any).count(), any.len());
        let unexplained: Vec<&String> = seen.difference(&any).collect();
        if !unexplained.is_empty() {
            wrong.push(format!("{path}: {unexplained:?}"));
        } else if !seen.is_subset(&intel) {
            println!("{path}: {:?} seen, which Intel's would not show", seen.difference(&intel).collect::<Vec<_>>());
        }
        run += 1;
    }
    assert!(run >= 150, "only {run} tests could be run natively");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "runs for minutes, and needs gcc and two processors to itself: by hand"]
fn what_the_host_shows_of_generated_programs_is_among_what_is_explored() {
    let folder = Folder::new("generated");
    let mut pools = Pools::new();
    let (mut wrong, mut run, mut relaxed, mut beyond_intel) = (Vec::new(), 0, 0, 0);
    let programs = (0..).map(|seed| (seed, generate(seed))).filter(|(_, program)| program.threads.len() == 2);
    for (seed, program) in programs.take(GENERATED) {
        let text = program.litmus();
        let test = parse::parse(&text).expect("it is a litmus test");
        assert!(is_suitable(&test), "{text}");
        let seen = natively(&test, rounds(ROUNDS_GENERATED), &folder.0);
        let [any, intel] = [&mut pools.any, &mut pools.intel].map(|pool| explored(pool, &test));
        run += 1;
        relaxed += usize::from(!seen.is_subset(&all_ends(&program, Model::Sc)));
        beyond_intel += usize::from(!seen.is_subset(&intel));
        let unexplained: Vec<&String> = seen.difference(&any).collect();
        if !unexplained.is_empty() {
            wrong.push(format!("seed {seed}: {unexplained:?}\n{text}"));
        }
    }
    println!("{run} programs: {relaxed} showed what SC forbids, {beyond_intel} what Intel's would not show");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(relaxed > 0, "no program showed anything that SC forbids: too few rounds to say anything");
}

/// The final states of `test` under TSO.
fn explored(pool: &mut Pool, test: &Test) -> BTreeSet<String> {
    let mut all = outcomes(pool, test, &Limits::default()).into_iter();
    let (_, outcome) = all.find(|(model, _)| *model == MemoryModel::TSO).expect("every model is explored");
    assert!(outcome.complete, "{}", test.name);
    outcome.states.into_iter().collect()
}

/// Every final state of `program` under `model`, by brute force.
fn all_ends(program: &Program, model: Model) -> BTreeSet<String> {
    enumerate(program, model, Maker::Any, usize::MAX).expect("there is no bound").finals
}

fn rounds(usual: u64) -> u64 {
    std::env::var("FENCEPOST_ROUNDS").map_or(usual, |rounds| rounds.parse().expect("FENCEPOST_ROUNDS is a number"))
}

/// A folder that goes away with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("fencepost-native-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
