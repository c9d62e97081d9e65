//! The two 8259A interrupt controllers of a PC (Intel 8259A, data sheet of December 1988), the slave at input 2 of the
//! master, with the registers that make single inputs levels (Intel ICH9 data sheet, "ELCR1" and "ELCR2").
//!
//! Lines 0 to 7 are the master's inputs, 8 to 15 the slave's; line 2 is the slave's output and cannot be set.
//! An edge is a request until it is acknowledged, or its line falls while it is masked: the request latch is transparent.
//! If its line falls when it is not masked, the vector of input 7 is given and nothing is in service: the data sheet's "default IR7",
//! known as spurious IRQ 7, or 15 from the slave, in which case input 2 of the master is in service.
//! A level is a request as long as it lasts.
//! Until it has been initialized a chip interrupts nobody.
//!
//! Left out: MCS-80 mode, whose acknowledgement is a CALL instruction, and buffered mode; both bits of ICW4 are ignored.
//! False on hardware: both INTA cycles are one moment, so no line falls between them.
//! INT does not fall with the line of an edge: it stays up until acknowledged, as a processor may have seen it by then.

mod chip;

use crate::{Device, Irq, Port, Region, Signal, Width};
use chip::{Chip, OddRegister, Role, SPURIOUS};

/// Both interrupt controllers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pic8259 {
    master: Chip,
    slave: Chip,
}

/// The master's even port (A0 low) and odd port (A0 high).
const MASTER_EVEN: u64 = 0;
const MASTER_ODD: u64 = 1;
const SLAVE_EVEN: u64 = 2;
const SLAVE_ODD: u64 = 3;
const ELCR1: u64 = 4;
const ELCR2: u64 = 5;

/// The master's input that the slave's output is wired to.
const CASCADE: u8 = 2;

/// What nobody answers reads as.
const FLOATING: u8 = 0xff;

/// The inputs that may be levels: not the timer, the keyboard and the slave.
const ELCR1_WRITABLE: u8 = 0b1111_1000;
/// Not the clock and the coprocessor.
const ELCR2_WRITABLE: u8 = 0b1101_1110;

impl Pic8259 {
    /// The master, the slave, and the two edge/level registers.
    pub const REGIONS: &[Region] = &[
        Region::ports(Port(0x20), 2).at_offset(MASTER_EVEN),
        Region::ports(Port(0xa0), 2).at_offset(SLAVE_EVEN),
        Region::ports(Port(0x4d0), 2).at_offset(ELCR1),
    ];

    /// The level of line `irq`; the slave's own line, and those beyond 15, are nobody's.
    pub fn set_line(&mut self, irq: Irq, high: bool) {
        match irq.0 {
            CASCADE | 16.. => {}
            ir @ ..8 => self.master.set_line(ir, high),
            ir => self.slave.set_line(ir - 8, high),
        }
        self.cascade();
    }

    /// Whether line `irq` can interrupt: nobody masks it.
    pub fn listens_to(&self, irq: Irq) -> bool {
        match irq.0 {
            CASCADE | 16.. => false,
            ir @ ..8 => self.master.listens_to(ir),
            ir => self.slave.listens_to(ir - 8) && self.master.listens_to(CASCADE),
        }
    }

    /// INTR: whether the core is asked for an acknowledgement.
    pub fn has_interrupt(&self) -> bool {
        self.master.int()
    }

    /// INTA: the core takes an interrupt, whose vector this is; a spurious one if there is none to take.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(ir) = self.master.acknowledge() else {
            return self.master.vector(SPURIOUS);
        };
        if !self.master.has_slave(ir) {
            return self.master.vector(ir);
        }
        if ir != CASCADE || self.slave.slave_number() != CASCADE {
            return FLOATING;
        }
        let ir = self.slave.acknowledge().unwrap_or(SPURIOUS);
        self.pulse();
        self.slave.vector(ir)
    }

    /// Brings the slave's output to the master's input.
    fn cascade(&mut self) {
        self.master.set_line(CASCADE, self.slave.int());
    }

    /// An acknowledgement takes the slave's output down, so that its next request is an edge for the master.
    fn pulse(&mut self) {
        self.master.set_line(CASCADE, false);
        self.cascade();
    }

    fn read_slave(&mut self, read: fn(&mut Chip) -> u8) -> u8 {
        let before = self.slave.clone();
        let byte = read(&mut self.slave);
        if self.slave != before {
            // It was polled.
            self.pulse();
        }
        byte
    }
}

impl Default for Pic8259 {
    /// The state after power-up.
    fn default() -> Self {
        Pic8259 { master: Chip::new(Role::Master), slave: Chip::new(Role::Slave) }
    }
}

impl Device for Pic8259 {
    fn name(&self) -> &'static str {
        "pic"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            MASTER_EVEN => "MASTER_COMMAND",
            MASTER_ODD => match self.master.odd_register() {
                OddRegister::Icw2 => "MASTER_ICW2",
                OddRegister::Icw3 => "MASTER_ICW3",
                OddRegister::Icw4 => "MASTER_ICW4",
                OddRegister::Ocw1 => "MASTER_OCW1",
            },
            SLAVE_EVEN => "SLAVE_COMMAND",
            SLAVE_ODD => match self.slave.odd_register() {
                OddRegister::Icw2 => "SLAVE_ICW2",
                OddRegister::Icw3 => "SLAVE_ICW3",
                OddRegister::Icw4 => "SLAVE_ICW4",
                OddRegister::Ocw1 => "SLAVE_OCW1",
            },
            ELCR1 => "ELCR1",
            _ => "ELCR2",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let byte = match offset {
            MASTER_EVEN => self.master.read_even(),
            MASTER_ODD => self.master.read_odd(),
            SLAVE_EVEN => self.read_slave(Chip::read_even),
            SLAVE_ODD => self.read_slave(Chip::read_odd),
            ELCR1 => self.master.elcr(),
            ELCR2 => self.slave.elcr(),
            _ => FLOATING,
        };
        (byte.into(), Vec::new())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        match offset {
            MASTER_EVEN => self.master.write_even(byte),
            MASTER_ODD => self.master.write_odd(byte),
            SLAVE_EVEN => self.slave.write_even(byte),
            SLAVE_ODD => self.slave.write_odd(byte),
            ELCR1 => self.master.set_elcr(byte & ELCR1_WRITABLE),
            ELCR2 => self.slave.set_elcr(byte & ELCR2_WRITABLE),
            _ => {}
        }
        self.cascade();
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
