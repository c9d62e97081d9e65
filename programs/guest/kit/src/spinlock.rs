//! The simplest lock: a word that is 1 while somebody is inside.

use crate::{Word32, pause, sfence};

/// A spinlock that is right under every model.
#[derive(Debug, Default)]
pub struct Spinlock {
    taken: Word32,
}

impl Spinlock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { taken: Word32::new(0) }
    }

    /// Waits until the lock is free and takes it.
    #[inline(always)]
    pub fn lock(&self) {
        while self.taken.xchg(1) != 0 {
            // Waiting with a load leaves the word alone until there is a chance.
            while self.taken.load() != 0 {
                pause();
            }
        }
    }

    /// Frees the lock once all that was stored inside is in memory.
    #[inline(always)]
    pub fn unlock(&self) {
        sfence();
        self.unlock_plain();
    }

    /// Frees the lock with nothing but a store. Real x86 keeps stores in order, so this is what everybody's unlock is;
    /// under `pso` the lock is free before what it guards is in memory.
    #[inline(always)]
    pub fn unlock_plain(&self) {
        self.taken.store(0);
    }
}
