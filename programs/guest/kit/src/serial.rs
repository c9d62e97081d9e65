//! The first serial port, for what a person should read (16550; PC16550D data sheet).

use crate::{in8, out8, pause};
use core::fmt;

const THR: u16 = 0x3f8;
const LSR: u16 = 0x3fd;
/// LSR bit 5: the transmitter takes another byte.
const THRE: u8 = 1 << 5;

/// COM1. The machine hands it over ready to transmit.
#[derive(Debug)]
pub struct Serial;

impl Serial {
    /// Sends one byte.
    pub fn send(byte: u8) {
        while in8(LSR) & THRE == 0 {
            pause();
        }
        out8(THR, byte);
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(Self::send);
        Ok(())
    }
}

/// Prints a line on the serial port.
#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => {{
        use core::fmt::Write as _;
        // The port takes every byte.
        let _ = writeln!($crate::Serial, $($arguments)*);
    }};
}
