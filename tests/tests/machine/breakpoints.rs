//! Instruction breakpoints of the guest's own, and the resume flag that lets it past them (SDM 3B 18.2, 18.3.1.1).

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost_tests::guest::{handler, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const ROUNDS: u64 = 5;
/// RF in RFLAGS; in the frame of #DB, which has no error code, those are the third word.
const RESUME: i32 = 1 << 16;
/// L0 of DR7.
const LOCAL_0: u32 = 1;

/// Goes round a breakpoint; the handler counts in EBX and resumes. EDX counts what comes after the breakpoint.
fn guest(a: &mut CodeAssembler, at: Code) -> Result<(), IcedError> {
    let (mut again, mut place) = (a.create_label(), a.create_label());
    handler(a, &[1], |a| {
        a.inc(ebx)?;
        a.or(dword_ptr(rsp + 16), RESUME)?;
        a.iretq()
    })?;
    load_idt(a)?;
    a.lea(rax, ptr(place))?;
    a.mov(dr0, rax)?;
    a.mov(eax, LOCAL_0)?;
    a.mov(dr7, rax)?;
    a.xor(ebx, ebx)?;
    a.xor(edx, edx)?;
    a.mov(ecx, ROUNDS as u32)?;
    a.set_label(&mut again)?;
    a.nop()?;
    a.set_label(&mut place)?;
    at(a)?;
    a.inc(edx)?;
    a.dec(ecx)?;
    a.jnz(again)
}

#[test]
fn a_breakpoint_is_met_in_each_round_and_passed_once_by_the_resume_flag() {
    let places: [Code; 4] = [&|a| a.nop(), &|a| a.mov(qword_ptr(X), 1), &|a| a.mfence(), &|a| a.in_(al, 0x61)];
    for (number, at) in places.into_iter().enumerate() {
        let mut clocks = Vec::new();
        for (steps, drained) in [(1, false), (3, false), (100, false), (1000, true)] {
            let code = |a: &mut CodeAssembler| guest(a, at);
            let mut t = Testbed::new(TSO, &[&code]);
            while !t.core(0).is_halted() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
            let rounds = [t.gpr(0, 3), t.gpr(0, 2)];
            assert_eq!(rounds, [ROUNDS, ROUNDS], "place {number}, in slices of {steps}, drained: {drained}");
            clocks.push(t.core(0).clock);
        }
        assert!(clocks.iter().all(|clock| *clock == clocks[0]), "{clocks:?}");
    }
}
