//! A device's copy of the machine's time.

use std::hash::{Hash, Hasher};

use crate::Ticks;

/// What a device was last told the time is.
///
/// The machine has the time and compares it if it wants to; here every moment equals every other, so that a device
/// which only waits stays in the same state, and a guest that spins comes back to where it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now(pub(crate) Ticks);

impl Now {
    /// Time comes to `now`; it never goes back.
    pub(crate) fn advance(&mut self, now: Ticks) {
        self.0 = self.0.max(now);
    }

    /// The moment so many ticks from now.
    pub(crate) fn after(self, ticks: u64) -> Ticks {
        Ticks(self.0.0.saturating_add(ticks))
    }
}

impl PartialEq for Now {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Now {}

impl Hash for Now {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_only_waits_stays_the_same() {
        assert_eq!(Now(Ticks(1)), Now(Ticks(2)));
    }

    #[test]
    fn time_never_goes_back() {
        let mut now = Now(Ticks(5));
        now.advance(Ticks(3));
        assert_eq!(now.after(1), Ticks(6));
    }
}
