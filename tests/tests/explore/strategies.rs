//! Strategies that do not look at everything: they find hangs, too, and never claim more than they have seen.

use super::guests::*;
use fencepost::explorer::survey::{Outcome, Survey, Surveyor};
use fencepost::explorer::{Cut, Limits, Plan, Strategy};
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::collections::BTreeSet;
use std::time::Duration;

const TSO: MemoryModel = MemoryModel::TSO;
const STRATEGIES: [Strategy; 3] = [Strategy::BOUNDED, Strategy::PCT, Strategy::RANDOM];

fn by(guest: &mut Surveyor, strategy: Strategy, bound: u32) -> Survey {
    let plan = Plan { strategy, bound, runs: 100, ..Plan::default() };
    guest.survey(&plan, TSO, &Limits::default())
}

/// The outcomes, and of hangs only of which kind: where a core is in a circle depends on the way there.
fn kinds(survey: &Survey) -> BTreeSet<String> {
    let kind = |outcome: &Outcome| match outcome {
        Outcome::Deadlock(_) => "a deadlock".to_owned(),
        Outcome::Livelock(_) => "a livelock".to_owned(),
        Outcome::Reported(_)
        | Outcome::Exited(_)
        | Outcome::Screen(_)
        | Outcome::AllHalted
        | Outcome::Reset
        | Outcome::Faulted(_)
        | Outcome::Unfinished
        | Outcome::ScheduleEnd => outcome.to_string(),
    };
    survey.outcomes.keys().map(kind).collect()
}

fn wait_for(a: &mut CodeAssembler, address: u64, value: i32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.cmp(dword_ptr(address), value)?;
    a.jne(again)
}

/// Takes one spinlock, then the other.
fn take_both(first: u64, second: u64) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        for lock in [first, second] {
            let (mut again, mut taken) = (a.create_label(), a.create_label());
            a.set_label(&mut again)?;
            a.mov(eax, 1)?;
            a.xchg(dword_ptr(lock), eax)?;
            a.test(eax, eax)?;
            a.jz(taken)?;
            a.pause()?;
            a.jmp(again)?;
            a.set_label(&mut taken)?;
            a.nop()?;
        }
        a.mov(dword_ptr(first), 0)?;
        a.mov(dword_ptr(second), 0)
    }
}

fn store_for_ever(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.lock().inc(dword_ptr(Y))?;
    a.jmp(again)
}

#[test]
fn locks_in_opposite_order_are_a_deadlock_by_every_strategy() {
    let (one, other) = (take_both(X, Y), take_both(Y, X));
    for strategy in STRATEGIES {
        let survey = by(&mut cores(&[&one, &other]), strategy, 2);
        assert!(kinds(&survey).contains("a deadlock"), "{strategy:?}: {:?}", outcomes(&survey));
        assert!(kinds(&survey).contains(&Outcome::AllHalted.to_string()), "{strategy:?}: {:?}", outcomes(&survey));
    }
}

#[test]
fn a_guest_that_never_ends_is_a_hang_by_every_strategy() {
    for strategy in STRATEGIES {
        let survey = by(&mut cores(&[&|a| a.mov(dword_ptr(X), 1), &|a| wait_for(a, Y, 1)]), strategy, 2);
        assert_eq!(kinds(&survey), BTreeSet::from(["a deadlock".to_owned()]), "{strategy:?}");
    }
}

#[test]
fn what_a_bound_cut_off_is_no_hang() {
    // Core 0 waits twice for what core 1 does after waiting for core 0.
    let ping = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(X), 1)?;
        wait_for(a, Y, 1)?;
        a.mov(dword_ptr(X), 2)?;
        wait_for(a, Y, 2)
    };
    let pong = |a: &mut CodeAssembler| {
        wait_for(a, X, 1)?;
        a.mov(dword_ptr(Y), 1)?;
        wait_for(a, X, 2)?;
        a.mov(dword_ptr(Y), 2)
    };
    for bound in 0..4 {
        let survey = by(&mut cores(&[&ping, &pong]), Strategy::BOUNDED, bound);
        let only_end = BTreeSet::from([Outcome::AllHalted.to_string()]);
        assert!(kinds(&survey).is_subset(&only_end), "bound {bound}: {:?}", outcomes(&survey));
        assert!(!survey.is_complete() || kinds(&survey) == only_end, "bound {bound}");
    }
}

#[test]
fn with_preemptions_enough_bounded_finds_what_exhaustive_finds() {
    let (one, other) = (take_both(X, Y), take_both(Y, X));
    let forever = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(dword_ptr(X), 1)?;
        a.set_label(&mut again)?;
        a.mfence()?;
        a.jmp(again)
    };
    let reads = |a: &mut CodeAssembler| {
        a.mov(eax, dword_ptr(X))?;
        a.out(0xf4, al)
    };
    let toggle = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.lock().xor(dword_ptr(X), 1)?;
        a.jmp(again)
    };
    let guests: [&[Code]; 4] = [
        &[&one, &other],
        &[&forever, &reads],
        &[&toggle, &|a| a.mov(eax, dword_ptr(X))],
        &[&|a| wait_for(a, Y, 1), &|a| a.ud2()],
    ];
    for (index, codes) in guests.into_iter().enumerate() {
        agrees(&mut cores(codes), &format!("guest {index}"));
    }
    for name in
        ["store-buffering/broken", "dekker/broken", "peterson/broken", "lost-update/spinlock", "ticket-lock/broken"]
    {
        agrees(&mut program(name).expect("it has a region"), name);
    }
}

fn agrees(guest: &mut Surveyor, name: &str) {
    for model in MemoryModel::ALL {
        let all = survey(guest, model);
        let plan = Plan { strategy: Strategy::BOUNDED, bound: 1000, ..Plan::default() };
        let bounded = guest.survey(&plan, model, &Limits::default());
        assert!(all.is_complete() && bounded.is_complete(), "{name} {model}: {:?} {:?}", all.cuts(), bounded.cuts());
        assert_eq!(kinds(&all), kinds(&bounded), "{name} {model}");
    }
}

#[test]
fn an_execution_that_reached_no_end_is_counted() {
    // A counter goes round for ever: there are too many states to say that nothing else can happen.
    for strategy in [Strategy::PCT, Strategy::RANDOM] {
        let plan = Plan { strategy, runs: 3, ..Plan::default() };
        let survey = cores(&[&store_for_ever, &|a| a.mov(dword_ptr(X), 1)]).survey(&plan, TSO, &Limits::default());
        assert!(survey.cuts().contains(&Cut::Unended(3)), "{strategy:?}: {:?}", survey.cuts());
    }
}

#[test]
fn sampling_that_is_cut_short_says_so() {
    for strategy in [Strategy::PCT, Strategy::RANDOM] {
        let mut guest = program("dekker/broken").expect("a region");
        let plan = Plan { strategy, runs: u64::MAX, ..Plan::default() };
        let few = Limits { states: 50, ..Limits::default() };
        assert_eq!(guest.survey(&plan, TSO, &few).cuts(), [Cut::States, Cut::Sample], "{strategy:?}");
        let short = Limits { time: Some(Duration::from_millis(20)), ..Limits::default() };
        assert!(guest.survey(&plan, TSO, &short).cuts().contains(&Cut::Time), "{strategy:?}");
    }
}
