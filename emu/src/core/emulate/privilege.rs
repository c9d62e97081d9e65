//! What may be done at which privilege level (SDM 3A 5.5, 5.9; SDM 1 19.5): checked here for instructions that the engine
//! does not see.

use crate::core::cpu_state::{CpuState, SegmentName};
use crate::core::interruption::{Exception, vector};
use crate::core::paging::Mode;
use crate::memory::Memory;

const CR0_PE: u64 = 1;
/// CR4: RDTSC only at level 0.
const CR4_TSD: u64 = 1 << 2;
const FLAGS_VM: u64 = 1 << 17;
/// A 32- or 64-bit task state segment's type, whether busy or not.
const TSS: u32 = 0x9;
const TSS_BUSY: u32 = 0xb;
/// Where in the task state segment the offset of its I/O permission bit map is.
const MAP_OFFSET: u64 = 0x66;

/// The current privilege level: that of the stack segment; virtual-8086 code is always at 3.
pub(in crate::core) fn level(cpu: &CpuState) -> u32 {
    if cpu.cr0 & CR0_PE == 0 {
        0
    } else if cpu.rflags & FLAGS_VM != 0 {
        3
    } else {
        cpu.segment(SegmentName::Ss).flags >> 13 & 3
    }
}

/// For instructions that only level 0 may execute.
///
/// # Errors
/// The level is another.
pub(super) fn check_supervisor(cpu: &CpuState) -> Result<(), Exception> {
    if level(cpu) == 0 { Ok(()) } else { Err(general_protection()) }
}

/// For RDTSC and RDTSCP.
///
/// # Errors
/// CR4.TSD keeps it from users.
pub(super) fn check_time_stamp(cpu: &CpuState) -> Result<(), Exception> {
    if cpu.cr4 & CR4_TSD == 0 { Ok(()) } else { check_supervisor(cpu) }
}

/// For IN and OUT of `width` bytes at `port`.
///
/// # Errors
/// Neither the I/O privilege level nor the task's permission bit map allows it.
pub(super) fn check_port(cpu: &CpuState, memory: &Memory, port: u16, width: u64) -> Result<(), Exception> {
    let io_level = (cpu.rflags >> 12 & 3) as u32;
    let is_virtual = cpu.cr0 & CR0_PE != 0 && cpu.rflags & FLAGS_VM != 0;
    if level(cpu) <= io_level && !is_virtual {
        return Ok(());
    }
    let is_allowed = permission_bits(cpu, memory, port).is_some_and(|bits| bits & ((1 << width) - 1) == 0);
    if is_allowed { Ok(()) } else { Err(general_protection()) }
}

/// The bits of the permission map from that of `port` on; `None` where there are none.
fn permission_bits(cpu: &CpuState, memory: &Memory, port: u16) -> Option<u16> {
    let is_task = matches!(cpu.tr.flags >> 8 & 0xf, TSS | TSS_BUSY);
    if !is_task || cpu.tr.limit < 0x67 {
        return None;
    }
    let word = |offset: u64| {
        let mode = Mode::of(cpu);
        let byte = |at: u64| Some(memory.slice(mode.translate(memory, cpu.tr.base.wrapping_add(at))?, 1)?[0]);
        Some(u16::from_le_bytes([byte(offset)?, byte(offset + 1)?]))
    };
    let at = u64::from(word(MAP_OFFSET)?) + u64::from(port / 8);
    // Two bytes are always read, so the map ends with one that is all ones.
    if at + 1 > u64::from(cpu.tr.limit) {
        return None;
    }
    Some(word(at)? >> (port % 8))
}

fn general_protection() -> Exception {
    Exception::new(vector::GENERAL_PROTECTION, 0)
}
