//! A panic says where on the serial port and ends the run.

use crate::outcome::take_the_floor;
use crate::{exit, println};
use core::fmt;
use core::panic::PanicInfo;

/// As for a Rust program on an operating system.
const PANICKED: u8 = 101;

#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    take_the_floor();
    println!("{panic}");
    exit(PANICKED)
}

/// Ends the run as a panic does, because of how the program was started and not of what it does: only that is said.
pub(crate) fn refuse(why: fmt::Arguments<'_>) -> ! {
    take_the_floor();
    println!("{why}");
    exit(PANICKED)
}
