//! What sampling reaches, exploration lists, hangs included.
//!
//! ```text
//! FENCEPOST_SAMPLES=20000 cargo test --release -p fencepost-tests --test explore sampling
//! ```

use super::cases;
use super::guests::*;
use fencepost::explorer::survey::{Outcome, Survey, Surveyor};
use fencepost::explorer::{Limits, Plan, Strategy};
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Programs of Fencepost's own that are soon explored, with and without what is wrong.
const PROGRAMS: [&str; 10] = [
    "store-buffering/broken",
    "dekker/broken",
    "peterson/broken",
    "lost-update/spinlock",
    "ticket-lock/broken",
    "message-passing/broken",
    "spsc-ring/broken",
    "irq-lost-wakeup/sti-check-hlt",
    "seqlock/broken",
    "publish/broken",
];

/// Cases beside the project that are soon explored: cores, and what is defined.
const CASES: [(&str, u8, &[&str]); 10] = [
    ("sti-before-end-mark", 2, &["-DFIXED"]),
    ("barrier-reset-twice", 2, &[]),
    ("call-in-waiting-loop", 2, &["-DFIXED"]),
    ("level-interrupt-storm", 2, &[]),
    ("level-interrupt-storm", 2, &["-DFIXED"]),
    ("shootdown-under-lock", 2, &["-DNO_INVLPG"]),
    ("shootdown-under-lock", 2, &["-DNO_INVLPG", "-DFIXED"]),
    ("int-n-and-eoi", 2, &["-DAS_CALL"]),
    ("int-n-and-eoi", 2, &["-DAS_CALL", "-DFIXED"]),
    ("seq-cst-fence", 2, &[]),
];

/// How many executions are drawn by `strategy`: of those by priorities few, since one that waits takes long.
fn samples(strategy: Strategy) -> u64 {
    let few = if strategy == Strategy::PCT { 4 } else { 40 };
    std::env::var("FENCEPOST_SAMPLES").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

#[test]
fn nothing_is_sampled_of_programs_that_exploration_does_not_list() {
    let wrong: Vec<String> = PROGRAMS
        .par_iter()
        .flat_map(|name| unlisted(&mut program(name).unwrap_or_else(|| panic!("{name} has a region")), name))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_sampled_of_cases_that_exploration_does_not_list() {
    let Some(folder) = cases::folder() else { return };
    let wrong: Vec<String> = CASES
        .par_iter()
        .flat_map(|(name, cores, defined)| {
            let built = cases::built(&folder, "sampled", name, defined);
            let settings = Settings { cores: *cores, ..Settings::default() };
            let mut guest = surveyor(built, settings, false).expect("a case has a region");
            unlisted(&mut guest, &format!("{name} {defined:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What sampling comes to under some model, and exploration does not.
fn unlisted(guest: &mut Surveyor, name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for model in MemoryModel::ALL {
        let whole = survey(guest, model);
        if !whole.is_complete() {
            wrong.push(format!("{name} {model} is not complete: {:?}", whole.reasons()));
            continue;
        }
        let listed = ends(&whole);
        for strategy in [Strategy::RANDOM, Strategy::PCT] {
            let plan = Plan { strategy, runs: samples(strategy), bound: 3, seed: 1, ..Plan::default() };
            let sampled = ends(&guest.survey(&plan, model, &Limits::default()));
            let more: Vec<&String> = sampled.difference(&listed).collect();
            if !more.is_empty() {
                wrong.push(format!("{name} {model} by {strategy:?}: {more:?} beside {listed:?}"));
            }
        }
    }
    wrong
}

/// The outcomes, and of hangs the cores that wait: where one is in its circle depends on the way there.
fn ends(survey: &Survey) -> BTreeSet<String> {
    survey.outcomes.keys().map(end).collect()
}

fn end(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Deadlock(places) | Outcome::Livelock(places) => {
            let cores = places.split(", ").filter_map(|place| place.split(" at ").next());
            format!("a hang of {}", cores.collect::<Vec<_>>().join(", "))
        }
        Outcome::Reported(_)
        | Outcome::Exited(_)
        | Outcome::Screen(_)
        | Outcome::AllHalted
        | Outcome::Reset
        | Outcome::Faulted(_)
        | Outcome::Unfinished
        | Outcome::ScheduleEnd => outcome.to_string(),
    }
}
