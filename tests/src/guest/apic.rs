//! Registers of the local APIC and the I/O APIC, by address (SDM 3A, table 11-1; 82093AA 3.1).

/// Where the local APIC is.
pub const BASE: u64 = 0xfee0_0000;
/// Task priority.
pub const TPR: u64 = BASE + 0x80;
/// End of interrupt.
pub const EOI: u64 = BASE + 0xb0;
/// Spurious interrupt vector; bit 8 enables the APIC.
pub const SVR: u64 = BASE + 0xf0;
/// The first word of the interrupt request register; a vector's bit is in the word at `IRR + 16 * (vector / 32)`.
pub const IRR: u64 = BASE + 0x200;
/// Interrupt command: the low word sends.
pub const ICR_LOW: u64 = BASE + 0x300;
/// The destination, in its top byte.
pub const ICR_HIGH: u64 = BASE + 0x310;
/// The local timer's entry of the local vector table.
pub const LVT_TIMER: u64 = BASE + 0x320;
/// The timer's initial count.
pub const TIMER_INITIAL: u64 = BASE + 0x380;
/// The timer's current count.
pub const TIMER_CURRENT: u64 = BASE + 0x390;
/// What the timer's clock is divided by.
pub const TIMER_DIVIDE: u64 = BASE + 0x3e0;

/// SVR: enabled, with spurious vector 0xff.
pub const ENABLED: u32 = 0x1ff;
/// LVT of the timer: it starts anew by itself.
pub const PERIODIC: u32 = 1 << 17;
/// Divide by one.
pub const BY_ONE: u32 = 0b1011;
/// ICR: assert.
pub const ASSERT: u32 = 1 << 14;
/// ICR: to the sender itself.
pub const TO_SELF: u32 = 1 << 18;
/// ICR: to all but the sender.
pub const TO_OTHERS: u32 = 3 << 18;
/// ICR: a non-maskable interrupt.
pub const NMI: u32 = 4 << 8;
/// ICR: a reset, and a start at the page in the low byte.
pub const INIT: u32 = 5 << 8;
/// See [`INIT`].
pub const START_UP: u32 = 6 << 8;

/// The I/O APIC's index and data registers.
pub const IO_SELECT: u64 = 0xfec0_0000;
/// See [`IO_SELECT`].
pub const IO_WINDOW: u64 = IO_SELECT + 0x10;
/// Index of the low word of the redirection table's first entry; each has two words.
pub const IO_REDIRECTION: u32 = 0x10;
