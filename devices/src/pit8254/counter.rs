//! One of the three counters (8254, "Mode Definitions").
//!
//! Nothing is counted clock by clock: each mode says in closed form where `n` clocks lead, since a machine that waits
//! for the end of a day would otherwise count for minutes.

/// A counter: its two registers (CR and CE in the data sheet), its gate and output, and its latches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Counter {
    mode: Mode,
    access: ByteAccess,
    bcd: bool,
    gate: Gate,
    out: bool,
    /// CR, as the number of clocks it means; none was written since the control word.
    count_register: Option<u32>,
    /// The first byte of a count that is written in two.
    low_byte: Option<u8>,
    /// CR was written and is not loaded yet: the status's NULL COUNT.
    null_count: bool,
    /// CE, the counting element: 0 to `modulus`, since a count of 0 means `modulus`.
    element: u32,
    /// What CE was last loaded with; 0 is never.
    loaded: u32,
    /// The next clock loads CR into CE.
    load_due: bool,
    /// Modes 0, 1, 4 and 5: the terminal count is still to come.
    armed: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
    /// Half of a count that is read in two bytes was read.
    high_byte_next: bool,
}

/// The GATE input; counters 0 and 1 are wired to open.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Gate {
    #[default]
    Open,
    Closed,
}

/// What a counter does with its output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
enum Mode {
    #[default]
    InterruptOnTerminalCount = 0,
    OneShot = 1,
    RateGenerator = 2,
    SquareWave = 3,
    SoftwareStrobe = 4,
    HardwareStrobe = 5,
}

/// Which bytes of a count are written and read: RW1 and RW0 of the control word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
enum ByteAccess {
    Low = 1,
    High = 2,
    #[default]
    LowThenHigh = 3,
}

impl Counter {
    /// The OUT pin.
    pub(super) fn out(&self) -> bool {
        self.out
    }

    /// A control word for this counter; with RW 0 it is the counter latch command ("Counter Latch Command").
    pub(super) fn write_control(&mut self, word: u8) {
        let access = match word >> 4 & 3 {
            0 => return self.latch_count(),
            1 => ByteAccess::Low,
            2 => ByteAccess::High,
            _ => ByteAccess::LowThenHigh,
        };
        let mode = Mode::from_bits(word >> 1);
        let out = mode != Mode::InterruptOnTerminalCount;
        *self = Counter {
            mode,
            access,
            bcd: word & 1 != 0,
            gate: self.gate,
            out,
            null_count: true,
            element: self.element,
            ..Counter::default()
        };
    }

    /// A byte of the count ("Write Operations").
    pub(super) fn write(&mut self, byte: u8) {
        match (self.access, self.low_byte.take()) {
            (ByteAccess::Low, _) => self.set_count(byte.into()),
            (ByteAccess::High, _) => self.set_count(u16::from_be_bytes([byte, 0])),
            (ByteAccess::LowThenHigh, Some(low)) => self.set_count(u16::from_be_bytes([byte, low])),
            (ByteAccess::LowThenHigh, None) => {
                self.low_byte = Some(byte);
                if self.mode == Mode::InterruptOnTerminalCount {
                    self.out = false;
                }
            }
        }
    }

    /// A byte of the latched status, of the latched count, or of the count as it is ("Read Operations").
    pub(super) fn read(&mut self) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.count()).to_le_bytes();
        match self.access {
            ByteAccess::LowThenHigh if !self.high_byte_next => {
                self.high_byte_next = true;
                return low;
            }
            ByteAccess::Low | ByteAccess::High | ByteAccess::LowThenHigh => self.high_byte_next = false,
        }
        self.latched_count = None;
        if self.access == ByteAccess::Low { low } else { high }
    }

    /// Keeps the count until it is read; a second latch before that is ignored.
    pub(super) fn latch_count(&mut self) {
        self.latched_count = Some(self.latched_count.unwrap_or_else(|| self.count()));
    }

    /// Keeps the status until it is read ("Read-Back Command", Status Byte).
    pub(super) fn latch_status(&mut self) {
        let status = u8::from(self.out) << 7
            | u8::from(self.null_count) << 6
            | (self.access as u8) << 4
            | (self.mode as u8) << 1
            | u8::from(self.bcd);
        self.latched_status = Some(self.latched_status.unwrap_or(status));
    }

    /// The GATE pin; its rising edge is a trigger ("Gate").
    pub(super) fn set_gate(&mut self, open: bool) {
        let (gate, before) = (if open { Gate::Open } else { Gate::Closed }, self.gate);
        self.gate = gate;
        if gate == before {
            return;
        }
        match (self.mode, gate) {
            (Mode::InterruptOnTerminalCount | Mode::SoftwareStrobe, _) => {}
            (Mode::OneShot | Mode::HardwareStrobe, Gate::Closed) => {}
            (Mode::RateGenerator | Mode::SquareWave, Gate::Closed) => self.out = true,
            (Mode::OneShot | Mode::HardwareStrobe | Mode::RateGenerator | Mode::SquareWave, Gate::Open) => {
                self.trigger()
            }
        }
    }

    /// `clocks` pulses of CLK pass.
    pub(super) fn run(&mut self, mut clocks: u64) {
        if clocks > 0 && self.load_due {
            self.load();
            clocks -= 1;
        }
        if clocks == 0 || !self.counting() {
            return;
        }
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => self.run_to_zero(clocks),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => self.run_to_strobe(clocks),
            Mode::RateGenerator => self.run_rate(clocks),
            Mode::SquareWave => self.run_square(clocks),
        }
    }

    /// How many clocks from now OUT moves, if nobody interferes.
    pub(super) fn next_change(&self) -> Option<u64> {
        let mut loaded = *self;
        let mut before = 0;
        if self.load_due {
            loaded.load();
            before = 1;
        }
        if loaded.out != self.out {
            return Some(before);
        }
        let rest = if loaded.counting() { loaded.change_from_here() } else { None };
        rest.map(|rest| before + u64::from(rest))
    }

    /// As `next_change`, once nothing is left to load and while counting.
    fn change_from_here(&self) -> Option<u32> {
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => self.armed.then_some(self.element),
            // At zero the strobe is on, for one clock.
            Mode::SoftwareStrobe | Mode::HardwareStrobe => self.armed.then_some(self.element.max(1)),
            // At one the output is low, for one clock.
            Mode::RateGenerator => Some(if self.element > 1 { self.element - 1 } else { 1 }),
            Mode::SquareWave => Some(self.half_left()),
        }
    }

    /// CR has all its bytes.
    fn set_count(&mut self, raw: u16) {
        let count = match if self.bcd { from_bcd(raw) } else { raw.into() } {
            0 => self.modulus(),
            count => count,
        };
        let first = self.count_register.replace(count).is_none();
        self.null_count = true;
        match self.mode {
            Mode::InterruptOnTerminalCount => {
                self.out = false;
                self.load_due = true;
            }
            Mode::SoftwareStrobe => self.load_due = true,
            // A later count waits for the end of the period, or of the half period.
            Mode::RateGenerator | Mode::SquareWave => self.load_due |= first,
            // And here for the trigger.
            Mode::OneShot | Mode::HardwareStrobe => {}
        }
    }

    fn trigger(&mut self) {
        self.load_due = self.count_register.is_some();
    }

    /// A clock that moves CR into CE, and does not count.
    fn load(&mut self) {
        self.load_due = false;
        self.reload();
        self.armed = true;
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => self.out = false,
            Mode::RateGenerator | Mode::SquareWave | Mode::SoftwareStrobe | Mode::HardwareStrobe => self.out = true,
        }
    }

    fn reload(&mut self) {
        let count = self.count_register.unwrap_or(self.modulus());
        self.null_count = false;
        self.loaded = count;
        self.element = count;
        if matches!(self.mode, Mode::RateGenerator | Mode::SquareWave) {
            self.loaded = count.max(2);
            self.element = self.loaded;
        }
        if self.mode == Mode::SquareWave {
            self.element &= !1;
        }
    }

    /// Whether CE moves with the clock.
    fn counting(&self) -> bool {
        let gated = match self.mode {
            // The first byte of two stops the count ("Mode 0").
            Mode::InterruptOnTerminalCount => self.gate == Gate::Closed || self.low_byte.is_some(),
            Mode::RateGenerator | Mode::SquareWave | Mode::SoftwareStrobe => self.gate == Gate::Closed,
            Mode::OneShot | Mode::HardwareStrobe => false,
        };
        self.loaded > 0 && !gated
    }

    /// Modes 0 and 1: OUT rises at zero; counting goes on from the top.
    fn run_to_zero(&mut self, clocks: u64) {
        if self.armed && clocks >= self.element.into() {
            self.armed = false;
            self.out = true;
        }
        self.count_down(clocks);
    }

    /// Modes 4 and 5: OUT is low for one clock at zero, once.
    fn run_to_strobe(&mut self, clocks: u64) {
        if self.armed {
            self.out = clocks != self.element.into();
            self.armed = clocks <= self.element.into();
        }
        self.count_down(clocks);
    }

    fn count_down(&mut self, clocks: u64) {
        let modulus = u64::from(self.modulus());
        self.element = ((u64::from(self.element) + modulus - clocks % modulus) % modulus) as u32;
    }

    /// Mode 2: OUT is low while CE is one; the next clock loads CR again.
    fn run_rate(&mut self, clocks: u64) {
        match clocks.checked_sub(self.element.into()) {
            None => self.element -= clocks as u32,
            Some(after) => {
                self.reload();
                self.element -= (after % u64::from(self.loaded)) as u32;
            }
        }
        self.out = self.element != 1;
    }

    /// Mode 3: CE counts in twos, and OUT turns each time CR is loaded again.
    fn run_square(&mut self, mut clocks: u64) {
        if clocks >= self.half_left().into() {
            clocks -= u64::from(self.half_left());
            self.turn();
            clocks %= u64::from(self.loaded);
            if clocks >= self.half_left().into() {
                clocks -= u64::from(self.half_left());
                self.turn();
            }
        }
        self.element -= 2 * clocks as u32;
    }

    fn turn(&mut self) {
        self.out = !self.out;
        self.reload();
    }

    /// Clocks until OUT turns: an odd count takes one more while OUT is high ("Mode 3", odd counts).
    fn half_left(&self) -> u32 {
        self.element / 2 + u32::from(self.out && self.loaded % 2 == 1)
    }

    /// CE as it is read.
    fn count(&self) -> u16 {
        let element = self.element % self.modulus();
        if self.bcd { to_bcd(element) } else { element as u16 }
    }

    fn modulus(&self) -> u32 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }
}

impl Mode {
    /// M2, M1 and M0 of the control word; M2 does not count where M1 is set.
    fn from_bits(bits: u8) -> Mode {
        match bits & 7 {
            0 => Mode::InterruptOnTerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::RateGenerator,
            3 | 7 => Mode::SquareWave,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        }
    }
}

/// The value of four decimal digits, cut to four digits.
fn from_bcd(raw: u16) -> u32 {
    let digits = [12, 8, 4, 0].map(|shift| u32::from(raw >> shift & 0xf));
    digits.iter().fold(0, |value, digit| 10 * value + digit) % 10_000
}

/// Four decimal digits of a value below 10,000.
fn to_bcd(value: u32) -> u16 {
    let digits = [1000, 100, 10, 1].map(|weight| (value / weight % 10) as u16);
    digits.iter().fold(0, |raw, digit| raw << 4 | digit)
}
