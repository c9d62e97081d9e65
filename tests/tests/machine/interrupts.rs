//! Exceptions and software interrupts are delivered through the guest's IDT.

use super::testbed::*;
use fencepost::core::CoreId;
use fencepost::core::interruption::Source;
use fencepost::memory_model::MemoryModel;
use fencepost::trace::Event;
use fencepost_tests::guest::{IDT, IDT_POINTER, INTERRUPT_GATE, gate_at, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where the handler leaves what it was given: error code or a mark for none, RIP, CS, RFLAGS, RSP, SS; how often; CR2.
const FRAME: u64 = 0x18_4000;
const COUNT: u64 = FRAME + 0x30;
const CR2: u64 = FRAME + 0x38;
/// Not a page that is mapped.
const NOWHERE: u64 = 0x1_0000_0000;

/// The register behind RDTSCP's ECX, which can be read and written.
const TSC_AUX: u32 = 0xc000_0103;

/// RFLAGS: no breakpoint before the next instruction.
const RF: u64 = 1 << 16;

/// After `body`, with handlers for `vectors`, a handler has noted its frame, and `resume` says where it returns to.
fn guest(
    vectors: &'static [u8],
    has_error_code: bool,
    body: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        let (mut handler, mut resume) = (a.create_label(), a.create_label());
        a.lea(rax, ptr(handler))?;
        vectors.iter().try_for_each(|&vector| gate_at(a, IDT, vector, INTERRUPT_GATE))?;
        load_idt(a)?;
        a.mov(dword_ptr(X), 1)?;
        body(a)?;
        a.set_label(&mut resume)?;
        a.mov(rbx, qword_ptr(COUNT))?;
        a.hlt()?;
        a.set_label(&mut handler)?;
        if !has_error_code {
            a.push(-1)?;
        }
        for word in 0..6 {
            a.mov(rax, qword_ptr(rsp + 8 * word))?;
            a.mov(qword_ptr(FRAME + 8 * word as u64), rax)?;
        }
        a.mov(rax, cr2)?;
        a.mov(qword_ptr(CR2), rax)?;
        a.inc(qword_ptr(COUNT))?;
        a.add(rsp, 8)?;
        a.lea(rax, ptr(resume))?;
        a.mov(qword_ptr(rsp), rax)?;
        a.and(qword_ptr(rsp + 16), !0x100)?;
        a.iretq()
    }
}

/// Runs `code`, whose `vector` is caused by an instruction that events say is at `pc`; then the core has gone on and halted.
fn taken(model: MemoryModel, code: Code) -> (Testbed, Event) {
    let mut t = Testbed::new(model, &[code]);
    t.run(0);
    t.drain_all(0);
    assert!(t.core(0).is_halted(), "under {model}: {:?}", t.machine.stop());
    assert_eq!(t.memory(COUNT), 1, "handled once, under {model}");
    let mut taken = t.events().into_iter().filter(|event| matches!(event, Event::Interrupted { .. }));
    let event = taken.next().expect("an interruption is an event");
    assert_eq!(taken.next(), None);
    (t, event)
}

/// Whatever the model, `code` interrupts the core with `vector`, and its handler finds the frame that belongs to it.
fn check(vector: u32, source: Source, error_code: Option<u32>, address: u64, length: u64, code: Code) {
    for model in MemoryModel::ALL {
        let (mut t, event) = taken(model, code);
        let Event::Interrupted { core: CoreId(0), pc, vector: v, source: s, error_code: e, address: a, entered } =
            event
        else {
            panic!("{event:?}");
        };
        let expected = (vector, source, error_code.unwrap_or(0), address, vector);
        assert_eq!((v, s, e, a, entered), expected, "under {model}");
        let frame: Vec<u64> = (0..6).map(|word| t.memory(FRAME + 8 * word)).collect();
        let expected = error_code.map_or(u64::MAX, u64::from);
        assert_eq!((frame[0], frame[1], frame[2], frame[5]), (expected, pc + length, 8, 0x10), "under {model}");
        assert_eq!(frame[4] % 16, 8, "the stack pointer as it was");
        if address != 0 {
            assert_eq!(t.memory(CR2), address);
        }
    }
}

#[test]
fn a_division_by_zero_is_a_fault_without_error_code() {
    let code = guest(&[0], false, |a| {
        a.xor(ecx, ecx)?;
        a.div(ecx)
    });
    check(0, Source::Exception, None, 0, 0, &code);
}

#[test]
fn an_invalid_opcode_is_a_fault_without_error_code() {
    check(6, Source::Exception, None, 0, 0, &guest(&[6], false, CodeAssembler::ud2));
}

#[test]
fn avx_is_an_invalid_opcode() {
    check(6, Source::Exception, None, 0, 0, &guest(&[6], false, |a| a.vaddps(xmm0, xmm1, xmm2)));
}

#[test]
fn a_page_fault_has_an_error_code_and_an_address() {
    let code = guest(&[14], true, |a| {
        a.mov(rcx, NOWHERE + 0x123)?;
        a.mov(dword_ptr(rcx), 5)
    });
    check(14, Source::Exception, Some(2), NOWHERE + 0x123, 0, &code);
}

#[test]
fn a_general_protection_fault_has_an_error_code() {
    let code = guest(&[13], true, |a| {
        a.mov(ax, 0x1000)?;
        a.mov(ds, ax)
    });
    check(13, Source::Exception, Some(0x1000), 0, 0, &code);
}

#[test]
fn a_breakpoint_is_a_trap() {
    check(3, Source::Software, None, 0, 1, &guest(&[3], false, CodeAssembler::int3));
}

#[test]
fn int_n_is_a_trap() {
    check(0x80, Source::Software, None, 0, 2, &guest(&[0x80], false, |a| a.int(0x80)));
}

#[test]
fn int_n_past_the_idt_is_a_general_protection_fault() {
    let code = guest(&[13], true, |a| {
        a.mov(word_ptr(IDT_POINTER), 0x7ff)?;
        a.lidt(ptr(IDT_POINTER))?;
        a.int(0x80)
    });
    for model in MemoryModel::ALL {
        let (mut t, event) = taken(model, &code);
        assert_eq!(t.memory(FRAME), 0x80 * 16 + 2, "the error code names the entry of the IDT");
        let Event::Interrupted { pc, .. } = event else { panic!("{event:?}") };
        assert_eq!(t.memory(FRAME + 8), pc, "a fault's frame points to the instruction, so that it can be tried again");
        assert_eq!(t.memory(FRAME + 24) & RF, RF);
    }
}

#[test]
fn single_steps_trap_after_each_instruction() {
    let code = guest(&[1], false, |a| {
        a.pushfq()?;
        a.or(qword_ptr(rsp), 0x100)?;
        a.popfq()?;
        a.nop()
    });
    check(1, Source::Exception, None, 0, 0, &code);
}

#[test]
fn what_was_stored_before_has_drained_and_the_frame_has_not() {
    for model in [TSO, PSO] {
        let mut t = Testbed::new(model, &[&guest(&[6], false, CodeAssembler::ud2)]);
        while t.pending(0).last() != Some(&(X, 4, 1)) {
            t.step(0);
        }
        t.step(0);
        assert_eq!(t.memory(X), 1, "under {model}");
        let pending = t.pending_addresses(0);
        assert_eq!(pending.len(), 5, "SS, RSP, RFLAGS, CS and RIP, under {model}");
        assert!(pending.windows(2).all(|pair| pair[1] == pair[0] - 8), "pushed downwards");
    }
}

#[test]
fn a_fault_and_its_delivery_are_one_step() {
    let mut t = Testbed::new(TSO, &[&guest(&[6], false, CodeAssembler::ud2)]);
    while t.pending(0).last() != Some(&(X, 4, 1)) {
        t.step(0);
    }
    let clock = t.core(0).clock;
    t.step(0);
    assert_eq!(t.core(0).clock, clock + 1);
    assert_eq!(t.events().iter().filter(|event| matches!(event, Event::Interrupted { .. })).count(), 1);
}

#[test]
fn a_fault_on_the_way_to_a_handler_is_a_double_fault() {
    // The page fault's own handler is missing.
    let code = guest(&[8], true, |a| {
        a.mov(rcx, NOWHERE)?;
        a.mov(eax, dword_ptr(rcx))
    });
    for model in MemoryModel::ALL {
        let (mut t, event) = taken(model, &code);
        assert!(matches!(event, Event::Interrupted { vector: 14, entered: 8, .. }), "both are named: {event:?}");
        assert_eq!(t.memory(FRAME), 0, "the error code of a double fault");
    }
}

#[test]
fn without_a_handler_for_the_double_fault_the_run_ends_with_the_first() {
    let code = guest(&[], true, |a| {
        a.mov(rcx, NOWHERE)?;
        a.mov(eax, dword_ptr(rcx))
    });
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    let (_, fault) = t.fault();
    assert_eq!(fault, fencepost::trace::Fault::Exception { vector: 14, error_code: 0, address: NOWHERE });
    assert_eq!(t.core(0).cpu.cr2, NOWHERE);
}

#[test]
fn a_trap_after_an_instruction_that_the_machine_executes_itself_is_taken_once() {
    // Its handler is not traced. Each finds registers that it can use.
    let instructions: [Code; 15] = [
        &|a| a.cpuid(),
        &|a| a.in_(al, 0x80),
        &|a| a.out(0x80, al),
        &|a| a.rdtsc(),
        &|a| a.rdtscp(),
        &|a| a.rdrand(rcx),
        &|a| a.rdseed(rcx),
        &|a| a.smsw(ecx),
        &|a| a.rdmsr(),
        &|a| a.wrmsr(),
        &|a| a.mov(cr0, rsi),
        &|a| a.mov(cr2, rax),
        &|a| a.mov(cr8, rdx),
        &|a| a.mov(rcx, cr8),
        &|a| a.hlt(),
    ];
    for instruction in instructions {
        let code = guest(&[1], false, |a| {
            a.mov(rsi, cr0)?;
            a.mov(ecx, TSC_AUX)?;
            a.xor(eax, eax)?;
            a.xor(edx, edx)?;
            a.pushfq()?;
            a.or(qword_ptr(rsp), 0x100)?;
            a.popfq()?;
            instruction(a)?;
            // The trap comes before this.
            a.mov(dword_ptr(Y), 1)
        });
        check(1, Source::Exception, None, 0, 0, &code);
        let (mut t, _) = taken(TSO, &code);
        assert_eq!(t.memory(Y), 0);
    }
}

#[test]
fn a_single_step_trap_after_mov_ss_waits_for_one_instruction_more() {
    let nexts: [Code; 3] = [&|a| a.inc(ebp), &|a| a.cpuid(), &|a| a.rdtsc()];
    for next in nexts {
        let code = guest(&[1], false, |a| {
            a.mov(ecx, ss)?;
            a.pushfq()?;
            a.or(qword_ptr(rsp), 0x100)?;
            a.popfq()?;
            a.mov(ss, ecx)?;
            next(a)?;
            a.mov(dword_ptr(Y), 1)
        });
        check(1, Source::Exception, None, 0, 0, &code);
        let (mut t, event) = taken(TSO, &code);
        assert_eq!(t.memory(Y), 0, "it is one instruction, and no more");
        let Event::Interrupted { pc, .. } = event else { panic!("{event:?}") };
        let at = t.machine.instruction_at(CoreId(0), pc).expect("there is an instruction");
        assert_eq!(at.mnemonic(), iced_x86::Mnemonic::Mov, "the next but one is what the frame points to");
        assert_eq!(at.memory_displacement64(), Y);
    }
}
