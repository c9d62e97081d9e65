//! Memory types: what an access to memory does to the order of a core's stores (SDM 3A chapter 13; 12 or 11 in older
//! editions).
//!
//! A core's memory type range registers (MTRRs, 13.11) give physical addresses a type; an entry of a page table gives its page
//! another, one of eight in IA32_PAT that its bits PAT, PCD and PWT choose (13.12); both together decide (table 13-7).
//! Three kinds of types are told apart:
//!
//! - write-back, write-through and write-protected memory: ordinary stores. Caches are always coherent, so nobody can tell
//!   these three from each other;
//! - write-combining: stores drain in any order;
//! - uncached: an access waits for the core's buffer to drain, and a store goes straight to memory.
//!
//! What is no memory belongs to devices, and is uncached whatever the registers say.
//! Left out: CR0.CD (the types stay as they are, as if lines were cached before), types of page tables themselves and of code,
//! and the other page's type where an access crosses pages: it has that of the first.

use crate::memory::MemoryType;
use fencepost_devices::{Framebuffer, PhysAddr};

/// The encodings of memory types (SDM 3A, table 13-8).
const UC: u8 = 0;
const WC: u8 = 1;
const WT: u8 = 4;
const WP: u8 = 5;
const WB: u8 = 6;
/// Only in IA32_PAT: uncached, unless the MTRRs say write-combining.
const UC_MINUS: u8 = 7;

const CAPABILITIES: u32 = 0xfe;
const FIRST_BASE: u32 = 0x200;
const LAST_MASK: u32 = FIRST_BASE + 2 * VARIABLE as u32 - 1;
/// The fixed ranges' registers, in the order of their addresses: one of 64 KiB ranges, two of 16 KiB, eight of 4 KiB.
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const DEFAULT_TYPE: u32 = 0x2ff;

/// Variable ranges: as many as processors usually have.
const VARIABLE: usize = 8;
/// IA32_MTRRCAP: so many variable ranges, and fixed ranges, and write-combining.
const CAPABLE: u64 = VARIABLE as u64 | 1 << 8 | 1 << 10;
/// IA32_MTRR_DEF_TYPE: fixed ranges on, MTRRs on.
const FIXED_ON: u64 = 1 << 10;
const ON: u64 = 1 << 11;
/// IA32_MTRR_PHYSMASKn: the range counts.
const VALID: u64 = 1 << 11;
/// Physical addresses have 40 bits.
const PHYSICAL: u64 = (1 << 40) - 1;
/// Where fixed ranges end.
const FIXED_END: u64 = 1 << 20;

/// The memory type range registers of a core.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemoryTypes {
    default: u64,
    fixed: [u64; 11],
    /// Base and mask of each.
    variable: [[u64; 2]; VARIABLE],
}

impl Default for MemoryTypes {
    /// As a BIOS leaves them: memory is write-back, the VGA's hole and what lies below 4 GiB for devices uncached, the
    /// framebuffer's pixels write-combining.
    fn default() -> MemoryTypes {
        let all = |kind: u8| u64::from_le_bytes([kind; 8]);
        let mut types =
            MemoryTypes { default: u64::from(WB) | FIXED_ON | ON, fixed: [all(WB); 11], variable: [[0; 2]; VARIABLE] };
        // The second register of 16 KiB ranges is that from 0xa0000 on.
        types.fixed[2] = all(UC);
        let range = |base: u64, bytes: u64, kind: u8| [base | u64::from(kind), PHYSICAL & !(bytes - 1) | VALID];
        types.variable[0] = range(Framebuffer::PIXELS.0, Framebuffer::PIXEL_BYTES, WC);
        types.variable[1] = range(0xf000_0000, 0x1000_0000, UC);
        types
    }
}

impl MemoryTypes {
    /// The value of register `number`; `None` when it is none of these.
    pub(super) fn read(&self, number: u32) -> Option<u64> {
        match number {
            CAPABILITIES => Some(CAPABLE),
            DEFAULT_TYPE => Some(self.default),
            FIRST_BASE..=LAST_MASK => {
                let index = (number - FIRST_BASE) as usize;
                Some(self.variable[index / 2][index % 2])
            }
            _ => fixed_index(number).map(|index| self.fixed[index]),
        }
    }

    /// Writes `value` into register `number`. `false`, with nothing written, when it is none of these, or cannot hold the
    /// value: reserved types and bits (SDM 3A 13.11.2).
    pub(super) fn write(&mut self, number: u32, value: u64) -> bool {
        let register = match number {
            DEFAULT_TYPE if value & !(FIXED_ON | ON | 0xff) == 0 && is_type(value as u8) => &mut self.default,
            FIRST_BASE..=LAST_MASK => {
                let index = (number - FIRST_BASE) as usize;
                let is_base = index.is_multiple_of(2);
                let is_held = value & !PHYSICAL == 0
                    && if is_base { value & 0xf00 == 0 && is_type(value as u8) } else { value & 0x7ff == 0 };
                if !is_held {
                    return false;
                }
                &mut self.variable[index / 2][index % 2]
            }
            _ => match fixed_index(number) {
                Some(index) if value.to_le_bytes().into_iter().all(is_type) => &mut self.fixed[index],
                _ => return false,
            },
        };
        *register = value;
        true
    }

    /// The type of memory at `address` in a page whose entry chooses `of_page` from IA32_PAT.
    pub(crate) fn effective(&self, address: PhysAddr, of_page: PageType) -> MemoryType {
        match (self.of_range(address), of_page.0) {
            (_, WC) | (WC, WB | UC_MINUS) => MemoryType::WriteCombining,
            (UC | WC, _) | (_, UC | UC_MINUS) => MemoryType::Uncached,
            (_, _) => MemoryType::WriteBack,
        }
    }

    /// The type that the registers give to `address` (SDM 3A 13.11.4.1).
    fn of_range(&self, address: PhysAddr) -> u8 {
        if self.default & ON == 0 {
            return UC;
        }
        if address.0 < FIXED_END && self.default & FIXED_ON != 0 {
            return self.of_fixed_range(address.0);
        }
        let ranges = self
            .variable
            .iter()
            .filter(|[base, mask]| mask & VALID != 0 && address.0 & mask & !0xfff == base & mask & !0xfff);
        // Where ranges overlap, uncached comes first, and write-through before write-back; the rest is not defined.
        ranges.map(|[base, _]| *base as u8).min().unwrap_or(self.default as u8)
    }

    fn of_fixed_range(&self, address: u64) -> u8 {
        let (register, range) = match address {
            0..0x8_0000 => (0, address >> 16),
            0x8_0000..0xc_0000 => (1 + (address >> 17 & 1), address >> 14 & 7),
            _ => (3 + ((address - 0xc_0000) >> 15), address >> 12 & 7),
        };
        self.fixed[register as usize].to_le_bytes()[range as usize]
    }
}

/// The type that an entry of a page table chooses from IA32_PAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageType(u8);

impl PageType {
    /// What leaves the decision to the MTRRs.
    pub(crate) const WRITE_BACK: PageType = PageType(WB);

    /// The type that `entry` (with its PAT bit where that of a 4 KiB page is) chooses from `pat`.
    pub(crate) fn chosen_by(entry: u64, pat: u64) -> PageType {
        let index = entry >> 3 & 3 | entry >> 5 & 4;
        PageType(pat.to_le_bytes()[index as usize] & 7)
    }

    /// Its number, of three bits.
    pub(crate) fn bits(self) -> u64 {
        self.0.into()
    }

    /// The type with number `bits`.
    pub(crate) fn from_bits(bits: u64) -> PageType {
        PageType(bits as u8 & 7)
    }
}

fn is_type(value: u8) -> bool {
    matches!(value, UC | WC | WT | WP | WB)
}

fn fixed_index(number: u32) -> Option<usize> {
    FIXED.iter().position(|&fixed| fixed == number)
}
