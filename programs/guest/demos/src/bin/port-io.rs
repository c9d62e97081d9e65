//! port-io: what IN and OUT find
//!
//! Ports are an address space of their own, reached only by IN and OUT.
//! The serial port's scratch register keeps what is written to it; with the loopback bit set, what is sent comes back.
//! The debug console answers a read with its own port number, as on Bochs, so that a program can ask whether it is there.
//! Where no device listens nobody drives the bus, and it reads as all ones.
//!
//! cores: 1
//! variant plain: asks each device and one that is not there
//!   sc, tso, pso: scratch=5a loopback=a5 console=e9 nothing=ff
#![no_std]
#![no_main]

use kit::{Core, Verdict, in8, out8, println};

kit::entry!(main);

const COM1_DATA: u16 = 0x3f8;
const COM1_MCR: u16 = 0x3fc;
const COM1_LSR: u16 = 0x3fd;
const COM1_SCRATCH: u16 = 0x3ff;
const DEBUG_CONSOLE: u16 = 0xe9;
/// Nothing of this machine is at this port.
const NOBODY: u16 = 0x1234;
/// MCR bit 4: the transmitter is wired to the receiver.
const LOOPBACK: u8 = 1 << 4;
/// LSR bit 0: a byte was received.
const DATA_READY: u8 = 1;

fn main(core: Core) {
    let found = [scratch(0x5a), loopback(0xa5), in8(DEBUG_CONSOLE), in8(NOBODY)];
    println!("The scratch register keeps {:#04x}.", found[0]);
    println!("A byte looped back arrives as {:#04x}.", found[1]);
    println!("The debug console says {:#04x}.", found[2]);
    println!("Port {NOBODY:#x}, where nobody is, reads {:#04x}.", found[3]);
    let right = [0x5a, 0xa5, 0xe9, 0xff];
    if found != right {
        core.report("unexpected", Verdict::Hazard, format_args!("Expected was {right:02x?}."));
    }
    let outcome = "scratch=5a loopback=a5 console=e9 nothing=ff";
    core.report(outcome, Verdict::Held, format_args!("That is as it should be."));
}

/// Writes and reads back.
fn scratch(byte: u8) -> u8 {
    out8(COM1_SCRATCH, byte);
    in8(COM1_SCRATCH)
}

/// Sends a byte to ourselves; 0 if it does not arrive.
fn loopback(byte: u8) -> u8 {
    let before = in8(COM1_MCR);
    out8(COM1_MCR, before | LOOPBACK);
    out8(COM1_DATA, byte);
    let arrived = in8(COM1_LSR) & DATA_READY != 0;
    let received = if arrived { in8(COM1_DATA) } else { 0 };
    out8(COM1_MCR, before);
    received
}
