//! RDMSR and WRMSR: the model-specific registers that this processor has (SDM 4, chapter 2).
//!
//! What it does not have, and bits that are reserved, cause a general protection fault, as on a processor.
//! Left out: performance monitoring, machine checks (no banks), debug stores, a local APIC where memory is.

use super::privilege;
use crate::board::ApicPlace;
use crate::core::cpu_state::{CpuState, SegmentName};
use crate::core::interruption::{Exception, vector};
use crate::core::memory_types::MemoryTypes;
use crate::memory::Memory;
use fencepost_devices::PhysAddr;

pub(crate) const TIME_STAMP_COUNTER: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const FEATURE_CONTROL: u32 = 0x3a;
const BIOS_SIGN_ID: u32 = 0x8b;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const PAT: u32 = 0x277;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

/// IA32_APIC_BASE (11.4.4): where the local APIC is; bit 11 turns it on; bit 8 is set on the core that boots.
const APIC_ADDRESS: u64 = 0xff_ffff_f000;
const APIC_ON: u64 = 1 << 11;
const BOOTSTRAP: u64 = 1 << 8;
/// What of IA32_MISC_ENABLE can be written: fast strings, thermal control, FERR#, ENHANCED SPEEDSTEP, MONITOR's bit, the limit
/// of CPUID, xTPR, and XD. Nothing follows from any of them here; the rest reads as branch traces and PEBS not there.
const MISC_WRITABLE: u64 = 1 | 1 << 3 | 1 << 10 | 1 << 16 | 1 << 18 | 1 << 22 | 1 << 23 | 1 << 34;
const MISC_FIXED: u64 = 1 << 11 | 1 << 12;
/// VMX and SGX stay off: the register is locked.
const LOCKED: u64 = 1;
/// EFER: what can be written, and what cannot while paging is on.
const EFER_WRITABLE: u64 = 1 | EFER_LME | 1 << 11;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const CR0_PG: u64 = 1 << 31;

/// What is not in a [`CpuState`], because the engine does not know it.
pub(super) struct Outside<'a> {
    pub(super) is_first: bool,
    pub(super) clock: u64,
    /// Where the core's local APIC is, to be changed.
    pub(super) apic: ApicPlace,
    pub(super) memory: &'a Memory,
    /// What is added to the clock to get the time stamp counter.
    pub(super) time_offset: &'a mut u64,
    /// What has been written into IA32_MISC_ENABLE.
    pub(super) misc_enable: &'a mut u64,
    /// The memory type range registers.
    pub(super) memory_types: &'a mut MemoryTypes,
}

/// The value of register `number`.
///
/// # Errors
/// There is no such register, or a user asks for it.
pub(super) fn read(cpu: &CpuState, number: u32, outside: &Outside) -> Result<u64, Exception> {
    privilege::check_supervisor(cpu)?;
    Ok(match number {
        TIME_STAMP_COUNTER => outside.clock.wrapping_add(*outside.time_offset),
        APIC_BASE => {
            let on = if outside.apic.is_on { APIC_ON } else { 0 };
            outside.apic.base.0 | on | if outside.is_first { BOOTSTRAP } else { 0 }
        }
        FEATURE_CONTROL => LOCKED,
        BIOS_SIGN_ID | MCG_CAP | MCG_STATUS => 0,
        SYSENTER_CS => cpu.sysenter_cs,
        SYSENTER_ESP => cpu.sysenter_esp,
        SYSENTER_EIP => cpu.sysenter_eip,
        MISC_ENABLE => *outside.misc_enable | MISC_FIXED,
        PAT => cpu.pat,
        EFER => cpu.efer,
        STAR => cpu.star,
        LSTAR => cpu.lstar,
        CSTAR => cpu.cstar,
        FMASK => cpu.fmask,
        FS_BASE => cpu.segment(SegmentName::Fs).base,
        GS_BASE => cpu.segment(SegmentName::Gs).base,
        KERNEL_GS_BASE => cpu.kernel_gs_base,
        TSC_AUX => cpu.tsc_aux,
        _ => outside.memory_types.read(number).ok_or(general_protection())?,
    })
}

/// Writes `value` into register `number`.
///
/// # Errors
/// There is no such register, it cannot hold the value, or a user asks for it.
pub(super) fn write(cpu: &mut CpuState, number: u32, value: u64, outside: &mut Outside) -> Result<(), Exception> {
    privilege::check_supervisor(cpu)?;
    match number {
        TIME_STAMP_COUNTER => *outside.time_offset = value.wrapping_sub(outside.clock),
        APIC_BASE => {
            // Which core boots cannot be changed; there is no x2APIC mode.
            let base = PhysAddr(value & APIC_ADDRESS);
            unchanged(base.0, value & !(APIC_ON | BOOTSTRAP))?;
            if outside.memory.holds(base) {
                return Err(general_protection());
            }
            outside.apic = ApicPlace { base, is_on: value & APIC_ON != 0 };
        }
        FEATURE_CONTROL => unchanged(read(cpu, number, outside)?, value)?,
        BIOS_SIGN_ID | MCG_STATUS => (),
        SYSENTER_CS => cpu.sysenter_cs = value & 0xffff_ffff,
        SYSENTER_ESP => cpu.sysenter_esp = canonical(value)?,
        SYSENTER_EIP => cpu.sysenter_eip = canonical(value)?,
        MISC_ENABLE => *outside.misc_enable = value & MISC_WRITABLE,
        PAT => cpu.pat = memory_types(value)?,
        EFER => cpu.efer = extended_features(cpu, value)?,
        STAR => cpu.star = value,
        LSTAR => cpu.lstar = canonical(value)?,
        CSTAR => cpu.cstar = canonical(value)?,
        FMASK => cpu.fmask = value & 0xffff_ffff,
        FS_BASE => cpu.segments[SegmentName::Fs as usize].base = canonical(value)?,
        GS_BASE => cpu.segments[SegmentName::Gs as usize].base = canonical(value)?,
        KERNEL_GS_BASE => cpu.kernel_gs_base = canonical(value)?,
        TSC_AUX if value >> 32 == 0 => cpu.tsc_aux = value,
        _ if outside.memory_types.write(number, value) => (),
        _ => return Err(general_protection()),
    }
    Ok(())
}

/// What a register becomes that cannot be changed yet: only what it is can be written.
fn unchanged(now: u64, value: u64) -> Result<(), Exception> {
    if value == now { Ok(()) } else { Err(general_protection()) }
}

fn canonical(value: u64) -> Result<u64, Exception> {
    let top = value as i64 >> 47;
    if top == 0 || top == -1 { Ok(value) } else { Err(general_protection()) }
}

/// Eight memory types: UC, WC, WT, WP, WB, UC- (SDM 3A, table 13-10).
fn memory_types(value: u64) -> Result<u64, Exception> {
    if value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)) {
        Ok(value)
    } else {
        Err(general_protection())
    }
}

fn extended_features(cpu: &CpuState, value: u64) -> Result<u64, Exception> {
    let is_reserved = value & !(EFER_WRITABLE | EFER_LMA) != 0;
    let changes_mode = (value ^ cpu.efer) & EFER_LME != 0 && cpu.cr0 & CR0_PG != 0;
    if is_reserved || changes_mode {
        return Err(general_protection());
    }
    Ok(value & EFER_WRITABLE | cpu.efer & EFER_LMA)
}

fn general_protection() -> Exception {
    Exception::new(vector::GENERAL_PROTECTION, 0)
}
