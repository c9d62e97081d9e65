//! The replay strategy: a schedule leads to what it was written for, or is refused.

use super::guests::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::explorer::survey::{Outcome, Surveyor};
use fencepost::explorer::{Cut, Limits};
use fencepost::memory_model::MemoryModel;
use fencepost::schedule::Schedule;
use iced_x86::code_asm::*;
use rayon::prelude::*;

/// Programs with late stores, posted writes, locked instructions, loops, and instructions of several accesses.
const PROGRAMS: [&str; 7] = [
    "store-buffering/broken",
    "message-passing/broken",
    "torn-frame/broken",
    "lost-update/broken",
    "dekker/broken",
    "ticket-lock/broken",
    "chase-lev/broken",
];

fn replays_every_outcome(guest: &mut Surveyor, name: &str) -> usize {
    let mut replayed = 0;
    for model in MemoryModel::ALL {
        let all = survey(guest, model);
        for (outcome, reached) in &all.outcomes {
            let again = guest.replay(&reached.schedule, &Limits::default());
            let again = again.unwrap_or_else(|misfit| panic!("{name} {model} {outcome}: {misfit}"));
            assert_eq!(outcomes(&again), [outcome.to_string()], "{name} {model}");
            assert_eq!(again.outcomes[outcome].schedule, reached.schedule, "{name} {model} {outcome}");
            assert_eq!((again.cuts(), again.explored.executions()), (vec![Cut::Schedule], 1), "{name} {model}");
            replayed += 1;
        }
    }
    replayed
}

#[test]
fn each_outcome_s_schedule_leads_to_that_outcome() {
    let replayed: usize =
        PROGRAMS.par_iter().map(|name| replays_every_outcome(&mut program(name).expect("it has a region"), name)).sum();
    assert!(replayed >= 40, "only {replayed} schedules");
}

#[test]
fn a_schedule_that_leads_into_a_hang_is_that_hang() {
    let wait = |mine: u64, theirs: u64| {
        move |a: &mut CodeAssembler| {
            let mut again = a.create_label();
            a.mov(eax, 1)?;
            a.xchg(dword_ptr(mine), eax)?;
            a.set_label(&mut again)?;
            a.cmp(dword_ptr(theirs), 0)?;
            a.jne(again)?;
            a.mov(dword_ptr(mine), 0)
        }
    };
    let (one, other) = (wait(X, Y), wait(Y, X));
    assert!(replays_every_outcome(&mut cores(&[&one, &other]), "two locks") >= 6);
    let toggle = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.lock().xor(dword_ptr(X), 1)?;
        a.jmp(again)
    };
    assert!(replays_every_outcome(&mut cores(&[&toggle, &|a| a.mov(eax, dword_ptr(X))]), "livelock") >= 3);
    assert!(replays_every_outcome(&mut cores(&[&|a| a.mov(dword_ptr(X), 1), &|a| a.ud2()]), "fault") >= 3);
}

#[test]
fn a_way_that_was_given_is_told_as_it_is() {
    let mut guest = program("dekker/broken").expect("a region");
    let all = survey(&mut guest, MemoryModel::TSO);
    let (outcome, reached) = all.outcomes.iter().next_back().expect("there are outcomes");
    let again = guest.replay(&reached.schedule, &Limits::default()).expect("it fits");
    let (explanation, schedule) = guest.explain(&again, outcome, None).expect("it is what came out");
    assert_eq!(schedule, reached.schedule);
    assert!(!explanation.is_minimal && !explanation.rows.is_empty());
}

/// What is said of `change`d choices of a schedule.
fn misfit(change: impl Fn(&mut Vec<Choice>, usize)) -> String {
    let mut guest = program("store-buffering/broken").expect("a region");
    let all = survey(&mut guest, MemoryModel::TSO);
    let reached = &all.outcomes[&Outcome::Reported("r0=0 r1=0".into())];
    let lead = guest.region().before().len();
    let Schedule { image, settings, mut choices } = reached.schedule.clone();
    change(&mut choices, lead);
    let Err(misfit) = guest.replay(&Schedule { image, settings, choices }, &Limits::default()) else {
        panic!("it fits");
    };
    misfit.to_string()
}

#[test]
fn a_schedule_that_does_not_fit_is_refused_with_its_place_and_why() {
    let run = |core, steps| Choice::Run { core: CoreId(core), steps, drained: false };
    let (one, none) = (CoreId(1), CoreId(7));
    let cases = [
        (misfit(|choices, _| choices.clear()), "after its 0 choices the guest comes to its region by"),
        (misfit(|choices, lead| choices[lead] = Choice::Arrive), "no write is on its way to a device"),
        (misfit(|choices, lead| choices[lead] = Choice::Drain { core: one, entry: 3 }), "the buffer of core 1 holds 0"),
        (misfit(|choices, lead| choices[lead] = Choice::Access { core: none }), "there is no core 7"),
        (
            misfit(|choices, lead| choices.truncate(lead + 1)),
            "the schedule ends where cores can still come to their end",
        ),
        (misfit(|choices, _| choices.push(Choice::Arrive)), "the run is over before it"),
        (misfit(|choices, lead| choices[lead] = run(1, 9999)), "core 1 is at its end"),
        (
            misfit(|choices, lead| choices.insert(lead, Choice::Access { core: one })),
            "and the schedule goes on otherwise",
        ),
        (misfit(|choices, _| _ = choices.pop()), "the guest goes on after its region by"),
    ];
    for (said, wanted) in cases {
        assert!(said.contains(wanted), "`{said}` does not say `{wanted}`");
    }
}
