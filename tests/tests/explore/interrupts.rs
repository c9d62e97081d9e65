//! When an interrupt is taken is explored like everything else.

use super::guests::*;
use fencepost::explorer::explain::{Effect, Explanation, Row};
use fencepost::explorer::shared::Shared;
use fencepost::explorer::survey::Outcome;
use fencepost::memory_model::MemoryModel;
use fencepost_tests::guest::{apic, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const VECTOR: u8 = 0x41;
/// A word that only handlers touch.
const OWN: u64 = Y + 0x40;
/// ICR: assert, to all others.
const CALL: i32 = (VECTOR as u32 | apic::ASSERT | apic::TO_OTHERS) as i32;

/// A handler for [`VECTOR`] with `action` in it, and an enabled local APIC.
fn with_handler(
    a: &mut CodeAssembler,
    action: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    handler(a, &[VECTOR], |a| {
        action(a)?;
        store(a, apic::EOI, 0)?;
        a.iretq()
    })?;
    load_idt(a)?;
    store(a, apic::SVR, apic::ENABLED)?;
    // The mark of the region.
    a.xchg(bx, bx)
}

/// Interrupts core 0.
fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, apic::ICR_LOW)?;
    a.xchg(bx, bx)?;
    a.mov(dword_ptr(rax), CALL)
}

/// Waits for the handler's flag at [`X`] and tells that it has come.
fn sleeper(
    wait: impl Fn(&mut CodeAssembler, CodeLabel) -> Result<(), IcedError>,
) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        with_handler(a, |a| a.mov(dword_ptr(X), 1))?;
        let mut awake = a.create_label();
        wait(a, awake)?;
        a.set_label(&mut awake)?;
        a.cli()?;
        reports_the_same(a)
    }
}

/// Whether exploration finds that the sleeper may never wake; it must be complete.
fn may_sleep_for_ever(wait: impl Fn(&mut CodeAssembler, CodeLabel) -> Result<(), IcedError>) -> bool {
    let sleeper = sleeper(wait);
    let answers = MemoryModel::ALL.map(|model| {
        let mut guest = marked_cores(&[&sleeper, &calls]);
        let survey = survey(&mut guest, model);
        assert!(survey.is_complete(), "under {model}: {:?}", survey.explored.cuts());
        let halted = survey.outcomes.get(&Outcome::AllHalted);
        assert!(halted.is_none_or(|reached| reached.is_violation(&Outcome::AllHalted)));
        assert!(survey.outcomes.keys().any(|outcome| *outcome != Outcome::AllHalted), "it can wake under {model}");
        halted.is_some()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    answers[0]
}

#[test]
fn a_wakeup_between_the_look_and_the_halt_is_lost() {
    assert!(may_sleep_for_ever(|a, awake| {
        a.sti()?;
        a.cmp(dword_ptr(X), 1)?;
        a.je(awake)?;
        a.hlt()
    }));
}

#[test]
fn a_wakeup_between_sti_and_a_halt_that_is_not_next_is_lost() {
    assert!(may_sleep_for_ever(|a, awake| {
        a.cmp(dword_ptr(X), 1)?;
        a.je(awake)?;
        a.sti()?;
        a.nop()?;
        a.hlt()
    }));
}

#[test]
fn no_wakeup_is_lost_where_the_halt_is_in_the_shadow_of_sti() {
    assert!(!may_sleep_for_ever(|a, awake| {
        a.cmp(dword_ptr(X), 1)?;
        a.je(awake)?;
        a.sti()?;
        a.hlt()
    }));
}

#[test]
fn an_update_that_a_handler_comes_into_is_lost_unless_interrupts_are_off() {
    for masks in [false, true] {
        let main = move |a: &mut CodeAssembler| {
            with_handler(a, |a| {
                a.inc(dword_ptr(X))?;
                a.mov(dword_ptr(Y), 1)
            })?;
            a.sti()?;
            if masks {
                a.cli()?;
            }
            a.mov(ecx, dword_ptr(X))?;
            a.inc(ecx)?;
            a.mov(dword_ptr(X), ecx)?;
            a.sti()?;
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.cmp(dword_ptr(Y), 0)?;
            a.je(again)?;
            a.cli()?;
            // The exit code is 0 when neither update is lost.
            a.xor(dword_ptr(X), 2)?;
            reports_the_same(a)
        };
        let mut guest = marked_cores(&[&main, &calls]);
        let survey = survey(&mut guest, MemoryModel::TSO);
        assert!(survey.is_complete(), "{:?}", survey.explored.cuts());
        let lost = survey.outcomes.iter().any(|(outcome, reached)| reached.is_violation(outcome));
        assert_eq!(lost, !masks, "{:?}", outcomes(&survey));
    }
}

/// Pushes and pops, where the frame of an interrupt lies afterwards, or has lain.
fn uses_stack(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for _ in 0..8 {
        a.push(rcx)?;
    }
    a.add(rsp, 64)
}

/// The accesses that the story tells, beginnings and ends of handlers among them.
fn story(told: &Explanation) -> Vec<String> {
    let shared = Shared::of(told);
    let name = |address: u64| match address {
        X => "X".to_owned(),
        Y => "Y".to_owned(),
        other => format!("{other:#x}"),
    };
    let effects = told.rows.iter().flat_map(|row| &row.effects);
    let text = |effect: &Effect| match *effect {
        Effect::Load { address, value, .. } => Some(format!("R {} = {value}", name(address))),
        Effect::Store { stored, .. } => Some(format!("W {} = {}", name(stored.address), stored.value)),
        Effect::Interrupt => Some("enter".into()),
        Effect::Return => Some("leave".into()),
        _ => None,
    };
    let is_told = |effect: &&Effect| effect.touched().is_none() || shared.has(effect);
    effects.filter(is_told).filter_map(text).collect()
}

#[test]
fn the_story_of_a_lost_update_tells_what_code_and_handler_both_touch() {
    let main = |a: &mut CodeAssembler| {
        with_handler(a, |a| {
            a.push(rax)?;
            a.inc(dword_ptr(X))?;
            // No one else touches this.
            a.inc(dword_ptr(OWN))?;
            a.mov(dword_ptr(Y), 1)?;
            a.pop(rax)
        })?;
        uses_stack(a)?;
        a.sti()?;
        a.mov(ecx, dword_ptr(X))?;
        a.inc(ecx)?;
        a.mov(dword_ptr(X), ecx)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.cmp(dword_ptr(Y), 0)?;
        a.je(again)?;
        a.cli()?;
        uses_stack(a)?;
        a.xor(dword_ptr(X), 2)?;
        reports_the_same(a)
    };
    let expected = [
        "R X = 0", "enter", "R X = 0", "W X = 1", "W Y = 1", "leave", "W X = 1", "R Y = 1", "R X = 1", "W X = 3",
        "R X = 3",
    ];
    for model in MemoryModel::ALL {
        let mut guest = marked_cores(&[&main, &calls]);
        let survey = survey(&mut guest, model);
        let outcome = Outcome::Reported("same".into());
        let told = guest.explain(&survey, &outcome, None).expect("it is an outcome").0;
        assert_eq!(story(&told), expected, "under {model}");
        let is_entry = |row: &&Row| row.effects.contains(&Effect::Interrupt);
        let entry = told.rows.iter().find(is_entry).expect("an interrupt comes");
        assert_eq!(entry.instruction.as_deref(), Some("mov [0x180000],ecx"));
    }
}

#[test]
fn a_lock_that_a_handler_waits_for_in_vain_belongs_to_the_story() {
    let lock = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(eax, 1)?;
        a.xchg(dword_ptr(X), eax)?;
        a.test(eax, eax)?;
        a.jnz(again)
    };
    let main = |a: &mut CodeAssembler| {
        with_handler(a, |a| {
            lock(a)?;
            a.mov(dword_ptr(X), 0)
        })?;
        a.sti()?;
        lock(a)?;
        a.mov(dword_ptr(X), 0)?;
        a.cli()
    };
    let mut guest = marked_cores(&[&main, &calls]);
    let survey = survey(&mut guest, MemoryModel::TSO);
    let mut hangs = survey.outcomes.keys().filter(|outcome| matches!(outcome, Outcome::Deadlock(_)));
    let hang = hangs.next().expect("the handler waits for what it has interrupted");
    let told = guest.explain(&survey, hang, None).expect("it is an outcome").0;
    assert!(story(&told).starts_with(&["R X = 0", "W X = 1", "enter"].map(str::to_owned)), "{:?}", story(&told));
}
