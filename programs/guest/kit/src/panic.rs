//! A panic says where on the serial port and ends the run.

use crate::outcome::take_the_floor;
use crate::{exit, println};
use core::panic::PanicInfo;

/// As for a Rust program on an operating system.
const PANICKED: u8 = 101;

#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    take_the_floor();
    println!("{panic}");
    exit(PANICKED)
}
