//! How a program says what came out: a line on the debug console for programs to read, and the exit code.

use crate::entry::park;
use crate::{Word32, out8, pause, println};
use core::fmt;

const DEBUG_CONSOLE: u16 = 0xe9;
const DEBUG_EXIT: u16 = 0xf4;

/// Whether the program's invariant held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing happened that must not: exit code 0.
    Held,
    /// The bug the program exists to show was seen: exit code 1.
    Hazard,
}

/// Tells the story on the serial port, writes `outcome: TEXT` on the debug console and ends the run.
pub fn report(outcome: &str, verdict: Verdict, story: fmt::Arguments<'_>) -> ! {
    take_the_floor();
    println!("{story}");
    for byte in b"outcome: ".iter().chain(outcome.as_bytes()).chain(b"\n") {
        out8(DEBUG_CONSOLE, *byte);
    }
    exit(match verdict {
        Verdict::Held => 0,
        Verdict::Hazard => 1,
    })
}

/// Returns on one core only: when two have something to say at the same time, their words would mix.
pub(crate) fn take_the_floor() {
    static TAKEN: Word32 = Word32::new(0);
    if TAKEN.xchg(1) != 0 {
        park();
    }
}

/// Ends the run of all cores with this exit code.
pub fn exit(code: u8) -> ! {
    loop {
        out8(DEBUG_EXIT, code);
        pause();
    }
}
