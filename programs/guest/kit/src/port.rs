//! IN and OUT. Both wait until the core's stores are in memory (SDM 3A 8.2.5, I/O instructions).

use core::arch::asm;

/// Writes a byte to a port.
#[inline(always)]
pub fn out8(port: u16, value: u8) {
    // SAFETY: no device of this machine reaches into the guest's memory through a port.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// Reads a byte from a port; all ones if nothing is there.
#[inline(always)]
pub fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: as for out8.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) };
    value
}

/// Writes four bytes to a port.
#[inline(always)]
pub fn out32(port: u16, value: u32) {
    // SAFETY: as for out8.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}

/// Reads four bytes from a port; all ones if nothing is there.
#[inline(always)]
pub fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: as for out8.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack, preserves_flags)) };
    value
}
