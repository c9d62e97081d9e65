//! MOV to CR0, CR2, CR3 and CR4 (SDM 2B, "MOV - Move to/from Control Registers"; SDM 3A 2.5): the engine accepts what a
//! processor refuses. What they make the core forget of translations is in [`tlb`](crate::core::tlb).
//!
//! Left out: process-context identifiers, page-directory pointers of PAE that are loaded with CR3 (they are read anew).

use super::privilege::check_supervisor;
use crate::core::cpu_state::CpuState;
use crate::core::interruption::{Exception, vector};
use crate::core::paging::Mode;
use iced_x86::Register;

/// CR0: PE, ET, NW, CD, PG.
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
/// The bits that there are: also MP, EM, TS, NE, WP, AM.
const CR0_BITS: u64 = CR0_PE | 0b1110 | CR0_ET | 1 << 5 | 1 << 16 | 1 << 18 | CR0_NW | CR0_CD | CR0_PG;
const CR4_PAE: u64 = 1 << 5;
/// VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT: what CPUID announces, and what no bit of it does.
const CR4_BITS: u64 = 0x7ff;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Physical addresses have 40 bits.
const PHYSICAL: u64 = (1 << 40) - 1;

/// Writes `value` into control register `register` of `cpu`.
///
/// # Errors
/// The register cannot hold it, or a user asks.
pub(super) fn write(cpu: &mut CpuState, register: Register, value: u64) -> Result<(), Exception> {
    check_supervisor(cpu)?;
    let value = if Mode::of(cpu).bits == 64 { value } else { value & 0xffff_ffff };
    match register {
        Register::CR0 => write_cr0(cpu, value),
        Register::CR2 => {
            cpu.cr2 = value;
            Ok(())
        }
        Register::CR3 => {
            let is_long = cpu.efer & EFER_LMA != 0;
            refuse(is_long && value & !PHYSICAL != 0)?;
            cpu.cr3 = value;
            Ok(())
        }
        _ => write_cr4(cpu, value),
    }
}

fn write_cr0(cpu: &mut CpuState, value: u64) -> Result<(), Exception> {
    let is_on = |bit: u64| value & bit != 0;
    refuse(value >> 32 != 0)?;
    refuse(is_on(CR0_PG) && !is_on(CR0_PE) || is_on(CR0_NW) && !is_on(CR0_CD))?;
    let was_paging = cpu.cr0 & CR0_PG != 0;
    if is_on(CR0_PG) && !was_paging && cpu.efer & EFER_LME != 0 {
        refuse(cpu.cr4 & CR4_PAE == 0)?;
        cpu.efer |= EFER_LMA;
    }
    if !is_on(CR0_PG) && was_paging {
        refuse(Mode::of(cpu).bits == 64)?;
        cpu.efer &= !EFER_LMA;
    }
    // ET is always set; bits that there are not are ignored.
    cpu.cr0 = value & CR0_BITS | CR0_ET;
    Ok(())
}

fn write_cr4(cpu: &mut CpuState, value: u64) -> Result<(), Exception> {
    refuse(value & !CR4_BITS != 0)?;
    refuse(cpu.efer & EFER_LMA != 0 && value & CR4_PAE == 0)?;
    cpu.cr4 = value;
    Ok(())
}

fn refuse(is_wrong: bool) -> Result<(), Exception> {
    if is_wrong { Err(Exception::new(vector::GENERAL_PROTECTION, 0)) } else { Ok(()) }
}
