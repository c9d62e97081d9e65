//! Two more ways to reset a PC: port 0x92 and port 0xcf9 (Intel ICH9 data sheet, chapter "LPC interface bridge registers",
//! "PORT92: Fast A20 and Init Register" and "RST_CNT: Reset Control Register").
//!
//! Each bit resets when it goes from 0 to 1.
//! Left out: bit 3 of the reset control register, which would also cut the power.
//! False on hardware: port 0x92 resets the whole machine, as QEMU's does, where ICH9 sends INIT to the processors; the A20 bit
//! is kept and gates nothing.

use crate::{Device, Port, Region, Signal, Width};

/// The two registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResetControl {
    port92: u8,
    reset_control: u8,
}

/// Offset 0: port 0x92.
const PORT92: u64 = 0;
/// Offset 1: port 0xcf9.
const RESET_CONTROL: u64 = 1;

/// PORT92: initialise now.
const INIT_NOW: u8 = 1 << 0;
/// PORT92: address line 20 is not masked.
const A20_ENABLED: u8 = 1 << 1;
/// RST_CNT: a hard reset instead of an INIT, and the reset itself.
const SYSTEM_RESET: u8 = 1 << 1;
const RESET_CPU: u8 = 1 << 2;

impl ResetControl {
    /// The two ports.
    pub const REGIONS: &[Region] =
        &[Region::ports(Port(0x92), 1), Region::ports(Port(0xcf9), 1).at_offset(RESET_CONTROL)];
}

impl Default for ResetControl {
    /// As firmware leaves it: A20 open.
    fn default() -> ResetControl {
        ResetControl { port92: A20_ENABLED, reset_control: 0 }
    }
}

impl Device for ResetControl {
    fn name(&self) -> &'static str {
        "reset"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            PORT92 => "PORT92",
            _ => "RST_CNT",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let value = if offset == PORT92 { self.port92 } else { self.reset_control };
        (value.into(), Vec::new())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [value, ..] = value.to_le_bytes();
        let (register, kept, trigger) = if offset == PORT92 {
            (&mut self.port92, INIT_NOW | A20_ENABLED, INIT_NOW)
        } else {
            (&mut self.reset_control, SYSTEM_RESET | RESET_CPU, RESET_CPU)
        };
        let is_triggered = value & !*register & trigger != 0;
        *register = value & kept;
        if is_triggered { vec![Signal::Reset] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_resets_once_it_rises() {
        for (offset, bit, value) in [(PORT92, INIT_NOW, 0b11), (RESET_CONTROL, RESET_CPU, 0b110)] {
            let mut device = ResetControl::default();
            let before = value & !u64::from(bit);
            assert_eq!(device.write(offset, Width::Byte, before), []);
            assert_eq!(device.write(offset, Width::Byte, value), [Signal::Reset]);
            assert_eq!(device.write(offset, Width::Byte, value), [], "it has risen already");
            assert_eq!(device.read(offset, Width::Byte), (value, vec![]));
        }
    }

    #[test]
    fn the_gate_of_address_line_20_resets_nothing() {
        let mut device = ResetControl::default();
        assert_eq!(device.read(PORT92, Width::Byte).0, A20_ENABLED.into());
        assert_eq!(device.write(PORT92, Width::Byte, 0), []);
        assert_eq!(device.write(PORT92, Width::Byte, A20_ENABLED.into()), []);
    }
}
