//! The I/O APIC, which makes [`Message`]s for local APICs of the board's interrupt lines (Intel 82093AA, data sheet of
//! May 1996), with the EOI register that came with version 0x20 (Intel ICH9 data sheet, "EOIR").
//!
//! Two registers are seen, an index and a window on the register it selects.
//! IOREGSEL takes the low byte of a write of any width; the window and EOIR take 32 bits at their own offset.
//! Other writes do nothing, a narrower read gives its part of the register, and anything else reads as all ones.
//!
//! A pin's level is the wire's: the entry's polarity says which level is the active one, so a wire that rests high has
//! to be set high before somebody unmasks it.
//! What a masked pin does is forgotten, but a level still there when it is unmasked interrupts then (3.2.4, bit 16).
//!
//! False on hardware: a message is delivered at once, so the delivery status is always idle, and remote IRR is set when
//! it is sent, also if no local APIC takes it.

mod registers;

use crate::{Device, PhysAddr, Region, Signal, Width};
use registers::{Entry, Register};

/// The I/O APIC: 24 pins.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IoApic {
    /// IOREGSEL.
    index: u8,
    /// IOAPICID, bits 27 to 24.
    id: u8,
    /// IOAPICARB, bits 27 to 24.
    arbitration: u8,
    entries: [Entry; PINS as usize],
    /// Whether each pin is high.
    lines: [bool; PINS as usize],
}

const PINS: u8 = 24;

const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
/// The EOI register: the vector of a level-triggered interrupt that is over, for writing.
const EOIR: u64 = 0x40;

/// Version 0x20, and the number of the last entry.
const VERSION: u32 = (PINS as u32 - 1) << 16 | 0x20;

impl IoApic {
    /// Where a PC has it.
    pub const REGIONS: &[Region] = &[Region::memory(PhysAddr(0xfec0_0000), 0x1000)];
    /// Pins, numbered from 0.
    pub const PINS: u8 = PINS;

    /// One to which firmware has given the identity `id`, of which four bits count.
    pub fn new(id: u8) -> IoApic {
        IoApic { id: id & 0xf, ..IoApic::default() }
    }

    /// The level of the wire at `pin`; there is nothing at a pin beyond the last.
    pub fn set_line(&mut self, pin: u8, high: bool) -> Vec<Signal> {
        let at = usize::from(pin);
        if pin >= PINS || self.lines[at] == high {
            return Vec::new();
        }
        self.lines[at] = high;
        let entry = self.entries[at];
        if entry.is_level() {
            self.sense(at)
        } else if self.is_active(at) && !entry.is_masked() {
            send(entry)
        } else {
            Vec::new()
        }
    }

    /// Whether `pin` can interrupt: it is not masked.
    pub fn listens_to(&self, pin: u8) -> bool {
        self.entries.get(usize::from(pin)).is_some_and(|entry| !entry.is_masked())
    }

    /// A level-triggered interrupt of `vector` has been dealt with, as a local APIC says: its pins may interrupt again,
    /// and those that are still active do so now.
    pub fn end_of_interrupt(&mut self, vector: u8) -> Vec<Signal> {
        let mut signals = Vec::new();
        for at in 0..usize::from(PINS) {
            let entry = &mut self.entries[at];
            if entry.awaits_eoi() && entry.vector() == vector {
                entry.set_remote_irr(false);
                signals.extend(self.sense(at));
            }
        }
        signals
    }

    /// Sends the interrupt of an active pin that is level-triggered, unless the last one still waits for its EOI.
    fn sense(&mut self, at: usize) -> Vec<Signal> {
        let entry = self.entries[at];
        if !entry.is_level() || entry.is_masked() || entry.awaits_eoi() || !self.is_active(at) {
            return Vec::new();
        }
        self.entries[at].set_remote_irr(true);
        send(entry)
    }

    fn is_active(&self, at: usize) -> bool {
        self.lines[at] != self.entries[at].is_active_low()
    }

    fn selected(&self) -> Option<Register> {
        Register::at(self.index)
    }

    fn read_window(&self) -> u32 {
        match self.selected() {
            Some(Register::Id) => u32::from(self.id) << 24,
            Some(Register::Version) => VERSION,
            Some(Register::Arbitration) => u32::from(self.arbitration) << 24,
            Some(Register::EntryLow(pin)) => self.entries[usize::from(pin)].low,
            Some(Register::EntryHigh(pin)) => self.entries[usize::from(pin)].high,
            None => u32::MAX,
        }
    }

    fn write_window(&mut self, value: u32) -> Vec<Signal> {
        match self.selected() {
            Some(Register::Id) => {
                let [.., id] = value.to_le_bytes();
                self.id = id & 0xf;
                // The arbitration identity follows (3.2.3).
                self.arbitration = self.id;
                Vec::new()
            }
            Some(Register::EntryLow(pin)) => {
                self.entries[usize::from(pin)].write_low(value);
                self.sense(usize::from(pin))
            }
            Some(Register::EntryHigh(pin)) => {
                self.entries[usize::from(pin)].write_high(value);
                Vec::new()
            }
            Some(Register::Version | Register::Arbitration) | None => Vec::new(),
        }
    }
}

impl Default for IoApic {
    /// The state after a reset: everything masked.
    fn default() -> Self {
        let entries = [Entry::MASKED; PINS as usize];
        IoApic { index: 0, id: 0, arbitration: 0, entries, lines: [false; PINS as usize] }
    }
}

impl Device for IoApic {
    fn name(&self) -> &'static str {
        "ioapic"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset & !3 {
            IOREGSEL => "IOREGSEL",
            IOWIN => self.selected().map_or("RESERVED", Register::name),
            EOIR => "EOIR",
            _ => "RESERVED",
        }
    }

    fn read(&mut self, offset: u64, width: Width) -> (u64, Vec<Signal>) {
        let first = offset % 4;
        let register: u32 = match offset - first {
            _ if first + width.bytes() > 4 => return (width.mask(), Vec::new()),
            IOREGSEL => self.index.into(),
            IOWIN => self.read_window(),
            _ => u32::MAX,
        };
        (u64::from(register) >> (8 * first) & width.mask(), Vec::new())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal> {
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        match (offset, width) {
            (IOREGSEL, _) => {
                self.index = b0;
                Vec::new()
            }
            (IOWIN, Width::Dword) => self.write_window(u32::from_le_bytes([b0, b1, b2, b3])),
            (EOIR, Width::Dword) => self.end_of_interrupt(b0),
            _ => Vec::new(),
        }
    }
}

/// The message of an entry, for the machine to carry.
fn send(entry: Entry) -> Vec<Signal> {
    entry.message().map(Signal::Interrupt).into_iter().collect()
}

#[cfg(test)]
mod tests;
