//! The mouse (IBM PS/2 Technical Reference, "Mouse": commands, and the data packet of three bytes).
//!
//! Movement that does not fit into one packet goes on in the next, so the overflow bits are never set.
//! Left out: the wheel that later mice have; the sample rate is kept without effect, and a packet follows as soon as
//! the last one is sent.

use std::collections::VecDeque;

use bitflags::bitflags;

bitflags! {
    /// The buttons that are down, as in a packet.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MouseButtons: u8 {
        /// The left button.
        const LEFT = 1 << 0;
        /// The right button.
        const RIGHT = 1 << 1;
        /// The middle button.
        const MIDDLE = 1 << 2;
    }
}

/// A mouse of three buttons.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Mouse {
    /// What of the last packet is not sent.
    packet: VecDeque<u8>,
    /// Answers to the last command; they go before a packet.
    answers: VecDeque<u8>,
    /// The last answer or packet in full, to be sent again.
    last: Vec<u8>,
    /// A command whose parameter is to come.
    awaiting: Option<u8>,
    /// The last byte made no sense; a second one is an error.
    doubted: bool,
    mode: Mode,
    /// In wrap mode everything comes back, until wrap mode is left for `mode`.
    wrapping: bool,
    /// Stream mode sends packets.
    reporting: bool,
    scaling: Scaling,
    resolution: u8,
    rate: u8,
    /// Movement that no packet has told.
    dx: i32,
    dy: i32,
    buttons: MouseButtons,
    /// The buttons as the last packet told them.
    told: MouseButtons,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mode {
    Stream,
    Remote,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Scaling {
    OneToOne,
    TwoToOne,
}

/// The greatest movement of a packet: nine bits with the sign.
const FURTHEST: i32 = 255;

const ACK: u8 = 0xfa;
const SELF_TEST_PASSED: u8 = 0xaa;
const RESEND: u8 = 0xfe;
const ERROR: u8 = 0xfc;
const IDENTITY: u8 = 0x00;

const SET_RESOLUTION: u8 = 0xe8;
const RESET_WRAP: u8 = 0xec;
const SET_RATE: u8 = 0xf3;
const RESET: u8 = 0xff;

impl Mouse {
    /// A byte from the system.
    pub(super) fn write(&mut self, byte: u8) {
        // A command interrupts the packet that is being sent.
        self.packet.clear();
        match self.awaiting.take() {
            _ if self.wrapping && byte != RESET_WRAP && byte != RESET => self.answer(&[byte]),
            Some(command) => self.parameter(command, byte),
            None => self.command(byte),
        }
        self.sample();
    }

    pub(super) fn act(&mut self, dx: i16, dy: i16, buttons: MouseButtons) {
        self.dx = self.dx.saturating_add(dx.into());
        self.dy = self.dy.saturating_add(dy.into());
        self.buttons = buttons & MouseButtons::all();
        self.sample();
    }

    pub(super) fn has_byte(&self) -> bool {
        !self.answers.is_empty() || !self.packet.is_empty()
    }

    /// Whether somebody asks for what happens, and nothing has happened that is not told.
    pub(super) fn awaits_news(&self) -> bool {
        (self.reporting || self.mode == Mode::Remote) && !self.has_byte() && !self.has_news()
    }

    fn has_news(&self) -> bool {
        (self.dx, self.dy, self.buttons) != (0, 0, self.told)
    }

    /// The next byte goes out on the wire.
    pub(super) fn take(&mut self) -> u8 {
        let byte = self.answers.pop_front().or_else(|| self.packet.pop_front());
        self.sample();
        byte.unwrap_or(RESEND)
    }

    fn command(&mut self, command: u8) {
        if !matches!(command, 0xe6..=0xec | 0xee | 0xf0 | 0xf2..=0xf6 | RESEND | RESET) {
            return self.doubt();
        }
        self.doubted = false;
        match command {
            0xe6 => self.scaling = Scaling::OneToOne,
            0xe7 => self.scaling = Scaling::TwoToOne,
            0xe9 => return self.answer(&[ACK, self.status(), self.resolution, self.rate]),
            0xea => self.mode = Mode::Stream,
            0xeb => {
                let [buttons, x, y] = self.next_packet();
                return self.answer(&[ACK, buttons, x, y]);
            }
            RESET_WRAP => self.wrapping = false,
            0xee => self.wrapping = true,
            0xf0 => self.mode = Mode::Remote,
            0xf2 => return self.answer(&[ACK, IDENTITY]),
            0xf4 => self.reporting = true,
            0xf5 => self.reporting = false,
            0xf6 => *self = Mouse { buttons: self.buttons, ..Mouse::default() },
            RESEND => return self.answers = self.last.iter().copied().collect(),
            RESET => {
                *self = Mouse { buttons: self.buttons, ..Mouse::default() };
                return self.answer(&[ACK, SELF_TEST_PASSED, IDENTITY]);
            }
            // Resolution and sample rate.
            parametrized => self.awaiting = Some(parametrized),
        }
        self.answer(&[ACK]);
    }

    fn parameter(&mut self, command: u8, byte: u8) {
        match (command, byte) {
            (SET_RESOLUTION, 0..=3) => self.resolution = byte,
            (SET_RATE, 10 | 20 | 40 | 60 | 80 | 100 | 200) => self.rate = byte,
            _ => return self.doubt(),
        }
        self.doubted = false;
        self.answer(&[ACK]);
    }

    /// An invalid byte is asked for again; a second one is an error ("Error Handling").
    fn doubt(&mut self) {
        let again = std::mem::replace(&mut self.doubted, true);
        self.answers = VecDeque::from([if again { ERROR } else { RESEND }]);
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.last = bytes.to_vec();
        self.answers = bytes.iter().copied().collect();
    }

    /// The first byte of the status ("Status Request"), whose buttons are in another order than a packet's.
    fn status(&self) -> u8 {
        let button = |button| u8::from(self.buttons.contains(button));
        u8::from(self.mode == Mode::Remote) << 6
            | u8::from(self.reporting) << 5
            | u8::from(self.scaling == Scaling::TwoToOne) << 4
            | button(MouseButtons::LEFT) << 2
            | button(MouseButtons::MIDDLE) << 1
            | button(MouseButtons::RIGHT)
    }

    /// Stream mode makes a packet of what happened, once the last one is sent.
    fn sample(&mut self) {
        let free = self.packet.is_empty() && self.answers.is_empty();
        if self.has_news() && free && self.reporting && self.mode == Mode::Stream && !self.wrapping {
            let packet = self.next_packet();
            self.last = packet.to_vec();
            self.packet = packet.into();
        }
    }

    fn next_packet(&mut self) -> [u8; 3] {
        // Only stream mode scales ("Set Scaling 2:1").
        let scaling = if self.mode == Mode::Stream { self.scaling } else { Scaling::OneToOne };
        let [x, y] = [&mut self.dx, &mut self.dy].map(|movement| scaling.portion(movement));
        self.told = self.buttons;
        let signs = u8::from(x < 0) << 4 | u8::from(y < 0) << 5;
        [signs | 1 << 3 | self.told.bits(), x.to_le_bytes()[0], y.to_le_bytes()[0]]
    }
}

impl Scaling {
    /// Takes as much off `movement` as fits into a packet, and scales that.
    fn portion(self, movement: &mut i32) -> i32 {
        let most = match self {
            Scaling::OneToOne => FURTHEST,
            Scaling::TwoToOne => FURTHEST / 2,
        };
        let portion = (*movement).clamp(-most, most);
        *movement -= portion;
        match self {
            Scaling::OneToOne => portion,
            Scaling::TwoToOne => portion.signum() * twice(portion.abs()),
        }
    }
}

/// 2:1 scaling is slower than twice for small movements.
fn twice(distance: i32) -> i32 {
    const SMALL: [i32; 6] = [0, 1, 1, 3, 6, 9];
    usize::try_from(distance).ok().and_then(|at| SMALL.get(at)).copied().unwrap_or(2 * distance)
}

impl Default for Mouse {
    /// After a reset: 100 samples a second, 4 counts a millimetre, stream mode without packets.
    fn default() -> Self {
        Mouse {
            packet: VecDeque::new(),
            answers: VecDeque::new(),
            last: Vec::new(),
            awaiting: None,
            doubted: false,
            mode: Mode::Stream,
            wrapping: false,
            reporting: false,
            scaling: Scaling::OneToOne,
            resolution: 2,
            rate: 100,
            dx: 0,
            dy: 0,
            buttons: MouseButtons::empty(),
            told: MouseButtons::empty(),
        }
    }
}
