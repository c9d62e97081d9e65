//! Who waits for a lock, and for which: cores that exchange a word again and again, without PAUSE, until it changes.
//!
//! To let such a core run on is a waste, and worse: whoever holds the lock may take it again and again, as idle schedulers do,
//! and be met with it at the end of every long slice. So a core that waits in vain is left alone, and slices are short until
//! it has had its turn.

use crate::core::CoreId;
use crate::machine::Machine;
use fencepost_devices::PhysAddr;

/// While a core waits, slices are no longer than this, in steps.
pub(super) const LONGEST_SLICE: u64 = 64;

/// The word that a core spins on, and what it was.
#[derive(Clone, Debug)]
struct Wait {
    address: PhysAddr,
    before: Vec<u8>,
}

impl Wait {
    fn is_in_vain(&self, machine: &Machine) -> bool {
        machine.outer_state().memory.slice(self.address, self.before.len() as u64) == Some(&self.before)
    }
}

/// What each core waits for.
#[derive(Clone, Debug)]
pub(super) struct Contention(Vec<Option<Wait>>);

impl Contention {
    pub(super) fn new(cores: usize) -> Contention {
        Contention(vec![None; cores])
    }

    /// Whether a core waits, or has not had its turn since.
    pub(super) fn is_any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// Remembers what `core` spins on, if it has just done so.
    pub(super) fn note(&mut self, core: CoreId, machine: &mut Machine) {
        let Some((address, length)) = machine.spun_on(core) else { return };
        let before = machine.outer_state().memory.slice(address, length);
        self.0[core.index()] = before.map(|before| Wait { address, before: before.to_vec() });
    }

    /// `core` has its turn.
    pub(super) fn forget(&mut self, core: CoreId) {
        self.0[core.index()] = None;
    }

    /// Whether `core` spins on a word that is what it was: its steps would lead nowhere.
    pub(super) fn waits_in_vain(&self, core: CoreId, machine: &Machine) -> bool {
        self.0[core.index()].as_ref().is_some_and(|wait| wait.is_in_vain(machine)) && !machine.may_interrupt(core)
    }
}
