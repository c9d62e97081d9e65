//! The 8254 timer, whose counter 0 is interrupt line 0 (Intel 8254 data sheet).

use crate::out8;

const COUNTER_0: u16 = 0x40;
const CONTROL: u16 = 0x43;
/// Counter 0, low byte then high byte, mode 2: a rate generator.
const RATE_GENERATOR: u8 = 0x34;

/// Counts in a second.
pub const HERTZ: u32 = 1_193_182;

/// Lets line 0 rise once in so many counts, again and again.
pub fn start(counts: u16) {
    let [low, high] = counts.to_le_bytes();
    out8(CONTROL, RATE_GENERATOR);
    out8(COUNTER_0, low);
    out8(COUNTER_0, high);
}
