//! The keyboard and mouse controller at ports 0x60 and 0x64 (IBM PS/2 Hardware Interface Technical Reference,
//! "Keyboard and Auxiliary Device Controller"), with a keyboard and a mouse plugged in.
//!
//! The controller itself is infinitely fast: a command is done, and its answer is there, before the next instruction,
//! so the input buffer is never full. Keyboard and mouse send a byte in a millisecond, and only while the output buffer
//! is empty.
//! At power-on the command byte is as firmware leaves it: keyboard interrupt and translation on, mouse off.
//!
//! Left out: the password, polling the input port (0xc1, 0xc2), time-outs and parity errors of the wire, the keyboard
//! lock.
//! False on hardware: the A20 bit is kept and gates nothing by itself; the board may ask [`I8042::a20`].

mod keyboard;
mod keys;
mod mouse;

use bitflags::bitflags;

use crate::now::Now;
use crate::{Device, Irq, Port, Region, Signal, TICKS_PER_SECOND, Ticks, Width};
use keyboard::Keyboard;
use keys::Translator;
pub use keys::{Key, Stroke, Untypable};
use mouse::Mouse;
pub use mouse::MouseButtons;

/// The controller with what is plugged into it.
///
/// Input from outside counts from the last [`advance`](Device::advance), so let time come first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct I8042 {
    /// The controller's memory, whose first byte is the command byte.
    ram: [u8; RAM_BYTES],
    /// The last byte of the output buffer.
    data: u8,
    /// Who sent it, while it is not read.
    full: Option<Source>,
    /// The controller's own answer, while the output buffer is full.
    answer: Option<(Source, u8)>,
    /// A command whose data byte is to come at port 0x60.
    awaiting: Option<u8>,
    /// The last byte written went to port 0x64.
    command_was_last: bool,
    /// Bits 0 and 1 of the output port as written.
    output_port: u8,
    keyboard: Keyboard,
    mouse: Mouse,
    translator: Translator,
    now: Now,
    /// When the byte that is on the wire arrives.
    arrival: Option<Ticks>,
    /// Whether IRQ 1 and IRQ 12 are active, as last signalled.
    pins: [bool; 2],
}

/// Where a byte in the output buffer comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Source {
    Keyboard,
    Mouse,
}

/// Offset 0: port 0x60.
const DATA: u64 = 0;
/// Offset 4: port 0x64, status to read, command to write.
const STATUS_COMMAND: u64 = 4;

const RAM_BYTES: usize = 32;

/// How long a byte is on the wire, 1 ms: 11 bits at 10 to 16.7 kHz are 0.7 to 1.1 ms.
const WIRE: u64 = TICKS_PER_SECOND / 1000;

bitflags! {
    /// The command byte.
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct CommandByte: u8 {
        /// A byte of the keyboard interrupts.
        const KEYBOARD_INTERRUPT = 1 << 0;
        /// A byte of the mouse interrupts.
        const MOUSE_INTERRUPT = 1 << 1;
        /// Shown in the status: the self test was passed.
        const SYSTEM = 1 << 2;
        /// The keyboard may not send.
        const KEYBOARD_OFF = 1 << 4;
        /// The mouse may not send.
        const MOUSE_OFF = 1 << 5;
        /// Scan code set 2 is translated to set 1.
        const TRANSLATE = 1 << 6;
    }
}

/// In the status: the output buffer is full.
const OUTPUT_FULL: u8 = 1 << 0;
/// In the status: as in the command byte.
const SYSTEM_FLAG: u8 = 1 << 2;
/// In the status: the last byte written was a command.
const COMMAND_LAST: u8 = 1 << 3;
/// In the status: the keyboard lock is open.
const UNLOCKED: u8 = 1 << 4;
/// In the status: what fills the output buffer is the mouse's.
const MOUSE_OUTPUT_FULL: u8 = 1 << 5;

/// In the output port: the processor is not being reset.
const NOT_RESET: u8 = 1 << 0;
/// In the output port: address line 20 is let through.
const A20: u8 = 1 << 1;
/// The input port: keyboard not locked, colour display, no manufacturing jumper (IBM AT, "Input Port").
const INPUT_PORT: u8 = 0xb0;

impl I8042 {
    /// Data, and status with command; what is between them belongs to others.
    pub const REGIONS: &[Region] =
        &[Region::ports(Port(0x60), 1), Region::ports(Port(0x64), 1).at_offset(STATUS_COMMAND)];
    /// The keyboard's and the mouse's interrupt lines.
    pub const IRQS: [Irq; 2] = [Irq(1), Irq(12)];

    /// A key goes down or up; lost if the keyboard is turned off or its buffer is full.
    pub fn key(&mut self, key: Key, stroke: Stroke) {
        self.keyboard.key(key, stroke);
        self.schedule();
    }

    /// Somebody types `text` on a US keyboard, each character as fast as the guest takes it.
    ///
    /// Control characters are typed with the control key, `'\u{3}'` as Ctrl+C, but for those that have a key:
    /// newline is Enter, and tab, backspace and escape are themselves.
    ///
    /// # Errors
    /// No key writes one of the characters; nothing is then typed.
    pub fn type_text(&mut self, text: &str) -> Result<(), Untypable> {
        self.keyboard.type_strokes(keys::strokes(text)?);
        self.schedule();
        Ok(())
    }

    /// Whether a key, or several together, write `character`.
    pub fn can_type(character: char) -> bool {
        keys::strokes(&character.to_string()).is_ok()
    }

    /// Strokes of [`type_text`](I8042::type_text) that have not reached the keyboard's buffer.
    pub fn untyped(&self) -> usize {
        self.keyboard.untyped()
    }

    /// The mouse moves, `dx` to the right and `dy` away from the user, and its buttons are now `buttons`.
    pub fn mouse(&mut self, dx: i16, dy: i16, buttons: MouseButtons) {
        self.mouse.act(dx, dy, buttons);
        self.schedule();
    }

    /// Whether the guest listens to the mouse, and has been told all that has happened to it.
    pub fn awaits_mouse(&self) -> bool {
        self.mouse.awaits_news()
    }

    /// The lights as the guest set them: bit 0 scroll lock, 1 num lock, 2 caps lock.
    pub fn leds(&self) -> u8 {
        self.keyboard.leds()
    }

    /// Whether address line 20 is let through.
    pub fn a20(&self) -> bool {
        self.output_port & A20 != 0
    }

    fn command_byte(&self) -> CommandByte {
        CommandByte::from_bits_truncate(self.ram[0])
    }

    fn set_command_byte(&mut self, bits: CommandByte, on: bool) {
        let mut byte = self.command_byte();
        byte.set(bits, on);
        let reserved = self.ram[0] & !CommandByte::all().bits();
        self.ram[0] = byte.bits() | reserved;
    }

    fn status(&self) -> u8 {
        let full = match self.full {
            None => 0,
            Some(Source::Keyboard) => OUTPUT_FULL,
            Some(Source::Mouse) => OUTPUT_FULL | MOUSE_OUTPUT_FULL,
        };
        let system = if self.command_byte().contains(CommandByte::SYSTEM) { SYSTEM_FLAG } else { 0 };
        let last = if self.command_was_last { COMMAND_LAST } else { 0 };
        UNLOCKED | full | system | last
    }

    /// Reading empties the buffer; the last byte stays to be read again.
    fn read_data(&mut self) -> u8 {
        self.full = None;
        self.data
    }

    /// "Controller Commands".
    fn command(&mut self, command: u8) -> Option<Signal> {
        self.command_was_last = true;
        self.awaiting = None;
        match command {
            0x20..=0x3f => self.reply(self.ram[usize::from(command & 0x1f)]),
            0x60..=0x7f | 0xd1..=0xd4 => self.awaiting = Some(command),
            // No password is installed.
            0xa4 => self.reply(0xf1),
            0xa7 => self.set_command_byte(CommandByte::MOUSE_OFF, true),
            0xa8 => self.set_command_byte(CommandByte::MOUSE_OFF, false),
            // Both wires are in order.
            0xa9 | 0xab => self.reply(0x00),
            0xaa => {
                self.set_command_byte(CommandByte::SYSTEM, true);
                self.reply(0x55);
            }
            0xad => self.set_command_byte(CommandByte::KEYBOARD_OFF, true),
            0xae => self.set_command_byte(CommandByte::KEYBOARD_OFF, false),
            0xc0 => self.reply(INPUT_PORT),
            0xd0 => self.reply(self.output_port()),
            0xe0 => self.reply(self.test_inputs()),
            // A bit that is clear pulses its line of the output port; only the reset is wired.
            0xf0..=0xff if command & NOT_RESET == 0 => return Some(Signal::Reset),
            _ => {}
        }
        None
    }

    /// A byte at port 0x60: a command's data, or something for the keyboard, which is thereby turned on.
    fn write_data(&mut self, byte: u8) -> Option<Signal> {
        self.command_was_last = false;
        match self.awaiting.take() {
            None => {
                self.set_command_byte(CommandByte::KEYBOARD_OFF, false);
                self.keyboard.write(byte);
            }
            Some(0xd1) => return self.write_output_port(byte),
            Some(0xd2) => self.answer = Some((Source::Keyboard, byte)),
            Some(0xd3) => self.answer = Some((Source::Mouse, byte)),
            Some(0xd4) => {
                self.set_command_byte(CommandByte::MOUSE_OFF, false);
                self.mouse.write(byte);
            }
            Some(command) => self.ram[usize::from(command & 0x1f)] = byte,
        }
        None
    }

    fn write_output_port(&mut self, byte: u8) -> Option<Signal> {
        self.output_port = byte & A20 | NOT_RESET;
        (byte & NOT_RESET == 0).then_some(Signal::Reset)
    }

    /// The output port: reset, A20, the two interrupts, and the keyboard's clock and data at rest.
    fn output_port(&self) -> u8 {
        let [keyboard, mouse] = self.pins.map(u8::from);
        self.output_port | keyboard << 4 | mouse << 5 | 0xc0
    }

    /// The clock lines, each high unless its device is turned off.
    fn test_inputs(&self) -> u8 {
        let byte = self.command_byte();
        u8::from(!byte.contains(CommandByte::KEYBOARD_OFF)) | u8::from(!byte.contains(CommandByte::MOUSE_OFF)) << 1
    }

    /// The controller answers; an older answer that nobody made room for is lost.
    fn reply(&mut self, byte: u8) {
        self.answer = Some((Source::Keyboard, byte));
    }

    /// Who has a byte to send and may; the keyboard goes first.
    fn sender(&self) -> Option<Source> {
        let byte = self.command_byte();
        if self.keyboard.has_byte() && !byte.contains(CommandByte::KEYBOARD_OFF) {
            Some(Source::Keyboard)
        } else if self.mouse.has_byte() && !byte.contains(CommandByte::MOUSE_OFF) {
            Some(Source::Mouse)
        } else {
            None
        }
    }

    /// A byte is on the wire while somebody can send and the output buffer is empty.
    fn schedule(&mut self) {
        let sending = self.full.is_none() && self.sender().is_some();
        let arrival = self.arrival.unwrap_or(self.now.after(WIRE));
        self.arrival = sending.then_some(arrival);
    }

    /// The byte that was on the wire is here.
    fn arrive(&mut self) {
        self.arrival = None;
        match self.sender() {
            None => {}
            Some(Source::Mouse) => {
                let byte = self.mouse.take();
                self.fill(Source::Mouse, byte);
            }
            Some(Source::Keyboard) => {
                let byte = self.keyboard.take();
                let translate = self.command_byte().contains(CommandByte::TRANSLATE);
                let byte = if translate { self.translator.translate(byte) } else { Some(byte) };
                if let Some(byte) = byte {
                    self.fill(Source::Keyboard, byte);
                }
            }
        }
    }

    fn fill(&mut self, source: Source, byte: u8) {
        self.data = byte;
        self.full = Some(source);
    }

    /// After anything: an answer that waits takes its place, and the pins and the wires follow.
    ///
    /// The pins fall in between if the buffer was emptied, an edge that an interrupt controller needs.
    fn settle(&mut self) -> Vec<Signal> {
        let mut signals = self.drive_pins();
        if self.full.is_none()
            && let Some((source, byte)) = self.answer.take()
        {
            self.fill(source, byte);
            signals.extend(self.drive_pins());
        }
        self.schedule();
        signals
    }

    /// Brings both pins to where the output buffer says, and tells which moved.
    fn drive_pins(&mut self) -> Vec<Signal> {
        let byte = self.command_byte();
        let active = [
            self.full == Some(Source::Keyboard) && byte.contains(CommandByte::KEYBOARD_INTERRUPT),
            self.full == Some(Source::Mouse) && byte.contains(CommandByte::MOUSE_INTERRUPT),
        ];
        let before = std::mem::replace(&mut self.pins, active);
        let pins = Self::IRQS.into_iter().zip(before.into_iter().zip(active));
        let moved = pins.filter(|(_, (before, active))| before != active);
        moved.map(|(irq, (_, active))| if active { Signal::RaiseIrq(irq) } else { Signal::LowerIrq(irq) }).collect()
    }
}

impl Default for I8042 {
    fn default() -> Self {
        let mut ram = [0; RAM_BYTES];
        let as_firmware_leaves_it =
            CommandByte::KEYBOARD_INTERRUPT | CommandByte::SYSTEM | CommandByte::MOUSE_OFF | CommandByte::TRANSLATE;
        ram[0] = as_firmware_leaves_it.bits();
        I8042 {
            ram,
            data: 0,
            full: None,
            answer: None,
            awaiting: None,
            command_was_last: false,
            output_port: NOT_RESET | A20,
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
            translator: Translator::default(),
            now: Now::default(),
            arrival: None,
            pins: [false; 2],
        }
    }
}

impl Device for I8042 {
    fn name(&self) -> &'static str {
        "i8042"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            DATA => "DATA",
            _ => "COMMAND",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let byte = match offset {
            DATA => self.read_data(),
            STATUS_COMMAND => self.status(),
            _ => 0xff,
        };
        (byte.into(), self.settle())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        let reset = match offset {
            DATA => self.write_data(byte),
            STATUS_COMMAND => self.command(byte),
            _ => None,
        };
        self.settle().into_iter().chain(reset).collect()
    }

    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        let mut signals = Vec::new();
        while let Some(arrival) = self.arrival.filter(|&arrival| arrival <= now) {
            self.now.advance(arrival);
            self.arrive();
            signals.extend(self.settle());
        }
        self.now.advance(now);
        signals
    }

    fn next_event(&self) -> Option<Ticks> {
        self.arrival
    }
}

#[cfg(test)]
mod tests;
