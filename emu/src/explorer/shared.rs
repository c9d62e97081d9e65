//! Which accesses of an explanation belong to its story: those that another could see.
//!
//! Bytes count that two cores touch, on the way or in the rounds in which they wait for ever, and pixels where the picture
//! is what counts. False on hardware: cores also disturb each other by what merely lies on the same cache line.

use super::explain::{Effect, Explanation, Touched};
use crate::core::CoreId;
use std::collections::HashMap;

/// What is seen by others than who does it.
pub struct Shared {
    /// Bit sets of the cores that touch each byte.
    cores: HashMap<u64, u64>,
    pixels_from: Option<u64>,
}

impl Shared {
    /// What is shared in `explanation`.
    pub fn of(explanation: &Explanation) -> Shared {
        let mut shared = Shared { cores: HashMap::new(), pixels_from: explanation.pixels_from };
        for row in &explanation.rows {
            let Some(core) = row.core else { continue };
            row.effects.iter().filter_map(Effect::touched).for_each(|touched| shared.note(core, touched));
        }
        for stuck in &explanation.stuck {
            stuck.touches.iter().for_each(|touched| shared.note(stuck.core, *touched));
        }
        shared
    }

    /// Whether `effect` touches some of it.
    pub fn has(&self, effect: &Effect) -> bool {
        let Some(Touched { address, length }) = effect.touched() else { return false };
        let is_pixels = self.pixels_from.is_some_and(|first| address >= first);
        let mut bytes = address..address + length;
        is_pixels || bytes.any(|byte| self.cores.get(&byte).is_some_and(|cores| cores.count_ones() > 1))
    }

    fn note(&mut self, core: CoreId, touched: Touched) {
        let Touched { address, length } = touched;
        (address..address + length).for_each(|byte| *self.cores.entry(byte).or_default() |= 1 << core.0);
    }
}
