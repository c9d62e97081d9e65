//! Registers of devices that lie in memory. Such memory is uncached: a write is posted and arrives at its device some time
//! later, a read waits until every write before it has arrived (SDM 3A 11.3; PCI 3.0, 3.2.5).

use core::arch::asm;

/// Reads a register of 32 bits.
///
/// # Safety
/// A device's register is at that address, and reading it does nothing to memory that is Rust's.
#[inline(always)]
pub unsafe fn read32(address: u64) -> u32 {
    let value;
    // SAFETY: the caller's promise.
    unsafe { asm!("mov {:e}, dword ptr [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags)) };
    value
}

/// Writes a register of 32 bits.
///
/// # Safety
/// A device's register is at that address, and what the device then does to memory that is Rust's is accounted for.
#[inline(always)]
pub unsafe fn write32(address: u64, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov dword ptr [{}], {:e}", in(reg) address, in(reg) value, options(nostack, preserves_flags)) };
}
