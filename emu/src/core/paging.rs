//! Address translation as a reader of page tables (SDM 3A chapter 4): no paging, 32-bit, PAE, 4-level.
//!
//! The engine has a walker of its own; this one never sets accessed or dirty bits, never faults, and never touches CR2,
//! so that looking at a machine does not change it. What a core has cached is in [`tlb`](super::tlb).
//! Left out: reserved bits, 5-level paging, PKRU.

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
/// Bits of a page table entry that decide who may do what (SDM 3A 5.6), and that it was used or written to.
pub(crate) const WRITABLE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
pub(crate) const ACCESSED: u64 = 1 << 5;
pub(crate) const DIRTY: u64 = 1 << 6;
pub(crate) const GLOBAL: u64 = 1 << 8;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
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

    /// The physical address of linear address `linear` as page tables in memory say; `None` when it is not mapped.
    pub(crate) fn translate(&self, memory: &Memory, linear: u64) -> Option<PhysAddr> {
        if !self.is_paging() {
            return Some(PhysAddr(linear & 0xffff_ffff));
        }
        self.leaf(memory, linear).map(|leaf| leaf.physical(linear))
    }

    /// Whether addresses are translated at all.
    pub(crate) fn is_paging(&self) -> bool {
        self.cr0 & CR0_PG != 0
    }

    /// What page tables in memory say of the page that `linear` lies in, while paging is on; `None` when it is not mapped.
    pub(crate) fn leaf(&self, memory: &Memory, linear: u64) -> Option<Leaf> {
        if self.cr4 & CR4_PAE == 0 {
            self.walk_32(memory, linear)
        } else if self.efer & EFER_LMA == 0 {
            let directory = entry_64(memory, self.cr3 & 0xffff_ffe0, linear >> 30 & 3)?;
            walk_long(memory, directory & FRAME, linear, 2, EVERYTHING)
        } else {
            walk_long(memory, self.cr3 & FRAME, linear, 4, EVERYTHING)
        }
    }

    fn walk_32(&self, memory: &Memory, linear: u64) -> Option<Leaf> {
        let directory = entry_32(memory, self.cr3 & !0xfff, linear >> 22 & 0x3ff)?;
        if directory & LARGE != 0 && self.cr4 & CR4_PSE != 0 {
            // Bits 20 to 13 are bits 39 to 32 of the frame (PSE-36).
            let frame = directory & 0xffc0_0000 | (directory & 0x1f_e000) << 19;
            return Some(Leaf { frame, bytes: 4 << 20, entry: large_pat(directory), allowed: directory });
        }
        let page = entry_32(memory, directory & 0xffff_f000, linear >> 12 & 0x3ff)?;
        Some(Leaf { frame: page & 0xffff_f000, bytes: PAGE, entry: page, allowed: page & directory })
    }
}

/// The end of a walk through page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf {
    /// Where the page is.
    pub(crate) frame: u64,
    /// How long it is.
    pub(crate) bytes: u64,
    /// The entry that maps it; the PAT bit is where it is for 4 KiB, and the frame's bits mean nothing.
    pub(crate) entry: u64,
    /// The bits that all entries on the way have: WRITABLE and USER are rights. NO_EXECUTE is set if any has it.
    pub(crate) allowed: u64,
}

impl Leaf {
    /// Where `linear`, which lies in the page, is.
    pub(crate) fn physical(&self, linear: u64) -> PhysAddr {
        PhysAddr(self.frame | linear & (self.bytes - 1))
    }
}

/// A present entry that a walk through page tables reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) address: PhysAddr,
    pub(crate) entry: u64,
}

impl Mode {
    /// The entries that a walk for `linear` reads and may mark (SDM 3A 5.8), from the top, while paging is on: up to the one
    /// that maps the page, or the last present one.
    pub(crate) fn path(&self, memory: &Memory, linear: u64) -> Vec<Step> {
        let mut path = Vec::new();
        if self.cr4 & CR4_PAE == 0 {
            let has_large = self.cr4 & CR4_PSE != 0;
            let mut table = self.cr3 & 0xffff_f000;
            for shift in [22, 12] {
                let address = PhysAddr(table + 4 * (linear >> shift & 0x3ff));
                let Some(entry) = entry_32(memory, address.0, 0) else { break };
                path.push(Step { address, entry });
                if entry & LARGE != 0 && has_large {
                    break;
                }
                table = entry & 0xffff_f000;
            }
            return path;
        }
        let (mut table, levels) = if self.efer & EFER_LMA == 0 {
            // The four pointers to directories are not marked.
            let Some(directory) = entry_64(memory, self.cr3 & 0xffff_ffe0, linear >> 30 & 3) else { return path };
            (directory & FRAME, 2)
        } else {
            (self.cr3 & FRAME, 4)
        };
        for level in (0..levels).rev() {
            let address = PhysAddr(table + 8 * (linear >> (12 + 9 * level) & 0x1ff));
            let Some(entry) = entry_64(memory, address.0, 0) else { break };
            path.push(Step { address, entry });
            if entry & LARGE != 0 {
                break;
            }
            table = entry & FRAME;
        }
        path
    }
}

/// What entries allow before any has been looked at.
const EVERYTHING: u64 = !NO_EXECUTE;

/// Walks tables of 512 eight-byte entries, `levels` of them still to go; entries so far have `allowed`.
fn walk_long(memory: &Memory, table: u64, linear: u64, levels: u32, allowed: u64) -> Option<Leaf> {
    let shift = 12 + 9 * (levels - 1);
    let entry = entry_64(memory, table, linear >> shift & 0x1ff)?;
    let allowed = allowed & entry & !NO_EXECUTE | (allowed | entry) & NO_EXECUTE;
    if levels == 1 {
        return Some(Leaf { frame: entry & FRAME, bytes: PAGE, entry, allowed });
    }
    if levels < 4 && entry & LARGE != 0 {
        let bytes = 1 << shift;
        return Some(Leaf { frame: entry & FRAME & !(bytes - 1), bytes, entry: large_pat(entry), allowed });
    }
    walk_long(memory, entry & FRAME, linear, levels - 1, allowed)
}

/// The entry of a large page with its PAT bit, 12, where that of a small page is, 7.
fn large_pat(entry: u64) -> u64 {
    entry & !LARGE | entry >> 5 & LARGE
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
