//! Recorded runs, told: the story is what happened on the machine.

use super::guests::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::explorer::explain::{Effect, Explanation, Row, Stored};
use fencepost::explorer::recorded::{Since, Telling};
use fencepost::explorer::region::Region;
use fencepost::explorer::shared::Shared;
use fencepost::explorer::survey::{Outcome, Survey, Surveyor};
use fencepost::explorer::{Cut, Limits, Misfit};
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings};
use fencepost::memory_model::MemoryModel;
use fencepost::schedule::Schedule;
use fencepost::testbench::Testbench;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use rayon::prelude::*;

const WHOLE: Telling = Telling { since: Since::Start, most_steps: None };
const LAST_ROUND: Telling = Telling { since: Since::LastRound, most_steps: None };
const FROM_FIRST_MARK: Telling = Telling { since: Since::FirstMark, most_steps: None };

/// Instructions before a core's own, and those of the other's that it jumps over.
const LEAD: [u64; 2] = [2, 5];

fn run(core: u8, steps: u64) -> Choice {
    Choice::Run { core: CoreId(core), steps, drained: false }
}

fn drained(core: u8, steps: u64) -> Choice {
    Choice::Run { core: CoreId(core), steps, drained: true }
}

fn drain(core: u8) -> Choice {
    Choice::Drain { core: CoreId(core), entry: 0 }
}

fn access(core: u8) -> Choice {
    Choice::Access { core: CoreId(core) }
}

/// What prepares to follow `schedule` through `image`.
fn surveyor_along(image: Image, schedule: &Schedule) -> Surveyor {
    let settings = schedule.settings.clone();
    let start = || Machine::new(&image, settings.clone()).expect("the image fits");
    let region = Region::along(&schedule.choices, start, 1_000_000, None);
    Surveyor::new(image.clone(), settings, region).expect("the image fits")
}

/// The story of what cores with buffers of `depth` do that execute `codes`, by these choices.
fn recount(
    codes: &[Code],
    depth: usize,
    choices: Vec<Choice>,
    telling: Telling,
) -> Result<(Survey, Explanation), Misfit> {
    let (image, settings) = cores_image(codes);
    let schedule = Schedule { image: image.hash(), settings: Settings { depth, ..settings }, choices };
    surveyor_along(image, &schedule).recount(&schedule, telling)
}

/// A row in words, without what only its core can see of its stack.
fn words(row: &Row) -> String {
    let name = |address: u64| match address {
        X => "X".to_owned(),
        Y => "Y".to_owned(),
        other => format!("{other:#x}"),
    };
    let text = |Stored { address, value, .. }: Stored| format!("{} = {value}", name(address));
    let effect = |effect: &Effect| match *effect {
        Effect::Load { address, value, forwarded, .. } => {
            format!("{} is {value}{}", name(address), if forwarded { ", its own" } else { "" })
        }
        Effect::Store { stored, buffered } => format!("{}{}", text(stored), if buffered { ", buffered" } else { "" }),
        Effect::Drain { stored } => format!("> {}", text(stored)),
        other => format!("{other:?}"),
    };
    let effects: Vec<String> = row.effects.iter().map(effect).collect();
    let who = row.core.map_or("-".to_owned(), |core| core.0.to_string());
    format!("{who}: {}", effects.join(" | "))
}

fn story(told: &Explanation) -> Vec<String> {
    told.rows.iter().map(words).collect()
}

#[track_caller]
fn check(codes: &[Code], depth: usize, choices: Vec<Choice>, wanted: &[&str]) {
    let (_, told) = recount(codes, depth, choices, WHOLE).unwrap_or_else(|misfit| panic!("{misfit}"));
    assert_eq!(story(&told), wanted);
}

/// Stores 1 to one word and reads another.
fn misses(mine: u64, theirs: u64) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a: &mut CodeAssembler| {
        a.mov(dword_ptr(mine), 1)?;
        a.mov(eax, dword_ptr(theirs))
    }
}

#[test]
fn what_a_core_does_in_one_run_is_told_access_by_access() {
    let (one, other) = (misses(X, Y), misses(Y, X));
    let choices = vec![run(0, LEAD[0] + 2), run(1, LEAD[1] + 2), drain(1), drain(0), run(0, 1), run(1, 1)];
    check(
        &[&one, &other],
        8,
        choices,
        &[
            "0: X = 1, buffered",
            "0: Y is 0",
            "1: Y = 1, buffered",
            "1: X is 0",
            "1: > Y = 1",
            "0: > X = 1",
            "0: Halt",
            "1: Halt",
        ],
    );
}

#[test]
fn in_a_drained_run_each_store_is_visible_at_once() {
    let (one, other) = (misses(X, Y), misses(Y, X));
    let choices = vec![run(0, LEAD[0] + 1), drained(0, 1), drained(1, LEAD[1] + 2), run(1, 1)];
    let wanted = ["0: X = 1, buffered", "0: > X = 1", "0: Y is 0", "1: Y = 1", "1: X is 1", "1: Halt"];
    check(&[&one, &other], 8, choices, &wanted);
}

#[test]
fn what_drains_on_the_way_is_told_before_what_waits_for_it() {
    let code = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(X), 1)?;
        a.mov(dword_ptr(Y), 2)?;
        a.mov(ebx, dword_ptr(Y))?;
        a.mfence()?;
        a.mov(byte_ptr(X), 3)?;
        a.mov(eax, dword_ptr(X))
    };
    let wanted = [
        "0: X = 1, buffered",
        "0: > X = 1",
        "0: Y = 2, buffered",
        "0: Y is 2, its own",
        "0: > Y = 2",
        "0: Fence",
        "0: X = 3, buffered",
        "0: > X = 3",
        "0: X is 3",
        "0: Halt",
    ];
    check(&[&code], 1, vec![run(0, LEAD[0] + 7)], &wanted);
}

#[test]
fn between_the_accesses_of_one_instruction_another_core_goes_on() {
    let code: Code = &|a: &mut CodeAssembler| a.inc(dword_ptr(X));
    let choices = vec![run(0, LEAD[0]), access(0), run(1, LEAD[1] + 2), run(0, 2)];
    let wanted = ["0: X is 0", "1: X is 0 | X = 1, buffered", "1: Halt", "0: X = 1, buffered", "0: Halt"];
    check(&[code, code], 8, choices, &wanted);
}

/// Three times a mark, a store of the round's number to [`X`], and a mark.
fn three_rounds(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for round in 1..=3 {
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), round)?;
        a.xchg(cx, cx)?;
    }
    Ok(())
}

#[test]
fn of_several_rounds_the_last_is_told_unless_all_are_wanted() {
    let round = [drained(0, 3), drained(1, 3)];
    let rounds = [round, round, round].concat();
    let choices = [vec![run(0, LEAD[0]), run(1, LEAD[1])], rounds, vec![run(0, 1), run(1, 1)]].concat();
    let codes: [Code; 2] = [&three_rounds, &three_rounds];
    let (_, told) = recount(&codes, 8, choices.clone(), LAST_ROUND).unwrap_or_else(|misfit| panic!("{misfit}"));
    // What comes after the region is not told, not even the end.
    assert_eq!((told.untold_rounds, story(&told)), (Some(2), vec!["0: X = 3".to_owned(), "1: X = 3".to_owned()]));
    let (_, told) = recount(&codes, 8, choices, FROM_FIRST_MARK).unwrap_or_else(|misfit| panic!("{misfit}"));
    assert_eq!((told.untold_rounds, told.rows.len()), (Some(0), 6));
}

#[test]
fn where_cores_do_not_keep_step_everything_since_the_first_mark_is_one_round() {
    let choices = vec![drained(0, LEAD[0] + 9), drained(1, LEAD[1] + 9), run(0, 1), run(1, 1)];
    let (_, told) = recount(&[&three_rounds, &three_rounds], 8, choices, LAST_ROUND).expect("it fits");
    assert_eq!((told.untold_rounds, told.rows.len()), (Some(0), 6));
}

#[test]
fn a_store_that_is_pending_when_the_last_region_ends_is_told_to_where_it_is_visible() {
    let code: Code = &|a: &mut CodeAssembler| {
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), 1)?;
        a.xchg(cx, cx)?;
        a.mov(dword_ptr(Y), 1)
    };
    let choices = vec![run(0, LEAD[0] + 4), drain(0), drain(0), run(0, 1)];
    let (_, told) = recount(&[code], 8, choices, LAST_ROUND).unwrap_or_else(|misfit| panic!("{misfit}"));
    assert_eq!(story(&told), ["0: X = 1, buffered", "0: > X = 1"]);
}

#[test]
fn a_run_that_its_schedule_cuts_is_told_and_is_no_end() {
    let waits: Code = &|a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.cmp(dword_ptr(X), 1)?;
        a.jne(again)
    };
    let telling = Telling { since: Since::LastRound, most_steps: Some(20) };
    let (survey, told) = recount(&[waits], 8, vec![run(0, LEAD[0] + 1000)], telling).expect("it fits");
    let reached = &survey.outcomes[&Outcome::ScheduleEnd];
    let given_up = reached.given_up.as_ref().expect("it has not ended");
    assert_eq!((given_up.steps, given_up.cores[0].halted, reached.fault), (LEAD[0] + 1000, false, None));
    assert!(!told.violates && !survey.is_complete());
    let story = story(&told);
    let left_out = format!("-: LeftOut {{ steps: {} }}", LEAD[0] + 1000 - 20);
    assert_eq!((story.len(), &story[0], &story[4]), (10, &"0: X is 0".to_owned(), &left_out));
}

#[test]
fn a_run_that_the_machine_cannot_take_is_refused_with_its_place_and_why() {
    let code: Code = &|a: &mut CodeAssembler| a.nop();
    let cases = [
        (vec![run(0, 2), drain(0)], "choice 2 of the schedule, `0d0`, does not fit: it is not possible"),
        (vec![run(0, 99)], "the core cannot take so many steps"),
        (vec![run(7, 1)], "it is not possible"),
        (
            vec![run(0, LEAD[0] + 2), run(1, LEAD[1] + 2), drain(0)],
            "choice 3 of the schedule, `0d0`, does not fit: the run is over",
        ),
    ];
    for (choices, said) in cases {
        let Err(misfit) = recount(&[code, code], 8, choices, WHOLE) else { panic!("{said}: it fits") };
        assert!(misfit.to_string().contains(said), "`{misfit}` does not say `{said}`");
    }
}

/// Programs with late stores, posted writes, interrupts, exceptions, timers and changes of page tables.
const PROGRAMS: [&str; 14] = [
    "store-buffering/broken",
    "message-passing/broken",
    "torn-frame/broken",
    "lost-update/broken",
    "dekker/broken",
    "treiber/broken",
    "seqlock/broken",
    "interrupts/broken",
    "irq-lost-wakeup",
    "network",
    "exceptions",
    "timer",
    "tlb-shootdown",
    "hello",
];

/// Records a run, and tells it.
fn recorded(name: &str, seed: u64) -> (Option<String>, Survey, Explanation) {
    let bench = Testbench::program(name).expect("the program exists");
    let image = bench.loaded_image().clone();
    let run = bench.model(MemoryModel::TSO).seed(seed).run().expect("it runs");
    let schedule = run.schedule().expect("it was recorded");
    let mut surveyor = surveyor_along(image, &schedule);
    let misfit = surveyor.replay(&schedule, &Limits::default()).err();
    assert!(misfit.is_some(), "{name} {seed}: a run is not what exploration writes");
    let recounted = surveyor.recount(&schedule, LAST_ROUND);
    let (survey, told) = recounted.unwrap_or_else(|misfit| panic!("{name} {seed}: {misfit}"));
    assert_eq!(survey.cuts(), [Cut::Schedule], "{name} {seed}");
    (run.outcome().map(str::to_owned), survey, told)
}

#[test]
fn every_recorded_run_is_told_to_the_end_that_it_came_to() {
    PROGRAMS.par_iter().enumerate().for_each(|(index, name)| {
        let seed = index as u64;
        let (outcome, survey, told) = recorded(name, seed);
        let outcome = outcome.unwrap_or_else(|| panic!("{name} {seed} reports"));
        assert_eq!(outcomes(&survey), [outcome], "{name} {seed}");
        assert!(!told.rows.is_empty(), "{name} {seed}");
    });
}

#[test]
fn the_round_in_which_both_cores_read_the_old_value_is_told() {
    let seed = (0..20).find(|seed| {
        let run = Testbench::program("store-buffering/broken").expect("it exists").seed(*seed).run().expect("it runs");
        run.outcome() == Some("r0=0 r1=0")
    });
    let (_, _, told) = recorded("store-buffering/broken", seed.expect("one of 20 shows it"));
    let shared = Shared::of(&told);
    for core in 0..2 {
        let rows = told.rows.iter().filter(|row| row.core == Some(CoreId(core)));
        let effects: Vec<&Effect> = rows.flat_map(|row| &row.effects).filter(|effect| shared.has(effect)).collect();
        let is_late =
            |effect: &&&Effect| matches!(effect, Effect::Store { stored, buffered: true } if stored.value == 1);
        assert_eq!(effects.iter().filter(is_late).count(), 1, "core {core}: {effects:?}");
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Load { value: 0, forwarded: false, .. })));
        assert!(matches!(effects.last(), Some(Effect::Drain { stored }) if stored.value == 1), "{effects:?}");
    }
}

#[test]
fn a_handler_is_told_from_its_interrupt_to_its_return() {
    let (_, _, told) = recorded("interrupts/broken", 3);
    let effects = || told.rows.iter().flat_map(|row| &row.effects);
    let enters = effects().filter(|effect| **effect == Effect::Interrupt).count();
    let leaves = effects().filter(|effect| **effect == Effect::Return).count();
    assert!(enters > 0 && enters == leaves, "{enters} times in, {leaves} out");
    let (_, _, told) = recorded("exceptions", 3);
    let vectors = told.rows.iter().flat_map(|row| &row.effects).filter_map(|effect| match effect {
        Effect::Exception { vector } => Some(*vector),
        _ => None,
    });
    assert_eq!(vectors.collect::<Vec<_>>(), [0, 3, 6, 13, 14]);
}
