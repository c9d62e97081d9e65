//! The keyboard (IBM PS/2 Technical Reference, "Keyboards": commands from the system, and to it).
//!
//! Left out: repeating a key that is held down (the rate is kept without effect), scan code set 3, and the shifts that
//! an arrow key sends around itself while num lock or shift is on.
//! The self test after a reset takes no time.

use std::collections::VecDeque;

use super::keys::{Key, Stroke, Translator};

/// A keyboard of 101 keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Keyboard {
    /// Codes of strokes; one more than fit at most, which says that strokes were lost.
    buffer: VecDeque<u8>,
    /// Answers to the last command; they go before codes.
    answers: VecDeque<u8>,
    /// What somebody is still to type.
    typing: VecDeque<(Key, Stroke)>,
    /// A command whose parameter is to come.
    awaiting: Option<u8>,
    scanning: Scanning,
    set: ScanCodeSet,
    leds: u8,
    typematic: u8,
    last_sent: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Scanning {
    #[default]
    On,
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
enum ScanCodeSet {
    One = 1,
    #[default]
    Two = 2,
}

/// Bytes of strokes that a keyboard keeps ("Keyboard Buffer").
const BUFFER_BYTES: usize = 16;

/// 10.9 characters a second after half a second ("Set Typematic Rate/Delay").
const DEFAULT_TYPEMATIC: u8 = 0x2b;

const ACK: u8 = 0xfa;
const SELF_TEST_PASSED: u8 = 0xaa;
const RESEND: u8 = 0xfe;
const ECHO: u8 = 0xee;
const IDENTITY: [u8; 2] = [0xab, 0x83];

const SET_LEDS: u8 = 0xed;
const SELECT_SET: u8 = 0xf0;
const SET_TYPEMATIC: u8 = 0xf3;

impl Keyboard {
    /// A byte from the system: a parameter if one is due, but no parameter looks like a command.
    pub(super) fn write(&mut self, byte: u8) {
        match self.awaiting.take() {
            Some(command) if byte < SET_LEDS => self.parameter(command, byte),
            _ => self.command(byte),
        }
        self.type_on();
    }

    pub(super) fn key(&mut self, key: Key, stroke: Stroke) {
        if self.scanning == Scanning::On && !self.put(key, stroke) && self.buffer.back() != Some(&self.overrun()) {
            self.buffer.push_back(self.overrun());
        }
    }

    /// Unlike `key`, waits until there is room and the keyboard is on.
    pub(super) fn type_strokes(&mut self, strokes: Vec<(Key, Stroke)>) {
        self.typing.extend(strokes);
        self.type_on();
    }

    pub(super) fn untyped(&self) -> usize {
        self.typing.len()
    }

    pub(super) fn leds(&self) -> u8 {
        self.leds
    }

    pub(super) fn has_byte(&self) -> bool {
        !self.answers.is_empty() || !self.buffer.is_empty()
    }

    /// The next byte goes out on the wire.
    pub(super) fn take(&mut self) -> u8 {
        let byte = self.answers.pop_front().or_else(|| self.buffer.pop_front());
        self.last_sent = byte.unwrap_or(self.last_sent);
        self.type_on();
        self.last_sent
    }

    fn command(&mut self, command: u8) {
        match command {
            SET_LEDS | SELECT_SET | SET_TYPEMATIC => {
                self.awaiting = Some(command);
                self.answer(&[ACK]);
            }
            ECHO => self.answer(&[ECHO]),
            // Read ID.
            0xf2 => self.answer(&[ACK, IDENTITY[0], IDENTITY[1]]),
            // Enable.
            0xf4 => {
                self.buffer.clear();
                self.scanning = Scanning::On;
                self.answer(&[ACK]);
            }
            // Default Disable, and Set Default.
            0xf5 => self.set_defaults(Scanning::Off),
            0xf6 => self.set_defaults(self.scanning),
            // Which keys repeat and tell when they come up, in set 3, which we lack; acknowledged in the others.
            0xf7..=0xfa => self.answer(&[ACK]),
            RESEND => self.answer(&[self.last_sent]),
            0xff => {
                *self = Keyboard { typing: std::mem::take(&mut self.typing), ..Keyboard::default() };
                self.answer(&[ACK, SELF_TEST_PASSED]);
            }
            _ => self.answer(&[RESEND]),
        }
    }

    fn parameter(&mut self, command: u8, byte: u8) {
        match (command, byte) {
            (SET_LEDS, _) => self.leds = byte & 7,
            (SET_TYPEMATIC, _) => self.typematic = byte & 0x7f,
            (_, 0) => return self.answer(&[ACK, self.set as u8]),
            (_, 1) => self.select(ScanCodeSet::One),
            (_, 2) => self.select(ScanCodeSet::Two),
            _ => return self.answer(&[RESEND]),
        }
        self.answer(&[ACK]);
    }

    fn select(&mut self, set: ScanCodeSet) {
        self.buffer.clear();
        self.set = set;
    }

    fn set_defaults(&mut self, scanning: Scanning) {
        self.buffer.clear();
        self.scanning = scanning;
        self.set = ScanCodeSet::default();
        self.typematic = DEFAULT_TYPEMATIC;
        self.answer(&[ACK]);
    }

    /// What of an earlier answer has not been sent is dropped: a command interrupts it.
    fn answer(&mut self, bytes: &[u8]) {
        self.answers = bytes.iter().copied().collect();
    }

    fn type_on(&mut self) {
        while self.scanning == Scanning::On
            && let Some(&(key, stroke)) = self.typing.front()
            && self.put(key, stroke)
        {
            self.typing.pop_front();
        }
    }

    /// All codes of a stroke go into the buffer, or none.
    fn put(&mut self, key: Key, stroke: Stroke) -> bool {
        let codes = self.codes(key, stroke);
        let fits = self.buffer.len() + codes.len() <= BUFFER_BYTES;
        if fits {
            self.buffer.extend(codes);
        }
        fits
    }

    fn codes(&self, key: Key, stroke: Stroke) -> Vec<u8> {
        let codes = key.codes(stroke);
        let mut translator = Translator::default();
        match self.set {
            ScanCodeSet::One => codes.into_iter().filter_map(|code| translator.translate(code)).collect(),
            ScanCodeSet::Two => codes,
        }
    }

    /// The code that says strokes were lost.
    fn overrun(&self) -> u8 {
        match self.set {
            ScanCodeSet::One => 0xff,
            ScanCodeSet::Two => 0x00,
        }
    }
}

impl Default for Keyboard {
    fn default() -> Self {
        Keyboard {
            buffer: VecDeque::new(),
            answers: VecDeque::new(),
            typing: VecDeque::new(),
            awaiting: None,
            scanning: Scanning::default(),
            set: ScanCodeSet::default(),
            leds: 0,
            typematic: DEFAULT_TYPEMATIC,
            last_sent: SELF_TEST_PASSED,
        }
    }
}
