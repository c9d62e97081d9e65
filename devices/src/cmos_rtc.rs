//! The real-time clock and its memory: an MC146818 (Motorola data sheet, "Real-Time Clock Plus RAM") as an AT
//! wires it: 32.768 kHz, IRQ 8.
//!
//! Time of day in binary or BCD, 12 or 24 hours, alarm, periodic and update-ended interrupts, the update cycle with its
//! warning UIP, and 114 bytes of memory that say what firmware would have found ("CMOS RAM", IBM AT Technical
//! Reference).
//! The time is that of the constructor plus virtual time; two runs see the same clock.
//!
//! Left out: daylight saving, the square wave, the two faster crystals (the clock stands still unless DV is 010).
//! False on hardware: registers hold the old time during an update, where the real ones hold anything; a date that is
//! none becomes one with the next update; years run from 2000 to 2099 whatever the century byte says.

mod calendar;

use crate::now::Now;
use crate::{Device, Irq, Port, Region, Signal, Ticks, Width};
pub use calendar::DateTime;
use calendar::{Format, SECONDS_PER_DAY};

/// The clock with its memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CmosRtc {
    /// The registers and the memory behind them, by index, as they read; register C apart.
    bytes: [u8; CMOS_BYTES],
    /// Register C without IRQF, which follows from it.
    flags: u8,
    /// The last value of port 0x70.
    index: u8,
    now: Now,
    /// What the divider is ahead of the crystal, in cycles: a second ends where their sum is a multiple of `HERTZ`.
    phase: u64,
    /// Whether IRQ 8 is active, as last signalled.
    pin: bool,
}

const CMOS_BYTES: usize = 128;

/// Offset 0 of the ports.
const INDEX: u64 = 0;
/// Offset 1.
const DATA: u64 = 1;

/// The registers by index ("Address Map").
const SECONDS: usize = 0;
const SECONDS_ALARM: usize = 1;
const MINUTES: usize = 2;
const MINUTES_ALARM: usize = 3;
const HOURS: usize = 4;
const HOURS_ALARM: usize = 5;
const DAY_OF_WEEK: usize = 6;
const DAY_OF_MONTH: usize = 7;
const MONTH: usize = 8;
const YEAR: usize = 9;
const REGISTER_A: usize = 0x0a;
const REGISTER_B: usize = 0x0b;
const REGISTER_C: usize = 0x0c;
const REGISTER_D: usize = 0x0d;

/// In register A: an update is under way or begins within 244 us.
const UIP: u8 = 1 << 7;
/// In register A: the divider.
const DV: u8 = 7 << 4;
/// In DV: the divider runs, from a crystal of 32.768 kHz.
const DV_RUNS: u8 = 2 << 4;
/// In DV, both set: the divider is held in reset.
const DV_RESET: u8 = 6 << 4;
/// In register A: the rate of the periodic interrupt.
const RS: u8 = 0x0f;

/// In register B: no updates, so that the time can be set.
const SET: u8 = 1 << 7;
/// In register B, and in register C that it happened: periodic interrupt, alarm, end of an update.
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE_ENDED: u8 = 1 << 4;
const INTERRUPTS: u8 = PERIODIC | ALARM | UPDATE_ENDED;
/// In register B: values are binary, not BCD.
const DM: u8 = 1 << 2;
/// In register B: hours run to 24.
const HOURS_24: u8 = 1 << 1;

/// In register C: an enabled interrupt happened.
const IRQF: u8 = 1 << 7;
/// In register D: time and memory are valid, the battery was never empty.
const VRT: u8 = 1 << 7;

/// In the index: non-maskable interrupts are off.
const NMI_OFF: u8 = 1 << 7;

/// An alarm byte from here on matches every value ("Time, Calendar, and Alarm Locations").
const DONT_CARE: u8 = 0xc0;

/// Cycles of the crystal, 2.2 ms, that UIP is on: 244 us of warning and an update of 1984 us ("Update Cycle").
const UIP_CYCLES: u64 = 8 + 65;

impl CmosRtc {
    /// Index and data.
    pub const REGIONS: &[Region] = &[Region::ports(Port(0x70), 2)];
    /// The clock's interrupt line.
    pub const IRQ: Irq = Irq(8);
    /// The crystal, in Hz.
    pub const HERTZ: u64 = 32_768;

    /// A clock that shows `start` at time 0, in a machine of so much memory.
    ///
    /// Registers A and B are as firmware leaves them: divider running, 1024 Hz, BCD, 24 hours, no interrupts.
    pub fn new(start: DateTime, memory_bytes: u64) -> CmosRtc {
        let mut bytes = [0; CMOS_BYTES];
        bytes[REGISTER_A] = DV_RUNS | 6;
        bytes[REGISTER_B] = HOURS_24;
        bytes[REGISTER_D] = VRT;
        memory_of_firmware(&mut bytes, start, memory_bytes);
        let mut rtc = CmosRtc { bytes, flags: 0, index: 0, now: Now::default(), phase: 0, pin: false };
        rtc.set_time(start);
        rtc
    }

    /// The time the registers show.
    pub fn time(&self) -> DateTime {
        let format = self.format();
        let value = |index: usize| format.decode(self.bytes[index]);
        DateTime {
            year: 2000 + u16::from(value(YEAR)),
            month: value(MONTH),
            day: value(DAY_OF_MONTH),
            hour: format.decode_hour(self.bytes[HOURS]),
            minute: value(MINUTES),
            second: value(SECONDS),
        }
        .put_right()
    }

    /// Whether the guest lets non-maskable interrupts through: bit 7 of port 0x70 is clear.
    pub fn nmi_enabled(&self) -> bool {
        self.index & NMI_OFF == 0
    }

    fn set_time(&mut self, time: DateTime) {
        let format = self.format();
        self.bytes[SECONDS] = format.encode(time.second);
        self.bytes[MINUTES] = format.encode(time.minute);
        self.bytes[HOURS] = format.encode_hour(time.hour);
        self.bytes[DAY_OF_WEEK] = format.encode(time.day_of_week());
        self.bytes[DAY_OF_MONTH] = format.encode(time.day);
        self.bytes[MONTH] = format.encode(time.month);
        self.bytes[YEAR] = format.encode((time.year % 100) as u8);
    }

    fn selected(&self) -> usize {
        usize::from(self.index & !NMI_OFF)
    }

    fn read_data(&mut self) -> u8 {
        match self.selected() {
            REGISTER_A => self.bytes[REGISTER_A] | if self.updating() { UIP } else { 0 },
            REGISTER_C => self.read_register_c(),
            index => self.bytes[index],
        }
    }

    /// Reading takes note of all that happened.
    fn read_register_c(&mut self) -> u8 {
        let irqf = if self.interrupting() { IRQF } else { 0 };
        std::mem::take(&mut self.flags) | irqf
    }

    fn write_data(&mut self, byte: u8) {
        match self.selected() {
            REGISTER_A => self.write_register_a(byte & !UIP),
            // SET turns the interrupt off that ends the updates it stops.
            REGISTER_B => self.bytes[REGISTER_B] = if byte & SET != 0 { byte & !UPDATE_ENDED } else { byte },
            REGISTER_C | REGISTER_D => {}
            index => self.bytes[index] = byte,
        }
    }

    /// A divider that is let go from reset ends its first second after half a second ("Divider Control").
    fn write_register_a(&mut self, byte: u8) {
        let was_reset = self.bytes[REGISTER_A] & DV_RESET == DV_RESET;
        self.bytes[REGISTER_A] = byte;
        if was_reset && self.running() {
            self.phase = (Self::HERTZ / 2 + Self::HERTZ - self.clock() % Self::HERTZ) % Self::HERTZ;
        }
    }

    fn running(&self) -> bool {
        self.bytes[REGISTER_A] & DV == DV_RUNS
    }

    fn ticking(&self) -> bool {
        self.running() && self.bytes[REGISTER_B] & SET == 0
    }

    fn updating(&self) -> bool {
        self.ticking() && self.divider() % Self::HERTZ >= Self::HERTZ - UIP_CYCLES
    }

    fn interrupting(&self) -> bool {
        self.flags & self.bytes[REGISTER_B] & INTERRUPTS != 0
    }

    fn format(&self) -> Format {
        let b = self.bytes[REGISTER_B];
        Format { binary: b & DM != 0, hours_24: b & HOURS_24 != 0 }
    }

    /// Cycles of the crystal since time 0.
    fn clock(&self) -> u64 {
        self.now.0.cycles(Self::HERTZ)
    }

    /// How far the divider has counted, in cycles of the crystal.
    fn divider(&self) -> u64 {
        self.clock() + self.phase
    }

    /// Cycles between two periodic interrupts ("Periodic Interrupt Rate"); the two shortest repeat later ones.
    fn period(&self) -> Option<u64> {
        match self.bytes[REGISTER_A] & RS {
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    /// `seconds` updates at once.
    fn update(&mut self, seconds: u64) {
        if seconds == 0 {
            return;
        }
        let time = self.time();
        let second_of_day = time.second_of_day();
        if self.seconds_to_alarm(second_of_day).is_some_and(|wait| wait <= seconds) {
            self.flags |= ALARM;
        }
        self.flags |= UPDATE_ENDED;
        let day_of_week = self.format().decode(self.bytes[DAY_OF_WEEK]);
        let days = (u64::from(second_of_day) + seconds) / SECONDS_PER_DAY;
        self.set_time(time.after(seconds));
        // The day of the week counts by itself, from whatever it was set to.
        let day_of_week = (u64::from(day_of_week) + 6 + days % 7) % 7 + 1;
        self.bytes[DAY_OF_WEEK] = self.format().encode(day_of_week as u8);
    }

    /// Updates until the alarm matches, from 1 to a day, or never.
    fn seconds_to_alarm(&self, from: u32) -> Option<u64> {
        let from = u64::from(from);
        let mut at = from + 1;
        while at <= from + SECONDS_PER_DAY {
            let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
            at = if !self.alarm_matches(HOURS_ALARM, self.format().encode_hour(hour as u8)) {
                (at / 3600 + 1) * 3600
            } else if !self.alarm_matches(MINUTES_ALARM, self.format().encode(minute as u8)) {
                (at / 60 + 1) * 60
            } else if !self.alarm_matches(SECONDS_ALARM, self.format().encode(second as u8)) {
                at + 1
            } else {
                return Some(at - from);
            };
        }
        None
    }

    fn alarm_matches(&self, index: usize, value: u8) -> bool {
        let alarm = self.bytes[index];
        alarm >= DONT_CARE || alarm == value
    }

    /// The value of the divider at which an enabled interrupt next happens.
    fn next_interrupt(&self) -> Option<u64> {
        let enabled = |bit| self.bytes[REGISTER_B] & bit != 0;
        let second = self.divider() / Self::HERTZ;
        let periodic = self.period().filter(|_| enabled(PERIODIC)).map(|period| (self.divider() / period + 1) * period);
        let update = enabled(UPDATE_ENDED).then_some(1);
        let alarm = if enabled(ALARM) { self.seconds_to_alarm(self.time().second_of_day()) } else { None };
        let updates = update.or(alarm).filter(|_| self.ticking()).map(|updates| (second + updates) * Self::HERTZ);
        periodic.into_iter().chain(updates).min()
    }

    /// Brings IRQ 8 to where the flags say, and tells if it moved.
    fn drive_pin(&mut self) -> Vec<Signal> {
        let active = self.interrupting();
        if active == self.pin {
            return Vec::new();
        }
        self.pin = active;
        vec![if active { Signal::RaiseIrq(Self::IRQ) } else { Signal::LowerIrq(Self::IRQ) }]
    }

    /// Whether the index is at the time of day or the date.
    fn selects_clock(&self) -> bool {
        const CLOCK: [usize; 8] = [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY_OF_MONTH, MONTH, YEAR, CENTURY];
        CLOCK.contains(&self.selected())
    }
}

impl Device for CmosRtc {
    fn name(&self) -> &'static str {
        "rtc"
    }

    fn register(&self, offset: u64) -> &'static str {
        match (offset, self.selected()) {
            (INDEX, _) => "INDEX",
            (_, SECONDS) => "SECONDS",
            (_, SECONDS_ALARM) => "SECONDS_ALARM",
            (_, MINUTES) => "MINUTES",
            (_, MINUTES_ALARM) => "MINUTES_ALARM",
            (_, HOURS) => "HOURS",
            (_, HOURS_ALARM) => "HOURS_ALARM",
            (_, DAY_OF_WEEK) => "DAY_OF_WEEK",
            (_, DAY_OF_MONTH) => "DAY_OF_MONTH",
            (_, MONTH) => "MONTH",
            (_, YEAR) => "YEAR",
            (_, REGISTER_A) => "A",
            (_, REGISTER_B) => "B",
            (_, REGISTER_C) => "C",
            (_, REGISTER_D) => "D",
            (_, SHUTDOWN_STATUS) => "SHUTDOWN_STATUS",
            (_, CENTURY) => "CENTURY",
            _ => "CMOS_RAM",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let byte = match offset {
            DATA => self.read_data(),
            // The index cannot be read back on an AT.
            _ => 0xff,
        };
        (byte.into(), self.drive_pin())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        match offset {
            INDEX => self.index = byte,
            DATA => self.write_data(byte),
            _ => {}
        }
        self.drive_pin()
    }

    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        let before = self.divider();
        self.now.advance(now);
        if !self.running() {
            return Vec::new();
        }
        let passed = |cycles: u64| self.divider() / cycles - before / cycles;
        let seconds = passed(Self::HERTZ);
        if self.period().is_some_and(|period| passed(period) > 0) {
            self.flags |= PERIODIC;
        }
        if self.ticking() {
            self.update(seconds);
        }
        self.drive_pin()
    }

    fn tells_time(&self, offset: u64) -> bool {
        offset == DATA && (self.selects_clock() || matches!(self.selected(), REGISTER_A | REGISTER_C))
    }

    fn takes_time(&self, offset: u64) -> bool {
        offset == DATA && (self.selects_clock() || matches!(self.selected(), REGISTER_A | REGISTER_B))
    }

    fn next_event(&self) -> Option<Ticks> {
        // While the line is active nothing else can be told.
        if self.pin || !self.running() {
            return None;
        }
        self.next_interrupt().map(|divider| Ticks::of_cycles(divider - self.phase, Self::HERTZ))
    }
}

/// Firmware's words to its next start after a reset of the processor; 0x0a means: jump to where 0x467 points.
const SHUTDOWN_STATUS: usize = 0x0f;
const EQUIPMENT: usize = 0x14;
/// Memory below 640 KiB, in KiB.
const BASE_MEMORY: usize = 0x15;
/// Memory above 1 MiB, in KiB, as set up and as found.
const EXTENDED_MEMORY: [usize; 2] = [0x17, 0x30];
/// Memory above 16 MiB, in units of 64 KiB.
const HIGH_MEMORY: usize = 0x34;
const CHECKSUM: usize = 0x2e;
const CHECKSUMMED: std::ops::Range<usize> = 0x10..0x2e;
const CENTURY: usize = 0x32;

/// In the equipment byte: a coprocessor, and a PS/2 mouse.
const COPROCESSOR: u8 = 1 << 1;
const MOUSE: u8 = 1 << 2;

/// What firmware would have written: memory sizes that are too big for their field are its greatest value.
fn memory_of_firmware(bytes: &mut [u8; CMOS_BYTES], start: DateTime, memory_bytes: u64) {
    let units = |from: u64, unit: u64| {
        let units = memory_bytes.saturating_sub(from) / unit;
        u16::try_from(units).unwrap_or(u16::MAX).to_le_bytes()
    };
    let base_memory = u16::try_from(memory_bytes >> 10).map_or(640, |kib| kib.min(640));
    bytes[EQUIPMENT] = COPROCESSOR | MOUSE;
    bytes[BASE_MEMORY..][..2].copy_from_slice(&base_memory.to_le_bytes());
    for at in EXTENDED_MEMORY {
        bytes[at..][..2].copy_from_slice(&units(1 << 20, 1 << 10));
    }
    bytes[HIGH_MEMORY..][..2].copy_from_slice(&units(16 << 20, 64 << 10));
    bytes[CENTURY] = Format::FIRMWARE.encode((start.year / 100 % 100) as u8);
    let checksum: u16 = bytes[CHECKSUMMED].iter().map(|&byte| u16::from(byte)).sum();
    bytes[CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests;
