//! Breakpoints of the guest's own, on instructions and data, and the resume flag that lets it past them (SDM 3B 18.2, 18.3.1).

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

/// Enables a breakpoint at `place`; the handler counts in EBX and resumes.
fn break_at(a: &mut CodeAssembler, place: CodeLabel) -> Result<(), IcedError> {
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
    a.xor(ebx, ebx)
}

/// Goes round a breakpoint. EDX counts what comes after the breakpoint.
fn guest(a: &mut CodeAssembler, at: Code) -> Result<(), IcedError> {
    let (mut again, mut place) = (a.create_label(), a.create_label());
    break_at(a, place)?;
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

/// L1 of DR7, on stores of 4 bytes, and on accesses of 4 bytes.
const STORES: u32 = 4 | 0b1101 << 20;
const ACCESSES: u32 = 4 | 0b1111 << 20;

/// Counts debug exceptions in RBX, with DR6 and DR7 in RSI and R8 and the place they come back to in R9, and ends single steps;
/// DR7 is `control`, and DR1 the place of [`STORES`] and [`ACCESSES`].
fn count(a: &mut CodeAssembler, control: u32) -> Result<(), IcedError> {
    handler(a, &[1], |a| {
        a.inc(rbx)?;
        a.mov(rsi, dr6)?;
        a.mov(r8, dr7)?;
        a.mov(r9, qword_ptr(rsp))?;
        a.and(dword_ptr(rsp + 16), !(1 << 8))?;
        a.iretq()
    })?;
    load_idt(a)?;
    a.xor(ebx, ebx)?;
    a.xor(esi, esi)?;
    a.mov(eax, (Y + 4) as u32)?;
    a.mov(dr1, rax)?;
    a.mov(eax, control)?;
    a.mov(dr7, rax)
}

/// How often the handler is entered, the address after it last, and DR6, of a guest with a breakpoint on the 4 bytes at Y + 4.
fn met(control: u32, accesses: Code, steps: u64, drained: bool) -> (u64, u64) {
    let code = |a: &mut CodeAssembler| {
        count(a, control)?;
        accesses(a)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    while !t.core(0).is_halted() {
        t.apply(Choice::Run { core: CoreId(0), steps, drained });
    }
    (t.gpr(0, 3), t.gpr(0, 6) & 0xf)
}

#[test]
fn a_breakpoint_on_data_is_met_by_accesses_that_touch_it() {
    let cases: [(u32, u64, Code); 7] = [
        (STORES, 1, &|a| a.mov(dword_ptr(Y + 4), 1)),
        (STORES, 0, &|a| a.mov(eax, dword_ptr(Y + 4))),
        (STORES, 0, &|a| a.mov(dword_ptr(Y), 1)),
        (STORES, 1, &|a| a.mov(qword_ptr(Y), 1)),
        (ACCESSES, 1, &|a| a.mov(al, byte_ptr(Y + 7))),
        (ACCESSES, 1, &|a| a.add(dword_ptr(Y + 4), 1)),
        (ACCESSES, 0, &|a| a.mov(al, byte_ptr(Y + 8))),
    ];
    for (number, (control, times, access)) in cases.into_iter().enumerate() {
        for (steps, drained) in [(1, false), (100, false), (100, true)] {
            let expected = if times > 0 { (times, 2) } else { (0, 0) };
            assert_eq!(met(control, access, steps, drained), expected, "case {number}, in slices of {steps}");
        }
    }
}

#[test]
fn int1_is_a_debug_exception_after_it() {
    let code = |a: &mut CodeAssembler| {
        count(a, 0)?;
        a.mov(qword_ptr(X), 1)?;
        a.int1()?;
        a.inc(ebx)
    };
    for (steps, drained) in [(1, false), (100, false), (100, true)] {
        let mut t = Testbed::new(TSO, &[&code]);
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained });
        }
        assert_eq!((t.gpr(0, 3), t.gpr(0, 6) & 0xe00f, t.memory(X)), (2, 0, 1), "in slices of {steps}");
    }
}

#[test]
fn a_breakpoint_is_held_off_after_a_load_of_ss() {
    let after_ss = |a: &mut CodeAssembler| {
        let mut past = a.create_label();
        a.mov(esi, ss)?;
        a.jmp(past)?;
        a.set_label(&mut past)?;
        a.mov(ss, esi)
    };
    for (loads_ss, times) in [(true, 0), (false, 1)] {
        let code = |a: &mut CodeAssembler| {
            let mut place = a.create_label();
            break_at(a, place)?;
            after_ss(a)?;
            if !loads_ss {
                a.nop()?;
            }
            a.set_label(&mut place)?;
            a.nop()
        };
        for (steps, drained) in [(1, false), (100, false), (100, true)] {
            let mut t = Testbed::new(TSO, &[&code]);
            while !t.core(0).is_halted() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
            assert_eq!(t.gpr(0, 3), times, "right after: {loads_ss}, in slices of {steps}");
        }
    }
}

/// Turns on breakpoints on ports: CR4.DE.
fn enable_ports(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, cr4)?;
    a.or(eax, 1 << 3)?;
    a.mov(cr4, rax)
}

#[test]
fn a_breakpoint_on_ports_is_met_by_what_reaches_them() {
    /// L1 of DR7, on ports, of 2.
    const PORTS: u32 = 4 | 0b0110 << 20;
    const PORT: u16 = 0x280;
    type Access = fn(&mut CodeAssembler) -> Result<(), IcedError>;
    let to = |port: u16, access: Access| {
        move |a: &mut CodeAssembler| {
            // The place of the breakpoint is Y + 4 where it is on data.
            a.mov(edx, u32::from(PORT))?;
            a.mov(dr1, rdx)?;
            enable_ports(a)?;
            // Again, now that it is about ports.
            a.mov(eax, PORTS)?;
            a.mov(dr7, rax)?;
            a.mov(edi, X as u32)?;
            a.mov(ecx, 3)?;
            a.mov(edx, u32::from(port))?;
            access(a)
        }
    };
    let cases: [(u16, u64, Access); 7] = [
        (PORT, 1, |a| a.in_(al, dx)),
        (PORT + 1, 1, |a| a.out(dx, al)),
        (PORT + 2, 0, |a| a.in_(al, dx)),
        (PORT - 1, 1, |a| a.in_(ax, dx)),
        (PORT - 1, 0, |a| a.in_(al, dx)),
        (PORT, 1, |a| a.insb()),
        (PORT, 3, |a| a.rep().insb()),
    ];
    for (number, (port, times, access)) in cases.into_iter().enumerate() {
        for (steps, drained) in [(1, false), (100, false), (100, true)] {
            let expected = if times > 0 { (times, 2) } else { (0, 0) };
            let seen = met(PORTS, &to(port, access), steps, drained);
            assert_eq!(seen, expected, "case {number}, in slices of {steps}");
        }
    }
    let without_extensions = |a: &mut CodeAssembler| {
        a.mov(edx, u32::from(PORT))?;
        a.mov(dr1, rdx)?;
        a.in_(al, dx)
    };
    assert_eq!(met(PORTS, &without_extensions, 100, true), (0, 0));
}

#[test]
fn guarded_debug_registers_are_not_accessed() {
    const GUARD: u32 = 1 << 13;
    let accesses: [Code; 3] = [&|a| a.mov(rcx, dr0), &|a| a.mov(dr0, rcx), &|a| a.mov(rcx, dr7)];
    for access in accesses {
        let code = |a: &mut CodeAssembler| {
            let mut place = a.create_label();
            a.mov(ecx, 5)?;
            a.lea(r10, ptr(place))?;
            count(a, GUARD)?;
            a.nop()?;
            a.set_label(&mut place)?;
            access(a)?;
            a.mov(rdi, dr0)
        };
        let in_one_go = |t: &mut Testbed| _ = t.apply(Choice::Run { core: CoreId(0), steps: 100, drained: true });
        type Way<'a> = (&'a str, &'a dyn Fn(&mut Testbed));
        let ways: [Way; 3] = [("steps", &|t| t.step(0)), ("accesses", &|t| t.access(0)), ("one go", &in_one_go)];
        for (ways, way) in ways {
            let mut t = Testbed::new(TSO, &[&code]);
            while !t.core(0).is_halted() {
                way(&mut t);
            }
            let [cause, control] = [t.gpr(0, 6), t.gpr(0, 8)].map(|it| it as u32 & GUARD);
            assert_eq!((t.gpr(0, 3), cause, control), (1, GUARD, 0), "once, and no longer guarded, in {ways}");
            assert_eq!(t.gpr(0, 9), t.gpr(0, 10), "before the instruction");
        }
    }
}

#[test]
fn a_breakpoint_that_a_load_of_ss_meets_waits_for_the_next_instruction() {
    // What is watched; the address after it; and how often the handlers of #DB and #BP are entered.
    let nexts: [(u64, Code); 4] =
        [(1, &|a| a.nop()), (1, &|a| a.in_(al, 0x61)), (1, &|a| a.int1()), (1 | 1 << 32, &|a| a.int3())];
    for (number, (times, next)) in nexts.into_iter().enumerate() {
        let loads = |a: &mut CodeAssembler| {
            let mut end = a.create_label();
            handler(a, &[3], |a| {
                a.bts(rbx, 32)?;
                a.iretq()
            })?;
            a.mov(word_ptr(Y + 4), ss)?;
            a.xor(ebx, ebx)?;
            a.mov(ss, word_ptr(Y + 4))?;
            next(a)?;
            a.jmp(end)?;
            a.set_label(&mut end)
        };
        let code = |a: &mut CodeAssembler| {
            count(a, ACCESSES)?;
            loads(a)
        };
        for (steps, drained) in [(1, false), (100, false), (100, true)] {
            let mut t = Testbed::new(TSO, &[&code]);
            while !t.core(0).is_halted() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
            assert_eq!((t.gpr(0, 3), t.gpr(0, 6) & 0xf), (times, 2), "case {number}, in slices of {steps}");
        }
    }
}

#[test]
fn any_debug_exception_ends_the_guard_of_debug_registers() {
    const GUARD: u32 = 1 << 13;
    let causes: [Code; 2] = [&|a| a.int1(), &|a| {
        a.pushfq()?;
        a.or(dword_ptr(rsp), 1 << 8)?;
        a.popfq()?;
        a.nop()
    }];
    for cause in causes {
        let code = |a: &mut CodeAssembler| {
            count(a, GUARD)?;
            cause(a)
        };
        for (steps, drained) in [(1, false), (100, true)] {
            let mut t = Testbed::new(TSO, &[&code]);
            while !t.core(0).is_halted() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
            assert_eq!((t.gpr(0, 3), t.gpr(0, 6) as u32 & GUARD), (1, 0), "in slices of {steps}");
        }
    }
}

#[test]
fn breakpoints_on_both_of_two_loads_of_ss_come_after_the_second() {
    let code = |a: &mut CodeAssembler| {
        let mut place = a.create_label();
        a.mov(word_ptr(Y + 4), ss)?;
        count(a, ACCESSES)?;
        a.lea(r10, ptr(place))?;
        a.mov(ss, word_ptr(Y + 4))?;
        a.mov(ss, word_ptr(Y + 4))?;
        a.set_label(&mut place)?;
        a.nop()
    };
    for (steps, drained) in [(1, false), (100, true)] {
        let mut t = Testbed::new(TSO, &[&code]);
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained });
        }
        assert_eq!((t.gpr(0, 3), t.gpr(0, 9)), (1, t.gpr(0, 10)), "in slices of {steps}");
    }
}

#[test]
fn what_holds_breakpoints_off_is_not_seen_in_the_frame_of_an_interrupt() {
    let code = |a: &mut CodeAssembler| {
        handler(a, &[0x40], |a| {
            a.mov(rbx, qword_ptr(rsp + 16))?;
            a.iretq()
        })?;
        load_idt(a)?;
        a.mov(eax, LOCAL_0)?;
        a.mov(dr7, rax)?;
        a.mov(esi, ss)?;
        a.mov(ss, esi)?;
        a.int(0x40)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.gpr(0, 3) as i32 & RESUME, 0);
}
