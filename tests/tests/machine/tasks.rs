//! Interrupts through task gates in 32-bit protected mode, and back by IRET (SDM 3A 8.3, 8.4; 6.12.2).

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::devices::PhysAddr;
use fencepost::machine::Machine;
use fencepost_tests::guest::{IDT, assembled, handler, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const GDT: u64 = 0x18_4000;
const POINTER: u64 = 0x18_5000;
/// The tasks of the program and of the handler, and their selectors.
const TASKS: [u64; 2] = [0x18_6000, 0x18_6100];
const SELECTORS: [i32; 2] = [0x20, 0x28];
const STACK: u64 = 0x18_8000;
/// Where the flags of the handler, and those of the program before and after, are left.
const FLAGS: u64 = 0x18_9000;

const CODE: u64 = 0x18;
const DATA_SELECTOR: i32 = 0x10;
const VECTOR: u64 = 0x40;
/// A task gate for level 0.
const TASK_GATE: i32 = 0x8500;

/// Offsets in a task state segment.
const EIP: u64 = 0x20;
const EFLAGS: u64 = 0x24;
const ESP: u64 = 0x38;
const SEGMENTS: u64 = 0x48;

const CARRY: i32 = 1;
const SIGN: i32 = 1 << 7;
const DIRECTION: i32 = 1 << 10;
const NESTED: i32 = 1 << 14;
/// CF, PF, AF, ZF, SF, DF, OF, NT.
const WATCHED: u64 = 0x4cd5;

fn load_gdt(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let of_task = |base: u64| 0x0000_8900_0000_0067 | base << 16;
    let flat = [0, 0, 0x00cf_9300_0000_ffff, 0x00cf_9b00_0000_ffff];
    for (index, descriptor) in flat.into_iter().chain(TASKS.map(of_task)).enumerate() {
        let at = GDT + 8 * index as u64;
        a.mov(dword_ptr(at), descriptor as u32 as i32)?;
        a.mov(dword_ptr(at + 4), (descriptor >> 32) as i32)?;
    }
    a.mov(word_ptr(POINTER), 6 * 8 - 1)?;
    a.mov(dword_ptr(POINTER + 2), GDT as i32)?;
    a.lgdt(ptr(POINTER))
}

fn note_flags(a: &mut CodeAssembler, place: u64) -> Result<(), IcedError> {
    a.pushfd()?;
    a.pop(edx)?;
    a.mov(dword_ptr(FLAGS + 4 * place), edx)
}

/// The handler is a task that begins with `flags`; `interrupt` comes when ZF and PF are set.
fn program(a: &mut CodeAssembler, flags: i32, interrupt: Code) -> Result<(), IcedError> {
    let mut past = a.create_label();
    load_gdt(a)?;
    a.call(past)?;
    note_flags(a, 0)?;
    a.iretd()?;
    a.set_label(&mut past)?;
    a.pop(eax)?;
    let task = TASKS[1];
    a.mov(dword_ptr(task + EIP), eax)?;
    a.mov(dword_ptr(task + EFLAGS), flags)?;
    a.mov(dword_ptr(task + ESP), STACK as i32)?;
    for (index, selector) in [DATA_SELECTOR, CODE as i32, DATA_SELECTOR, DATA_SELECTOR].into_iter().enumerate() {
        a.mov(dword_ptr(task + SEGMENTS + 4 * index as u64), selector)?;
    }
    for vector in [VECTOR, 0] {
        a.mov(dword_ptr(IDT + 8 * vector), SELECTORS[1] << 16)?;
        a.mov(dword_ptr(IDT + 8 * vector + 4), TASK_GATE)?;
    }
    load_idt(a)?;
    a.mov(ax, SELECTORS[0])?;
    a.ltr(ax)?;
    a.xor(ecx, ecx)?;
    interrupt(a)?;
    note_flags(a, 1)?;
    a.hlt()
}

/// The flags of the handler and of the program when it goes on, in slices of `steps`.
fn flags_of(flags: i32, interrupt: Code, steps: u64) -> [u64; 2] {
    let image = assembled(32, |a| program(a, flags, interrupt)).expect("the guest assembles");
    let mut machine = Machine::new(&image, settings(TSO, 1)).expect("it fits");
    while !machine.state().cores[0].is_halted() {
        assert_eq!(machine.stop(), None);
        machine.apply(Choice::Run { core: CoreId(0), steps, drained: true }).expect("the guest halts");
    }
    let both = machine.state().memory.read_u64(PhysAddr(FLAGS)).expect("it is memory");
    [both & WATCHED, both >> 32 & WATCHED]
}

#[test]
fn a_task_that_handles_an_interrupt_begins_with_its_own_flags_and_gives_the_others_back() {
    const ZERO_PARITY: u64 = 0x44;
    for flags in [2, 2 | CARRY, 2 | SIGN | DIRECTION] {
        for steps in [1, 3, 1000] {
            let seen = flags_of(flags, &|a| a.int(VECTOR as i32), steps);
            let of_handler = (flags | NESTED) as u64 & WATCHED;
            assert_eq!(seen, [of_handler, ZERO_PARITY], "{flags:#x}, in slices of {steps}");
        }
    }
}

#[test]
fn flags_that_are_computed_last_before_a_task_switch_are_those_of_the_task_that_is_left() {
    const ZERO_PARITY: u64 = 0x44;
    // In the same block as what sets flags.
    let call = |a: &mut CodeAssembler| {
        a.xor(ecx, ecx)?;
        call_task(a)
    };
    for flags in [2, 2 | CARRY, 2 | SIGN | DIRECTION] {
        for steps in [1, 3, 1000] {
            let of_handler = (flags | NESTED) as u64 & WATCHED;
            assert_eq!(flags_of(flags, &call, steps), [of_handler, ZERO_PARITY], "{flags:#x}, in slices of {steps}");
        }
    }
}

/// Calls the second task through its selector.
fn call_task(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(dword_ptr(POINTER), 0)?;
    a.mov(word_ptr(POINTER + 4), SELECTORS[1])?;
    // CALL FAR [POINTER].
    a.db(&[0xff, 0x1d])?;
    a.dd(&[POINTER as u32])
}

/// Runs a guest that comes to the second task by `interrupt`, which `change` has changed; the handler of `vector` leaves EIP and
/// DR6 at FLAGS + 8, and halts.
fn stopped(vector: u8, change: Code, interrupt: Code, steps: u64) -> [u64; 3] {
    let body = |a: &mut CodeAssembler| {
        handler(a, &[vector], |a| {
            if vector != 1 {
                a.pop(eax)?;
                a.mov(dword_ptr(FLAGS + 16), eax)?;
            }
            a.pop(eax)?;
            a.mov(dword_ptr(FLAGS + 8), eax)?;
            a.mov(eax, dr6)?;
            a.mov(dword_ptr(FLAGS + 12), eax)?;
            a.hlt()
        })?;
        change(a)?;
        interrupt(a)
    };
    let image = assembled(32, |a| program(a, 2, &body)).expect("the guest assembles");
    let mut machine = Machine::new(&image, settings(TSO, 1)).expect("it fits");
    while !machine.state().cores[0].is_halted() {
        assert_eq!(machine.stop(), None);
        machine.apply(Choice::Run { core: CoreId(0), steps, drained: true }).expect("the guest halts");
    }
    let mut word = |at: u64| machine.state().memory.read_u64(PhysAddr(at)).expect("it is memory");
    let task = word(TASKS[1] + EIP) & 0xffff_ffff;
    let (saved, error) = (word(FLAGS + 8), word(FLAGS + 16) & 0xffff_ffff);
    assert_eq!(saved & 0xffff_ffff, task, "the handler returns to where the task begins");
    [saved >> 32, error, machine.state().cores[0].cpu.tr.selector.into()]
}

/// Both ways to a task.
const WAYS: [Code; 2] = [&call_task, &|a| a.int(VECTOR as i32)];

#[test]
fn a_task_with_the_debug_trap_flag_begins_with_a_debug_exception() {
    const TRAPPED: u64 = 1 << 15;
    let change: Code = &|a| a.mov(dword_ptr(TASKS[1] + 0x64), 1);
    for way in WAYS {
        for steps in [1, 3, 1000] {
            let [causes, _, task] = stopped(1, change, way, steps);
            assert_eq!((causes & TRAPPED, task), (TRAPPED, SELECTORS[1] as u64), "in slices of {steps}");
        }
    }
}

#[test]
fn a_fault_of_what_a_task_begins_with_is_its_own() {
    const MISSING: i32 = 0x40;
    const INVALID_TSS: u8 = 10;
    // DS, the fourth.
    let change: Code = &|a| a.mov(dword_ptr(TASKS[1] + SEGMENTS + 12), MISSING);
    for way in WAYS {
        for steps in [1, 3, 1000] {
            let [_, error, task] = stopped(INVALID_TSS, change, way, steps);
            assert_eq!((error, task), (MISSING as u64, SELECTORS[1] as u64), "in slices of {steps}");
        }
    }
}
