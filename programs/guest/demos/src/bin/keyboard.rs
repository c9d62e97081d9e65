//! keyboard: keys that interrupt, until Ctrl+C
//!
//! A keyboard sends numbers, not characters: one when a key goes down, another when it comes up, for Ctrl like for any other.
//! The controller, an 8042, interrupts for each; the handler reads it and puts it aside, and the program makes of it what it
//! likes. This one echoes characters on the serial line and ends when C is pressed while Ctrl is down.
//! Nothing but this program makes Ctrl+C mean the end.
//! Without a person at the keyboard it types to itself: the controller has a command that lets a byte look like a key's.
//! To type yourself: `fencepost run keyboard/typed --keys 'hello\u0003'`.
//!
//! cores: 1
//! variant self-typed: types a word and Ctrl+C to itself
//!   sc, tso, pso: hello ^C
//! variant typed: waits for somebody to type, up to five seconds after each key
//!   sc, tso, pso: ^C | nobody types
#![no_std]
#![no_main]

use core::fmt::Write;
use kit::interrupts::{self, Frame};
use kit::io_apic::Pin;
use kit::local_apic::{self, Timer};
use kit::{Core, Serial, Verdict, Word32, in8, out8, println};

kit::entry!(main);

/// The keyboard's line, which rises with each byte.
const KEY: u8 = 0x40;
const PIN: Pin = Pin::edge(1, KEY);
/// The vector of the timer.
const TICK: u8 = 0x50;
/// 100 ms.
const TICK_CYCLES: u32 = 10_000_000;
/// Five seconds.
const PATIENCE: u32 = 50;

/// The controller's ports, and the commands used here.
const DATA: u16 = 0x60;
const COMMAND: u16 = 0x64;
const KEYBOARD_OFF: u8 = 0xad;
/// What is written to the data port next looks as if the keyboard had sent it.
const WRITE_OUTPUT_BUFFER: u8 = 0xd2;

/// Numbers of keys (IBM scan code set 1): a key that goes down, and what is added when it comes up.
const CTRL: u8 = 0x1d;
const C: u8 = 0x2e;
const UP: u8 = 0x80;
/// The word's keys, and Ctrl+C.
const WORD: [u8; 7] = [0x23, 0x12, 0x26, 0x26, 0x18, CTRL, C];
const HELLO: &[u8] = b"hello";

/// The characters of the keys from number 0 on; blank are those without one.
const CHARACTERS: &[u8; 0x3a] = b"  1234567890-=  qwertyuiop[]\n asdfghjkl;'` \\zxcvbnm,./    ";

/// Bytes that the handler has read and the program has not: as many as fit, more are lost.
static WAITING: [Word32; 16] = [const { Word32::new(0) }; 16];
/// How many the handler has put there, and how often the timer has interrupted since.
static READ: Word32 = Word32::new(0);
static TICKS: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(1);
    interrupts::handle_with(handle);
    local_apic::enable();
    PIN.unmask();
    // Read back, so that the keyboard is heard from here on.
    PIN.read_back();
    match core.variant("self-typed") {
        "self-typed" => self_typed(&core),
        "typed" => typed(&core),
        name => core.unknown_variant(name),
    }
}

/// What was typed so far.
#[derive(Default)]
struct Line {
    ctrl: bool,
    characters: [u8; 16],
    length: usize,
}

impl Line {
    /// A byte of the keyboard; whether it was the end.
    fn take(&mut self, byte: u8) -> bool {
        let (key, is_down) = (byte & !UP, byte & UP == 0);
        if key == CTRL {
            self.ctrl = is_down;
        } else if is_down && key == C && self.ctrl {
            println!("^C");
            return true;
        } else if is_down && let Some(&character) = CHARACTERS.get(usize::from(key)) {
            // The port takes every byte.
            _ = Serial.write_char(char::from(character));
            if let Some(place) = self.characters.get_mut(self.length) {
                *place = character;
                self.length += 1;
            }
        }
        false
    }
}

/// Each byte is typed when the one before has been read. The real keyboard keeps silent.
fn self_typed(core: &Core) {
    out8(COMMAND, KEYBOARD_OFF);
    let mut line = Line::default();
    for (number, byte) in (1..).zip(WORD) {
        out8(COMMAND, WRITE_OUTPUT_BUFFER);
        out8(DATA, byte);
        while READ.load() != number {
            interrupts::enable_and_halt();
            interrupts::disable();
        }
        if line.take(waiting(number - 1)) && line.characters.starts_with(HELLO) && line.length == HELLO.len() {
            core.report("hello ^C", Verdict::Held, format_args!("Every key was heard, and Ctrl+C ended it."));
        }
    }
    core.report("unexpected", Verdict::Hazard, format_args!("Not every key was heard."));
}

fn typed(core: &Core) {
    println!("Type something; Ctrl+C ends it.");
    local_apic::start_timer(Timer::Periodic, TICK, TICK_CYCLES);
    let mut line = Line::default();
    let mut taken = 0;
    while TICKS.load() < PATIENCE {
        while READ.load() != taken {
            if line.take(waiting(taken)) {
                core.report("^C", Verdict::Held, format_args!("{taken} times a key went down or up."));
            }
            taken += 1;
        }
        interrupts::enable_and_halt();
        interrupts::disable();
    }
    core.report("nobody types", Verdict::Held, format_args!("Nobody types."));
}

fn waiting(number: u32) -> u8 {
    WAITING[number as usize % WAITING.len()].load() as u8
}

fn handle(frame: &mut Frame) {
    match frame.vector as u8 {
        KEY => {
            let read = READ.load();
            WAITING[read as usize % WAITING.len()].store(in8(DATA).into());
            READ.store(read + 1);
            TICKS.store(0);
        }
        TICK => TICKS.store(TICKS.load() + 1),
        _ => panic!("nobody expected {frame:x?}"),
    }
    local_apic::end_of_interrupt();
}
