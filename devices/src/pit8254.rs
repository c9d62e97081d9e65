//! The interval timer: an 8254 (Intel data sheet 231164) with the gates and outputs as an AT wires them.
//!
//! Three counters of 16 bits at 1,193,182 Hz, all six modes, binary and BCD, the counter latch and read-back commands.
//! Counter 0's output is IRQ 0, and its gate is always on; so is counter 1's.
//! Counter 2 has gate and output at port 0x61, system control port B (IBM PS/2 Technical Reference, "System Control
//! Port B"), whose refresh bit toggles every 18 clocks, as if firmware had programmed counter 1.
//!
//! Left out: the speaker's sound, and what sets the check bits of port B.
//! False on hardware: counters stand still until they are given a count, while real ones count from anywhere; the
//! refresh bit does not follow counter 1; a count of 1, which modes 2 and 3 forbid, counts as 2; a BCD digit above nine
//! counts as its weight.
//! Edges of counter 0 that pass between two looks at it are told as one, the latest.

mod counter;

use crate::now::Now;
use crate::{Device, Irq, Port, Region, Signal, Ticks, Width};
use counter::Counter;

/// The three counters and port B.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pit8254 {
    counters: [Counter; 3],
    /// The four bits of port B that are written.
    port_b: u8,
    now: Now,
    /// Whether IRQ 0 is active, as last signalled.
    pin: bool,
}

/// Offsets 0 to 2.
const COUNTER_0: u64 = 0;
const COUNTER_1: u64 = 1;
const COUNTER_2: u64 = 2;
/// Offset 3.
const CONTROL_WORD: u64 = 3;
/// Where the device is told of port 0x61.
const PORT_B: u64 = 4;

/// In port B: counter 2's gate.
const TIMER_2_GATE: u8 = 1 << 0;
/// In port B: what reads back as written: gate, speaker data, parity check and channel check enable.
const WRITTEN: u8 = 0x0f;
/// In port B: toggles with each refresh of memory.
const REFRESH: u8 = 1 << 4;
/// In port B: counter 2's output.
const TIMER_2_OUTPUT: u8 = 1 << 5;

/// Clocks between two refreshes, 15 us: 256 rows in 4 ms.
const REFRESH_CLOCKS: u64 = 18;

/// In a read-back command: leave the count alone, and the status (both are active low).
const NO_COUNT: u8 = 1 << 5;
const NO_STATUS: u8 = 1 << 4;

impl Pit8254 {
    /// The counters with their control word, and port B.
    pub const REGIONS: &[Region] = &[Region::ports(Port(0x40), 4), Region::ports(Port(0x61), 1).at_offset(PORT_B)];
    /// Counter 0's output.
    pub const IRQ: Irq = Irq(0);
    /// The clock of all three counters, in Hz: a twelfth of 14.31818 MHz.
    pub const HERTZ: u64 = 1_193_182;

    /// Whether the speaker's membrane is pushed: counter 2's output, let through by bit 1 of port B.
    pub fn speaker(&self) -> bool {
        self.port_b & 2 != 0 && self.counters[2].out()
    }

    /// Clocks since time 0.
    fn clock(&self) -> u64 {
        self.now.0.cycles(Self::HERTZ)
    }

    /// A control word, or the two commands that share its port ("Control Word Format", "Read-Back Command").
    fn write_control(&mut self, word: u8) {
        match word >> 6 {
            3 => self.read_back(word),
            select => self.counters[usize::from(select)].write_control(word),
        }
    }

    /// Latches status and count of the counters that bits 1 to 3 select.
    fn read_back(&mut self, command: u8) {
        for (number, counter) in self.counters.iter_mut().enumerate() {
            if command & 2 << number == 0 {
                continue;
            }
            if command & NO_COUNT == 0 {
                counter.latch_count();
            }
            if command & NO_STATUS == 0 {
                counter.latch_status();
            }
        }
    }

    fn write_port_b(&mut self, byte: u8) {
        self.port_b = byte & WRITTEN;
        self.counters[2].set_gate(byte & TIMER_2_GATE != 0);
    }

    fn read_port_b(&self) -> u8 {
        let refresh = if self.clock() / REFRESH_CLOCKS % 2 == 1 { REFRESH } else { 0 };
        let output = if self.counters[2].out() { TIMER_2_OUTPUT } else { 0 };
        self.port_b | refresh | output
    }

    /// Brings IRQ 0 to where counter 0's output is, and tells if it moved.
    fn drive_pin(&mut self) -> Option<Signal> {
        let out = self.counters[0].out();
        if out == self.pin { None } else { Some(self.turn_pin()) }
    }

    fn turn_pin(&mut self) -> Signal {
        self.pin = !self.pin;
        if self.pin { Signal::RaiseIrq(Self::IRQ) } else { Signal::LowerIrq(Self::IRQ) }
    }
}

impl Default for Pit8254 {
    /// Counters without a count; counter 2's gate is closed, as port B says.
    fn default() -> Self {
        let mut counters = [Counter::default(); 3];
        counters[2].set_gate(false);
        Pit8254 { counters, port_b: 0, now: Now::default(), pin: false }
    }
}

impl Device for Pit8254 {
    fn name(&self) -> &'static str {
        "pit"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            COUNTER_0 => "COUNTER_0",
            COUNTER_1 => "COUNTER_1",
            COUNTER_2 => "COUNTER_2",
            CONTROL_WORD => "CONTROL_WORD",
            _ => "PORT_B",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let byte = match offset {
            COUNTER_0..=COUNTER_2 => self.counters[offset as usize].read(),
            PORT_B => self.read_port_b(),
            // The control word cannot be read: nobody drives the bus ("Read Operations").
            _ => 0xff,
        };
        (byte.into(), Vec::new())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        match offset {
            COUNTER_0..=COUNTER_2 => self.counters[offset as usize].write(byte),
            CONTROL_WORD => self.write_control(byte),
            PORT_B => self.write_port_b(byte),
            _ => {}
        }
        self.drive_pin().into_iter().collect()
    }

    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        let before = self.clock();
        self.now.advance(now);
        let clocks = self.clock() - before;
        let moved = self.counters[0].next_change().is_some_and(|change| change <= clocks);
        for counter in &mut self.counters {
            counter.run(clocks);
        }
        match (moved, self.drive_pin()) {
            // The output has come back to where it was: a whole pulse, which must not be lost.
            (true, None) => vec![self.turn_pin(), self.turn_pin()],
            (_, turn) => turn.into_iter().collect(),
        }
    }

    fn tells_time(&self, offset: u64) -> bool {
        offset != CONTROL_WORD
    }

    fn takes_time(&self, _offset: u64) -> bool {
        true
    }

    fn next_event(&self) -> Option<Ticks> {
        let clocks = self.counters[0].next_change()?;
        Some(Ticks::of_cycles(self.clock() + clocks, Self::HERTZ))
    }
}

#[cfg(test)]
mod tests;
