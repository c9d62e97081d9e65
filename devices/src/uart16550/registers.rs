//! The registers' bits (PC16550D, "Summary of Registers").

use bitflags::bitflags;

bitflags! {
    /// IER, the interrupt enable register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Ier: u8 {
        /// ERBFI: bytes were received, or wait below the trigger level.
        const RECEIVED = 1 << 0;
        /// ETBEI: the transmitter holding register became empty.
        const TRANSMITTER_EMPTY = 1 << 1;
        /// ELSI: a receiver error.
        const LINE_STATUS = 1 << 2;
        /// EDSSI: a modem line changed.
        const MODEM_STATUS = 1 << 3;
    }
}

bitflags! {
    /// FCR, the FIFO control register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Fcr: u8 {
        /// Both FIFOs are on.
        const ENABLE = 1 << 0;
        /// Empties the receive FIFO.
        const CLEAR_RECEIVER = 1 << 1;
        /// Empties the transmit FIFO.
        const CLEAR_TRANSMITTER = 1 << 2;
        /// The two bits that do something once and are not kept.
        const SELF_CLEARING = Self::CLEAR_RECEIVER.bits() | Self::CLEAR_TRANSMITTER.bits();
        /// DMA mode, kept without effect.
        const DMA_MODE = 1 << 3;
        /// Trigger level, low bit.
        const TRIGGER_LOW = 1 << 6;
        /// Trigger level, high bit.
        const TRIGGER_HIGH = 1 << 7;
    }
}

bitflags! {
    /// LCR, the line control register; the frame format only says how long a character is.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Lcr: u8 {
        /// WLS0 and WLS1: data bits beyond five.
        const WORD_LENGTH = 3;
        /// STB: a second stop bit.
        const SECOND_STOP_BIT = 1 << 2;
        /// PEN: a parity bit.
        const PARITY = 1 << 3;
        /// DLAB: offsets 0 and 1 are the divisor.
        const DIVISOR_LATCH = 1 << 7;
    }
}

bitflags! {
    /// MCR, the modem control register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Mcr: u8 {
        /// Data terminal ready.
        const DTR = 1 << 0;
        /// Request to send.
        const RTS = 1 << 1;
        /// A free output.
        const OUT1 = 1 << 2;
        /// The output that lets interrupts through on a PC.
        const OUT2 = 1 << 3;
        /// Outputs are wired to inputs inside, and the line is cut off.
        const LOOPBACK = 1 << 4;
    }
}

bitflags! {
    /// LSR, the line status register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Lsr: u8 {
        /// DR: a received byte waits.
        const DATA_READY = 1 << 0;
        /// OE: a received byte was lost.
        const OVERRUN = 1 << 1;
        /// THRE: the next byte may be written.
        const TRANSMITTER_EMPTY = 1 << 5;
        /// TEMT: the last byte has left the line.
        const TRANSMITTER_IDLE = 1 << 6;
    }
}

bitflags! {
    /// MSR, the modem status register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Msr: u8 {
        /// CTS changed.
        const CTS_CHANGED = 1 << 0;
        /// DSR changed.
        const DSR_CHANGED = 1 << 1;
        /// TERI: the ring indicator went off.
        const RING_ENDED = 1 << 2;
        /// DCD changed.
        const DCD_CHANGED = 1 << 3;
        /// Clear to send.
        const CTS = 1 << 4;
        /// Data set ready.
        const DSR = 1 << 5;
        /// Ring indicator.
        const RI = 1 << 6;
        /// Data carrier detect.
        const DCD = 1 << 7;
    }
}

/// Why the UART interrupts, as IIR bits 3 to 0 say it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub(super) enum Interrupt {
    LineStatus = 0b0110,
    Received = 0b0100,
    ReceiveTimeout = 0b1100,
    TransmitterEmpty = 0b0010,
    ModemStatus = 0b0000,
}

/// IIR when nothing is pending.
const NO_INTERRUPT: u8 = 1;
/// In IIR: the FIFOs are on.
const FIFOS_ENABLED: u8 = 0b1100_0000;

/// IIR, the interrupt identification register.
pub(super) fn iir(interrupt: Option<Interrupt>, fcr: Fcr) -> u8 {
    let fifos = if fcr.contains(Fcr::ENABLE) { FIFOS_ENABLED } else { 0 };
    fifos | interrupt.map_or(NO_INTERRUPT, |interrupt| interrupt as u8)
}

impl Fcr {
    /// How many received bytes interrupt: 1 without FIFO.
    pub(super) fn trigger(self) -> usize {
        match (self.contains(Fcr::TRIGGER_HIGH), self.contains(Fcr::TRIGGER_LOW)) {
            (false, false) => 1,
            (false, true) => 4,
            (true, false) => 8,
            (true, true) => 14,
        }
    }
}

impl Lcr {
    /// Start, data, parity and stop bits of a character; the half of 1.5 stop bits counts as one.
    pub(super) fn bits_of_a_character(self) -> u64 {
        let data = 5 + u64::from((self & Lcr::WORD_LENGTH).bits());
        let parity = u64::from(self.contains(Lcr::PARITY));
        let stop = 1 + u64::from(self.contains(Lcr::SECOND_STOP_BIT));
        1 + data + parity + stop
    }
}

impl Mcr {
    /// The inputs that our own outputs make in loopback.
    pub(super) fn looped_back(self) -> Msr {
        let wires = [(Mcr::RTS, Msr::CTS), (Mcr::DTR, Msr::DSR), (Mcr::OUT1, Msr::RI), (Mcr::OUT2, Msr::DCD)];
        wires.into_iter().filter(|&(output, _)| self.contains(output)).map(|(_, input)| input).collect()
    }
}

impl Msr {
    /// The change bits for the modem lines going from `before` to `after`.
    pub(super) fn deltas(before: Msr, after: Msr) -> Msr {
        let (changed, ended) = (before ^ after, before - after);
        let notices = [
            (Msr::CTS_CHANGED, changed.contains(Msr::CTS)),
            (Msr::DSR_CHANGED, changed.contains(Msr::DSR)),
            (Msr::RING_ENDED, ended.contains(Msr::RI)),
            (Msr::DCD_CHANGED, changed.contains(Msr::DCD)),
        ];
        notices.into_iter().filter(|&(_, happened)| happened).map(|(notice, _)| notice).collect()
    }
}
