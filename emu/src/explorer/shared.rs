//! Which accesses of an explanation belong to its story: those that another could see.
//!
//! Bytes count that two cores touch, on the way or in the rounds in which they wait for ever, and pixels where the picture
//! is what counts. On one core bytes count that are written and that interrupted code and its handler touch, but for what
//! the handler has on its stack. False on hardware: cores also disturb each other by what merely lies on the same cache line.

use super::explain::{Effect, Explanation, Stored, Touched};
use super::handlers::Level;
use crate::core::CoreId;
use std::collections::{HashMap, HashSet};

/// What is seen by others than who does it.
pub struct Shared {
    /// Who touches each byte.
    parties: HashMap<u64, Parties>,
    /// Where handlers have stored to their stacks, and their interrupts' frames.
    stacks: HashSet<(CoreId, u64)>,
    pixels_from: Option<u64>,
}

/// Who touches a byte.
#[derive(Default)]
struct Parties {
    /// A bit set of cores.
    cores: u64,
    /// Of each core that does so other than on a handler's stack, in how many handlers it is then, as a bit set.
    levels: Vec<(CoreId, u64)>,
    is_written: bool,
}

impl Shared {
    /// What is shared in `explanation`.
    pub fn of(explanation: &Explanation) -> Shared {
        let pixels_from = explanation.pixels_from;
        let mut shared = Shared { parties: HashMap::new(), stacks: HashSet::new(), pixels_from };
        for row in &explanation.rows {
            let Some(core) = row.core else { continue };
            row.effects.iter().for_each(|effect| shared.note_effect(core, &row.level, effect));
            let own = row.buffer.iter().map(|stored| stored.address).filter(|at| row.level.own.contains(at));
            shared.stacks.extend(own.map(|at| (core, at)));
        }
        for stuck in &explanation.stuck {
            stuck.touches.iter().for_each(|touched| shared.note(stuck.core, &stuck.level, *touched, false));
        }
        shared
    }

    /// Whether `effect` touches some of it.
    pub fn has(&self, effect: &Effect) -> bool {
        effect.touched().is_some_and(|touched| self.has_bytes(touched))
    }

    /// Whether what `core` has `stored` belongs to a handler's stack alone.
    pub fn is_on_stack(&self, core: CoreId, stored: &Stored) -> bool {
        self.stacks.contains(&(core, stored.address)) && !self.has_bytes(stored.touched())
    }

    /// Whether some of these bytes are seen by others.
    pub fn touches(&self, touched: Touched) -> bool {
        self.has_bytes(touched)
    }

    fn has_bytes(&self, touched: Touched) -> bool {
        let is_pixels = self.pixels_from.is_some_and(|first| touched.address >= first);
        is_pixels || touched.bytes().any(|byte| self.parties.get(&byte).is_some_and(Parties::are_several))
    }

    fn note_effect(&mut self, core: CoreId, level: &Level, effect: &Effect) {
        let is_write = matches!(effect, Effect::Store { .. } | Effect::Drain { .. });
        effect.touched().into_iter().for_each(|touched| self.note(core, level, touched, is_write));
    }

    fn note(&mut self, core: CoreId, level: &Level, touched: Touched, is_write: bool) {
        for byte in touched.bytes() {
            let parties = self.parties.entry(byte).or_default();
            parties.cores |= 1 << core.0;
            parties.is_written |= is_write;
            if !level.own.contains(&byte) {
                parties.note_level(core, level.handlers);
            }
        }
    }
}

impl Parties {
    fn are_several(&self) -> bool {
        let has_several = |(_, levels): &(CoreId, u64)| levels.count_ones() > 1;
        self.cores.count_ones() > 1 || self.is_written && self.levels.iter().any(has_several)
    }

    fn note_level(&mut self, core: CoreId, handlers: usize) {
        let bit = 1 << handlers.min(63);
        match self.levels.iter_mut().find(|(known, _)| *known == core) {
            Some((_, levels)) => *levels |= bit,
            None => self.levels.push((core, bit)),
        }
    }
}
