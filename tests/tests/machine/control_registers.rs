//! Control registers: what a processor refuses to write into them, and the machine status word (SDM 2A, LMSW; SDM 2B, "MOV -
//! Move to/from Control Registers", "MOV - Move to/from Debug Registers", SMSW; SDM 3A 2.5).

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::cpu_state::{CpuState, gpr};
use fencepost::machine::Machine;
use fencepost::trace::Event;
use fencepost_tests::guest::{assembled, handler, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// The error code that the handler was given.
const ERROR: u64 = 0x18_4000;
const EFER: u32 = 0xc000_0080;

const CR0_PE: u64 = 1;
const CR0_NW: u64 = 1 << 29;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;

/// What [`refused`] leaves alone: everything but where the core is.
fn lasting(cpu: &CpuState) -> CpuState {
    let mut cpu = cpu.clone();
    cpu.rip = 0;
    cpu.rflags = 0;
    cpu.gpr[gpr::RSP] = 0;
    cpu
}

/// After `setup`, `instruction` is a general protection fault with `error_code` and changes nothing; the handler has the core go
/// on after it, and it does.
pub(crate) fn refused(name: &str, error_code: u64, setup: Code, instruction: Code) {
    let code = |a: &mut CodeAssembler| {
        let mut after = a.create_label();
        handler(a, &[13], |a| {
            a.pop(qword_ptr(ERROR))?;
            a.inc(qword_ptr(ERROR + 8))?;
            a.mov(qword_ptr(rsp), r15)?;
            a.iretq()
        })?;
        load_idt(a)?;
        a.lea(r15, ptr(after))?;
        setup(a)?;
        a.mov(dword_ptr(X), 1)?;
        instruction(a)?;
        a.set_label(&mut after)?;
        a.mov(dword_ptr(Y), 1)
    };
    let mut t = Testbed::new(SC, &[&code]);
    while t.byte(X) == 0 {
        t.step(0);
        assert!(t.machine.stop().is_none() && !t.core(0).is_halted(), "{name} is reached");
    }
    let before = t.core(0).cpu.clone();
    t.events();
    t.step(0);
    assert_eq!(t.machine.stop(), None, "{name}");
    assert_eq!(lasting(&t.core(0).cpu), lasting(&before), "{name} changes nothing");
    let is_refusal = |event: &Event| matches!(event, Event::Interrupted { pc, vector: 13, entered: 13, .. } if *pc == before.linear_pc());
    assert!(t.events().iter().any(is_refusal), "{name} is refused");
    t.run(0);
    assert_eq!((t.memory(ERROR), t.memory(ERROR + 8)), (error_code, 1), "{name}");
    assert_eq!(t.byte(Y), 1, "the core goes on after {name}");
}

/// Sets RAX to control register `number` with `set` set and `cleared` cleared.
fn altered(a: &mut CodeAssembler, number: u32, set: u64, cleared: u64) -> Result<(), IcedError> {
    match number {
        0 => a.mov(rax, cr0)?,
        3 => a.mov(rax, cr3)?,
        _ => a.mov(rax, cr4)?,
    }
    a.mov(rbx, set)?;
    a.or(rax, rbx)?;
    a.mov(rbx, !cleared)?;
    a.and(rax, rbx)
}

#[test]
fn what_a_control_register_cannot_hold_is_refused() {
    let cases: [(&str, u32, u64, u64); 13] = [
        ("a reserved bit of CR0", 0, 1 << 32, 0),
        ("the last bit of CR0", 0, 1 << 63, 0),
        ("PG without PE", 0, 0, CR0_PE),
        ("NW without CD", 0, CR0_NW, 0),
        ("paging off in 64-bit mode", 0, 0, CR0_PG),
        ("real mode from 64-bit mode", 0, 0, CR0_PG | CR0_PE),
        ("the first address bit of CR3 that there is not", 3, 1 << 40, 0),
        ("a reserved bit of CR3", 3, 1 << 52, 0),
        ("PAE off in long mode", 4, 0, CR4_PAE),
        ("VMXE", 4, 1 << 13, 0),
        ("PCIDE", 4, 1 << 17, 0),
        ("a reserved bit of CR4", 4, 1 << 31, 0),
        ("the last bit of CR4", 4, 1 << 63, 0),
    ];
    for (name, number, set, cleared) in cases {
        refused(name, 0, &|a| altered(a, number, set, cleared), &|a| match number {
            0 => a.mov(cr0, rax),
            3 => a.mov(cr3, rax),
            _ => a.mov(cr4, rax),
        });
    }
}

#[test]
fn what_the_task_priority_the_debug_registers_and_efer_cannot_hold_is_refused() {
    refused("class 16", 0, &|a| a.mov(eax, 16), &|a| a.mov(cr8, rax));
    refused("the upper half of DR7", 0, &|a| a.mov(rax, 1u64 << 32), &|a| a.mov(dr7, rax));
    refused("the upper half of DR6", 0, &|a| a.mov(rax, 1u64 << 32), &|a| a.mov(dr6, rax));
    let efer = |set: u32, cleared: u32| {
        move |a: &mut CodeAssembler| {
            a.mov(ecx, EFER)?;
            a.rdmsr()?;
            a.or(eax, set as i32)?;
            a.and(eax, !cleared as i32)
        }
    };
    refused("a reserved bit of EFER", 0, &efer(1 << 4, 0), &|a| a.wrmsr());
    refused("LME off while paging is on", 0, &efer(0, EFER_LME as u32), &|a| a.wrmsr());
}

/// A machine after 32-bit code without paging, the last instruction of whose `body` was refused, and which has gone on.
fn refused_in_32_bits(body: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>) -> Machine {
    let image = assembled(32, |a| {
        let mut start = a.create_label();
        handler(a, &[13], |a| {
            a.pop(dword_ptr(ERROR))?;
            a.inc(dword_ptr(ERROR + 8))?;
            a.mov(dword_ptr(esp), ebp)?;
            a.iretd()
        })?;
        load_idt(a)?;
        // The return address is where the core goes on.
        a.call(start)?;
        a.mov(dword_ptr(Y), 1)?;
        a.hlt()?;
        a.set_label(&mut start)?;
        a.pop(ebp)?;
        body(a)?;
        a.ud2()
    });
    let mut machine = Machine::new(&image.expect("the guest assembles"), settings(SC, 1)).expect("it fits");
    machine.apply(Choice::Run { core: CoreId(0), steps: 1000, drained: true }).expect("it runs");
    let read = |machine: &mut Machine, at| machine.state().memory.read_u64(fencepost::devices::PhysAddr(at));
    assert_eq!(read(&mut machine, ERROR), Some(0), "{:?}", machine.stop());
    assert_eq!(read(&mut machine, ERROR + 8), Some(1), "{:?}", machine.stop());
    assert_eq!(read(&mut machine, Y), Some(1), "the core goes on");
    machine
}

#[test]
fn paging_is_not_turned_on_for_long_mode_without_pae_nor_without_protection() {
    let mut machine = refused_in_32_bits(|a| {
        a.mov(ecx, EFER)?;
        a.mov(eax, EFER_LME as u32)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.mov(eax, cr0)?;
        a.or(eax, CR0_PG as i32)?;
        a.mov(cr0, eax)
    });
    let cpu = &machine.state().cores[0].cpu;
    assert_eq!((cpu.cr0 & CR0_PG, cpu.cr4 & CR4_PAE, cpu.efer), (0, 0, EFER_LME), "neither paging nor long mode");
    let mut machine = refused_in_32_bits(|a| {
        a.mov(eax, cr0)?;
        a.or(eax, CR0_PG as i32)?;
        a.and(eax, !CR0_PE as i32)?;
        a.mov(cr0, eax)
    });
    assert_eq!(machine.state().cores[0].cpu.cr0 & (CR0_PG | CR0_PE), CR0_PE);
}

/// The state after `body` and the HLT behind it.
fn after(body: Code) -> Testbed {
    let mut t = Testbed::new(SC, &[body]);
    t.run(0);
    assert!(t.core(0).is_halted(), "{:?}", t.machine.stop());
    t
}

#[test]
fn smsw_stores_as_much_of_cr0_as_there_is_room_for() {
    const BEFORE: u64 = 0x1122_3344_5566_7788;
    let read: [(Code, u64, u64); 3] =
        [(&|a| a.smsw(ax), !0xffff, 0xffff), (&|a| a.smsw(eax), 0, 0xffff_ffff), (&|a| a.smsw(rax), 0, u64::MAX)];
    for (instruction, kept, taken) in read {
        let mut t = after(&|a| {
            a.mov(rax, BEFORE)?;
            instruction(a)
        });
        let word = t.core(0).cpu.cr0;
        assert_ne!(word & CR0_PG, 0, "the upper half of the lower half is not empty");
        assert_eq!(t.rax(0), BEFORE & kept | word & taken);
    }
    let mut t = after(&|a| {
        a.mov(rax, BEFORE)?;
        a.mov(qword_ptr(X), rax)?;
        a.smsw(word_ptr(X))
    });
    let word = t.core(0).cpu.cr0;
    assert_eq!(t.memory(X), BEFORE & !0xffff | word & 0xffff, "in memory it is 16 bits");
}

#[test]
fn lmsw_changes_four_bits_and_clears_no_pe() {
    // TS and MP set, and PE clear, from a register; then TS clear again, from memory, and the upper bits are not looked at.
    let mut t = after(&|a| {
        a.mov(rbx, cr0)?;
        a.mov(eax, 0b1010)?;
        a.lmsw(ax)?;
        a.mov(rbp, cr0)?;
        a.mov(word_ptr(X), 0xfff0 + 0b0010 - 0x1_0000)?;
        a.lmsw(word_ptr(X))
    });
    let before = t.gpr(0, gpr::RBX);
    assert_eq!(before & CR0_PE, CR0_PE);
    assert_eq!(t.gpr(0, 5), before & !0xf | 0b1011);
    assert_eq!(t.core(0).cpu.cr0, before & !0xf | 0b0011);
}
