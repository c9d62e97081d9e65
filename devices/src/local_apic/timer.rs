//! The local APIC's timer (SDM 3A 11.5.4): a counter that runs down and, in periodic mode, starts over.

use crate::{TICKS_PER_SECOND, Ticks};

/// The counter and its clock; which vector it interrupts with is the local vector table's business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Timer {
    /// The initial count register.
    initial: u32,
    /// The current count register as of `since`; 0 is a timer that stands still.
    current: u32,
    /// When the current count was reached, to the tick; 0 while the timer stands still, so that clocks do not tell
    /// otherwise equal states apart.
    since: Ticks,
    /// The divide configuration register.
    divide: u8,
}

/// What a periodic timer does at the end of its count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Mode {
    OneShot,
    Periodic,
}

/// The clock before division, as the bus clock of a PC is.
pub(super) const HERTZ: u64 = 100_000_000;

/// Whole, so that a period begins where the last one ended and nothing is rounded.
const TICKS_PER_CYCLE: u64 = TICKS_PER_SECOND / HERTZ;
const _: () = assert!(TICKS_PER_CYCLE * HERTZ == TICKS_PER_SECOND, "a cycle of the timer is a whole number of ticks");

/// The bits of the divide configuration register that there are.
const DIVIDE: u8 = 0b1011;

impl Timer {
    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) fn current(&self) -> u32 {
        self.current
    }

    pub(super) fn divide(&self) -> u8 {
        self.divide
    }

    /// Counts down from `count` beginning at `now`; a count of 0 stops the timer.
    pub(super) fn start(&mut self, count: u32, now: Ticks) {
        self.initial = count;
        self.current = count;
        self.since = if count == 0 { Ticks(0) } else { now };
    }

    /// Another speed from `now` on: the count goes on from where it is.
    pub(super) fn set_divide(&mut self, divide: u8, now: Ticks) {
        self.divide = divide & DIVIDE;
        if self.current != 0 {
            self.since = now;
        }
    }

    /// Counts down until `now`; whether the end was reached, once or more.
    pub(super) fn advance(&mut self, now: Ticks, mode: Mode) -> bool {
        let passed = now.0.saturating_sub(self.since.0) / self.ticks_per_count();
        let left = u64::from(self.current);
        if left == 0 || passed == 0 {
            return false;
        }
        self.since.0 += passed * self.ticks_per_count();
        let Some(beyond) = passed.checked_sub(left) else {
            self.current = low(left - passed);
            return false;
        };
        match mode {
            Mode::OneShot => (self.current, self.since) = (0, Ticks(0)),
            Mode::Periodic => self.current = self.initial - low(beyond % u64::from(self.initial)),
        }
        true
    }

    /// When the end of the count is reached, if it is.
    pub(super) fn end(&self) -> Option<Ticks> {
        let left = u64::from(self.current) * self.ticks_per_count();
        let end = self.since.0.checked_add(left)?;
        (left > 0).then_some(Ticks(end))
    }

    fn ticks_per_count(&self) -> u64 {
        TICKS_PER_CYCLE << self.halvings()
    }

    /// Bits 3, 1 and 0 are one number; 0 is a division by 2, 6 by 128, and 7 none (SDM 3A figure 11-10).
    fn halvings(&self) -> u8 {
        let number = self.divide >> 1 & 0b100 | self.divide & 0b11;
        (number + 1) % 8
    }
}

/// What is known to be no more than a count.
fn low(count: u64) -> u32 {
    u32::try_from(count).expect("a count that is left is no more than the count begun with")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_divide_configuration_is_the_manuals() {
        let divisors = [(0b0000, 2), (0b0001, 4), (0b0010, 8), (0b0011, 16)];
        let more = [(0b1000, 32), (0b1001, 64), (0b1010, 128), (0b1011, 1)];
        for (divide, divisor) in divisors.into_iter().chain(more) {
            let mut timer = Timer::default();
            timer.set_divide(divide, Ticks(0));
            timer.start(1, Ticks(0));
            assert_eq!(timer.end(), Some(Ticks(divisor * TICKS_PER_CYCLE)), "{divide:#b}");
        }
    }

    #[test]
    fn a_change_of_speed_keeps_the_count() {
        let mut timer = Timer::default();
        timer.start(100, Ticks(0));
        timer.advance(Ticks(80), Mode::OneShot);
        assert_eq!(timer.current(), 60, "divided by 2");
        timer.set_divide(0b1011, Ticks(80));
        assert_eq!((timer.current(), timer.end()), (60, Some(Ticks(140))), "not divided");
    }

    proptest! {
        /// How often the machine looks must not matter.
        #[test]
        fn time_in_two_steps_is_as_in_one(
            count: u32, small in 0..10u32, divide: u8, periodic: bool, first in 0..1u64 << 36, second in 0..1u64 << 36
        ) {
            let mode = if periodic { Mode::Periodic } else { Mode::OneShot };
            for count in [count, small] {
                let mut one = Timer::default();
                one.set_divide(divide, Ticks(0));
                one.start(count, Ticks(7));
                let mut other = one;
                let end = Ticks(7 + first + second);
                let expired = one.advance(Ticks(7 + first), mode) | one.advance(end, mode);
                prop_assert_eq!(other.advance(end, mode), expired);
                prop_assert_eq!(one, other);
                prop_assert!(one.end().is_none_or(|next| next > end));
            }
        }
    }
}
