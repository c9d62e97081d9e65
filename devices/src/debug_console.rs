//! The debug console: a byte written to port 0xe9 leaves the machine at once.
//!
//! An invention of the Bochs emulator (`port_e9_hack`) that QEMU took over (`isa-debugcon`).
//! It needs no setup and is never busy, so it works before anything else of a guest does.
//! False on hardware: no real PC has it.

use crate::{Device, Line, Port, Region, Signal, Width};

/// The debug console: one register, no state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DebugConsole;

impl DebugConsole {
    /// Where Bochs put it.
    pub const REGIONS: &[Region] = &[Region::ports(Port(0xe9), 1)];

    /// What the port reads as: its own number, so that a guest can tell it from a port that nobody
    /// answers, which reads as 0xff.
    pub const READBACK: u8 = 0xe9;
}

impl Device for DebugConsole {
    fn name(&self) -> &'static str {
        "debugcon"
    }

    fn register(&self, _offset: u64) -> &'static str {
        "DATA"
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, _offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        (Self::READBACK.into(), Vec::new())
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        vec![Signal::Transmit { line: Line::DebugConsole, byte }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_byte_leaves_on_the_debug_line() {
        let sent = Signal::Transmit { line: Line::DebugConsole, byte: b'!' };
        assert_eq!(DebugConsole.write(0, Width::Byte, u64::from(b'!')), [sent]);
    }

    #[test]
    fn reading_tells_that_the_console_is_there_and_sends_nothing() {
        assert_eq!(DebugConsole.read(0, Width::Byte), (0xe9, vec![]));
    }
}
