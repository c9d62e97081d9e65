//! The registers behind IOREGSEL and IOWIN (82093AA 3.2).

use crate::{Delivery, Destination, Message, Trigger};

use super::PINS;

/// A register that IOREGSEL selects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Register {
    Id,
    Version,
    Arbitration,
    /// Bits 31 to 0 of a pin's entry.
    EntryLow(u8),
    /// Bits 63 to 32.
    EntryHigh(u8),
}

impl Register {
    /// The register of number `index`; most numbers have none.
    pub(super) const fn at(index: u8) -> Option<Register> {
        match index {
            0x00 => Some(Register::Id),
            0x01 => Some(Register::Version),
            0x02 => Some(Register::Arbitration),
            FIRST_ENTRY..=LAST_ENTRY if index.is_multiple_of(2) => Some(Register::EntryLow((index - FIRST_ENTRY) / 2)),
            FIRST_ENTRY..=LAST_ENTRY => Some(Register::EntryHigh((index - FIRST_ENTRY) / 2)),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Register::Id => "IOAPICID",
            Register::Version => "IOAPICVER",
            Register::Arbitration => "IOAPICARB",
            Register::EntryLow(pin) => ENTRY_NAMES[usize::from(pin)].0,
            Register::EntryHigh(pin) => ENTRY_NAMES[usize::from(pin)].1,
        }
    }
}

const FIRST_ENTRY: u8 = 0x10;
const LAST_ENTRY: u8 = FIRST_ENTRY + 2 * PINS - 1;

/// Each pin's two halves.
static ENTRY_NAMES: [(&str, &str); PINS as usize] = [
    ("IOREDTBL0_LO", "IOREDTBL0_HI"),
    ("IOREDTBL1_LO", "IOREDTBL1_HI"),
    ("IOREDTBL2_LO", "IOREDTBL2_HI"),
    ("IOREDTBL3_LO", "IOREDTBL3_HI"),
    ("IOREDTBL4_LO", "IOREDTBL4_HI"),
    ("IOREDTBL5_LO", "IOREDTBL5_HI"),
    ("IOREDTBL6_LO", "IOREDTBL6_HI"),
    ("IOREDTBL7_LO", "IOREDTBL7_HI"),
    ("IOREDTBL8_LO", "IOREDTBL8_HI"),
    ("IOREDTBL9_LO", "IOREDTBL9_HI"),
    ("IOREDTBL10_LO", "IOREDTBL10_HI"),
    ("IOREDTBL11_LO", "IOREDTBL11_HI"),
    ("IOREDTBL12_LO", "IOREDTBL12_HI"),
    ("IOREDTBL13_LO", "IOREDTBL13_HI"),
    ("IOREDTBL14_LO", "IOREDTBL14_HI"),
    ("IOREDTBL15_LO", "IOREDTBL15_HI"),
    ("IOREDTBL16_LO", "IOREDTBL16_HI"),
    ("IOREDTBL17_LO", "IOREDTBL17_HI"),
    ("IOREDTBL18_LO", "IOREDTBL18_HI"),
    ("IOREDTBL19_LO", "IOREDTBL19_HI"),
    ("IOREDTBL20_LO", "IOREDTBL20_HI"),
    ("IOREDTBL21_LO", "IOREDTBL21_HI"),
    ("IOREDTBL22_LO", "IOREDTBL22_HI"),
    ("IOREDTBL23_LO", "IOREDTBL23_HI"),
];

/// IOREDTBL, what becomes of a pin (82093AA 3.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Entry {
    pub(super) low: u32,
    pub(super) high: u32,
}

impl Entry {
    /// After power-up.
    pub(super) const MASKED: Entry = Entry { low: Entry::MASK, high: 0 };
    const LOGICAL: u32 = 1 << 11;
    const ACTIVE_LOW: u32 = 1 << 13;
    const REMOTE_IRR: u32 = 1 << 14;
    const LEVEL: u32 = 1 << 15;
    const MASK: u32 = 1 << 16;
    /// All but the delivery status, which is always idle here, remote IRR and the reserved bits.
    const LOW: u32 = 0x0001_afff;
    const HIGH: u32 = 0xff00_0000;

    /// Remote IRR means nothing for an edge, so a change to edge and back clears it, which is how software ends an
    /// interrupt where there is no EOI register.
    pub(super) fn write_low(&mut self, value: u32) {
        self.low = value & Entry::LOW | self.low & Entry::REMOTE_IRR;
        if !self.is_level() {
            self.set_remote_irr(false);
        }
    }

    pub(super) fn write_high(&mut self, value: u32) {
        self.high = value & Entry::HIGH;
    }

    pub(super) fn set_remote_irr(&mut self, waiting: bool) {
        if waiting { self.low |= Entry::REMOTE_IRR } else { self.low &= !Entry::REMOTE_IRR }
    }

    pub(super) const fn vector(self) -> u8 {
        let [vector, ..] = self.low.to_le_bytes();
        vector
    }

    /// 0b110, which is start-up for a local APIC, is reserved here.
    fn delivery(self) -> Option<Delivery> {
        let [_, mode, ..] = self.low.to_le_bytes();
        Delivery::from_bits(mode).filter(|&delivery| delivery != Delivery::StartUp)
    }

    pub(super) const fn is_active_low(self) -> bool {
        self.low & Entry::ACTIVE_LOW != 0
    }

    pub(super) const fn is_masked(self) -> bool {
        self.low & Entry::MASK != 0
    }

    /// Whether a request lasts until its EOI; SMI, NMI, INIT and ExtINT are edges whatever the trigger bit says.
    pub(super) fn is_level(self) -> bool {
        let ends = matches!(self.delivery(), Some(Delivery::Fixed | Delivery::LowestPriority));
        ends && self.low & Entry::LEVEL != 0
    }

    pub(super) const fn awaits_eoi(self) -> bool {
        self.low & Entry::REMOTE_IRR != 0
    }

    /// The message for the pin, unless its delivery mode is reserved.
    pub(super) fn message(self) -> Option<Message> {
        let [.., address] = self.high.to_le_bytes();
        let logical = self.low & Entry::LOGICAL != 0;
        Some(Message {
            destination: if logical { Destination::Logical(address) } else { Destination::Physical(address) },
            delivery: self.delivery()?,
            vector: self.vector(),
            assert: true,
            trigger: if self.is_level() { Trigger::Level } else { Trigger::Edge },
        })
    }
}
