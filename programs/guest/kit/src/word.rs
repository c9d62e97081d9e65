//! Words that cores share. Each method is exactly one instruction on the word.

use core::arch::asm;
use core::cell::UnsafeCell;

macro_rules! word {
    ($name:ident, $type:ty, $bits:literal, $pointer:literal, $register:literal) => {
        #[doc = concat!("A shared word of ", $bits, " bits on a cache line of its own.")]
        #[derive(Debug, Default)]
        #[repr(C, align(64))]
        pub struct $name(UnsafeCell<$type>);

        // SAFETY: every access is one instruction on an aligned word, which the processor performs whole; what order
        // other cores see them in is the very thing the programs study.
        unsafe impl Sync for $name {}

        impl $name {
            /// A word with this value before the machine starts.
            pub const fn new(value: $type) -> Self {
                Self(UnsafeCell::new(value))
            }

            /// `mov reg, [word]`
            #[inline(always)]
            pub fn load(&self) -> $type {
                let value: $type;
                // SAFETY: the pointer comes from a reference.
                unsafe {
                    asm!(concat!("mov {value", $register, "}, ", $pointer, " ptr [{at}]"), at = in(reg) self.0.get(),
                        value = lateout(reg) value, options(nostack, preserves_flags, readonly));
                }
                value
            }

            /// `mov [word], reg`: an ordinary store.
            #[inline(always)]
            pub fn store(&self, value: $type) {
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("mov ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = in(reg) value, options(nostack, preserves_flags));
                }
            }

            /// `movnti [word], reg`: a non-temporal store, which even x86 lets pass other stores.
            #[inline(always)]
            pub fn store_nt(&self, value: $type) {
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("movnti ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = in(reg) value, options(nostack, preserves_flags));
                }
            }

            /// `add [word], reg`: one instruction, but a load and a store, and another core can come between them.
            #[inline(always)]
            pub fn add(&self, value: $type) {
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("add ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = in(reg) value, options(nostack));
                }
            }

            /// `lock add [word], reg`: indivisible, and a full fence.
            #[inline(always)]
            pub fn lock_add(&self, value: $type) {
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("lock add ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = in(reg) value, options(nostack));
                }
            }

            /// `lock xadd [word], reg`: adds and returns what was there; a full fence.
            #[inline(always)]
            pub fn lock_xadd(&self, value: $type) -> $type {
                let before: $type;
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("lock xadd ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = inlateout(reg) value => before, options(nostack));
                }
                before
            }

            /// `xadd [word], reg`: adds and returns what was there; a load and a store, and another core can come between.
            #[inline(always)]
            pub fn xadd(&self, value: $type) -> $type {
                let before: $type;
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("xadd ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = inlateout(reg) value => before, options(nostack));
                }
                before
            }

            /// `xchg [word], reg`: returns what was there; locked even without the prefix, so a full fence.
            #[inline(always)]
            pub fn xchg(&self, value: $type) -> $type {
                let before: $type;
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("xchg ", $pointer, " ptr [{at}], {value", $register, "}"), at = in(reg) self.0.get(),
                        value = inlateout(reg) value => before, options(nostack, preserves_flags));
                }
                before
            }

            /// `cmpxchg [word], reg`: stores `new` if `expected` was there; else returns what was. A load and a store, and
            /// another core can come between.
            #[inline(always)]
            pub fn cmpxchg(&self, expected: $type, new: $type) -> Result<(), $type> {
                let before: $type;
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("cmpxchg ", $pointer, " ptr [{at}], {new", $register, "}"), at = in(reg) self.0.get(),
                        new = in(reg) new, inlateout("rax") expected => before, options(nostack));
                }
                if before == expected { Ok(()) } else { Err(before) }
            }

            /// `lock cmpxchg [word], reg`: stores `new` if `expected` was there; else returns what was. A full fence
            /// either way.
            #[inline(always)]
            pub fn lock_cmpxchg(&self, expected: $type, new: $type) -> Result<(), $type> {
                let before: $type;
                // SAFETY: the pointer comes from a reference to a cell.
                unsafe {
                    asm!(concat!("lock cmpxchg ", $pointer, " ptr [{at}], {new", $register, "}"), at = in(reg) self.0.get(),
                        new = in(reg) new, inlateout("rax") expected => before, options(nostack));
                }
                if before == expected { Ok(()) } else { Err(before) }
            }
        }
    };
}

word!(Word32, u32, "32", "dword", ":e");
word!(Word64, u64, "64", "qword", "");

/// Two words of 64 bits that `cmpxchg16b` exchanges as one.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Pair64(UnsafeCell<[u64; 2]>);

// SAFETY: as for the words.
unsafe impl Sync for Pair64 {}

impl Pair64 {
    /// A pair with these values before the machine starts.
    pub const fn new(low: u64, high: u64) -> Self {
        Self(UnsafeCell::new([low, high]))
    }

    /// Two loads, first the high word, then the low one: not indivisible, another core can come between them.
    #[inline(always)]
    pub fn load(&self) -> (u64, u64) {
        let (low, high): (u64, u64);
        // SAFETY: the pointer comes from a reference.
        unsafe {
            asm!("mov {high}, qword ptr [{at} + 8]", "mov {low}, qword ptr [{at}]", at = in(reg) self.0.get(),
                high = out(reg) high, low = out(reg) low, options(nostack, preserves_flags, readonly));
        }
        (low, high)
    }

    /// `lock cmpxchg16b [pair]`: stores `new` if `expected` was there, and says whether it was. A full fence either way.
    #[inline(always)]
    pub fn lock_cmpxchg16b(&self, expected: (u64, u64), new: (u64, u64)) -> bool {
        let done: u8;
        // SAFETY: the pointer comes from a reference and is aligned to 16. The instruction wants half of `new` in rbx,
        // which asm! cannot name, so it is put there and back; the other operands are pinned where rbx cannot be meant.
        unsafe {
            asm!("xchg rbx, rsi", "lock cmpxchg16b xmmword ptr [rdi]", "sete r8b", "mov rbx, rsi", in("rdi") self.0.get(),
                inout("rsi") new.0 => _, in("rcx") new.1, inout("rax") expected.0 => _, inout("rdx") expected.1 => _,
                out("r8b") done, options(nostack));
        }
        done != 0
    }
}
