//! The serial port: a 16550 UART (National PC16550D, data sheet of June 1995), wired as COM1 of a PC.
//!
//! The line is infinitely fast: a byte written to the transmitter has left before the next instruction, so the line
//! status always says that the transmitter is empty.
//! Divisor and frame format have one effect: a receive FIFO below its trigger level times out after four characters of
//! that speed without one coming or being read (data sheet, "FIFO Interrupt Mode Operation").
//! OUT2 gates the interrupt pin, as the PC wires it, and loopback turns OUT2's pin off (data sheet 8.8).
//!
//! Left out: parity, framing and break errors, DMA mode.
//! False on hardware: sending takes time there (87 us a byte at 115,200 baud), so a driver that does not wait for THRE
//! works here and loses bytes there.

mod registers;

use std::collections::VecDeque;

use crate::now::Now;
use crate::{Device, Irq, Line, Port, Region, Signal, Ticks, Width};
use registers::{Fcr, Ier, Interrupt, Lcr, Lsr, Mcr, Msr};

/// A 16550 UART.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Uart16550 {
    divisor: u16,
    ier: Ier,
    /// The FIFO control register as last written, its two self-clearing bits left out.
    fcr: Fcr,
    lcr: Lcr,
    mcr: Mcr,
    scr: u8,
    /// Changes of the modem lines since MSR was last read.
    msr_deltas: Msr,
    received: VecDeque<u8>,
    /// When a byte last came or was read, while one waits.
    quiet_since: Option<Ticks>,
    now: Now,
    /// A byte came when there was no room for it, and LSR has not been read since.
    overrun: bool,
    /// The transmitter has become empty, and nobody has been told.
    thr_emptied: bool,
    /// Whether the interrupt pin is active, as last signalled.
    pin: bool,
}

/// Offset 0: RBR to read, THR to write; DLL while DLAB is set.
const RBR_THR: u64 = 0;
/// Offset 1; DLM while DLAB is set.
const IER: u64 = 1;
/// Offset 2: IIR to read, FCR to write.
const IIR_FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

impl Uart16550 {
    /// Where COM1 is.
    pub const REGIONS: &[Region] = &[Region::ports(Port(0x3f8), 8)];
    /// The interrupt line of COM1.
    pub const IRQ: Irq = Irq(4);
    /// Bytes the receive FIFO holds.
    pub const FIFO_BYTES: usize = 16;

    /// The oscillator in Hz; a bit lasts 16 of its cycles times the divisor (data sheet, "Programmable Baud
    /// Generator").
    pub const HERTZ: u64 = 1_843_200;

    /// A byte arrives from outside; while in loopback the line is cut off and the byte is lost.
    ///
    /// It comes at the time of the last [`advance`](Device::advance), so let time come first.
    pub fn receive(&mut self, byte: u8) -> Vec<Signal> {
        if !self.mcr.contains(Mcr::LOOPBACK) {
            self.take_in(byte);
        }
        self.drive_pin()
    }

    /// How many bytes could come now without one being lost.
    pub fn room(&self) -> usize {
        self.capacity() - self.received.len()
    }

    fn capacity(&self) -> usize {
        if self.fcr.contains(Fcr::ENABLE) { Self::FIFO_BYTES } else { 1 }
    }

    /// A byte reaches the receiver. One too many is lost in a full FIFO, but replaces the one that waits without FIFO.
    fn take_in(&mut self, byte: u8) {
        if self.room() > 0 {
            self.received.push_back(byte);
            self.quiet_since = Some(self.now.0);
            return;
        }
        self.overrun = true;
        if !self.fcr.contains(Fcr::ENABLE) {
            self.received = VecDeque::from([byte]);
        }
    }

    /// A byte is transmitted. The pin falls and rises again in between, an edge that an interrupt controller needs.
    fn transmit(&mut self, byte: u8) -> Vec<Signal> {
        self.thr_emptied = false;
        let mut signals = self.drive_pin();
        if self.mcr.contains(Mcr::LOOPBACK) {
            self.take_in(byte);
        } else {
            signals.push(Signal::Transmit { line: Line::Serial, byte });
        }
        self.thr_emptied = true;
        signals.extend(self.drive_pin());
        signals
    }

    fn write_ier(&mut self, ier: Ier) {
        if ier.contains(Ier::TRANSMITTER_EMPTY) && !self.ier.contains(Ier::TRANSMITTER_EMPTY) {
            self.thr_emptied = true;
        }
        self.ier = ier;
    }

    /// Turning the FIFO on or off empties it, and nothing else is taken over unless it is on.
    fn write_fcr(&mut self, fcr: Fcr) {
        let toggled = (fcr ^ self.fcr).contains(Fcr::ENABLE);
        if toggled || fcr.contains(Fcr::ENABLE | Fcr::CLEAR_RECEIVER) {
            self.received.clear();
            self.quiet_since = None;
        }
        self.fcr = if fcr.contains(Fcr::ENABLE) { fcr - Fcr::SELF_CLEARING } else { Fcr::empty() };
    }

    fn write_mcr(&mut self, mcr: Mcr) {
        let before = self.modem_lines();
        self.mcr = mcr;
        self.msr_deltas |= Msr::deltas(before, self.modem_lines());
    }

    /// The modem's lines: a modem that is always ready, or our own outputs in loopback (data sheet 8.8).
    fn modem_lines(&self) -> Msr {
        if self.mcr.contains(Mcr::LOOPBACK) { self.mcr.looped_back() } else { Msr::CTS | Msr::DSR | Msr::DCD }
    }

    fn lsr(&self) -> Lsr {
        let mut lsr = Lsr::TRANSMITTER_EMPTY | Lsr::TRANSMITTER_IDLE;
        lsr.set(Lsr::DATA_READY, !self.received.is_empty());
        lsr.set(Lsr::OVERRUN, self.overrun);
        lsr
    }

    /// The pending interrupt of the highest priority (data sheet 8.6).
    fn interrupt(&self) -> Option<Interrupt> {
        let enabled = |bit| self.ier.contains(bit);
        if enabled(Ier::LINE_STATUS) && self.overrun {
            Some(Interrupt::LineStatus)
        } else if enabled(Ier::RECEIVED) && self.triggered() {
            Some(Interrupt::Received)
        } else if enabled(Ier::RECEIVED) && self.timeout().is_some_and(|timeout| timeout <= self.now.0) {
            Some(Interrupt::ReceiveTimeout)
        } else if enabled(Ier::TRANSMITTER_EMPTY) && self.thr_emptied {
            Some(Interrupt::TransmitterEmpty)
        } else if enabled(Ier::MODEM_STATUS) && !self.msr_deltas.is_empty() {
            Some(Interrupt::ModemStatus)
        } else {
            None
        }
    }

    fn triggered(&self) -> bool {
        self.received.len() >= self.fcr.trigger()
    }

    /// When the receive FIFO times out, or did.
    fn timeout(&self) -> Option<Ticks> {
        let cycles = 4 * self.lcr.bits_of_a_character() * 16 * u64::from(self.divisor.max(1));
        let wait = Ticks::of_cycles(cycles, Self::HERTZ);
        self.quiet_since.map(|since| Ticks(since.0.saturating_add(wait.0)))
    }

    fn read_rbr(&mut self) -> u8 {
        let byte = self.received.pop_front();
        self.quiet_since = (!self.received.is_empty()).then_some(self.now.0);
        byte.unwrap_or(0)
    }

    /// Reading IIR takes note of the transmitter's interrupt, if that is the one it tells.
    fn read_iir(&mut self) -> u8 {
        let interrupt = self.interrupt();
        if interrupt == Some(Interrupt::TransmitterEmpty) {
            self.thr_emptied = false;
        }
        registers::iir(interrupt, self.fcr)
    }

    fn read_lsr(&mut self) -> u8 {
        let lsr = self.lsr();
        self.overrun = false;
        lsr.bits()
    }

    fn read_msr(&mut self) -> u8 {
        let msr = self.modem_lines() | self.msr_deltas;
        self.msr_deltas = Msr::empty();
        msr.bits()
    }

    /// Brings the interrupt pin to where the state says, and tells if it moved.
    fn drive_pin(&mut self) -> Vec<Signal> {
        let gate = self.mcr & (Mcr::OUT2 | Mcr::LOOPBACK) == Mcr::OUT2;
        let active = gate && self.interrupt().is_some();
        if active == self.pin {
            return Vec::new();
        }
        self.pin = active;
        vec![if active { Signal::RaiseIrq(Self::IRQ) } else { Signal::LowerIrq(Self::IRQ) }]
    }

    fn divisor_latch(&self) -> bool {
        self.lcr.contains(Lcr::DIVISOR_LATCH)
    }
}

impl Default for Uart16550 {
    /// The state after a reset (data sheet, "UART Reset Configuration"); the divisor, which is anything
    /// then, is 1 here: 115,200 baud.
    fn default() -> Self {
        Uart16550 {
            divisor: 1,
            ier: Ier::empty(),
            fcr: Fcr::empty(),
            lcr: Lcr::empty(),
            mcr: Mcr::empty(),
            scr: 0,
            msr_deltas: Msr::empty(),
            received: VecDeque::new(),
            quiet_since: None,
            now: Now::default(),
            overrun: false,
            thr_emptied: false,
            pin: false,
        }
    }
}

impl Device for Uart16550 {
    fn name(&self) -> &'static str {
        "uart0"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            RBR_THR if self.divisor_latch() => "DLL",
            RBR_THR => "THR",
            IER if self.divisor_latch() => "DLM",
            IER => "IER",
            IIR_FCR => "FCR",
            LCR => "LCR",
            MCR => "MCR",
            LSR => "LSR",
            MSR => "MSR",
            _ => "SCR",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let [dll, dlm] = self.divisor.to_le_bytes();
        let byte = match offset {
            RBR_THR if self.divisor_latch() => dll,
            RBR_THR => self.read_rbr(),
            IER if self.divisor_latch() => dlm,
            IER => self.ier.bits(),
            IIR_FCR => self.read_iir(),
            LCR => self.lcr.bits(),
            MCR => self.mcr.bits(),
            LSR => self.read_lsr(),
            MSR => self.read_msr(),
            SCR => self.scr,
            _ => 0xff,
        };
        (byte.into(), self.drive_pin())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        let [dll, dlm] = self.divisor.to_le_bytes();
        match offset {
            RBR_THR if self.divisor_latch() => self.divisor = u16::from_le_bytes([byte, dlm]),
            RBR_THR => return self.transmit(byte),
            IER if self.divisor_latch() => self.divisor = u16::from_le_bytes([dll, byte]),
            IER => self.write_ier(Ier::from_bits_truncate(byte)),
            IIR_FCR => self.write_fcr(Fcr::from_bits_truncate(byte)),
            LCR => self.lcr = Lcr::from_bits_retain(byte),
            MCR => self.write_mcr(Mcr::from_bits_truncate(byte)),
            SCR => self.scr = byte,
            // LSR and MSR are for reading; the factory's tests write them, software must not (data sheet 8.4).
            _ => {}
        }
        self.drive_pin()
    }

    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        self.now.advance(now);
        self.drive_pin()
    }

    /// The receive FIFO's time-out, if that is what comes next.
    fn next_event(&self) -> Option<Ticks> {
        let awaited = self.ier.contains(Ier::RECEIVED) && !self.triggered();
        self.timeout().filter(|&timeout| awaited && timeout > self.now.0)
    }
}

#[cfg(test)]
mod tests;
