//! The pair of 8259A interrupt controllers, of which only the first is used here (Intel 8259A data sheet).

use crate::{in8, out8};

const COMMAND: u16 = 0x20;
const DATA: u16 = 0x21;
/// ICW1: the beginning of an initialisation of four words.
const ICW1: u8 = 0x11;
/// ICW3: the second controller is at line 2.
const ICW3: u8 = 1 << 2;
/// ICW4: an 8086 system.
const ICW4: u8 = 1;
/// OCW2: the interrupt in service is over.
const END_OF_INTERRUPT: u8 = 0x20;

/// Initialises the first controller: line n interrupts core 0 with `first_vector` + n, and all lines are masked.
pub fn set_up(first_vector: u8) {
    out8(COMMAND, ICW1);
    for word in [first_vector, ICW3, ICW4, 0xff] {
        out8(DATA, word);
    }
}

/// Lets the interrupts of one line in.
pub fn unmask(line: u8) {
    out8(DATA, in8(DATA) & !(1 << line));
}

/// Keeps the interrupts of one line out.
pub fn mask(line: u8) {
    out8(DATA, in8(DATA) | 1 << line);
}

/// Says that the interrupt in service is over.
pub fn end_of_interrupt() {
    out8(COMMAND, END_OF_INTERRUPT);
}
