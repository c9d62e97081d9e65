//! The debug exit: writing one of the ports 0xf4..=0xf7 ends the run; the low byte is the exit code.
//!
//! QEMU's `isa-debug-exit` at its customary address, with one difference: QEMU ends with
//! `(value << 1) | 1`, so that a guest there cannot end with 0, and here the code is the byte itself.
//! False on hardware: no real PC has it.

use crate::{Device, Port, Region, Signal, Width};

/// The debug exit: one register, no state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DebugExit;

impl DebugExit {
    /// Four ports, so that a guest may write the code in any width that OUT has.
    pub const REGIONS: &[Region] = &[Region::ports(Port(0xf4), 4)];
}

impl Device for DebugExit {
    fn name(&self) -> &'static str {
        "debugexit"
    }

    fn register(&self, _offset: u64) -> &'static str {
        "CODE"
    }

    fn read(&mut self, _offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        (0, Vec::new())
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [code, ..] = value.to_le_bytes();
        vec![Signal::Exit(code)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_byte_is_the_exit_code_in_every_width() {
        for (width, value) in [(Width::Byte, 7), (Width::Word, 0x107), (Width::Dword, 0xffff_ff07)] {
            assert_eq!(DebugExit.write(0, width, value), [Signal::Exit(7)], "{width:?}");
        }
    }

    #[test]
    fn reading_ends_nothing() {
        assert_eq!(DebugExit.read(0, Width::Byte), (0, vec![]));
    }
}
