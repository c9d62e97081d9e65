//! When an interrupt is taken is explored like everything else.

use super::guests::*;
use fencepost::explorer::survey::Outcome;
use fencepost::memory_model::MemoryModel;
use fencepost_tests::guest::{apic, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const VECTOR: u8 = 0x41;
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
