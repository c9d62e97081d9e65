//! The instructions that order memory, by their names (SDM 3A 11.2.5; 2A and 2B for each).

use core::arch::asm;

/// Nothing after it, load or store, starts before every store before it has reached memory.
#[inline(always)]
pub fn mfence() {
    // SAFETY: a fence changes nothing but the order of accesses.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) };
}

/// Every store before it reaches memory before any store after it; it waits for nothing and orders no load.
#[inline(always)]
pub fn sfence() {
    // SAFETY: a fence changes nothing but the order of accesses.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) };
}

/// Orders loads, which this machine performs in order anyway; the store buffer does not notice it.
#[inline(always)]
pub fn lfence() {
    // SAFETY: a fence changes nothing but the order of accesses.
    unsafe { asm!("lfence", options(nostack, preserves_flags)) };
}

/// A full fence as compilers emit it: a LOCK-prefixed instruction that leaves the top of the stack as it was.
#[inline(always)]
pub fn lock_or() {
    // SAFETY: OR with zero writes back what was there, and without a red zone nothing of ours is at stake.
    unsafe { asm!("lock or dword ptr [rsp], 0") };
}

/// Says "I am waiting": belongs into every loop that waits for another core.
#[inline(always)]
pub fn pause() {
    // SAFETY: PAUSE is a hint.
    unsafe { asm!("pause", options(nomem, nostack, preserves_flags)) };
}

/// Does nothing, for one instruction.
#[inline(always)]
pub fn nop() {
    // SAFETY: it does nothing. The order of accesses around it is kept.
    unsafe { asm!("nop", options(nostack, preserves_flags)) };
}
