//! Numbers that look random and are the same in every run: what varies between runs is the machine's schedule alone.

use crate::Core;
use core::arch::asm;

/// A 32-bit xorshift generator (Marsaglia, 2003).
#[derive(Clone, Debug)]
pub struct Xorshift(u32);

impl Xorshift {
    /// A generator of this core's own.
    pub fn new(core: &Core) -> Self {
        Self(0x9e37_79b9_u32.wrapping_mul(core.index as u32 + 1))
    }

    /// The next number; zero never comes.
    #[inline(always)]
    pub fn number(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Does nothing for 2 to 2 * `turns` instructions, so that cores meet in ever new positions. `turns` is a power of two.
    #[inline(always)]
    pub fn delay(&mut self, turns: u32) {
        let turns = (self.number() & (turns - 1)) + 1;
        // SAFETY: the loop touches one register.
        unsafe { asm!("2:", "dec {0:e}", "jnz 2b", inout(reg) turns => _, options(nomem, nostack)) };
    }
}
