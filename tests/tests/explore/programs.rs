//! Every program with a region, every variant, every model: proved, not sampled.

use super::guests::*;
use fencepost::explorer::survey::{Outcome, Surveyor};
use fencepost::explorer::{Limits, Plan, Strategy};
use fencepost::memory_model::MemoryModel;
use fencepost::programs;
use fencepost::testbench::Testbench;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// States without reduction up to which it is compared with reduction.
const SMALL: usize = 40_000;

/// Every variant that has a region.
fn variants() -> Vec<String> {
    let all = programs::all().iter();
    let names = all.flat_map(|program| program.variants.iter().map(|it| format!("{}/{}", program.name, it.name)));
    names.filter(|name| program(name).is_some()).collect()
}

#[test]
fn every_program_has_exactly_the_outcomes_of_its_stanza() {
    let names = variants();
    assert!(names.len() >= 8, "programs have regions: {names:?}");
    let wrong: Vec<String> = names.par_iter().flat_map(|name| differences(name)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How what can happen differs from what the stanza says.
fn differences(name: &str) -> Vec<String> {
    let bench = Testbench::program(name).expect("the program exists");
    let (_, variant) = bench.known_program().expect("it is a program");
    let mut surveyor = program(name).expect("it has a region");
    let mut wrong = Vec::new();
    let mut last: BTreeSet<String> = BTreeSet::new();
    for model in MemoryModel::ALL {
        let survey = survey(&mut surveyor, model);
        let found: BTreeSet<String> = outcomes(&survey).into_iter().collect();
        let listed = variant.expectation(model.name()).map_or(&[][..], |expectation| expectation.outcomes);
        let unlisted: Vec<_> = found.iter().filter(|it| listed.iter().all(|listed| listed.text != **it)).collect();
        let hazards = listed.iter().filter(|listed| listed.hazard);
        let unreached: Vec<_> = hazards.filter(|hazard| !found.contains(hazard.text)).map(|it| it.text).collect();
        if !survey.is_complete() || !unlisted.is_empty() || !unreached.is_empty() {
            wrong.push(format!(
                "{name} {model}: cut {:?}, not listed {unlisted:?}, not reached {unreached:?}",
                survey.cuts()
            ));
        }
        if !last.is_subset(&found) {
            wrong.push(format!("{name} {model} lacks outcomes of a stronger model: {last:?}, {found:?}"));
        }
        last = found;
    }
    wrong
}

#[test]
fn each_outcome_s_schedule_replays_to_that_outcome() {
    variants().par_iter().for_each(|name| {
        let mut surveyor = program(name).expect("it has a region");
        for model in MemoryModel::ALL {
            for (outcome, reached) in &survey(&mut surveyor, model).outcomes {
                let Outcome::Reported(text) = outcome else { panic!("{name} {model}: {outcome}") };
                // Through its text, as a person would paste it.
                let schedule = reached.schedule.to_string().parse().expect("a schedule reads back");
                let bench = Testbench::program(name).expect("the program exists");
                let run = bench.schedule(schedule).expect("it is of this image").run().expect("it fits");
                assert_eq!(run.outcome(), Some(text.as_str()), "{name} {model}");
            }
        }
    });
}

#[test]
fn exploring_twice_gives_the_same_schedules_and_counts() {
    let explore = |surveyor: &mut Surveyor| {
        let survey = survey(surveyor, MemoryModel::TSO);
        let schedules: Vec<String> = survey.outcomes.values().map(|reached| reached.schedule.to_string()).collect();
        (schedules, survey.explored.states(), survey.explored.transitions(), survey.explored.executions())
    };
    let (mut one, mut other) = (program("dekker").expect("a region"), program("dekker").expect("a region"));
    let first = explore(&mut one);
    assert_eq!(first, explore(&mut one), "what is remembered changes nothing");
    assert_eq!(first, explore(&mut other));
}

#[test]
fn reduction_loses_no_outcome() {
    let compared: usize = variants()
        .par_iter()
        .map(|name| {
            let mut surveyor = program(name).expect("it has a region");
            let whole = Limits { states: SMALL, reduces: false, ..Limits::default() };
            let mut compared = 0;
            for model in MemoryModel::ALL {
                let reduced = survey(&mut surveyor, model);
                let all = surveyor.survey(&Plan::default(), model, &whole);
                if all.is_complete() {
                    assert_eq!(outcomes(&reduced), outcomes(&all), "{name} {model}");
                    assert_eq!(reduced.explored.finals().len(), all.explored.finals().len(), "{name} {model}");
                    compared += 1;
                }
            }
            compared
        })
        .sum();
    assert!(compared >= 12, "only {compared} explorations are small enough to compare");
}

#[test]
fn posted_writes_that_arrive_at_once_lose_no_outcome() {
    use iced_x86::code_asm::{CodeAssembler, ax, cx, dword_ptr, eax, word_ptr};
    const SCREEN: u64 = 0xb8000;
    // One core writes characters around a flag; the other sees the flag, and reads back what is on the screen.
    let writer = |a: &mut CodeAssembler| {
        a.mov(word_ptr(SCREEN), 0x141)?;
        a.mov(dword_ptr(X), 1)?;
        a.mov(word_ptr(SCREEN), 0x142)
    };
    let reader = |a: &mut CodeAssembler| {
        a.mov(eax, dword_ptr(X))?;
        a.mov(word_ptr(SCREEN + 2), ax)?;
        a.mov(cx, word_ptr(SCREEN))
    };
    let mut guest = cores(&[&writer, &reader]);
    for model in MemoryModel::ALL {
        let reduced = survey(&mut guest, model);
        let whole = Limits { reduces: false, ..Limits::default() };
        let all = guest.survey(&Plan::default(), model, &whole);
        assert!(reduced.is_complete() && all.is_complete(), "{model}");
        assert_eq!(reduced.explored.finals().len(), all.explored.finals().len(), "{model}");
        assert!(reduced.explored.states() < all.explored.states(), "{model}: it spares something");
    }
}

#[test]
fn a_guest_that_draws_is_explored_whole_to_its_end() {
    let bench = Testbench::program("hello").expect("the program exists").cores(1).args("plain");
    let mut guest = surveyor(bench.loaded_image().clone(), bench.current_settings().clone(), true).expect("whole");
    let limits = Limits { states: 10_000, ..Limits::default() };
    let survey = guest.survey(&Plan::default(), MemoryModel::TSO, &limits);
    assert!(survey.is_complete(), "{:?}", survey.cuts());
    assert_eq!(outcomes(&survey), ["hello"]);
}

#[test]
fn the_other_strategies_find_nothing_that_there_is_not_and_the_bug_that_there_is() {
    let mut surveyor = program("dekker/broken").expect("a region");
    let all = outcomes(&survey(&mut surveyor, MemoryModel::TSO));
    let plan = |strategy, bound| Plan { strategy, bound, runs: 500, seed: 1, ..Plan::default() };
    for plan in [plan(Strategy::BOUNDED, 1), plan(Strategy::PCT, 3), plan(Strategy::RANDOM, 0)] {
        let (strategy, survey) = (plan.strategy, surveyor.survey(&plan, MemoryModel::TSO, &Limits::default()));
        assert!(!survey.is_complete(), "{strategy:?} leaves things out and says so");
        let found = outcomes(&survey);
        assert!(found.iter().all(|it| all.contains(it)), "{strategy:?}: {found:?}");
        assert!(found.contains(&"together".to_owned()), "{strategy:?}: {found:?}");
    }
    let bounded = surveyor.survey(&plan(Strategy::BOUNDED, 1_000), MemoryModel::TSO, &Limits::default());
    assert!(bounded.is_complete(), "with preemptions enough nothing is left out");
    assert_eq!(outcomes(&bounded), all);
}

#[test]
fn what_is_found_does_not_depend_on_the_number_of_threads() {
    use iced_x86::code_asm::{CodeAssembler, dword_ptr, eax};
    // Each core stores to its own word and loads the next one's, twice: thousands of states, enough to wake threads.
    let words = [X, Y, Y + 0x40];
    let core = |index: usize| {
        move |a: &mut CodeAssembler| {
            for round in 1..=2 {
                a.mov(dword_ptr(words[index]), round)?;
                a.mov(eax, dword_ptr(words[(index + 1) % 3]))?;
            }
            Ok(())
        }
    };
    let (one, two, three) = (core(0), core(1), core(2));
    let explore = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
        let mut guest = cores(&[&one, &two, &three]);
        let limits = Limits { threads, reduces: false, ..Limits::default() };
        let survey = pool.install(|| guest.survey(&Plan::default(), MemoryModel::PSO, &limits));
        let schedules: Vec<String> = survey.outcomes.values().map(|reached| reached.schedule.to_string()).collect();
        let explored = &survey.explored;
        (schedules, explored.states(), explored.transitions(), explored.executions(), explored.finals().len())
    };
    let alone = explore(1);
    assert!(alone.1 > 5_000, "{} states are too few to be shared out", alone.1);
    assert_eq!(alone, explore(4));
}
