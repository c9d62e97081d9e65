//! Faults in the middle of an instruction: nothing of it is left, and everything before it is.

use super::page_tables::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::interruption::Source;
use fencepost::memory_model::MemoryModel;
use fencepost::trace::{Event, Fault};
use fencepost_tests::guest::{handler, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const INVALID_OPCODE: Fault = Fault::Exception { vector: 6, error_code: 0, address: 0 };
const READ_MISSING: u32 = 0;
const WRITE_MISSING: u32 = 2;
const WRITE_PROTECTED: u32 = 3;

fn page_fault(error_code: u32, address: u64) -> Fault {
    Fault::Exception { vector: 14, error_code, address }
}

/// After `setup` has executed and a store to X is pending, `last` faults with `fault`: registers are as before it, the
/// store has drained, and none of `untouched` has changed. Returns the machine.
fn check_under(model: MemoryModel, setup: Code, last: Code, fault: Fault, untouched: &[u64]) -> Testbed {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, -1i64)?;
        a.pcmpeqb(xmm0, xmm0)?;
        setup(a)?;
        a.mov(dword_ptr(X), 1)?;
        last(a)
    };
    let mut t = paged(model, &[&code]);
    while t.pending(0).last() != Some(&(X, 4, 1)) && t.byte(X) == 0 {
        t.step(0);
    }
    let before = t.core(0).cpu.clone();
    let clock = t.core(0).clock;
    t.events();
    t.steps(0, 1000);
    assert_eq!(t.fault(), (before.linear_pc(), fault), "under {model}");
    let mut after = t.core(0).cpu.clone();
    assert_eq!(t.core(0).clock, clock, "a fault is not a step");
    after.cr2 = before.cr2;
    assert_eq!(after, before, "registers are as before, under {model}");
    assert_eq!((t.memory(X), t.pending(0)), (1, vec![]));
    for &address in untouched {
        assert_eq!(t.memory(address), 0, "{address:#x} is untouched, under {model}");
    }
    let event = Event::Faulted { core: CoreId(0), pc: before.linear_pc(), fault };
    assert!(t.events().contains(&event));
    assert!(t.machine.choices().is_empty());
    t
}

fn check(setup: Code, last: Code, fault: Fault, untouched: &[u64]) {
    for model in MemoryModel::ALL {
        check_under(model, setup, last, fault, untouched);
    }
}

fn nothing(_: &mut CodeAssembler) -> Result<(), IcedError> {
    Ok(())
}

const END: u64 = SECOND_FRAME + 0xff8;

#[test]
fn a_store_into_a_missing_page_leaves_nothing() {
    check(&nothing, &|a| a.mov(qword_ptr(MISSING), rax), page_fault(WRITE_MISSING, MISSING), &[]);
}

#[test]
fn a_store_across_into_a_missing_page_leaves_nothing() {
    check(&nothing, &|a| a.mov(qword_ptr(MISSING - 5), rax), page_fault(WRITE_MISSING, MISSING), &[END]);
}

#[test]
fn a_load_across_into_a_missing_page_leaves_nothing() {
    check(&nothing, &|a| a.mov(rax, qword_ptr(MISSING - 5)), page_fault(READ_MISSING, MISSING), &[]);
}

#[test]
fn a_16_byte_store_across_into_a_missing_page_leaves_nothing() {
    for offset in [8, 3, 13] {
        check(
            &nothing,
            &|a| a.movups(xmmword_ptr(MISSING - offset), xmm0),
            page_fault(WRITE_MISSING, MISSING),
            &[END, END - 8],
        );
    }
}

#[test]
fn a_read_modify_write_of_a_read_only_page_leaves_nothing() {
    for last in [
        &|a: &mut CodeAssembler| a.add(qword_ptr(READ_ONLY), rax),
        &|a: &mut CodeAssembler| a.lock().add(qword_ptr(READ_ONLY), rax),
        &|a: &mut CodeAssembler| a.xchg(qword_ptr(READ_ONLY), rax),
        &|a: &mut CodeAssembler| a.lock().xadd(qword_ptr(READ_ONLY), rax),
    ] as [Code; 4]
    {
        check(&nothing, last, page_fault(WRITE_PROTECTED, READ_ONLY), &[READ_ONLY_FRAME]);
    }
}

#[test]
fn a_push_onto_a_bad_stack_leaves_the_stack_pointer() {
    let bad_stack = |a: &mut CodeAssembler| a.mov(esp, MISSING as u32 + 0x1000);
    let fault = page_fault(WRITE_MISSING, MISSING + 0xff8);
    check(&bad_stack, &|a| a.push(rax), fault, &[]);
    check(&bad_stack, &|a| a.push(qword_ptr(Y)), fault, &[]);
    check(&bad_stack, &|a| a.pushfq(), fault, &[]);
    check(&bad_stack, &|a| a.call(qword_ptr(Y)), fault, &[]);
    check(&bad_stack, &|a| a.enter(16, 0), fault, &[]);
}

#[test]
fn an_enter_whose_second_store_faults_leaves_nothing_of_its_first() {
    let setup = |a: &mut CodeAssembler| {
        a.mov(esp, READ_ONLY as u32 + 0x1008)?;
        a.mov(ebp, Y as u32)
    };
    // The page above the read-only one is the alias of the first frame.
    check(&setup, &|a| a.enter(16, 2), page_fault(WRITE_PROTECTED, READ_ONLY + 0xff8), &[FIRST_FRAME]);
}

#[test]
fn a_pop_into_a_missing_page_leaves_the_stack_pointer() {
    check(&nothing, &|a| a.pop(qword_ptr(MISSING)), page_fault(WRITE_MISSING, MISSING), &[]);
}

#[test]
fn an_fxsave_across_into_a_missing_page_leaves_nothing() {
    check(
        &nothing,
        &|a| a.fxsave(byte_ptr(MISSING - 0x100)),
        page_fault(WRITE_MISSING, MISSING),
        &[SECOND_FRAME + 0xf00, SECOND_FRAME + 0xf18, END],
    );
}

#[test]
fn a_repeated_copy_keeps_the_rounds_before_its_fault() {
    for model in MemoryModel::ALL {
        let code = |a: &mut CodeAssembler| {
            a.mov(qword_ptr(Y), -1)?;
            a.mov(esi, Y as u32)?;
            a.mov(edi, MISSING as u32 - 3)?;
            a.mov(ecx, 8)?;
            a.rep().movsb()
        };
        let mut t = paged(model, &[&code]);
        t.steps(0, 4);
        let pc = t.pc(0);
        t.run(0);
        assert_eq!(t.fault(), (pc, page_fault(WRITE_MISSING, MISSING)), "under {model}");
        assert_eq!(t.memory(END), 0xffff_ff00_0000_0000, "under {model}");
        assert_eq!((t.gpr(0, 1), t.gpr(0, 6), t.gpr(0, 7)), (5, Y + 3, MISSING));
    }
}

#[test]
fn a_fault_at_the_end_of_a_long_run_is_the_same() {
    let code = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ecx, 100)?;
        a.set_label(&mut again)?;
        a.add(qword_ptr(X), 1)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.mov(qword_ptr(MISSING - 5), rax)
    };
    for drained in [true, false] {
        let mut t = paged(TSO, &[&code]);
        t.apply(fencepost::choice::Choice::Run { core: CoreId(0), steps: 1000, drained });
        assert_eq!(t.fault().1, page_fault(WRITE_MISSING, MISSING));
        assert_eq!((t.memory(X), t.memory(END), t.core(0).cpu.cr2), (100, 0, MISSING));
    }
}

#[test]
fn an_instruction_that_would_fault_makes_no_store_early_but_faults_as_a_whole() {
    // And how many loads it makes before that.
    let last: [(Code, usize); 4] = [
        // ENTER stores to the alias, loads, and stores to the read-only page below it.
        (&|a| a.enter(16, 2), 0),
        (&|a| a.add(qword_ptr(READ_ONLY), rax), 1),
        (&|a| a.mov(qword_ptr(MISSING - 5), rax), 0),
        (&|a| a.pop(qword_ptr(MISSING)), 1),
    ];
    for (last, loads) in last {
        for model in MemoryModel::ALL {
            let code = |a: &mut CodeAssembler| {
                a.mov(esp, READ_ONLY as u32 + 0x1008)?;
                a.mov(ebp, Y as u32)?;
                a.mov(qword_ptr(X), 1)?;
                last(a)
            };
            let other = |a: &mut CodeAssembler| a.mov(qword_ptr(Z), 1);
            let mut t = paged(model, &[&code, &other]);
            t.steps(0, 3);
            let before = t.core(0).clone();
            (0..loads).for_each(|_| t.access(0));
            assert_eq!(t.core(0).partial.len(), loads, "{:#x} under {model}", before.cpu.linear_pc());
            t.access(0);
            let (pc, _) = t.fault();
            let mut after = t.core(0).clone();
            assert_eq!((pc, after.clock), (before.cpu.linear_pc(), before.clock), "it is no step, under {model}");
            after.cpu.cr2 = before.cpu.cr2;
            assert_eq!(after.cpu, before.cpu);
            assert_eq!((after.partial.len(), t.memory(X)), (0, 1), "only what was pending before it has drained");
            assert_eq!([FIRST_FRAME, READ_ONLY_FRAME, END].map(|address| t.memory(address)), [0; 3], "under {model}");
            let drained = t.events().iter().filter(|event| matches!(event, Event::Drained { .. })).count();
            assert_eq!(drained, before.buffer.entries().len(), "no store of its own was ever pending, under {model}");
        }
    }
}

#[test]
fn an_instruction_that_has_begun_and_faults_then_takes_back_what_is_still_its_own() {
    // The second half's page is there at first; the other core takes it away between the two halves.
    let code = |a: &mut CodeAssembler| a.mov(qword_ptr(LAST - 5), rsp);
    let other = |a: &mut CodeAssembler| a.mov(dword_ptr(entry_of(LAST)), 0);
    for model in MemoryModel::ALL {
        let mut t = paged(model, &[&code, &other]);
        t.access(0);
        assert_eq!(t.core(0).partial.len(), 1);
        t.step(1);
        t.drain_all(1);
        t.step(0);
        assert_eq!(t.fault().1, page_fault(WRITE_MISSING, LAST), "under {model}");
        assert_eq!(t.core(0).partial.len(), 0);
    }
}

#[test]
fn the_faults_of_a_guest_say_what_it_did() {
    let setup = |a: &mut CodeAssembler| {
        a.mov(rax, 0x8000_0000_0000_fffbu64)?;
        a.mov(rbp, rax)?;
        a.xor(ecx, ecx)
    };
    let cases: [(Code, u32, u32); 11] = [
        (&|a| a.mov(rcx, qword_ptr(rbp).ds()), 12, 0),
        (&|a| a.mov(rcx, qword_ptr(rax).ss()), 13, 0),
        (&|a| a.mov(rcx, qword_ptr(rbp + 8)), 12, 0),
        (&|a| a.add(dword_ptr(rbp + rcx), eax), 12, 0),
        (&|a| a.mov(rcx, qword_ptr(rax).gs()), 13, 0),
        (&|a| a.leave(), 12, 0),
        (&|a| a.ud2(), 6, 0),
        (&|a| a.div(cl), 0, 0),
        (&|a| a.mov(rax, qword_ptr(rax)), 13, 0),
        (&|a| a.mov(ds, ax), 13, 0xfff8),
        // LOCK NOP.
        (&|a| a.db(&[0xf0, 0x90]), 6, 0),
    ];
    for (last, vector, error_code) in cases {
        check(&setup, last, Fault::Exception { vector, error_code, address: 0 }, &[]);
    }
}

#[test]
fn a_software_interrupt_is_reported_at_its_own_address() {
    let interrupt = |vector| Fault::Interrupt { vector, source: Source::Software };
    let cases: [(Code, Fault, &str); 3] = [
        (&|a| a.int3(), Fault::Exception { vector: 3, error_code: 0, address: 0 }, "breakpoint (#BP)"),
        (&|a| a.int(0x80), interrupt(0x80), "software interrupt, vector 0x80"),
        (&|a| a.int(5), interrupt(5), "software interrupt, vector 0x5"),
    ];
    for (last, fault, name) in cases {
        let mut t = Testbed::new(TSO, &[last]);
        let pc = t.pc(0);
        t.step(0);
        assert_eq!(t.fault(), (pc, fault));
        assert!(fault.to_string().starts_with(name), "{fault}");
    }
}

#[test]
fn fetching_from_a_missing_page_or_from_no_memory_is_a_fault() {
    let jump = |to: u64| {
        move |a: &mut CodeAssembler| {
            a.mov(eax, to as u32)?;
            a.jmp(rax)
        }
    };
    let mut t = paged(TSO, &[&jump(MISSING)]);
    t.run(0);
    assert_eq!(t.fault(), (MISSING, page_fault(0x10, MISSING)));
    let mut t = paged(TSO, &[&jump(NOWHERE)]);
    t.run(0);
    assert_eq!(t.fault(), (NOWHERE, Fault::NothingToFetch));
    // Under the boot page tables plain RAM is not executable.
    let mut t = Testbed::new(TSO, &[&jump(X)]);
    t.run(0);
    assert_eq!(t.fault(), (X, page_fault(0x11, X)));
}

#[test]
fn the_other_cores_buffers_drain_when_one_core_faults() {
    let mut t = Testbed::new(TSO, &[&|a| a.ud2(), &|a| a.mov(qword_ptr(X), 1)]);
    t.step(1);
    t.step(0);
    assert_eq!((t.memory(X), t.pending(1)), (1, vec![]));
}

#[test]
fn an_instruction_that_the_processor_does_not_have_is_an_invalid_opcode() {
    for last in [
        &|a: &mut CodeAssembler| a.vaddps(xmm0, xmm1, xmm2),
        &|a: &mut CodeAssembler| a.vmovups(ymmword_ptr(Y), ymm0),
        &|a: &mut CodeAssembler| a.vzeroupper(),
        &|a: &mut CodeAssembler| a.vpaddd(zmm0, zmm1, zmm2),
        // VMOVAPS with a second source, which it may not have: the engine would execute it.
        &|a: &mut CodeAssembler| a.db(&[0xc5, 0xf0, 0x28, 0xc1]),
        // XBEGIN, and XTEST.
        &|a: &mut CodeAssembler| a.db(&[0xc7, 0xf8, 0, 0, 0, 0]),
        &|a: &mut CodeAssembler| a.xtest(),
    ] as [Code; 7]
    {
        check(&nothing, last, INVALID_OPCODE, &[Y]);
    }
}

#[test]
fn bit_manipulation_on_general_registers_is_there() {
    let mut t = Testbed::new(
        TSO,
        &[&|a| {
            a.mov(ecx, 0b1100)?;
            a.mov(edx, 0b1010)?;
            a.andn(rax, rcx, rdx)
        }],
    );
    t.run(0);
    assert_eq!(t.rax(0), 0b0010);
}

#[test]
fn what_no_processor_has_is_an_invalid_opcode_and_touches_no_memory() {
    let encodings: [&[u8]; 8] = [
        // MOVBE between registers, both ways, of each width.
        &[0x0f, 0x38, 0xf0, 0xc1],
        &[0x0f, 0x38, 0xf1, 0xc1],
        &[0x66, 0x0f, 0x38, 0xf0, 0xc1],
        &[0x48, 0x0f, 0x38, 0xf1, 0xc1],
        // LOCK MOV [RCX], EAX; LEA EAX, ECX; the seventh of the group of INC and DEC; PUSH ES.
        &[0xf0, 0x89, 0x01],
        &[0x8d, 0xc1],
        &[0xff, 0xf8],
        &[0x06],
    ];
    for encoding in encodings {
        check(&|a| a.mov(rcx, Y), &|a| a.db(encoding), INVALID_OPCODE, &[Y, 0]);
    }
}

#[test]
fn movbe_with_memory_is_there() {
    let mut t = Testbed::new(
        TSO,
        &[&|a| {
            a.mov(dword_ptr(X), 0x1122_3344)?;
            a.movbe(eax, dword_ptr(X))
        }],
    );
    t.run(0);
    assert_eq!(t.rax(0), 0x4433_2211);
}

#[test]
fn an_instruction_of_more_than_15_bytes_is_a_protection_fault() {
    let mut bytes = [0x66; 16];
    bytes[15] = 0x90;
    check(&nothing, &|a| a.db(&bytes), Fault::Exception { vector: 13, error_code: 0, address: 0 }, &[]);
    // Of 15 it is one.
    let mut t = Testbed::new(TSO, &[&|a| a.db(&bytes[1..])]);
    t.run(0);
    assert!(t.core(0).is_halted());
}

#[test]
fn the_frame_of_a_fault_has_the_flags_from_before_the_instruction() {
    /// CF, AF, SF: 5 - 7. The others of PF, ZF, OF are clear.
    const FLAGS: u64 = 0x91;
    const ARITHMETIC: u64 = 0x8d5;
    let read_only = || dword_ptr(READ_ONLY);
    let faults: [(u8, Code); 12] = [
        (14, &|a| a.mov(edx, dword_ptr(MISSING))),
        (14, &|a| a.add(edx, dword_ptr(MISSING))),
        (0, &|a| a.div(ecx)),
        (14, &|a| a.rcl(read_only(), 1)),
        (14, &|a| a.rcr(dword_ptr(READ_ONLY), cl)),
        (14, &|a| a.setc(byte_ptr(READ_ONLY))),
        (14, &|a| a.adc(read_only(), edx)),
        (14, &|a| a.inc(read_only())),
        (14, &|a| a.neg(read_only())),
        (14, &|a| a.shl(read_only(), 3)),
        (14, &|a| a.cmpxchg(read_only(), edx)),
        (14, &|a| a.bts(read_only(), 3)),
    ];
    for (number, (vector, fault)) in faults.into_iter().enumerate() {
        let code = |a: &mut CodeAssembler| {
            let depth = if vector == 14 { 3 } else { 2 };
            handler(a, &[vector], |a| {
                a.mov(rbx, qword_ptr(rsp + 8 * depth))?;
                a.hlt()
            })?;
            load_idt(a)?;
            a.xor(edx, edx)?;
            a.mov(ecx, if vector == 0 { 0 } else { 1 })?;
            for _ in 0..30 {
                a.nop()?;
            }
            a.mov(eax, 5)?;
            a.sub(eax, 7)?;
            fault(a)
        };
        for (steps, drained) in [(1, false), (7, false), (1000, false), (1000, true)] {
            let mut t = paged(TSO, &[&code]);
            while !t.core(0).is_halted() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
            assert_eq!(t.gpr(0, 3) & ARITHMETIC, FLAGS, "fault {number}, in slices of {steps}, drained: {drained}");
        }
    }
}
