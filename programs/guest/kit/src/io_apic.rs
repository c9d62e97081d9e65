//! The I/O APIC: which core each interrupt line interrupts, and with which vector (82093AA 3.2.4).
//!
//! Its registers lie behind an index and a window, and writes to both are posted.

use crate::mmio::{read32, write32};

const IOREGSEL: u64 = 0xfec0_0000;
const IOWIN: u64 = 0xfec0_0010;
/// The first of the redirection table's registers, two a pin.
const IOREDTBL: u32 = 0x10;
/// Redirection entry: a request lasts until its handler's EOI, and comes again if the line is still active then.
const LEVEL: u32 = 1 << 15;
/// Redirection entry: no interrupt.
const MASKED: u32 = 1 << 16;

/// A pin, wired to the interrupt line of the same number (the timer's line 0 is wired to pin 2).
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    number: u8,
    /// The low half of its redirection entry, unmasked.
    entry: u32,
}

impl Pin {
    /// A pin whose line interrupts core 0 with `vector` at each rising edge.
    pub const fn edge(number: u8, vector: u8) -> Pin {
        Pin { number, entry: vector as u32 }
    }

    /// A pin whose line interrupts core 0 with `vector` as long as it is high.
    pub const fn level(number: u8, vector: u8) -> Pin {
        Pin { number, entry: vector as u32 | LEVEL }
    }

    /// Keeps its interrupts out. A posted write: they still come until it has arrived.
    #[inline(always)]
    pub fn mask(self) {
        self.write(self.entry | MASKED);
    }

    /// Lets its interrupts in. A posted write.
    #[inline(always)]
    pub fn unmask(self) {
        self.write(self.entry);
    }

    /// Reads the entry back: whatever was written before has arrived when this returns.
    #[inline(always)]
    pub fn read_back(self) -> u32 {
        // SAFETY: the I/O APIC has no access to memory.
        unsafe {
            write32(IOREGSEL, self.register());
            read32(IOWIN)
        }
    }

    #[inline(always)]
    fn write(self, entry: u32) {
        // SAFETY: the I/O APIC has no access to memory; what it interrupts leaves everything but its frame as it was. The
        // high half of the entry, which says that core 0 is meant, is as after a reset.
        unsafe {
            write32(IOREGSEL, self.register());
            write32(IOWIN, entry);
        }
    }

    #[inline(always)]
    const fn register(self) -> u32 {
        IOREDTBL + 2 * self.number as u32
    }
}
