//! Virtual time: what timers, clocks and time stamps read instead of the host's clock.

/// A moment, counted in ticks since the machine was switched on.
///
/// One tick is one retired instruction of the fastest core, so time is as reproducible as the run itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticks(pub u64);

/// Ticks in a second of virtual time: each core is a machine of 100 million instructions a second.
///
/// Slow for a PC, so that a second of guest time is a fraction of a second of ours.
pub const TICKS_PER_SECOND: u64 = 100_000_000;

impl Ticks {
    /// How many whole cycles of a clock of `hertz` have passed since time 0; `u64::MAX` if more than that.
    pub fn cycles(self, hertz: u64) -> u64 {
        let cycles = u128::from(self.0) * u128::from(hertz) / u128::from(TICKS_PER_SECOND);
        u64::try_from(cycles).unwrap_or(u64::MAX)
    }

    /// The first moment at which `cycles` whole cycles of a clock of `hertz` have passed.
    ///
    /// The last moment there is if that lies beyond it, as for a clock of 0 hertz.
    pub fn of_cycles(cycles: u64, hertz: u64) -> Ticks {
        let ticks = u128::from(cycles) * u128::from(TICKS_PER_SECOND);
        match hertz {
            0 if cycles > 0 => Ticks(u64::MAX),
            0 => Ticks(0),
            _ => Ticks(u64::try_from(ticks.div_ceil(u128::from(hertz))).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The timer clock of a PC: a third of the colour carrier of NTSC television.
    const PIT_HERTZ: u64 = 1_193_182;

    #[test]
    fn a_second_is_as_many_cycles_as_the_clock_has_hertz() {
        assert_eq!(Ticks(TICKS_PER_SECOND).cycles(PIT_HERTZ), PIT_HERTZ);
        assert_eq!(Ticks::of_cycles(PIT_HERTZ, PIT_HERTZ), Ticks(TICKS_PER_SECOND));
    }

    #[test]
    fn a_cycle_counts_once_it_is_over() {
        let first = Ticks::of_cycles(1, PIT_HERTZ);
        assert_eq!(first, Ticks(84));
        assert_eq!([Ticks(83).cycles(PIT_HERTZ), first.cycles(PIT_HERTZ)], [0, 1]);
    }

    #[test]
    fn what_is_beyond_the_end_of_time_is_at_its_end() {
        assert_eq!(Ticks::of_cycles(u64::MAX, 1), Ticks(u64::MAX));
        assert_eq!(Ticks(u64::MAX).cycles(u64::MAX), u64::MAX);
        assert_eq!([Ticks::of_cycles(0, 0), Ticks::of_cycles(1, 0)], [Ticks(0), Ticks(u64::MAX)]);
    }

    proptest! {
        #[test]
        fn no_earlier_moment_has_as_many_cycles(cycles in 1..1u64 << 40, hertz in 1..10_000_000_000u64) {
            let Ticks(ticks) = Ticks::of_cycles(cycles, hertz);
            prop_assume!(ticks < u64::MAX);
            prop_assert!(Ticks(ticks).cycles(hertz) >= cycles);
            prop_assert!(Ticks(ticks - 1).cycles(hertz) < cycles);
        }
    }
}
