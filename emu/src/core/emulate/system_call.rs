//! SYSCALL, SYSRET, SYSENTER and SYSEXIT (SDM 2B, their pages): fast ways into and out of the kernel.
//!
//! They neither drain the store buffer nor touch memory: code and stack segments get fixed contents, whatever the descriptor
//! tables say. SYSCALL comes from 32-bit code too, as on AMD's processors (APM 2, 6.1.1): what 64-bit kernels let 32-bit
//! programs do there works here. SYSRET exists in 64-bit mode only.

use super::privilege::level;
use crate::core::cpu_state::{CpuState, Segment, SegmentName, gpr};
use crate::core::interruption::{Exception, vector};
use crate::core::paging::Mode;
use iced_x86::{Code, Instruction, Mnemonic};

/// EFER: SCE and LMA.
const EFER_SCE: u64 = 1;
const EFER_LMA: u64 = 1 << 10;
/// RFLAGS: the bit that is always set, IF, RF, VM.
const FLAGS_FIXED: u64 = 1 << 1;
const FLAGS_IF: u64 = 1 << 9;
const FLAGS_RF: u64 = 1 << 16;
const FLAGS_VM: u64 = 1 << 17;
/// What SYSRET takes from R11.
const SYSRET_FLAGS: u64 = 0x003c_7fd7;

/// A descriptor's second doubleword: present, code or data, accessed; readable or writable; 4 KiB granularity.
const PRESENT: u32 = 1 << 15;
const CODE: u32 = 1 << 12 | 0xb << 8;
const DATA: u32 = 1 << 12 | 0x3 << 8;
const LONG: u32 = 1 << 21;
const BIG: u32 = 1 << 22;
const PAGES: u32 = 1 << 23 | 0xf << 16;

/// Changes `cpu`, which is about to execute `instruction`, as that says.
///
/// # Errors
/// It may not, here or now: the exception that it causes instead.
pub(super) fn perform(cpu: &mut CpuState, instruction: &Instruction) -> Result<(), Exception> {
    let next = cpu.rip.wrapping_add(instruction.len() as u64);
    match instruction.mnemonic() {
        Mnemonic::Syscall => syscall(cpu, next),
        Mnemonic::Sysret | Mnemonic::Sysretq => sysret(cpu, instruction.code() == Code::Sysretq),
        Mnemonic::Sysenter => sysenter(cpu),
        _ => sysexit(cpu, instruction.code() == Code::Sysexitq),
    }
}

fn syscall(cpu: &mut CpuState, next: u64) -> Result<(), Exception> {
    if cpu.efer & EFER_SCE == 0 || cpu.efer & EFER_LMA == 0 {
        return Err(invalid_opcode());
    }
    let target = if Mode::of(cpu).bits == 64 { cpu.lstar } else { cpu.cstar };
    cpu.gpr[gpr::RCX] = next;
    cpu.gpr[gpr::R11] = cpu.rflags & !FLAGS_RF;
    cpu.rip = target;
    cpu.rflags = cpu.rflags & !(cpu.fmask | FLAGS_RF) | FLAGS_FIXED;
    enter(cpu, (cpu.star >> 32) as u32, Width::Long, 0);
    Ok(())
}

fn sysret(cpu: &mut CpuState, is_long: bool) -> Result<(), Exception> {
    if cpu.efer & EFER_SCE == 0 || Mode::of(cpu).bits != 64 {
        return Err(invalid_opcode());
    }
    let to = cpu.gpr[gpr::RCX];
    if level(cpu) != 0 || is_long && !is_canonical(to) {
        return Err(general_protection());
    }
    cpu.rip = if is_long { to } else { to & 0xffff_ffff };
    cpu.rflags = cpu.gpr[gpr::R11] & SYSRET_FLAGS | FLAGS_FIXED;
    let selector = (cpu.star >> 48) as u32;
    if is_long {
        // The stack's selector is 8 above the one in STAR, the code's 16.
        load(cpu, selector + 16, selector + 8, Width::Long, 3);
    } else {
        load(cpu, selector, selector + 8, Width::Big, 3);
    }
    Ok(())
}

fn sysenter(cpu: &mut CpuState) -> Result<(), Exception> {
    if cpu.cr0 & 1 == 0 || cpu.sysenter_cs & 0xfffc == 0 {
        return Err(general_protection());
    }
    let is_long = cpu.efer & EFER_LMA != 0;
    let within = |value: u64| if is_long { value } else { value & 0xffff_ffff };
    cpu.rflags &= !(FLAGS_VM | FLAGS_IF | FLAGS_RF);
    cpu.gpr[gpr::RSP] = within(cpu.sysenter_esp);
    cpu.rip = within(cpu.sysenter_eip);
    enter(cpu, cpu.sysenter_cs as u32, if is_long { Width::Long } else { Width::Big }, 0);
    Ok(())
}

fn sysexit(cpu: &mut CpuState, is_long: bool) -> Result<(), Exception> {
    let (to, stack) = (cpu.gpr[gpr::RDX], cpu.gpr[gpr::RCX]);
    let is_refused = cpu.cr0 & 1 == 0 || cpu.sysenter_cs & 0xfffc == 0 || level(cpu) != 0;
    if is_refused || is_long && !(is_canonical(to) && is_canonical(stack)) {
        return Err(general_protection());
    }
    let within = |value: u64| if is_long { value } else { value & 0xffff_ffff };
    cpu.rip = within(to);
    cpu.gpr[gpr::RSP] = within(stack);
    let (offset, width) = if is_long { (32, Width::Long) } else { (16, Width::Big) };
    enter(cpu, cpu.sysenter_cs as u32 + offset, width, 3);
    Ok(())
}

/// Code of 64 bits, or of 32.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Long,
    Big,
}

/// Loads CS with `selector`, and SS with the next one.
fn enter(cpu: &mut CpuState, selector: u32, width: Width, privilege: u32) {
    let selector = selector & 0xfffc;
    load(cpu, selector, selector + 8, width, privilege);
}

fn load(cpu: &mut CpuState, code: u32, stack: u32, width: Width, privilege: u32) {
    let common = PRESENT | privilege << 13 | PAGES;
    let bits = if width == Width::Long { LONG } else { BIG };
    let selector = |selector: u32| selector & 0xfffc | privilege;
    cpu.segments[SegmentName::Cs as usize] = Segment::flat(selector(code), common | CODE | bits);
    cpu.segments[SegmentName::Ss as usize] = Segment::flat(selector(stack), common | DATA | BIG);
}

fn is_canonical(address: u64) -> bool {
    let top = address as i64 >> 47;
    top == 0 || top == -1
}

fn invalid_opcode() -> Exception {
    Exception::new(vector::INVALID_OPCODE, 0)
}

fn general_protection() -> Exception {
    Exception::new(vector::GENERAL_PROTECTION, 0)
}
