//! The local APIC of the core that runs: its timer, messages to other cores, and the end of an interrupt (SDM 3A chapter 11).
//!
//! Every core has its own at the same address. Its registers are at hand, so that a write to them is not posted.

use crate::mmio::{read32, write32};

/// Where its registers begin.
const BASE: u64 = 0xfee0_0000;
/// Identification register, bits 31 to 24.
const ID: u64 = BASE + 0x20;
/// End of interrupt.
pub const EOI: u64 = BASE + 0xb0;
/// Spurious interrupt vector register.
const SVR: u64 = BASE + 0xf0;
/// Interrupt request register: 32 vectors in every 16 bytes.
const IRR: u64 = BASE + 0x200;
/// Interrupt command register: writing its low half sends.
const ICR_LOW: u64 = BASE + 0x300;
const ICR_HIGH: u64 = BASE + 0x310;
/// The timer's entry of the local vector table.
const LVT_TIMER: u64 = BASE + 0x320;
const TIMER_INITIAL_COUNT: u64 = BASE + 0x380;
const TIMER_DIVIDE: u64 = BASE + 0x3e0;

/// SVR: the APIC is enabled by software, and spurious interrupts have vector 0xff.
const ENABLED: u32 = 1 << 8 | 0xff;
/// ICR: not the INIT level de-assert.
const ASSERT: u32 = 1 << 14;
/// LVT: no interrupt.
const MASKED: u32 = 1 << 16;
/// LVT: the timer starts over.
const PERIODIC: u32 = 1 << 17;
/// Divide configuration: by one.
const BY_ONE: u32 = 0b1011;

/// How often the timer interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Once.
    OneShot,
    /// At the end of every count.
    Periodic,
}

/// Turns it on. Interrupts of the 8259A reach core 0 through it as before.
pub fn enable() {
    write(SVR, ENABLED);
}

/// Which core this is: the machine gives a local APIC its core's number.
pub fn number() -> usize {
    (read(ID) >> 24) as usize
}

/// Says that the interrupt in service is over: the next of its priority may come.
#[inline(always)]
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Interrupts the core of that number with `vector`, which is not below 16.
///
/// These are two writes. With interrupts on, a handler that also sends can come between them, and the message then goes to
/// the core that the handler meant.
#[inline(always)]
pub fn interrupt(core: usize, vector: u8) {
    write(ICR_HIGH, (core as u32) << 24);
    write(ICR_LOW, u32::from(vector) | ASSERT);
}

/// Whether `vector` has been asked for and its handler not been entered yet.
#[inline(always)]
pub fn is_requested(vector: u8) -> bool {
    read(IRR + 16 * u64::from(vector / 32)) >> (vector % 32) & 1 == 1
}

/// Starts the timer, which interrupts with `vector` in so many cycles of 10 nanoseconds.
pub fn start_timer(timer: Timer, vector: u8, cycles: u32) {
    let periodic = match timer {
        Timer::OneShot => 0,
        Timer::Periodic => PERIODIC,
    };
    write(TIMER_DIVIDE, BY_ONE);
    write(LVT_TIMER, u32::from(vector) | periodic);
    write(TIMER_INITIAL_COUNT, cycles);
}

/// Stops the timer.
pub fn stop_timer() {
    write(LVT_TIMER, MASKED);
    write(TIMER_INITIAL_COUNT, 0);
}

#[inline(always)]
fn read(register: u64) -> u32 {
    // SAFETY: the local APIC has no access to memory.
    unsafe { read32(register) }
}

#[inline(always)]
fn write(register: u64, value: u32) {
    // SAFETY: the local APIC has no access to memory; what it interrupts leaves everything but its frame as it was.
    unsafe { write32(register, value) };
}
