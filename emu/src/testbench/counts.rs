//! How much a guest has done: instructions, interrupts and exceptions, core by core.

use crate::core::CoreId;
use crate::core::interruption::Source;
use crate::trace::Event;
use serde::Serialize;
use std::collections::BTreeMap;

/// The vector of page faults (SDM 3A, table 6-1).
const PAGE_FAULT: u32 = crate::core::interruption::vector::PAGE_FAULT;

/// What each core of a run has done so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Counts {
    cores: Vec<CoreCounts>,
}

/// What one core has done so far.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CoreCounts {
    /// Instructions completed; each round of a repeated string instruction is one.
    pub instructions: u64,
    /// Interrupts from outside the core that it has taken, NMIs (vector 2) included.
    pub interrupts: Vectors,
    /// Exceptions that its instructions have caused and a handler of the guest was entered for.
    pub exceptions: Vectors,
    /// INT n and its short forms.
    pub software_interrupts: Vectors,
}

/// How often something happened, and how often with each vector.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Vectors {
    total: u64,
    by_vector: BTreeMap<u32, u64>,
}

impl Counts {
    /// Nothing yet, of so many cores.
    pub(super) fn new(cores: u8) -> Counts {
        Counts { cores: vec![CoreCounts::default(); usize::from(cores)] }
    }

    /// Takes in an event.
    pub(super) fn take(&mut self, event: &Event) {
        let Event::Interrupted { core, vector, source, entered, .. } = *event else { return };
        let of_core = &mut self.cores[core.index()];
        match source {
            Source::Hardware => of_core.interrupts.add(vector),
            Source::Exception => of_core.exceptions.add(vector),
            Source::Software => of_core.software_interrupts.add(vector),
        }
        if entered != vector {
            of_core.exceptions.add(entered);
        }
    }

    /// The instructions of `core` are these now.
    pub(super) fn set_instructions(&mut self, core: CoreId, instructions: u64) {
        self.cores[core.index()].instructions = instructions;
    }

    /// Core by core.
    pub fn cores(&self) -> &[CoreCounts] {
        &self.cores
    }

    /// Instructions of all cores.
    pub fn instructions(&self) -> u64 {
        self.sum(|core| core.instructions)
    }

    /// Interrupts taken by all cores.
    pub fn interrupts(&self) -> u64 {
        self.sum(|core| core.interrupts.total)
    }

    /// Exceptions taken by all cores.
    pub fn exceptions(&self) -> u64 {
        self.sum(|core| core.exceptions.total)
    }

    /// Page faults, of the exceptions taken by all cores.
    pub fn page_faults(&self) -> u64 {
        self.sum(|core| core.exceptions.of(PAGE_FAULT))
    }

    /// Software interrupts of all cores.
    pub fn software_interrupts(&self) -> u64 {
        self.sum(|core| core.software_interrupts.total)
    }

    fn sum(&self, of: impl Fn(&CoreCounts) -> u64) -> u64 {
        self.cores.iter().map(of).sum()
    }
}

impl Vectors {
    fn add(&mut self, vector: u32) {
        self.total += 1;
        *self.by_vector.entry(vector).or_default() += 1;
    }

    /// With any vector.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// With this vector.
    pub fn of(&self, vector: u32) -> u64 {
        self.by_vector.get(&vector).copied().unwrap_or(0)
    }
}
