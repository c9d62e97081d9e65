//! SYSCALL, SYSRET, SYSENTER and SYSEXIT: where they lead, and what they load (SDM 2B, their pages); and the registers that
//! decide it.

use super::testbed::*;
use fencepost::core::cpu_state::{CpuState, SegmentName, gpr};
use fencepost::machine::Stop;
use fencepost::trace::Fault;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;

/// Where kernels here begin: nothing is there to execute, which is another step.
const KERNEL: u64 = 0xffff_8000_0012_3450;
const USER: u64 = 0x40_0000;

fn wrmsr(a: &mut CodeAssembler, register: u32, value: u64) -> Result<(), IcedError> {
    a.mov(ecx, register)?;
    a.mov(eax, value as u32)?;
    a.mov(edx, (value >> 32) as u32)?;
    a.wrmsr()
}

/// The registers before and after `call`, which takes one step once `setup` has executed.
fn around(setup: Code, call: Code) -> (CpuState, CpuState) {
    let (mut t, before) = before(setup, call);
    t.step(0);
    assert_eq!(t.machine.stop(), None);
    (before, t.core(0).cpu.clone())
}

/// The fault that `call` is after `setup`.
fn fault(setup: Code, call: Code) -> Fault {
    let (mut t, _) = before(setup, call);
    t.step(0);
    t.fault().1
}

fn before(setup: Code, call: Code) -> (Testbed, CpuState) {
    let code = |a: &mut CodeAssembler| {
        setup(a)?;
        a.mov(byte_ptr(X), 1)?;
        call(a)
    };
    let mut t = Testbed::new(SC, &[&code]);
    while t.byte(X) == 0 {
        t.step(0);
    }
    let cpu = t.core(0).cpu.clone();
    (t, cpu)
}

/// Selector, type and privilege level, and L and D of CS; selector and privilege level of SS.
fn loaded(cpu: &CpuState) -> [u32; 7] {
    let (code, stack) = (cpu.segment(SegmentName::Cs), cpu.segment(SegmentName::Ss));
    let bits = |flags: u32, from: u32, count: u32| flags >> from & ((1 << count) - 1);
    [
        code.selector,
        bits(code.flags, 8, 4),
        bits(code.flags, 13, 2),
        bits(code.flags, 21, 1),
        bits(code.flags, 22, 1),
        stack.selector,
        bits(stack.flags, 13, 2),
    ]
}

#[test]
fn syscall_enters_the_kernel_and_remembers_where_from() {
    let setup = |a: &mut CodeAssembler| {
        wrmsr(a, STAR, 0x0023_0010_0000_0000)?;
        wrmsr(a, LSTAR, KERNEL)?;
        wrmsr(a, FMASK, 0x401)?;
        a.std()?;
        a.stc()
    };
    let (before, after) = around(&setup, &|a| a.syscall());
    assert_eq!((after.rip, after.gpr[gpr::RCX], after.gpr[gpr::R11]), (KERNEL, before.rip + 2, before.rflags));
    assert_eq!(before.rflags & 0x401, 0x401);
    assert_eq!(after.rflags, before.rflags & !0x401);
    assert_eq!(loaded(&after), [0x10, 0xb, 0, 1, 0, 0x18, 0]);
    assert_eq!(after.gpr[gpr::RSP], before.gpr[gpr::RSP], "the stack is the kernel's business");
}

#[test]
fn sysret_goes_back_to_64_or_32_bits() {
    let setup = |a: &mut CodeAssembler| {
        wrmsr(a, STAR, 0x0020_0010_0000_0000)?;
        a.mov(rcx, USER | 1 << 40)?;
        a.mov(r11, 0x246i64)
    };
    let (_, after) = around(&setup, &|a| a.sysretq());
    assert_eq!((after.rip, after.rflags), (USER | 1 << 40, 0x246));
    assert_eq!(loaded(&after), [0x33, 0xb, 3, 1, 0, 0x2b, 3]);
    let (_, after) = around(&setup, &|a| a.sysret());
    assert_eq!(after.rip, USER);
    assert_eq!(loaded(&after), [0x23, 0xb, 3, 0, 1, 0x2b, 3]);
}

#[test]
fn sysenter_and_sysexit_are_a_way_in_and_a_way_out() {
    let setup = |a: &mut CodeAssembler| {
        wrmsr(a, SYSENTER_CS, 0x10)?;
        wrmsr(a, SYSENTER_ESP, KERNEL + 8)?;
        wrmsr(a, SYSENTER_EIP, KERNEL)?;
        a.mov(rdx, USER)?;
        a.mov(rcx, USER + 8)
    };
    let (_, after) = around(&setup, &|a| a.sysenter());
    assert_eq!((after.rip, after.gpr[gpr::RSP]), (KERNEL, KERNEL + 8));
    assert_eq!(loaded(&after), [0x10, 0xb, 0, 1, 0, 0x18, 0]);
    let (_, after) = around(&setup, &|a| a.sysexitq());
    assert_eq!((after.rip, after.gpr[gpr::RSP]), (USER, USER + 8));
    assert_eq!(loaded(&after), [0x33, 0xb, 3, 1, 0, 0x3b, 3]);
    let (_, after) = around(&setup, &|a| a.sysexit());
    assert_eq!(loaded(&after), [0x23, 0xb, 3, 0, 1, 0x2b, 3]);
}

#[test]
fn model_specific_registers_keep_what_they_are_given() {
    for (number, value) in [
        (STAR, 0x1234_5678_9abc_def0),
        (LSTAR, KERNEL),
        (FMASK, 0xffff_ffff),
        (SYSENTER_EIP, KERNEL),
        (0x277, 0x0001_0405_0607_0600),
        (0xc000_0100, KERNEL),
        (0xc000_0102, 0x7fff_ffff_ffff),
        (0xc000_0103, 7),
    ] {
        let code = |a: &mut CodeAssembler| {
            wrmsr(a, number, value)?;
            a.xor(eax, eax)?;
            a.xor(edx, edx)
        };
        let (_, after) = around(&code, &|a| a.rdmsr());
        let read = after.gpr[gpr::RDX] << 32 | after.gpr[gpr::RAX];
        assert_eq!(read, value, "{number:#x}");
    }
}

#[test]
fn the_time_stamp_counter_goes_on_from_what_is_written() {
    let setup = |a: &mut CodeAssembler| wrmsr(a, 0x10, 1 << 40);
    for read in [(&|a: &mut CodeAssembler| a.rdtsc()) as Code, &|a| a.rdmsr()] {
        let (_, after) = around(&setup, read);
        // WRMSR and the store that marks the place are two steps.
        assert_eq!((after.gpr[gpr::RDX], after.gpr[gpr::RAX]), (1 << 8, 2));
    }
}

#[test]
fn what_no_model_specific_register_can_hold_is_a_fault() {
    let protection = Fault::Exception { vector: 13, error_code: 0, address: 0 };
    for (number, value) in [
        (0x1234, 0u64),
        (LSTAR, 1 << 50),
        (0xc000_0100, 1 << 50),
        (0x277, 0x02),
        (EFER, 1 << 4),
        // Long mode cannot be left while paging is on.
        (EFER, 1),
        (0xc000_0103, 1 << 32),
    ] {
        let setup = |a: &mut CodeAssembler| {
            a.mov(ecx, number)?;
            a.mov(eax, value as u32)?;
            a.mov(edx, (value >> 32) as u32)
        };
        assert_eq!(fault(&setup, &|a| a.wrmsr()), protection, "{number:#x}, {value:#x}");
    }
    assert_eq!(fault(&|a| a.mov(ecx, 0x1234), &|a| a.rdmsr()), protection);
}

#[test]
fn where_they_may_not_be_they_are_faults() {
    let exception = |vector| Fault::Exception { vector, error_code: 0, address: 0 };
    let without_sce = |a: &mut CodeAssembler| {
        a.mov(ecx, EFER)?;
        a.rdmsr()?;
        a.and(eax, !1)?;
        a.wrmsr()
    };
    assert_eq!(fault(&without_sce, &|a| a.syscall()), exception(6));
    assert_eq!(fault(&without_sce, &|a| a.sysretq()), exception(6));
    assert_eq!(fault(&|_| Ok(()), &|a| a.sysenter()), exception(13), "SYSENTER_CS is null");
    assert_eq!(fault(&|_| Ok(()), &|a| a.sysexitq()), exception(13), "likewise");
    let far = |a: &mut CodeAssembler| a.mov(rcx, 1u64 << 50);
    assert_eq!(fault(&far, &|a| a.sysretq()), exception(13), "RCX is not canonical");
}

#[test]
fn compatibility_code_calls_the_kernel_at_cstar_and_gets_back() {
    // What the kernel finds at its first call: RCX, R11, its flags.
    const FOUND: u64 = 0x18_4000;
    let code = |a: &mut CodeAssembler| {
        let (mut kernel, mut user, mut last) = (a.create_label(), a.create_label(), a.create_label());
        wrmsr(a, STAR, 0x0020_0008_0000_0000)?;
        wrmsr(a, LSTAR, KERNEL)?;
        wrmsr(a, FMASK, 0x401)?;
        a.lea(rax, ptr(kernel))?;
        a.xor(edx, edx)?;
        a.mov(ecx, CSTAR)?;
        a.wrmsr()?;
        a.lea(rcx, ptr(user))?;
        a.mov(r11, 0xc03i64)?;
        a.mov(eax, 5)?;
        a.sysret()?;
        a.set_label(&mut user)?;
        // SYSCALL; INC EAX, which in 64-bit code is a prefix; SYSCALL.
        a.db(&[0x0f, 0x05, 0x40, 0x0f, 0x05])?;
        a.set_label(&mut kernel)?;
        a.pushfq()?;
        a.pop(rbx)?;
        a.cmp(eax, 5)?;
        a.jne(last)?;
        a.mov(qword_ptr(FOUND), rcx)?;
        a.mov(qword_ptr(FOUND + 8), r11)?;
        a.mov(qword_ptr(FOUND + 16), rbx)?;
        a.sysret()?;
        a.set_label(&mut last)
    };
    for model in [SC, TSO] {
        let mut t = super::page_tables::paged(model, &[&code]);
        let mut compatible = Vec::new();
        while !t.core(0).is_halted() {
            t.step(0);
            assert!(!matches!(t.machine.stop(), Some(Stop::Faulted { .. })), "{:?}", t.machine.stop());
            let cpu = &t.core(0).cpu;
            if loaded(cpu)[2] == 3 {
                compatible.push((cpu.rip, loaded(cpu), cpu.rflags & 0xc01));
            }
        }
        t.drain_all(0);
        let segments = [0x23, 0xb, 3, 0, 1, 0x2b, 3];
        let user = t.memory(FOUND) - 2;
        // After SYSRET, after the other SYSRET, and after INC, which leaves carry alone.
        assert_eq!(compatible.len(), 3);
        assert_eq!(compatible[0], (user, segments, 0xc01));
        assert_eq!(compatible[1], (user + 2, segments, 0xc01));
        assert_eq!((compatible[2].0, compatible[2].1), (user + 3, segments));
        assert_eq!(t.memory(FOUND + 8) & 0xc01, 0xc01, "R11 has the flags of the caller");
        assert_eq!(t.memory(FOUND + 16) & 0xc01, 0x800, "and the kernel those that FMASK leaves");
        assert_eq!((t.rax(0), t.gpr(0, gpr::RCX)), (6, user + 5));
        assert_eq!(loaded(&t.core(0).cpu), [8, 0xb, 0, 1, 0, 0x10, 0]);
    }
}
