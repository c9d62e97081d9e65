//! Repeated string instructions: a step is one round, and a round may be split like any other instruction.

use super::testbed::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const ROUNDS: u64 = 5;
const RCX: usize = 1;

/// `rep stosq` of [`ROUNDS`] minus ones at X.
fn fill(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, -1i64)?;
    a.mov(rdi, X)?;
    a.mov(ecx, ROUNDS as u32)?;
    a.rep().stosq()
}

/// `rep movsb` of [`ROUNDS`] bytes from Y to X.
fn copy(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rsi, Y)?;
    a.mov(rdi, X)?;
    a.mov(ecx, ROUNDS as u32)?;
    a.rep().movsb()
}

#[test]
fn a_fill_is_interrupted_at_any_round_and_goes_on() {
    for rounds in 0..=ROUNDS {
        let mut t = Testbed::new(TSO, &[&fill]);
        t.steps(0, 3 + rounds);
        assert_eq!(t.gpr(0, RCX), ROUNDS - rounds);
        assert_eq!(t.pending(0).len() as u64, rounds);
        t.finish(0);
        assert_eq!((t.memory(X + 8 * (ROUNDS - 1)), t.memory(X + 8 * ROUNDS)), (u64::MAX, 0));
    }
}

#[test]
fn a_copy_sees_what_another_core_stores_between_rounds() {
    for rounds in 0..ROUNDS {
        let mut t = Testbed::new(SC, &[&copy, &|a| a.mov(qword_ptr(Y), -1)]);
        t.steps(0, 3 + rounds);
        t.finish(1);
        t.finish(0);
        assert_eq!(t.memory(X), (u64::MAX << (8 * rounds)) & (u64::MAX >> (8 * (8 - ROUNDS))));
    }
}

#[test]
fn a_copy_is_split_within_any_round() {
    for rounds in 0..ROUNDS {
        let mut t = Testbed::new(SC, &[&copy, &|a| a.mov(qword_ptr(Y), -1)]);
        t.steps(0, 3 + rounds);
        t.access(0);
        assert_eq!(t.gpr(0, RCX), ROUNDS - rounds, "the round is not over");
        t.finish(1);
        t.access(0);
        assert_eq!(t.gpr(0, RCX), ROUNDS - rounds - 1);
        t.finish(0);
        // This round's byte had been loaded before the other core stored.
        assert_eq!(t.memory(X), (u64::MAX << (8 * (rounds + 1))) & (u64::MAX >> (8 * (8 - ROUNDS))));
    }
}

#[test]
fn a_repeated_compare_is_split_within_a_round() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rsi, Y)?;
        a.mov(rdi, Y)?;
        a.mov(ecx, 2)?;
        a.repe().cmpsq()
    };
    let mut t = Testbed::new(SC, &[&code, &|a| a.mov(qword_ptr(Y + 8), 1)]);
    t.steps(0, 4);
    t.access(0);
    t.finish(1);
    t.finish(0);
    assert_eq!((t.gpr(0, RCX), t.core(0).cpu.rflags & 0x40), (0, 0), "Y + 8 differs from itself");
}

#[test]
fn a_round_that_does_nothing_is_the_only_step_of_an_empty_repetition() {
    let code = |a: &mut CodeAssembler| {
        a.xor(ecx, ecx)?;
        a.rep().stosq()?;
        a.mov(eax, 7)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.steps(0, 3);
    assert_eq!((t.rax(0), t.pending(0)), (7, vec![]));
}

#[test]
fn a_backward_copy_goes_down() {
    let code = |a: &mut CodeAssembler| {
        a.std()?;
        a.mov(rax, 0x0807_0605_0403_0201u64)?;
        a.mov(qword_ptr(Y), rax)?;
        a.mov(rsi, Y + 7)?;
        a.mov(rdi, X + 7)?;
        a.mov(ecx, 3)?;
        a.rep().movsb()
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.steps(0, 8);
    assert_eq!(t.pending(0)[1..], [(X + 7, 1, 8), (X + 6, 1, 7)]);
}
