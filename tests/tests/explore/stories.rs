//! Stories of executions: what is told, what it costs, and what decides.

use super::guests::*;
use fencepost::explorer::explain::{Effect, Explanation};
use fencepost::explorer::graph;
use fencepost::explorer::shared::Shared;
use fencepost::explorer::survey::{Judging, Outcome, Survey, Surveyor};
use fencepost::explorer::{Limits, Plan, Strategy};
use fencepost::memory_model::MemoryModel;
use fencepost::trace::Fault;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const TSO: MemoryModel = MemoryModel::TSO;

/// The first outcome that `is` so, told.
fn told(guest: &mut Surveyor, survey: &Survey, is: impl Fn(&Outcome) -> bool) -> Explanation {
    let outcome = survey.outcomes.keys().find(|outcome| is(outcome)).expect("there is such an outcome");
    guest.explain(survey, outcome, None).expect("it is an outcome").0
}

/// Addresses of the stores that the story tells.
fn stores(told: &Explanation) -> Vec<u64> {
    let shared = Shared::of(told);
    let effects = told.rows.iter().flat_map(|row| &row.effects).filter(|effect| shared.has(effect));
    let stores = effects.filter_map(|effect| match effect {
        Effect::Store { stored, .. } => Some(stored.address),
        _ => None,
    });
    stores.collect()
}

/// Takes the lock at `address`, however long that takes.
fn lock(a: &mut CodeAssembler, address: u64) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.mov(eax, 1)?;
    a.xchg(dword_ptr(address), eax)?;
    a.test(eax, eax)?;
    a.jnz(again)
}

/// Exits with `code`.
fn exit(a: &mut CodeAssembler, code: i32) -> Result<(), IcedError> {
    a.mov(al, code)?;
    a.out(0xf4, al)
}

#[test]
fn what_a_core_waits_for_for_ever_belongs_to_the_story() {
    let both = |first: u64, second: u64| {
        move |a: &mut CodeAssembler| {
            lock(a, first)?;
            lock(a, second)?;
            a.mov(dword_ptr(first), 0)?;
            a.mov(dword_ptr(second), 0)
        }
    };
    let (one, other) = (both(X, Y), both(Y, X));
    let mut guest = cores(&[&one, &other]);
    let all = survey(&mut guest, TSO);
    let is_deadlock = |outcome: &Outcome| matches!(outcome, Outcome::Deadlock(_));
    let explanation = told(&mut guest, &all, is_deadlock);
    // What follows are the first of the rounds.
    assert!(stores(&explanation).starts_with(&[X, Y]), "{:?}", explanation.rows);
    let graph = graph::dot(&explanation, |address| format!("{address:#x}"));
    assert!(graph.contains("W[0x180000]=1") && graph.contains("W[0x180040]=1"), "{graph}");
    let hang = all.outcomes.iter().find(|(outcome, _)| is_deadlock(outcome)).expect("there is one").1;
    let again = guest.replay(&hang.schedule, &Limits::default()).expect("it fits");
    assert!(stores(&told(&mut guest, &again, is_deadlock)).starts_with(&[X, Y]));
}

#[test]
fn where_the_screen_counts_pixels_belong_to_the_story() {
    let mut guest = program("torn-frame/broken").expect("it has a region");
    let all = survey(&mut guest, TSO);
    let pixels = |told: &Explanation| stores(told).iter().filter(|at| **at >= 0xe000_0000).count();
    assert_eq!(pixels(&told(&mut guest, &all, |_| true)), 0);
    guest.judge_by(Judging::Screen);
    let all = survey(&mut guest, TSO);
    assert_eq!(pixels(&told(&mut guest, &all, |_| true)), 8);
}

#[test]
fn a_store_that_the_run_s_end_overtakes_is_delayed() {
    // Core 1 faults when it sees the younger of two stores and not the older one.
    let writer = |a: &mut CodeAssembler| {
        a.mov(eax, 1)?;
        a.movnti(dword_ptr(X), eax)?;
        a.mov(dword_ptr(Y), eax)
    };
    let reader = |a: &mut CodeAssembler| {
        let mut end = a.create_label();
        a.cmp(dword_ptr(Y), 0)?;
        a.je(end)?;
        a.cmp(dword_ptr(X), 0)?;
        a.jne(end)?;
        a.ud2()?;
        a.set_label(&mut end)?;
        a.nop()
    };
    let mut guest = cores(&[&writer, &reader]);
    let all = survey(&mut guest, TSO);
    let told = told(&mut guest, &all, |outcome| matches!(outcome, Outcome::Faulted(_)));
    assert_eq!((told.switches, told.delayed_drains, told.is_minimal), (1, 1, true));
    let last = told.rows.last().expect("it has rows");
    assert!(matches!(last.effects[..], [Effect::Fault { fault: Fault::Exception { vector: 6, .. } }]), "{last:?}");
}

#[test]
fn an_end_that_one_core_comes_to_alone_takes_no_switch() {
    // Exploration lets core 1 go on first: what it does then makes no difference.
    let early = |a: &mut CodeAssembler| {
        let mut late = a.create_label();
        a.cmp(dword_ptr(Y), 0)?;
        a.jne(late)?;
        exit(a, 3)?;
        a.set_label(&mut late)?;
        a.nop()
    };
    let mut guest = cores(&[&early, &|a| a.mov(dword_ptr(Y), 1)]);
    let all = survey(&mut guest, TSO);
    let told = told(&mut guest, &all, |outcome| *outcome == Outcome::Exited(3));
    assert_eq!((told.switches, told.delayed_drains, told.is_minimal), (0, 0, true));
}

#[test]
fn ends_that_look_the_same_but_for_what_was_said_are_told_apart() {
    let reporter = |a: &mut CodeAssembler| {
        a.mov(ebx, dword_ptr(Y))?;
        a.add(bl, i32::from(b'0'))?;
        for byte in b"outcome: " {
            a.mov(al, i32::from(*byte))?;
            a.out(0xe9, al)?;
        }
        a.mov(al, bl)?;
        a.out(0xe9, al)?;
        a.mov(al, i32::from(b'\n'))?;
        a.out(0xe9, al)?;
        exit(a, 1)
    };
    let mut guest = cores(&[&reporter, &|a| a.mov(dword_ptr(Y), 1)]);
    let all = survey(&mut guest, TSO);
    assert_eq!(outcomes(&all), ["0", "1"]);
    for text in ["0", "1"] {
        told(&mut guest, &all, |outcome| *outcome == Outcome::Reported(text.into()));
    }
}

#[test]
fn what_decides_is_not_said_where_not_every_end_is_known() {
    let mut guest = program("store-buffering/broken").expect("it has a region");
    let is_bad = |outcome: &Outcome| *outcome == Outcome::Reported("r0=0 r1=0".into());
    let all = survey(&mut guest, TSO);
    let explanation = told(&mut guest, &all, is_bad);
    assert!(explanation.violates && explanation.decisive.is_some());
    let plan = Plan { strategy: Strategy::named("random").expect("it exists"), ..Plan::default() };
    let some = guest.survey(&plan, TSO, &Limits::default());
    assert_eq!(told(&mut guest, &some, is_bad).decisive, None);
}

#[test]
fn what_passes_is_another_end_even_where_it_reports_the_same() {
    let mut guest = cores(&[&|a| a.mov(dword_ptr(X), 1), &reports_the_same]);
    let all = survey(&mut guest, TSO);
    assert_eq!(outcomes(&all), ["same"]);
    let told = told(&mut guest, &all, |_| true);
    let decisive = &told.rows[told.decisive.expect("it could have read 0")];
    assert!(told.violates && matches!(decisive.effects[..], [Effect::Load { value: 1, .. } | Effect::Drain { .. }]));
}
