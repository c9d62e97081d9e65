//! Address translation as a reader of page tables (SDM 3A chapter 4): no paging, 32-bit, PAE, 4-level.
//!
//! The engine has a walker of its own; this one never sets accessed or dirty bits, never faults, and never touches CR2,
//! so that looking at a machine does not change it. Left out: permission checks, reserved bits, 5-level paging, PKRU.

use super::cpu_state::{CpuState, SegmentName};
use crate::memory::{Memory, PAGE};
use fencepost_devices::PhysAddr;

/// What decides how addresses are translated and code is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Mode {
    pub(crate) cr0: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    /// 16, 32 or 64: the default operand width of code.
    pub(crate) bits: u32,
    /// The trap flag: every instruction ends with a debug exception.
    pub(crate) traps: bool,
}

const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const EFER_LMA: u64 = 1 << 10;
/// RFLAGS.TF.
const TRAP_FLAG: u64 = 1 << 8;
/// The L and D bits of a code segment's descriptor (SDM 3A 3.4.5).
const CODE_LONG: u32 = 1 << 21;
const CODE_BIG: u32 = 1 << 22;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

impl Mode {
    /// The mode of a core in state `cpu`.
    pub(crate) fn of(cpu: &CpuState) -> Mode {
        let code = cpu.segment(SegmentName::Cs);
        let bits = match (cpu.efer & EFER_LMA != 0 && code.flags & CODE_LONG != 0, code.flags & CODE_BIG != 0) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        };
        Mode { cr0: cpu.cr0, cr3: cpu.cr3, cr4: cpu.cr4, efer: cpu.efer, bits, traps: cpu.rflags & TRAP_FLAG != 0 }
    }

    /// The physical address of linear address `linear`; `None` when it is not mapped.
    pub(crate) fn translate(&self, memory: &Memory, linear: u64) -> Option<PhysAddr> {
        if self.cr0 & CR0_PG == 0 {
            return Some(PhysAddr(linear & 0xffff_ffff));
        }
        let physical = if self.cr4 & CR4_PAE == 0 {
            self.walk_32(memory, linear)
        } else if self.efer & EFER_LMA == 0 {
            let directory = entry_64(memory, self.cr3 & 0xffff_ffe0, linear >> 30 & 3)?;
            walk_long(memory, directory & FRAME, linear, 2)
        } else {
            walk_long(memory, self.cr3 & FRAME, linear, 4)
        };
        physical.map(PhysAddr)
    }

    fn walk_32(&self, memory: &Memory, linear: u64) -> Option<u64> {
        let directory = entry_32(memory, self.cr3 & !0xfff, linear >> 22 & 0x3ff)?;
        if directory & LARGE != 0 && self.cr4 & CR4_PSE != 0 {
            return Some(directory & 0xffc0_0000 | linear & 0x003f_ffff);
        }
        let page = entry_32(memory, directory & 0xffff_f000, linear >> 12 & 0x3ff)?;
        Some(page & 0xffff_f000 | linear & 0xfff)
    }
}

/// Walks tables of 512 eight-byte entries, `levels` of them still to go.
fn walk_long(memory: &Memory, table: u64, linear: u64, levels: u32) -> Option<u64> {
    let shift = 12 + 9 * (levels - 1);
    let entry = entry_64(memory, table, linear >> shift & 0x1ff)?;
    if levels == 1 || levels < 4 && entry & LARGE != 0 {
        let offset = (1 << shift) - 1;
        return Some(entry & FRAME & !offset | linear & offset);
    }
    walk_long(memory, entry & FRAME, linear, levels - 1)
}

fn entry_64(memory: &Memory, table: u64, index: u64) -> Option<u64> {
    memory.read_u64(PhysAddr(table + 8 * index)).filter(|entry| entry & PRESENT != 0)
}

fn entry_32(memory: &Memory, table: u64, index: u64) -> Option<u64> {
    let bytes = memory.slice(PhysAddr(table + 4 * index), 4)?;
    let entry = u64::from(u32::from_le_bytes(bytes.try_into().expect("the slice has 4 bytes")));
    (entry & PRESENT != 0).then_some(entry)
}

impl Mode {
    /// Reads up to `bytes.len()` bytes of code at `linear`; returns how many are mapped memory.
    pub(crate) fn fetch(&self, memory: &Memory, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = linear.wrapping_add(done as u64);
            let in_page = (PAGE - at % PAGE) as usize;
            let length = in_page.min(bytes.len() - done);
            let Some(physical) = self.translate(memory, at) else { break };
            if !memory.read(physical, &mut bytes[done..done + length]) {
                break;
            }
            done += length;
        }
        done
    }
}

impl Mode {
    /// The numbers of the physical pages that hold the tables of this mode.
    pub(crate) fn table_pages(&self, memory: &Memory) -> Vec<u64> {
        let mut pages = Vec::new();
        if self.cr0 & CR0_PG == 0 {
            return pages;
        }
        if self.cr4 & CR4_PAE == 0 {
            let directory = self.cr3 & !0xfff;
            pages.push(directory / PAGE);
            let tables = (0..1024).filter_map(|index| entry_32(memory, directory, index));
            pages.extend(tables.filter(|entry| entry & LARGE == 0).map(|entry| (entry & 0xffff_f000) / PAGE));
        } else if self.efer & EFER_LMA == 0 {
            pages.push(self.cr3 / PAGE);
            let directories = (0..4).filter_map(|index| entry_64(memory, self.cr3 & 0xffff_ffe0, index));
            directories.for_each(|entry| tables_below(memory, entry & FRAME, 2, &mut pages));
        } else {
            tables_below(memory, self.cr3 & FRAME, 4, &mut pages);
        }
        pages
    }
}

/// The pages of `table` and of all tables below it, of which there are `levels` levels in all.
fn tables_below(memory: &Memory, table: u64, levels: u32, pages: &mut Vec<u64>) {
    pages.push(table / PAGE);
    if levels == 1 {
        return;
    }
    for entry in (0..512).filter_map(|index| entry_64(memory, table, index)) {
        if entry & LARGE == 0 {
            tables_below(memory, entry & FRAME, levels - 1, pages);
        }
    }
}
