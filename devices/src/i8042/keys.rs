//! Keys and the codes they send (IBM PS/2 Technical Reference, "Keyboards", scan code sets 1 and 2), and which keys of
//! a US layout write a text.

use std::error::Error;
use std::fmt;

/// A key of the 101-key keyboard, named as on a US one; its value is its code in set 2, after 0xe0 if so prefixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
#[allow(missing_docs, reason = "each key is named as it is labelled")]
pub enum Key {
    Escape = 0x76,
    F1 = 0x05,
    F2 = 0x06,
    F3 = 0x04,
    F4 = 0x0c,
    F5 = 0x03,
    F6 = 0x0b,
    F7 = 0x83,
    F8 = 0x0a,
    F9 = 0x01,
    F10 = 0x09,
    F11 = 0x78,
    F12 = 0x07,
    Backquote = 0x0e,
    Digit1 = 0x16,
    Digit2 = 0x1e,
    Digit3 = 0x26,
    Digit4 = 0x25,
    Digit5 = 0x2e,
    Digit6 = 0x36,
    Digit7 = 0x3d,
    Digit8 = 0x3e,
    Digit9 = 0x46,
    Digit0 = 0x45,
    Minus = 0x4e,
    Equal = 0x55,
    Backspace = 0x66,
    Tab = 0x0d,
    Q = 0x15,
    W = 0x1d,
    E = 0x24,
    R = 0x2d,
    T = 0x2c,
    Y = 0x35,
    U = 0x3c,
    I = 0x43,
    O = 0x44,
    P = 0x4d,
    BracketLeft = 0x54,
    BracketRight = 0x5b,
    Backslash = 0x5d,
    CapsLock = 0x58,
    A = 0x1c,
    S = 0x1b,
    D = 0x23,
    F = 0x2b,
    G = 0x34,
    H = 0x33,
    J = 0x3b,
    K = 0x42,
    L = 0x4b,
    Semicolon = 0x4c,
    Quote = 0x52,
    Enter = 0x5a,
    ShiftLeft = 0x12,
    Z = 0x1a,
    X = 0x22,
    C = 0x21,
    V = 0x2a,
    B = 0x32,
    N = 0x31,
    M = 0x3a,
    Comma = 0x41,
    Period = 0x49,
    Slash = 0x4a,
    ShiftRight = 0x59,
    ControlLeft = 0x14,
    MetaLeft = 0xe01f,
    AltLeft = 0x11,
    Space = 0x29,
    AltRight = 0xe011,
    MetaRight = 0xe027,
    Menu = 0xe02f,
    ControlRight = 0xe014,
    /// Sends two codes for each stroke.
    PrintScreen = 0xe07c,
    ScrollLock = 0x7e,
    /// Sends everything when pressed and nothing when released.
    Pause = 0xe077,
    Insert = 0xe070,
    Home = 0xe06c,
    PageUp = 0xe07d,
    Delete = 0xe071,
    End = 0xe069,
    PageDown = 0xe07a,
    Up = 0xe075,
    Left = 0xe06b,
    Down = 0xe072,
    Right = 0xe074,
    NumLock = 0x77,
    NumpadDivide = 0xe04a,
    NumpadMultiply = 0x7c,
    NumpadSubtract = 0x7b,
    Numpad7 = 0x6c,
    Numpad8 = 0x75,
    Numpad9 = 0x7d,
    NumpadAdd = 0x79,
    Numpad4 = 0x6b,
    Numpad5 = 0x73,
    Numpad6 = 0x74,
    Numpad1 = 0x69,
    Numpad2 = 0x72,
    Numpad3 = 0x7a,
    Numpad0 = 0x70,
    NumpadDecimal = 0x71,
    NumpadEnter = 0xe05a,
}

/// What happens to a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stroke {
    /// It goes down.
    Press,
    /// It comes up.
    Release,
}

/// A character that no key of a US keyboard writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Untypable(pub char);

impl Error for Untypable {}

impl fmt::Display for Untypable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no key of a US keyboard writes {:?}", self.0)
    }
}

/// Before the code of a key that comes up, in set 2.
const BREAK: u8 = 0xf0;

impl Key {
    /// What a stroke sends in set 2.
    pub(super) fn codes(self, stroke: Stroke) -> Vec<u8> {
        match (self, stroke) {
            (Key::Pause, Stroke::Press) => vec![0xe1, 0x14, 0x77, 0xe1, BREAK, 0x14, BREAK, 0x77],
            (Key::Pause, Stroke::Release) => Vec::new(),
            // Its first or last code is a shift that nobody pressed, for programs of the 83-key keyboard.
            (Key::PrintScreen, Stroke::Press) => vec![0xe0, 0x12, 0xe0, 0x7c],
            (Key::PrintScreen, Stroke::Release) => vec![0xe0, BREAK, 0x7c, 0xe0, BREAK, 0x12],
            (key, stroke) => {
                let [prefix, code] = (key as u16).to_be_bytes();
                let prefix = (prefix != 0).then_some(prefix);
                let up = (stroke == Stroke::Release).then_some(BREAK);
                prefix.into_iter().chain(up).chain([code]).collect()
            }
        }
    }
}

/// Turns set 2 into set 1, as the controller does for keyboards and a keyboard does for itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Translator {
    /// The next code is of a key that comes up.
    breaking: bool,
}

impl Translator {
    /// The byte in set 1; the byte that announces a key coming up becomes a bit of the one after it.
    pub(super) fn translate(&mut self, byte: u8) -> Option<u8> {
        if byte == BREAK {
            self.breaking = true;
            return None;
        }
        match SET_1.get(usize::from(byte)) {
            Some(code) => Some(if std::mem::take(&mut self.breaking) { code | 0x80 } else { *code }),
            // Prefixes and answers; 0x84 is the one code beyond the table, Alt and Print Screen.
            None if byte == 0x84 => Some(0x54),
            None => Some(byte),
        }
    }
}

/// The code in set 1 for each code in set 2 ("Scan Code Translation"); above the table codes stay as they are.
const SET_1: [u8; 0x84] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, // 0x00
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, // 0x10
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, // 0x20
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, // 0x30
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, // 0x40
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, // 0x50
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, // 0x60
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, // 0x70
    0x80, 0x81, 0x82, 0x41, // 0x80
];

/// The strokes that write `text`, every key down and up again.
pub(super) fn strokes(text: &str) -> Result<Vec<(Key, Stroke)>, Untypable> {
    let chords: Vec<Vec<Key>> =
        text.chars().map(|character| chord(character).ok_or(Untypable(character))).collect::<Result<_, _>>()?;
    let strokes = chords.into_iter().flat_map(|keys| {
        let up: Vec<_> = keys.iter().rev().map(|&key| (key, Stroke::Release)).collect();
        keys.into_iter().map(|key| (key, Stroke::Press)).chain(up)
    });
    Ok(strokes.collect())
}

/// The keys that are down together to write `character`, in the order they go down.
fn chord(character: char) -> Option<Vec<Key>> {
    match character {
        '\n' | '\r' => Some(vec![Key::Enter]),
        '\t' => Some(vec![Key::Tab]),
        '\u{8}' | '\u{7f}' => Some(vec![Key::Backspace]),
        '\u{1b}' => Some(vec![Key::Escape]),
        // A control character is its letter less 64 (ASCII).
        '\0'..' ' => {
            let letter = char::from_u32(u32::from(character) + 64)?.to_ascii_lowercase();
            Some([vec![Key::ControlLeft], chord(letter)?].concat())
        }
        _ => LAYOUT.iter().find_map(|&(key, plain, shifted)| match character {
            _ if character == plain => Some(vec![key]),
            _ if character == shifted => Some(vec![Key::ShiftLeft, key]),
            _ => None,
        }),
    }
}

/// What each key writes, alone and with shift.
const LAYOUT: [(Key, char, char); 48] = [
    (Key::Backquote, '`', '~'),
    (Key::Digit1, '1', '!'),
    (Key::Digit2, '2', '@'),
    (Key::Digit3, '3', '#'),
    (Key::Digit4, '4', '$'),
    (Key::Digit5, '5', '%'),
    (Key::Digit6, '6', '^'),
    (Key::Digit7, '7', '&'),
    (Key::Digit8, '8', '*'),
    (Key::Digit9, '9', '('),
    (Key::Digit0, '0', ')'),
    (Key::Minus, '-', '_'),
    (Key::Equal, '=', '+'),
    (Key::Q, 'q', 'Q'),
    (Key::W, 'w', 'W'),
    (Key::E, 'e', 'E'),
    (Key::R, 'r', 'R'),
    (Key::T, 't', 'T'),
    (Key::Y, 'y', 'Y'),
    (Key::U, 'u', 'U'),
    (Key::I, 'i', 'I'),
    (Key::O, 'o', 'O'),
    (Key::P, 'p', 'P'),
    (Key::BracketLeft, '[', '{'),
    (Key::BracketRight, ']', '}'),
    (Key::Backslash, '\\', '|'),
    (Key::A, 'a', 'A'),
    (Key::S, 's', 'S'),
    (Key::D, 'd', 'D'),
    (Key::F, 'f', 'F'),
    (Key::G, 'g', 'G'),
    (Key::H, 'h', 'H'),
    (Key::J, 'j', 'J'),
    (Key::K, 'k', 'K'),
    (Key::L, 'l', 'L'),
    (Key::Semicolon, ';', ':'),
    (Key::Quote, '\'', '"'),
    (Key::Z, 'z', 'Z'),
    (Key::X, 'x', 'X'),
    (Key::C, 'c', 'C'),
    (Key::V, 'v', 'V'),
    (Key::B, 'b', 'B'),
    (Key::N, 'n', 'N'),
    (Key::M, 'm', 'M'),
    (Key::Comma, ',', '<'),
    (Key::Period, '.', '>'),
    (Key::Slash, '/', '?'),
    (Key::Space, ' ', ' '),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Set 1 of a stroke.
    fn set_1(key: Key, stroke: Stroke) -> Vec<u8> {
        let mut translator = Translator::default();
        key.codes(stroke).into_iter().filter_map(|code| translator.translate(code)).collect()
    }

    #[test]
    fn every_printable_character_has_a_key() {
        let printable: String = (' '..='~').collect();
        assert!(strokes(&printable).is_ok());
        assert_eq!(strokes("a€"), Err(Untypable('€')));
    }

    #[test]
    fn keys_have_the_codes_of_set_1() {
        let press = |key| set_1(key, Stroke::Press);
        assert_eq!([Key::Escape, Key::A, Key::F7, Key::F12].map(press), [[0x01], [0x1e], [0x41], [0x58]]);
        assert_eq!(set_1(Key::F7, Stroke::Release), [0xc1]);
        assert_eq!([press(Key::Up), set_1(Key::Up, Stroke::Release)], [[0xe0, 0x48], [0xe0, 0xc8]]);
        assert_eq!(press(Key::Pause), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
        assert_eq!(press(Key::PrintScreen), [0xe0, 0x2a, 0xe0, 0x37]);
        assert_eq!(set_1(Key::PrintScreen, Stroke::Release), [0xe0, 0xb7, 0xe0, 0xaa]);
    }

    #[test]
    fn no_two_keys_of_the_layout_share_a_code() {
        let mut codes = LAYOUT.map(|(key, ..)| set_1(key, Stroke::Press));
        codes.sort();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn control_and_shift_are_held_around_the_key() {
        let keys = |text| strokes(text).map(|strokes| strokes.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        assert_eq!(keys("\u{3}"), Ok(vec![Key::ControlLeft, Key::C, Key::C, Key::ControlLeft]));
        assert_eq!(keys("A"), Ok(vec![Key::ShiftLeft, Key::A, Key::A, Key::ShiftLeft]));
        assert_eq!(keys("\n"), Ok(vec![Key::Enter, Key::Enter]));
        assert_eq!(keys("\u{1c}"), Ok(vec![Key::ControlLeft, Key::Backslash, Key::Backslash, Key::ControlLeft]));
    }
}
