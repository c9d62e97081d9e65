//! A CMPXCHG of four bytes leaves alone what it does not write (SDM 2A, CMPXCHG).
//!
//! The expected values are also what an AMD Zen 4 does.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::cpu_state::gpr;
use iced_x86::code_asm::*;

const OLD: u64 = 0x11_0000_0005;
const NEW: u64 = 0x33_0000_0007;

/// `code` leaves these behind in RAX and RDX when RAX holds [`OLD`], RCX [`NEW`], and RDX and the doubleword at RBX `found`.
fn check(code: Code, found: u64, accumulator: u64, destination: u64) {
    for jumps in [false, true] {
        let program: Code = &|a| {
            let mut there = a.create_label();
            a.mov(rbx, X)?;
            a.mov(rax, OLD)?;
            a.mov(rcx, NEW)?;
            a.mov(rdx, found)?;
            a.mov(dword_ptr(rbx), edx)?;
            if jumps {
                // Then the accumulator has its upper half already where a block begins.
                a.jmp(there)?;
            }
            a.set_label(&mut there)?;
            code(a)?;
            // Enough for the fast engine to be worth it, and no HLT in the block, which it may not execute.
            (0..40).try_for_each(|_| a.nop())?;
            let mut end = a.create_label();
            a.jmp(end)?;
            a.set_label(&mut end)?;
            a.nop()
        };
        let in_one_go = |t: &mut Testbed| t.apply(Choice::Run { core: CoreId(0), steps: 1000, drained: true });
        let in_steps = |t: &mut Testbed| (0..20).map(|_| t.apply(Choice::Access { core: CoreId(0) })).sum();
        let drives: [&dyn Fn(&mut Testbed) -> u64; 2] = [&in_one_go, &in_steps];
        for drive in drives {
            let mut t = Testbed::new(TSO, &[program]);
            drive(&mut t);
            assert_eq!((t.gpr(0, gpr::RAX), t.gpr(0, gpr::RDX)), (accumulator, destination));
        }
    }
}

#[test]
fn with_memory_it_clears_the_upper_half_only_of_what_it_loads() {
    let locked: Code = &|a| a.lock().cmpxchg(dword_ptr(rbx), ecx);
    let unlocked: Code = &|a| a.cmpxchg(dword_ptr(rbx), ecx);
    for code in [locked, unlocked] {
        check(code, 0x22_0000_0005, OLD, 0x22_0000_0005);
        check(code, 0x22_0000_0006, 6, 0x22_0000_0006);
    }
}

#[test]
fn with_registers_it_writes_either_of_the_two() {
    let code: Code = &|a| a.cmpxchg(edx, ecx);
    check(code, 0x22_0000_0005, OLD, 7);
    check(code, 0x22_0000_0006, 6, 0x22_0000_0006);
    check(&|a| a.cmpxchg(eax, ecx), 0, 7, 0);
    check(&|a| a.cmpxchg(eax, eax), 0, 5, 0);
}

#[test]
fn a_loop_of_them_keeps_the_upper_half_from_round_to_round() {
    let code: Code = &|a| {
        let mut again = a.create_label();
        a.mov(dword_ptr(rbx), 0)?;
        a.mov(rax, 0x11_0000_0000u64)?;
        a.set_label(&mut again)?;
        a.lea(ecx, dword_ptr(rax + 1))?;
        a.lock().cmpxchg(dword_ptr(rbx), ecx)?;
        a.mov(eax, ecx)?;
        a.bts(rax, 36)?;
        a.cmp(ecx, 100)?;
        a.jne(again)?;
        a.mov(edx, dword_ptr(rbx))
    };
    let mut t = Testbed::new(
        TSO,
        &[&|a: &mut CodeAssembler| {
            a.mov(rbx, X)?;
            code(a)
        }],
    );
    t.apply(Choice::Run { core: CoreId(0), steps: 10_000, drained: true });
    assert_eq!((t.gpr(0, gpr::RAX), t.gpr(0, gpr::RDX)), (0x10_0000_0064, 100));
}
