//! Where the interesting part of a program begins and ends, for whoever explores it.
//!
//! The marks are instructions that do nothing: `xchg bx, bx` and `xchg cx, cx`. In an ordinary run they have no effect.
//! `fencepost explore` runs everything before the first mark once, explores all interleavings between the two, and runs what
//! comes after the second once for each state that was reached.

use core::arch::asm;

/// The explored region begins for this core. It waits here, when explored, until all cores have come to this mark.
#[inline(always)]
pub fn begin() {
    // SAFETY: exchanging a register with itself changes nothing. `nomem` is left out, so that the compiler moves no access
    // across the mark.
    unsafe { asm!("xchg bx, bx", options(nostack, preserves_flags)) };
}

/// The explored region ends for this core.
#[inline(always)]
pub fn end() {
    // SAFETY: as for `begin`.
    unsafe { asm!("xchg cx, cx", options(nostack, preserves_flags)) };
}
