//! What somebody types while the machine runs.
//!
//! Two ends: the [`Typist`], on a thread of the host's, hands over bytes as they come; [`Live`] is where the run takes them.
//! A byte becomes a [choice](crate::choice::Choice) at the moment of the run at which it is taken, so a recorded session can
//! be had again, without anybody typing.
//!
//! While every core waits, so does the host: until something is typed, or until as much of its time has passed as the
//! machine's time would jump over. Of time that the host has lost, because it runs the guest more slowly than the machine's
//! clock goes, nothing is made up for.
//! Nothing of this is in the machine: which choices there are does not depend on the host's clock, only when they are made.
//!
//! Left out: keys that write no character, such as arrows. A terminal sends several bytes for them, which are typed as such.

use crate::choice::Choice;
use fencepost_devices::{I8042, TICKS_PER_SECOND, Ticks};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// Where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The keyboard: each character by the keys that write it.
    Keys,
    /// The serial port: each byte as it is.
    Serial,
}

/// Bytes between the two ends: a typist who is faster than the guest waits.
const ON_THE_WAY: usize = 1 << 12;

/// Bytes that the guest has not taken and that are kept at most.
const KEPT: usize = 1 << 12;

/// The longest time for which the host sleeps without looking whether somebody wants to leave.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// Nanoseconds of the host's time that a tick stands for.
const TICK_NANOSECONDS: u64 = 1_000_000_000 / TICKS_PER_SECOND;

/// The end at which the run takes what is typed.
#[derive(Debug)]
pub struct Live {
    place: Place,
    /// Nothing stands for having left.
    bytes: Receiver<Option<u8>>,
    has_left: Arc<AtomicBool>,
    /// Typed, and not taken yet.
    waiting: VecDeque<u8>,
    /// Nothing more will be typed.
    is_over: bool,
    /// A moment of the host, and which of the machine's it was.
    anchor: Option<(Instant, Ticks)>,
}

/// The end at which somebody types.
#[derive(Clone, Debug)]
pub struct Typist {
    bytes: SyncSender<Option<u8>>,
    has_left: Arc<AtomicBool>,
}

impl Typist {
    /// Types `byte`, and waits while too much is on the way. Returns whether anybody is there to take it.
    pub fn send(&self, byte: u8) -> bool {
        self.bytes.send(Some(byte)).is_ok()
    }

    /// Types `byte`, which is lost while too much is on the way.
    pub fn offer(&self, byte: u8) {
        _ = self.bytes.try_send(Some(byte));
    }

    /// Ends the run soon, whatever is on the way.
    pub fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
        // Wakes who waits; with anything on the way nobody does.
        _ = self.bytes.try_send(None);
    }
}

impl Live {
    /// Both ends of a line to `place`. When the typist is dropped, nothing more will be typed.
    pub fn new(place: Place) -> (Live, Typist) {
        let (sender, bytes) = sync_channel(ON_THE_WAY);
        let has_left = Arc::new(AtomicBool::new(false));
        let typist = Typist { bytes: sender, has_left: has_left.clone() };
        (Live { place, bytes, has_left, waiting: VecDeque::new(), is_over: false, anchor: None }, typist)
    }

    /// Whether the typist has left.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }

    /// Hears what has been typed, without waiting.
    pub(crate) fn listen(&mut self) {
        while self.waiting.len() < KEPT && !self.is_over {
            match self.bytes.try_recv() {
                Ok(byte) => self.hear(byte),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.is_over = true,
            }
        }
    }

    /// What is to be typed next.
    pub(crate) fn next(&self) -> Option<Choice> {
        let &byte = self.waiting.front()?;
        Some(match self.place {
            Place::Keys => Choice::Type { byte },
            Place::Serial => Choice::Receive { byte },
        })
    }

    /// What [`next`](Live::next) gave has been typed.
    pub(crate) fn advance(&mut self) {
        self.waiting.pop_front();
    }

    /// The machine, whose time is `now`, does nothing before `next`, or nothing at all unless something is typed: waits.
    /// Returns whether something may have been typed, rather than that it is time.
    pub(crate) fn rest(&mut self, now: Ticks, next: Option<Ticks>) -> bool {
        if self.is_over {
            return false;
        }
        let left = match next {
            Some(next) => match self.until(now, next) {
                Some(left) => left,
                None => return false,
            },
            None => LONGEST_REST,
        };
        let left = left.min(LONGEST_REST);
        if self.waiting.len() >= KEPT {
            std::thread::sleep(left);
            return true;
        }
        match self.bytes.recv_timeout(left) {
            Ok(byte) => self.hear(byte),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => self.is_over = true,
        }
        true
    }

    /// How long it is by the host's clock until the machine's may be `next`; `None` when that is past.
    fn until(&mut self, now: Ticks, next: Ticks) -> Option<Duration> {
        let host = Instant::now();
        let (then, anchored) = *self.anchor.get_or_insert((host, now));
        let ahead = Duration::from_nanos(next.0.saturating_sub(anchored.0).saturating_mul(TICK_NANOSECONDS));
        let left = ahead.checked_sub(host - then).filter(|left| !left.is_zero());
        if left.is_none() {
            self.anchor = Some((host, next));
        }
        left
    }

    fn hear(&mut self, byte: Option<u8>) {
        let Some(byte) = byte else { return };
        match self.place {
            Place::Serial => self.waiting.push_back(byte),
            Place::Keys => self.waiting.extend(key(byte)),
        }
    }
}

/// The character of the key for which a terminal sends `byte`, if there is one: Enter and Backspace are others than it sends.
fn key(byte: u8) -> Option<u8> {
    let character = match byte {
        b'\r' => b'\n',
        0x7f => 8,
        other => other,
    };
    I8042::can_type(character.into()).then_some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is typed, as far as it has come.
    fn typed(live: &mut Live) -> Vec<Choice> {
        live.listen();
        let mut choices = Vec::new();
        while let Some(choice) = live.next() {
            choices.push(choice);
            live.advance();
        }
        choices
    }

    #[test]
    fn what_is_typed_goes_where_it_was_said_to() {
        let (mut keys, typist) = Live::new(Place::Keys);
        [b'a', b'\r', 0x7f, 3, 0xe4].into_iter().for_each(|byte| assert!(typist.send(byte)));
        assert_eq!(typed(&mut keys), [b'a', b'\n', 8, 3].map(|byte| Choice::Type { byte }), "no key writes 0xe4");
        let (mut serial, typist) = Live::new(Place::Serial);
        [b'\r', 0x7f, 0xe4].into_iter().for_each(|byte| assert!(typist.send(byte)));
        assert_eq!(typed(&mut serial), [b'\r', 0x7f, 0xe4].map(|byte| Choice::Receive { byte }));
    }

    #[test]
    fn the_host_waits_as_long_as_the_machine_would() {
        let (mut live, _typist) = Live::new(Place::Keys);
        let began = Instant::now();
        let tenth = Ticks(TICKS_PER_SECOND / 10);
        while live.rest(Ticks(0), Some(tenth)) {
            assert!(began.elapsed() < Duration::from_secs(60), "it never ends");
        }
        assert!(began.elapsed() >= Duration::from_millis(100));
        // What comes next counts from there.
        assert!(live.rest(tenth, Some(Ticks(TICKS_PER_SECOND))));
    }

    #[test]
    fn nobody_waits_for_who_is_gone() {
        let (mut live, typist) = Live::new(Place::Serial);
        typist.offer(b'x');
        drop(typist);
        live.listen();
        assert!(!live.rest(Ticks(0), None) && !live.rest(Ticks(0), Some(Ticks(u64::MAX))));
        assert_eq!(typed(&mut live), [Choice::Receive { byte: b'x' }], "what came before comes through");
    }

    #[test]
    fn leaving_needs_no_room() {
        let (mut live, typist) = Live::new(Place::Serial);
        (0..3 * ON_THE_WAY).for_each(|_| typist.offer(b'x'));
        typist.leave();
        live.listen();
        assert!(live.has_left());
        assert_eq!(live.waiting.len(), KEPT);
        assert!(live.rest(Ticks(0), None), "it looks up in time");
    }
}
