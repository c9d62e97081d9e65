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
    /// Breakpoints are enabled, or debug registers guarded: an instruction may end in a debug exception before it begins, or after
    /// an access.
    pub(crate) breaks: bool,
    /// Accesses have to be aligned (SDM 3A 6.15, interrupt 17).
    pub(crate) aligns: bool,
    /// What SSE instructions raise may interrupt (SDM 3A 6.15, interrupt 19).
    pub(crate) floats: bool,
}

const CR0_PE: u64 = 1;
const CR0_AM: u64 = 1 << 18;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const EFER_LMA: u64 = 1 << 10;
/// RFLAGS.TF.
const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.AC.
const ALIGNMENT_FLAG: u64 = 1 << 18;
/// All of MXCSR's masks (SDM 1 10.2.3).
const MXCSR_MASKS: u32 = 0x1f80;
/// L0 to G3 and GD of DR7 (SDM 3B 18.2.4).
const BREAKPOINTS: u64 = 0x20ff;
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
/// The same in entries of 4 bytes.
const NARROW_FRAME: u64 = 0xffff_f000;

impl Mode {
    /// The mode of a core in state `cpu`.
    pub(crate) fn of(cpu: &CpuState) -> Mode {
        let code = cpu.segment(SegmentName::Cs);
        let bits = match (cpu.efer & EFER_LMA != 0 && code.flags & CODE_LONG != 0, code.flags & CODE_BIG != 0) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        };
        let is_protected = cpu.cr0 & CR0_PE != 0;
        let level = if is_protected { cpu.segment(SegmentName::Ss).flags >> 13 & 3 } else { 0 };
        Mode {
            cr0: cpu.cr0,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            efer: cpu.efer,
            bits,
            traps: cpu.rflags & TRAP_FLAG != 0,
            breaks: cpu.dr[7] & BREAKPOINTS != 0,
            aligns: cpu.cr0 & CR0_AM != 0 && cpu.rflags & ALIGNMENT_FLAG != 0 && level == 3,
            floats: !cpu.mxcsr & MXCSR_MASKS != 0,
        }
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
        let (mut allowed, mut last) = (EVERYTHING, None);
        for step in self.path(memory, linear) {
            allowed = allowed & step.entry & !NO_EXECUTE | (allowed | step.entry) & NO_EXECUTE;
            last = Some(step);
        }
        let Step { entry, bytes, .. } = last.filter(|step| step.maps)?;
        let (frame, entry) = match (bytes, self.has_wide_entries()) {
            (PAGE, true) => (entry & FRAME, entry),
            (PAGE, false) => (entry & NARROW_FRAME, entry),
            (_, true) => (entry & FRAME & !(bytes - 1), large_pat(entry)),
            // Bits 20 to 13 are bits 39 to 32 of the frame (PSE-36).
            (_, false) => (entry & 0xffc0_0000 | (entry & 0x1f_e000) << 19, large_pat(entry)),
        };
        Some(Leaf { frame, bytes, entry, allowed })
    }

    /// The entries that a walk for `linear` reads and may mark (SDM 3A 5.8), from the top, while paging is on: up to the one
    /// that maps the page, or the last present one. PAE's four pointers to directories, which are not marked, are left out.
    pub(crate) fn path(&self, memory: &Memory, linear: u64) -> impl Iterator<Item = Step> + use<> {
        let shifts = match (self.has_wide_entries(), self.is_long()) {
            (false, _) => &[22, 12][..],
            (true, false) => &[21, 12][..],
            (true, true) => &[39, 30, 21, 12][..],
        };
        let (mut steps, mut table, mut shifts) = ([None; 4], self.first_table(memory, linear), shifts.iter());
        for place in &mut steps {
            let (Some(at), Some(&shift)) = (table, shifts.next()) else { break };
            *place = self.step(memory, at, linear, shift);
            table = place.filter(|step| !step.maps).map(|step| self.table_of(step.entry));
        }
        steps.into_iter().flatten()
    }

    /// Whether a walk for `linear` comes to a table that is not in memory.
    pub(crate) fn leaves_memory(&self, memory: &Memory, linear: u64) -> bool {
        let has_pointers = self.has_wide_entries() && !self.is_long();
        let table = match self.path(memory, linear).last() {
            Some(step) if step.maps => return false,
            Some(step) => Some(self.table_of(step.entry)),
            None if has_pointers && !memory.holds(PhysAddr(self.cr3 & 0xffff_ffe0)) => return true,
            None => self.first_table(memory, linear),
        };
        table.is_some_and(|table| !memory.holds(PhysAddr(table)))
    }

    /// Where the first table with entries that a walk may mark is.
    fn first_table(&self, memory: &Memory, linear: u64) -> Option<u64> {
        if self.has_wide_entries() && !self.is_long() {
            entry_64(memory, (self.cr3 & 0xffff_ffe0) + 8 * (linear >> 30 & 3)).map(|pointer| pointer & FRAME)
        } else {
            Some(self.cr3 & FRAME)
        }
    }

    /// Reads the entry for `linear` of the table at `table`, which maps or leads to 2 to the `shift` bytes.
    fn step(&self, memory: &Memory, table: u64, linear: u64, shift: u32) -> Option<Step> {
        let (address, entry) = if self.has_wide_entries() {
            let address = table + 8 * (linear >> shift & 0x1ff);
            (address, entry_64(memory, address)?)
        } else {
            let address = table + 4 * (linear >> shift & 0x3ff);
            (address, entry_32(memory, address)?)
        };
        let may_be_large = shift != 39 && (self.has_wide_entries() || self.cr4 & CR4_PSE != 0);
        let maps = shift == 12 || may_be_large && entry & LARGE != 0;
        Some(Step { address: PhysAddr(address), entry, bytes: 1 << shift, maps })
    }

    fn table_of(&self, entry: u64) -> u64 {
        entry & if self.has_wide_entries() { FRAME } else { NARROW_FRAME }
    }

    /// Whether entries have 8 bytes: PAE and 4-level paging.
    fn has_wide_entries(&self) -> bool {
        self.cr4 & CR4_PAE != 0
    }

    /// Whether the processor is in long mode.
    pub(crate) fn is_long(&self) -> bool {
        self.efer & EFER_LMA != 0
    }
}

/// A present entry that a walk through page tables reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) address: PhysAddr,
    pub(crate) entry: u64,
    /// How much it maps or leads to.
    bytes: u64,
    /// Whether it maps a page.
    pub(crate) maps: bool,
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

/// What entries allow before any has been looked at.
const EVERYTHING: u64 = !NO_EXECUTE;

/// The entry of a large page with its PAT bit, 12, where that of a small page is, 7.
fn large_pat(entry: u64) -> u64 {
    entry & !LARGE | entry >> 5 & LARGE
}

fn entry_64(memory: &Memory, address: u64) -> Option<u64> {
    memory.read_u64(PhysAddr(address)).filter(|entry| entry & PRESENT != 0)
}

fn entry_32(memory: &Memory, address: u64) -> Option<u64> {
    let bytes = memory.slice(PhysAddr(address), 4)?;
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
            let tables = (0..1024).filter_map(|index| entry_32(memory, directory + 4 * index));
            pages.extend(tables.filter(|entry| entry & LARGE == 0).map(|entry| (entry & 0xffff_f000) / PAGE));
        } else if self.efer & EFER_LMA == 0 {
            pages.push(self.cr3 / PAGE);
            let directories = (0..4).filter_map(|index| entry_64(memory, (self.cr3 & 0xffff_ffe0) + 8 * index));
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
    for entry in (0..512).filter_map(|index| entry_64(memory, table + 8 * index)) {
        if entry & LARGE == 0 {
            tables_below(memory, entry & FRAME, levels - 1, pages);
        }
    }
}
