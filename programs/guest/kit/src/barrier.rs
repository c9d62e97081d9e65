//! Where all cores wait for each other.

use crate::{Core, Word32, pause};

/// A barrier that can be used again and again.
///
/// Arriving is a locked instruction: what a core stored before the barrier is in memory when any core leaves it.
#[derive(Debug, Default)]
pub struct Barrier {
    arrived: Word32,
    generation: Word32,
}

impl Barrier {
    /// A barrier at which nobody waits yet.
    pub const fn new() -> Self {
        Self { arrived: Word32::new(0), generation: Word32::new(0) }
    }

    /// Returns when every core of the program has come here.
    #[inline(never)]
    pub fn wait(&self, core: &Core) {
        let generation = self.generation.load();
        if self.arrived.lock_xadd(1) + 1 == core.count as u32 {
            self.arrived.store(0);
            // Locked, so that it cannot reach memory before the zero.
            self.generation.xchg(generation.wrapping_add(1));
        } else {
            while self.generation.load() == generation {
                pause();
            }
        }
    }
}
