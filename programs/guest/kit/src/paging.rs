//! A page of its own behind the boot page tables, whose entry a program can change (SDM 3A 4.5, 4.10.4).
//!
//! The boot tables map the first 4 GiB to themselves and are the same for all cores. What is mapped here lies above.

use core::arch::asm;
use core::cell::UnsafeCell;

/// Where the page is: at 5 GiB.
pub const PAGE: u64 = 5 << 30;

/// An entry of any table: present and writable.
const PRESENT: u64 = 1 << 0 | 1 << 1;
/// The address in an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The entry of [`PAGE`] in its table of 1 GiB regions; in the tables below it is the first.
const POINTER_INDEX: usize = 5;

/// 4 KiB of entries, aligned as the processor wants them.
#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: `map` alone writes them, one whole entry at a time; the processor reads each whole.
unsafe impl Sync for Table {}

static DIRECTORY: Table = Table(UnsafeCell::new([0; 512]));
static TABLE: Table = Table(UnsafeCell::new([0; 512]));

/// Puts the page tables for [`PAGE`] under the boot tables; to be done by one core, before it [maps](map) something.
pub fn set_up() {
    let root: u64;
    // SAFETY: reading CR3 changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    // SAFETY: the boot page tables are mapped to themselves, and nobody else writes to these entries.
    unsafe {
        let pointers = ((root & ADDRESS) as *const u64).read_volatile() & ADDRESS;
        DIRECTORY.0.get().cast::<u64>().write_volatile(TABLE.0.get() as u64 | PRESENT);
        (pointers as *mut u64).add(POINTER_INDEX).write_volatile(DIRECTORY.0.get() as u64 | PRESENT);
    }
}

/// Lets [`PAGE`] be the frame at this physical address: one store to the page table. Cores may go on using what was there
/// before until they are told otherwise.
#[inline(always)]
pub fn map(frame: u64) {
    // SAFETY: the entry is an aligned word that only the processor reads.
    unsafe {
        asm!("mov qword ptr [{}], {}", in(reg) TABLE.0.get(), in(reg) frame | PRESENT, options(nostack, preserves_flags));
    }
}

/// Makes this core forget where [`PAGE`] was: INVLPG. Other cores do not notice.
#[inline(always)]
pub fn invalidate() {
    // SAFETY: it changes nothing but how addresses are translated, which `map` has decided.
    unsafe { asm!("invlpg [{}]", in(reg) PAGE, options(nostack, preserves_flags)) };
}

/// Loads the first word of [`PAGE`], which has been mapped.
#[inline(always)]
pub fn load() -> u32 {
    let value;
    // SAFETY: what is mapped there are frames of shared words.
    unsafe { asm!("mov {:e}, dword ptr [{}]", out(reg) value, in(reg) PAGE, options(nostack, preserves_flags)) };
    value
}

/// Stores to the first word of [`PAGE`], which has been mapped.
#[inline(always)]
pub fn store(value: u32) {
    // SAFETY: as for `load`.
    unsafe { asm!("mov dword ptr [{}], {:e}", in(reg) PAGE, in(reg) value, options(nostack, preserves_flags)) };
}
