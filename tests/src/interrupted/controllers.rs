//! The interrupt controllers, as far as programs here use them.

use super::program::{PIC_BASE, Pin, SPURIOUS};

/// A local APIC (SDM 3A chapter 11).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Apic {
    requested: Vectors,
    in_service: Vectors,
    /// TMR: vectors that came as levels.
    levels: Vectors,
    /// The class of TPR.
    task_priority: u8,
}

/// A set of vectors below 128.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Vectors(u128);

impl Vectors {
    fn highest(self) -> Option<u8> {
        self.0.checked_ilog2().map(|vector| vector as u8)
    }

    fn has(self, vector: u8) -> bool {
        self.0 >> vector & 1 == 1
    }

    fn set(&mut self, vector: u8, is_in: bool) {
        self.0 = self.0 & !(1 << vector) | u128::from(is_in) << vector;
    }
}

impl Apic {
    /// A message arrives (11.8.4): the trigger mode is the last one's.
    pub(super) fn accept(&mut self, vector: u8, is_level: bool) {
        self.requested.set(vector, true);
        self.levels.set(vector, is_level);
    }

    /// The highest vector that waits, if its class is above the processor's (11.8.3.1).
    pub(super) fn pending(&self) -> Option<u8> {
        let in_service = self.in_service.highest().map_or(0, |vector| vector >> 4);
        self.requested.highest().filter(|vector| vector >> 4 > in_service.max(self.task_priority))
    }

    /// The core takes it.
    pub(super) fn take(&mut self, vector: u8) {
        self.requested.set(vector, false);
        self.in_service.set(vector, true);
    }

    /// EOI (11.8.5); the vector that the I/O APIC is told of, if it came as a level.
    pub(super) fn end(&mut self) -> Option<u8> {
        let vector = self.in_service.highest()?;
        self.in_service.set(vector, false);
        self.levels.has(vector).then_some(vector)
    }

    pub(super) fn set_task_priority(&mut self, class: u8) {
        self.task_priority = class;
    }
}

/// The I/O APIC (82093AA 3.2.4).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct IoApic {
    pins: Vec<PinState>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct PinState {
    is_high: bool,
    is_masked: bool,
    /// Remote IRR: a level has been sent, and no EOI has come.
    awaits_end: bool,
}

/// What the I/O APIC sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) core: u8,
    pub(super) vector: u8,
    pub(super) is_level: bool,
}

impl IoApic {
    pub(super) fn new(pins: &[Pin]) -> IoApic {
        let state = |pin: &Pin| PinState { is_high: false, is_masked: pin.is_masked, awaits_end: false };
        IoApic { pins: pins.iter().map(state).collect() }
    }

    /// A line is at a level now. An edge at a masked pin is forgotten.
    pub(super) fn set_line(&mut self, pins: &[Pin], line: u8, is_high: bool) -> Vec<Sent> {
        let Some(at) = pins.iter().position(|pin| pin.line == line) else { return Vec::new() };
        let state = &mut self.pins[at];
        let rises = is_high && !state.is_high;
        state.is_high = is_high;
        if pins[at].is_level {
            self.sense(pins, at)
        } else if rises && !state.is_masked {
            vec![sent(pins[at])]
        } else {
            Vec::new()
        }
    }

    /// The first pin is masked, or is not any more: a level that is there then interrupts.
    pub(super) fn mask(&mut self, pins: &[Pin], is_masked: bool) -> Vec<Sent> {
        self.pins[0].is_masked = is_masked;
        self.sense(pins, 0)
    }

    /// An EOI of a level.
    pub(super) fn end(&mut self, pins: &[Pin], vector: u8) -> Vec<Sent> {
        let mut all = Vec::new();
        for at in 0..pins.len() {
            if pins[at].vector == vector && self.pins[at].awaits_end {
                self.pins[at].awaits_end = false;
                all.extend(self.sense(pins, at));
            }
        }
        all
    }

    fn sense(&mut self, pins: &[Pin], at: usize) -> Vec<Sent> {
        let state = &mut self.pins[at];
        if !pins[at].is_level || !state.is_high || state.is_masked || state.awaits_end {
            return Vec::new();
        }
        state.awaits_end = true;
        vec![sent(pins[at])]
    }
}

fn sent(pin: Pin) -> Sent {
    Sent { core: pin.core, vector: pin.vector, is_level: pin.is_level }
}

/// The master of the 8259A pair, fully nested, with edges and levels (8259A data sheet). Input 0 is the most urgent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Pic {
    masked: u8,
    /// Which inputs are levels.
    levels: u8,
    high: u8,
    /// Edges that have come.
    latched: u8,
    in_service: u8,
}

impl Pic {
    pub(super) fn new(masked: u8, levels: u8) -> Pic {
        Pic { masked, levels, high: 0, latched: 0, in_service: 0 }
    }

    /// A line is at a level now. Its edge is a request that falls with it while it is masked.
    pub(super) fn set_line(&mut self, line: u8, is_high: bool) {
        let bit = 1 << line;
        if is_high {
            let rises = self.high & bit == 0 && self.levels & bit == 0;
            self.high |= bit;
            self.latched |= if rises { bit } else { 0 };
        } else {
            self.high &= !bit;
            self.latched &= if self.masked & bit != 0 { !bit } else { 0xff };
        }
    }

    pub(super) fn mask(&mut self, masked: u8) {
        self.masked = masked;
    }

    /// An EOI that names no input.
    pub(super) fn end(&mut self) {
        // The most urgent is the lowest bit.
        self.in_service &= self.in_service.wrapping_sub(1);
    }

    /// INT: an input more urgent than any in service asks.
    pub(super) fn asks(&self) -> bool {
        self.request().is_some()
    }

    fn request(&self) -> Option<u8> {
        let requests = (self.latched | self.high & self.levels) & !self.masked;
        let first = |bits: u8| bits.trailing_zeros();
        (first(requests) < first(self.in_service)).then(|| first(requests) as u8)
    }

    /// INTA: the vector. An edge whose line has fallen gives that of input 7, and is not in service.
    pub(super) fn take(&mut self) -> u8 {
        let input = self.request().expect("the core was asked");
        self.latched &= !(1 << input);
        if self.high & 1 << input == 0 {
            return SPURIOUS;
        }
        self.in_service |= 1 << input;
        PIC_BASE + input
    }
}
