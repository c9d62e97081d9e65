//! hello: the smallest guest program
//!
//! Every core enters at the same instruction and finds its number in a register.
//! The cores greet one after the other: core 0 at once, the others when the one before them is done.
//! The same words are written on the text screen, so that there is a picture to look at.
//!
//! cores: 2
//! variant plain: every core greets in turn
//!   sc, tso, pso: hello
#![no_std]
#![no_main]

use core::fmt::Write;
use kit::{Core, Verdict, VgaText, Word32, pause, println};

kit::entry!(main);

const YELLOW_ON_BLUE: u8 = 0x1e;

static GREETED: Word32 = Word32::new(0);

fn main(core: Core) {
    wait_for(core.index);
    if core.index == 0 {
        VgaText::clear(YELLOW_ON_BLUE);
    }
    println!("Hello from core {} of {}.", core.index, core.count);
    let mut screen = VgaText::at(2 + core.index, 4, YELLOW_ON_BLUE);
    // The screen takes every character.
    let _ = write!(screen, "Hello from core {} of {}.", core.index, core.count);
    GREETED.lock_add(1);
    wait_for(core.count);
    core.report("hello", Verdict::Held, format_args!("Everybody has greeted."));
}

/// Waits until so many cores have greeted.
fn wait_for(cores: usize) {
    while (GREETED.load() as usize) < cores {
        pause();
    }
}
