//! The registers: where they are, what they are called, and their bits (SDM 3A table 11-1 and the figures of 11.4 to 11.9).

use bitflags::bitflags;

use super::timer::Mode;
use crate::{Delivery, Trigger};

/// A register of the local APIC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Register {
    Id,
    Version,
    TaskPriority,
    ArbitrationPriority,
    ProcessorPriority,
    EndOfInterrupt,
    RemoteRead,
    LogicalDestination,
    DestinationFormat,
    SpuriousVector,
    /// Vectors from 32 times the number on.
    InService(u8),
    TriggerMode(u8),
    InterruptRequest(u8),
    ErrorStatus,
    InterruptCommandLow,
    InterruptCommandHigh,
    Lvt(Source),
    InitialCount,
    CurrentCount,
    DivideConfiguration,
}

/// What interrupts its own core through the local vector table, in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Source {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
}

impl Register {
    /// The register at `offset`, a multiple of 16, and the manual's name of it; `None` is reserved.
    pub(super) fn at(offset: u64) -> Option<(Register, &'static str)> {
        let row = REGISTERS.iter().find(|(at, ..)| *at == offset);
        row.map(|&(_, register, name)| (register, name))
    }
}

/// Offset, register and name.
static REGISTERS: &[(u64, Register, &str)] = &[
    (0x020, Register::Id, "ID"),
    (0x030, Register::Version, "VERSION"),
    (0x080, Register::TaskPriority, "TPR"),
    (0x090, Register::ArbitrationPriority, "APR"),
    (0x0a0, Register::ProcessorPriority, "PPR"),
    (0x0b0, Register::EndOfInterrupt, "EOI"),
    (0x0c0, Register::RemoteRead, "RRD"),
    (0x0d0, Register::LogicalDestination, "LDR"),
    (0x0e0, Register::DestinationFormat, "DFR"),
    (0x0f0, Register::SpuriousVector, "SVR"),
    (0x100, Register::InService(0), "ISR0"),
    (0x110, Register::InService(1), "ISR1"),
    (0x120, Register::InService(2), "ISR2"),
    (0x130, Register::InService(3), "ISR3"),
    (0x140, Register::InService(4), "ISR4"),
    (0x150, Register::InService(5), "ISR5"),
    (0x160, Register::InService(6), "ISR6"),
    (0x170, Register::InService(7), "ISR7"),
    (0x180, Register::TriggerMode(0), "TMR0"),
    (0x190, Register::TriggerMode(1), "TMR1"),
    (0x1a0, Register::TriggerMode(2), "TMR2"),
    (0x1b0, Register::TriggerMode(3), "TMR3"),
    (0x1c0, Register::TriggerMode(4), "TMR4"),
    (0x1d0, Register::TriggerMode(5), "TMR5"),
    (0x1e0, Register::TriggerMode(6), "TMR6"),
    (0x1f0, Register::TriggerMode(7), "TMR7"),
    (0x200, Register::InterruptRequest(0), "IRR0"),
    (0x210, Register::InterruptRequest(1), "IRR1"),
    (0x220, Register::InterruptRequest(2), "IRR2"),
    (0x230, Register::InterruptRequest(3), "IRR3"),
    (0x240, Register::InterruptRequest(4), "IRR4"),
    (0x250, Register::InterruptRequest(5), "IRR5"),
    (0x260, Register::InterruptRequest(6), "IRR6"),
    (0x270, Register::InterruptRequest(7), "IRR7"),
    (0x280, Register::ErrorStatus, "ESR"),
    (0x300, Register::InterruptCommandLow, "ICR_LO"),
    (0x310, Register::InterruptCommandHigh, "ICR_HI"),
    (0x320, Register::Lvt(Source::Timer), "LVT_TIMER"),
    (0x330, Register::Lvt(Source::Thermal), "LVT_THERMAL"),
    (0x340, Register::Lvt(Source::Performance), "LVT_PERFORMANCE"),
    (0x350, Register::Lvt(Source::Lint0), "LVT_LINT0"),
    (0x360, Register::Lvt(Source::Lint1), "LVT_LINT1"),
    (0x370, Register::Lvt(Source::Error), "LVT_ERROR"),
    (0x380, Register::InitialCount, "INITIAL_COUNT"),
    (0x390, Register::CurrentCount, "CURRENT_COUNT"),
    (0x3e0, Register::DivideConfiguration, "DIVIDE_CONFIGURATION"),
];

bitflags! {
    /// ESR, the error status register (SDM 3A 11.5.3): the errors that can happen here.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Esr: u32 {
        /// The core sent a vector below 16.
        const SEND_ILLEGAL_VECTOR = 1 << 5;
        /// A vector below 16 arrived, or the local vector table has one.
        const RECEIVE_ILLEGAL_VECTOR = 1 << 6;
        /// The core accessed a reserved register.
        const ILLEGAL_REGISTER_ADDRESS = 1 << 7;
    }
}

/// SVR, the spurious interrupt vector register (SDM 3A 11.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Svr(pub(super) u32);

impl Svr {
    /// After power-up: vector 0xff, the APIC disabled by software.
    pub(super) const POWER_UP: Svr = Svr(0xff);
    /// Bit 8: the APIC is enabled by software.
    const ENABLE: u32 = 1 << 8;

    /// Focus checking and the suppression of EOI messages are not there.
    pub(super) const fn written(value: u32) -> Svr {
        Svr(value & (Svr::ENABLE | 0xff))
    }

    pub(super) const fn vector(self) -> u8 {
        byte(self.0)
    }

    pub(super) const fn is_enabled(self) -> bool {
        self.0 & Svr::ENABLE != 0
    }
}

/// An entry of the local vector table (SDM 3A 11.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Lvt(pub(super) u32);

impl Lvt {
    /// After power-up.
    pub(super) const MASKED: Lvt = Lvt(Lvt::MASK);
    const ACTIVE_LOW: u32 = 1 << 13;
    const REMOTE_IRR: u32 = 1 << 14;
    const LEVEL: u32 = 1 << 15;
    const MASK: u32 = 1 << 16;
    const PERIODIC: u32 = 1 << 17;

    /// The entry after software wrote `value`: bits that `source` has not are 0, remote IRR is not software's.
    pub(super) const fn written(self, source: Source, value: u32) -> Lvt {
        let writable = match source {
            Source::Timer => Lvt::PERIODIC | Lvt::MASK | 0xff,
            Source::Thermal | Source::Performance => Lvt::MASK | 0x7ff,
            Source::Lint0 | Source::Lint1 => Lvt::MASK | Lvt::LEVEL | Lvt::ACTIVE_LOW | 0x7ff,
            Source::Error => Lvt::MASK | 0xff,
        };
        let entry = Lvt(value & writable | self.0 & Lvt::REMOTE_IRR);
        // A request that is over when taken has no end to wait for.
        if entry.is_level() { entry } else { entry.with_remote_irr(false) }
    }

    pub(super) const fn masked(self) -> Lvt {
        Lvt(self.0 | Lvt::MASK)
    }

    pub(super) const fn with_remote_irr(self, waiting: bool) -> Lvt {
        Lvt(if waiting { self.0 | Lvt::REMOTE_IRR } else { self.0 & !Lvt::REMOTE_IRR })
    }

    pub(super) const fn vector(self) -> u8 {
        byte(self.0)
    }

    /// The timer's and the error's entries have no such bits: they are 0, which is Fixed.
    pub(super) const fn delivery(self) -> Option<Delivery> {
        Delivery::from_bits(byte(self.0 >> 8))
    }

    pub(super) const fn is_masked(self) -> bool {
        self.0 & Lvt::MASK != 0
    }

    /// Whether a request lasts until its EOI, which is so in Fixed mode only: NMI, SMI and INIT are always edges, and
    /// ExtINT is always a level that the 8259A ends.
    pub(super) const fn is_level(self) -> bool {
        matches!(self.delivery(), Some(Delivery::Fixed)) && self.0 & Lvt::LEVEL != 0
    }

    pub(super) const fn trigger(self) -> Trigger {
        if self.is_level() { Trigger::Level } else { Trigger::Edge }
    }

    pub(super) const fn is_active_low(self) -> bool {
        self.0 & Lvt::ACTIVE_LOW != 0
    }

    pub(super) const fn awaits_eoi(self) -> bool {
        self.0 & Lvt::REMOTE_IRR != 0
    }

    pub(super) const fn timer_mode(self) -> Mode {
        if self.0 & Lvt::PERIODIC != 0 { Mode::Periodic } else { Mode::OneShot }
    }
}

/// ICR, the interrupt command register (SDM 3A 11.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Icr {
    pub(super) low: u32,
    pub(super) high: u32,
}

/// The shorthands of ICR bits 19 and 18.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Shorthand {
    No,
    Itself,
    All,
    AllBut,
}

impl Icr {
    const LOGICAL: u32 = 1 << 11;
    const ASSERT: u32 = 1 << 14;
    const LEVEL: u32 = 1 << 15;
    /// All but the delivery status, which is always idle here, and the reserved bits.
    const LOW: u32 = 0x000c_cfff;
    const HIGH: u32 = 0xff00_0000;

    pub(super) fn write_low(&mut self, value: u32) {
        self.low = value & Icr::LOW;
    }

    pub(super) fn write_high(&mut self, value: u32) {
        self.high = value & Icr::HIGH;
    }

    pub(super) const fn vector(self) -> u8 {
        byte(self.low)
    }

    pub(super) const fn delivery(self) -> Option<Delivery> {
        Delivery::from_bits(byte(self.low >> 8))
    }

    pub(super) const fn is_logical(self) -> bool {
        self.low & Icr::LOGICAL != 0
    }

    /// Whether this is the INIT level de-assert message, the only one of which level and trigger bits are looked at.
    pub(super) const fn is_init_deassert(self) -> bool {
        matches!(self.delivery(), Some(Delivery::Init)) && self.low & (Icr::ASSERT | Icr::LEVEL) == Icr::LEVEL
    }

    pub(super) const fn shorthand(self) -> Shorthand {
        match self.low >> 18 & 0b11 {
            0b00 => Shorthand::No,
            0b01 => Shorthand::Itself,
            0b10 => Shorthand::All,
            _ => Shorthand::AllBut,
        }
    }

    pub(super) const fn destination(self) -> u8 {
        byte(self.high >> 24)
    }
}

/// The low byte, where vectors are.
const fn byte(value: u32) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}
