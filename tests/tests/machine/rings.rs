//! Users at privilege level 3: how they get there, what they may not do, and how they come back (SDM 3A 5, 6.12.1, 7.7).

use super::page_tables::{MISSING, paged};
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::cpu_state::SegmentName;
use fencepost::core::interruption::Source;
use fencepost::machine::{Machine, Stop};
use fencepost::memory_model::MemoryModel;
use fencepost::trace::{Event, Fault};
use fencepost_tests::guest::{INTERRUPT_GATE, assembled, gate_at, handler, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const GDT: u64 = 0x18_2000;
const IDT: u64 = 0x18_3000;
const TSS: u64 = 0x18_4000;
const POINTER: u64 = 0x18_5000;
/// Where the handler leaves the frame: error code or the vector's mark, RIP, CS, RFLAGS, RSP, SS.
const FRAME: u64 = 0x18_5100;
/// The stacks of level 0 and of the first entry of the interrupt stack table.
const KERNEL_STACK: u64 = 0x18_7000;
const OTHER_STACK: u64 = 0x18_8000;
const USER_STACK: u64 = 0x18_6ff0;

const USER_DATA: u64 = 0x20 | 3;
const USER_CODE: u64 = 0x28 | 3;
const TASK: u64 = 0x30;

/// Bits of RFLAGS: always set, IF, I/O privilege level 3.
const FLAGS: u64 = 0x202;
/// RF, which the frame of a fault has set.
const RESUME: u64 = 1 << 16;
const IOPL_3: u64 = 0x3000;

/// How an interruption is handled.
#[derive(Clone, Copy)]
struct Gate {
    vector: u64,
    has_error_code: bool,
    /// The least privileged level that may call it.
    level: u64,
    /// Entry of the interrupt stack table, or 0.
    stack: u64,
}

const fn gate(vector: u64, has_error_code: bool) -> Gate {
    Gate { vector, has_error_code, level: 0, stack: 0 }
}

fn put(a: &mut CodeAssembler, address: u64, value: u64) -> Result<(), IcedError> {
    a.mov(rax, value)?;
    a.mov(qword_ptr(address), rax)
}

fn load_table(a: &mut CodeAssembler, base: u64, limit: u64) -> Result<(), IcedError> {
    a.mov(word_ptr(POINTER), limit as i32)?;
    put(a, POINTER + 2, base)
}

/// Loads the GDT of [`user`].
fn user_table(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for (index, descriptor) in [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        // A 64-bit TSS of 0x67 + 1 bytes, and a permission map of 16 ports and its end.
        0x0000_8900_0000_006a | (TSS & 0xff_ffff) << 16 | (TSS >> 24 & 0xff) << 56,
        TSS >> 32,
    ]
    .into_iter()
    .enumerate()
    {
        put(a, GDT + 8 * index as u64, descriptor)?;
    }
    load_table(a, GDT, 8 * 8 - 1)?;
    a.lgdt(ptr(POINTER))
}

/// Goes to level 3 with `flags`, where `body` is executed; a handler at `gate` notes its frame and halts.
fn user(gate: Gate, flags: u64, body: Code) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        let (mut handler, mut start) = (a.create_label(), a.create_label());
        user_table(a)?;
        put(a, TSS + 4, KERNEL_STACK)?;
        put(a, TSS + 0x24, OTHER_STACK)?;
        // Ports 0 to 7 are allowed, 8 to 15 are not.
        a.mov(word_ptr(TSS + 0x66), 0x68)?;
        a.mov(dword_ptr(TSS + 0x68), 0xff_ff00)?;
        a.mov(ax, TASK as i32)?;
        a.ltr(ax)?;
        a.lea(rax, ptr(handler))?;
        gate_at(a, IDT, gate.vector as u8, INTERRUPT_GATE | (gate.level << 13 | gate.stack) as u16)?;
        load_table(a, IDT, 0xfff)?;
        a.lidt(ptr(POINTER))?;
        for word in [USER_DATA, USER_STACK, flags, USER_CODE] {
            a.push(word as i32)?;
        }
        a.lea(rax, ptr(start))?;
        a.push(rax)?;
        a.iretq()?;
        a.set_label(&mut start)?;
        a.mov(dword_ptr(X), 1)?;
        body(a)?;
        // Going on is an exception of its own: not to be mistaken for one that `body` causes.
        a.ud2()?;
        a.set_label(&mut handler)?;
        if !gate.has_error_code {
            a.push(-1)?;
        }
        for word in 0..6 {
            a.mov(rax, qword_ptr(rsp + 8 * word))?;
            a.mov(qword_ptr(FRAME + 8 * word as u64), rax)?;
        }
        a.hlt()
    }
}

/// Runs `body` at level 3 until the handler has halted; then the frame and where the stack was.
fn handled(model: MemoryModel, gate: Gate, flags: u64, body: Code) -> ([u64; 6], u64) {
    let mut t = paged(model, &[&user(gate, flags, body)]);
    t.run(0);
    t.drain_all(0);
    assert!(t.core(0).is_halted(), "under {model}: {:?}", t.machine.stop());
    let stack = t.gpr(0, 4);
    assert_eq!(t.core(0).cpu.segment(SegmentName::Ss).flags >> 13 & 3, 0, "the handler is at level 0");
    (std::array::from_fn(|word| t.memory(FRAME + 8 * word as u64)), stack)
}

/// `body` at level 3 is a general protection fault with error code 0.
fn is_forbidden(flags: u64, body: Code) {
    let (frame, _) = handled(TSO, gate(13, true), flags, body);
    assert_eq!(frame[0], 0);
    assert_eq!([frame[2], frame[3] & 0x3202, frame[4], frame[5]], [USER_CODE, flags, USER_STACK, USER_DATA]);
}

/// `body` at level 3 executes: what comes after it is an invalid opcode.
fn is_allowed(flags: u64, body: Code) {
    handled(TSO, gate(6, false), flags, body);
}

#[test]
fn an_exception_of_a_user_is_handled_on_the_stack_of_the_task_state_segment() {
    for model in MemoryModel::ALL {
        let (frame, stack) = handled(model, gate(6, false), FLAGS, &|a| a.ud2());
        assert_eq!(
            [frame[2], frame[3], frame[4], frame[5]],
            [USER_CODE, FLAGS | RESUME, USER_STACK, USER_DATA],
            "under {model}"
        );
        assert_eq!(stack, KERNEL_STACK - 6 * 8);
    }
}

#[test]
fn a_gate_may_ask_for_a_stack_of_the_interrupt_stack_table() {
    let (frame, stack) = handled(TSO, Gate { stack: 1, ..gate(6, false) }, FLAGS, &|a| a.ud2());
    assert_eq!((frame[4], stack), (USER_STACK, OTHER_STACK - 6 * 8));
}

#[test]
fn users_may_call_only_gates_of_their_level() {
    let call = |a: &mut CodeAssembler| a.int(0x80);
    let (frame, _) = handled(TSO, Gate { level: 3, ..gate(0x80, false) }, FLAGS, &call);
    assert_eq!(frame[2], USER_CODE);
    // The gate of vector 13 is there, and 0x80 is not: the error code names the entry of the IDT.
    let (frame, _) = handled(TSO, gate(13, true), FLAGS, &call);
    assert_eq!(frame[0], 0x80 * 16 + 2);
}

#[test]
fn users_may_not_halt_or_change_control_registers() {
    is_forbidden(FLAGS, &|a| a.hlt());
    is_forbidden(FLAGS, &|a| a.mov(cr3, rax));
    is_forbidden(FLAGS, &|a| a.wrmsr());
    is_forbidden(FLAGS, &|a| a.lidt(ptr(POINTER)));
}

#[test]
fn users_may_use_ports_when_their_level_or_the_permission_map_says_so() {
    is_forbidden(FLAGS, &|a| a.in_(al, 0x80));
    is_forbidden(FLAGS, &|a| a.out(0x80, al));
    is_forbidden(FLAGS, &|a| a.in_(al, 8));
    is_forbidden(FLAGS, &|a| a.in_(ax, 7));
    is_allowed(FLAGS, &|a| a.in_(al, 7));
    is_allowed(FLAGS, &|a| a.in_(ax, 6));
    is_allowed(FLAGS | IOPL_3, &|a| a.in_(al, 0x80));
    is_allowed(FLAGS | IOPL_3, &|a| a.out(0x80, eax));
    is_forbidden(FLAGS, &|a| a.sti());
    is_allowed(FLAGS | IOPL_3, &|a| a.sti());
}

#[test]
fn a_fault_of_a_user_says_so_in_its_error_code() {
    let (frame, _) = handled(TSO, gate(14, true), FLAGS, &|a| {
        a.mov(rcx, super::page_tables::MISSING)?;
        a.mov(dword_ptr(rcx), 1)
    });
    assert_eq!(frame[0], 1 << 2 | 1 << 1, "user, write, not present");
}

#[test]
fn an_interruption_of_a_user_is_one_event() {
    let mut t = paged(TSO, &[&user(gate(6, false), FLAGS, &|a| a.ud2())]);
    t.run(0);
    let sources: Vec<Source> = t
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Interrupted { source, .. } => Some(source),
            _ => None,
        })
        .collect();
    assert_eq!(sources, [Source::Exception]);
}

#[test]
fn a_user_of_32_bits_whose_kernel_has_no_task_state_segment_ends_the_run() {
    let image = assembled(32, |a| {
        handler(a, &[6, 8, 10, 13], |a| a.hlt())?;
        load_idt(a)?;
        for (index, descriptor) in [0, 0, 0x00cf_9300_0000_ffff, 0x00cf_9b00_0000_ffff, 0x00cf_fb00_0000_ffff]
            .into_iter()
            .chain([0x00cf_f300_0000_ffff_u64])
            .enumerate()
        {
            let at = GDT + 8 * index as u64;
            a.mov(dword_ptr(at), descriptor as i32)?;
            a.mov(dword_ptr(at + 4), (descriptor >> 32) as i32)?;
        }
        a.mov(word_ptr(POINTER), 6 * 8 - 1)?;
        a.mov(dword_ptr(POINTER + 2), GDT as i32)?;
        a.lgdt(ptr(POINTER))?;
        let (mut past, mut user) = (a.create_label(), a.create_label());
        for word in [0x28 | 3, USER_STACK as i32, 2, 0x20 | 3] {
            a.push(word)?;
        }
        a.jmp(past)?;
        a.set_label(&mut user)?;
        a.iretd()?;
        a.set_label(&mut past)?;
        a.call(user)?;
        a.ud2()
    });
    let image = image.expect("the guest assembles");
    let mut machine = Machine::new(&image, settings(TSO, 1)).expect("it fits");
    for _ in 0..100 {
        let step = fencepost::choice::Choice::Run { core: CoreId(0), steps: 1, drained: false };
        if machine.apply(step).is_err() {
            break;
        }
    }
    assert!(matches!(machine.stop(), Some(Stop::Faulted { .. })), "{:?}", machine.stop());
}

/// A page fault at level 3, for which there is no handler.
fn read_missing(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rcx, super::page_tables::MISSING)?;
    a.mov(eax, dword_ptr(rcx))
}

#[test]
fn a_double_fault_is_handled_on_the_stack_that_its_gate_asks_for() {
    for model in MemoryModel::ALL {
        let (frame, stack) = handled(model, Gate { stack: 1, ..gate(8, true) }, FLAGS, &read_missing);
        assert_eq!([frame[0], frame[2], frame[4], frame[5]], [0, USER_CODE, USER_STACK, USER_DATA], "under {model}");
        assert_eq!(stack, OTHER_STACK - 6 * 8, "under {model}");
    }
}

#[test]
fn a_kernel_stack_that_is_missing_is_a_double_fault_on_a_stack_of_its_own() {
    // The invalid opcode's gate leads to the stack of level 0, and so does that of the page fault on the way.
    let missing = super::page_tables::MISSING + 0x800;
    let body = |a: &mut CodeAssembler| {
        put(a, TSS + 4, missing)?;
        a.ud2()
    };
    let (frame, stack) = handled(TSO, Gate { stack: 1, ..gate(8, true) }, FLAGS, &body);
    assert_eq!((frame[2], stack), (USER_CODE, OTHER_STACK - 6 * 8));
}

#[test]
fn a_double_fault_whose_stack_is_missing_too_ends_the_run_with_the_first_exception() {
    for model in MemoryModel::ALL {
        let body = |a: &mut CodeAssembler| {
            put(a, TSS + 0x24, super::page_tables::MISSING + 0x800)?;
            a.mov(dword_ptr(X), 2)?;
            read_missing(a)
        };
        let mut t = paged(model, &[&user(Gate { stack: 1, ..gate(8, true) }, FLAGS, &body)]);
        t.run(0);
        let (pc, fault) = t.fault();
        let address = super::page_tables::MISSING;
        assert_eq!(fault, Fault::Exception { vector: 14, error_code: 4, address }, "under {model}");
        assert_eq!((t.pc(0), t.core(0).cpu.cr2), (pc, address), "as it was at that exception, under {model}");
        assert_eq!((t.gpr(0, 4), t.memory(X)), (USER_STACK, 2), "under {model}");
        assert!(t.machine.choices().is_empty());
    }
}

/// Base and selector of GS at level 3, after `setup` at level 0.
fn gs_of_user(setup: Code) -> (u64, u32) {
    let code = |a: &mut CodeAssembler| {
        setup(a)?;
        user(gate(6, false), FLAGS, &|a| a.ud2())(a)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    let segment = t.core(0).cpu.segment(SegmentName::Gs);
    (segment.base, segment.selector)
}

#[test]
fn a_null_selector_keeps_its_base_on_the_way_to_users() {
    // IRET makes null what users may not use, and leaves alone what is null (SDM 2A, IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL):
    // kernels give users a base behind a null selector, by IA32_GS_BASE.
    let base = 0x1234_5678_9abc;
    let write_base = |a: &mut CodeAssembler| {
        a.mov(ecx, 0xc000_0101u32)?;
        a.mov(eax, base as u32)?;
        a.mov(edx, (base >> 32) as u32)?;
        a.wrmsr()
    };
    let null = |a: &mut CodeAssembler| {
        a.xor(eax, eax)?;
        a.mov(gs, eax)?;
        write_base(a)
    };
    assert_eq!(gs_of_user(&null), (base, 0));
    let of_kernels = |a: &mut CodeAssembler| {
        a.mov(eax, 0x10)?;
        a.mov(gs, eax)
    };
    assert_eq!(gs_of_user(&of_kernels).1, 0, "data of level 0 is nothing for users");
    let of_users = |a: &mut CodeAssembler| {
        // The machine's own table has none, so this one is loaded first.
        user_table(a)?;
        a.mov(eax, USER_DATA as u32)?;
        a.mov(gs, eax)
    };
    assert_eq!(gs_of_user(&of_users), (0, USER_DATA as u32));
}

#[test]
fn a_return_to_an_outer_level_makes_the_selectors_of_inner_data_null_and_leaves_the_bases() {
    const IA32_GS_BASE: u32 = 0xc000_0101;
    const BASE_OF_GS: u64 = X - 0x100;
    // ud2 after the body ends the run.
    let body = |a: &mut CodeAssembler| {
        a.mov(rbx, qword_ptr(0x100u64).gs())?;
        a.mov(esi, gs)
    };
    let code = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(X), 7)?;
        a.mov(eax, 0x10)?;
        a.mov(gs, eax)?;
        a.mov(ecx, IA32_GS_BASE)?;
        a.mov(eax, BASE_OF_GS as u32)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        user(gate(6, false), FLAGS, &body)(a)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert!(t.core(0).is_halted(), "{:?}", t.machine.stop());
    // `user` has made X 1 meanwhile.
    assert_eq!([t.gpr(0, 3), t.gpr(0, 6)], [1, 0]);
}

#[test]
fn a_return_to_a_page_that_is_missing_leaves_the_bases_too() {
    const BASE_OF_GS: u64 = 0x12_3000;
    let code = |a: &mut CodeAssembler| {
        let mut handler = a.create_label();
        user_table(a)?;
        put(a, TSS + 4, KERNEL_STACK)?;
        a.mov(ax, TASK as i32)?;
        a.ltr(ax)?;
        a.lea(rax, ptr(handler))?;
        gate_at(a, IDT, 14, INTERRUPT_GATE)?;
        load_table(a, IDT, 0xfff)?;
        a.lidt(ptr(POINTER))?;
        a.mov(eax, 0x10)?;
        a.mov(gs, eax)?;
        a.mov(ecx, 0xc000_0101u32)?;
        a.mov(eax, BASE_OF_GS as u32)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        for word in [USER_DATA, USER_STACK, FLAGS, USER_CODE, MISSING] {
            a.push(word as i32)?;
        }
        a.iretq()?;
        a.set_label(&mut handler)?;
        a.hlt()
    };
    for steps in [1, 1000] {
        let mut t = paged(TSO, &[&code]);
        while !t.core(0).is_halted() {
            t.steps(0, steps);
        }
        let segment = t.core(0).cpu.segment(SegmentName::Gs);
        assert_eq!((segment.selector, segment.base), (0, BASE_OF_GS), "in slices of {steps}");
    }
}

#[test]
fn alignment_is_checked_of_users_who_ask_for_it() {
    const ALIGNMENT_CHECK: u64 = 1 << 18;
    const CR0_AM: i32 = 1 << 18;
    let with_mask = |gate: Gate, flags: u64, body: Code| {
        let code = |a: &mut CodeAssembler| {
            a.mov(rax, cr0)?;
            a.or(eax, CR0_AM)?;
            a.mov(cr0, rax)?;
            user(gate, flags, body)(a)
        };
        for (steps, drained) in [(1, false), (1000, false), (1000, true)] {
            let mut t = paged(TSO, &[&code]);
            while !t.core(0).is_halted() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
            t.drain_all(0);
            assert_eq!(t.memory(X), 1, "nothing of what is refused is stored");
        }
    };
    let refused: [Code; 4] =
        [&|a| a.mov(eax, dword_ptr(X + 1)), &|a| a.mov(dword_ptr(X + 6), 7), &|a| a.inc(word_ptr(X + 1)), &|a| {
            a.push(qword_ptr(X + 4))
        }];
    for body in refused {
        with_mask(gate(17, true), FLAGS | ALIGNMENT_CHECK, body);
        // Without the flag it goes on, to an invalid opcode.
        with_mask(gate(6, false), FLAGS, &|a| a.mov(eax, dword_ptr(X + 1)));
    }
    with_mask(gate(6, false), FLAGS | ALIGNMENT_CHECK, &|a| a.mov(eax, dword_ptr(X + 4)));
}
