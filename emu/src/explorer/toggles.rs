//! Fences that are put in or taken out without touching the program: what the fence doctor tries.

use std::collections::BTreeSet;

/// Fences to add and to leave out, by the linear address of an instruction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Toggles {
    /// MFENCE before the instruction: it waits for an empty buffer.
    pub full: BTreeSet<u64>,
    /// SFENCE before the instruction.
    pub store: BTreeSet<u64>,
    /// A fence of the program's own that is left out ([`OwnFence`](super::own_fence::OwnFence)).
    pub without: BTreeSet<u64>,
}

impl Toggles {
    /// Whether everything is as the program has it.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.store.is_empty() && self.without.is_empty()
    }
}
