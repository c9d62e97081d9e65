//! Code that changes while it is explored: which bytes are executed, and which are stored to.
//!
//! What a core does in some local state is executed once and remembered, so its code must be the same in every state.
//! That is found out, not assumed: where some byte turns out to be both executed and stored to, by whichever cores and in
//! whichever order, what was found is thrown away, and all is explored again on one thread with stores to that byte refused
//! ([`Beyond::StoresToCode`](super::op::Beyond::StoresToCode)), until no new such byte turns up. So every instruction that
//! counts was fetched from memory as it was when exploration began, and what is found does not depend on the number of
//! threads, nor on what was explored before. Costs a look at a table for each store executed, not for each state.

use super::delta::{GRANULE, granules};
use super::op::Place;
use fencepost_devices::PhysAddr;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// What is executed and what is stored to, by physical address.
#[derive(Default)]
pub(super) struct Patches {
    executed: Bytes,
    stored: Bytes,
    /// Bytes that are both, since exploration last began anew.
    both: BTreeSet<u64>,
    /// Bytes that no store may change.
    refused: BTreeSet<u64>,
}

/// A set of bytes: a bit each, by granule.
type Bytes = FxHashMap<u64, u8>;

impl Patches {
    /// Nothing executed or stored to yet, and stores to `refused` bytes not allowed.
    pub(super) fn refusing(refused: BTreeSet<u64>) -> Patches {
        Patches { refused, ..Patches::default() }
    }

    /// The bytes that no store may change.
    pub(super) fn refused(&self) -> &BTreeSet<u64> {
        &self.refused
    }

    /// Whether a store to `place` is refused.
    pub(super) fn refuses(&self, place: Place) -> bool {
        let Place { address: PhysAddr(address), length } = place;
        !self.refused.is_empty() && self.refused.range(address..address + length).next().is_some()
    }

    /// The byte at `address` is part of an instruction.
    pub(super) fn execute(&mut self, address: u64) {
        let place = Place { address: PhysAddr(address), length: 1 };
        self.both.extend(add(&mut self.executed, place, &self.stored));
    }

    /// A core stores to `place`.
    pub(super) fn store(&mut self, place: Place) {
        self.both.extend(add(&mut self.stored, place, &self.executed));
    }

    /// Adds what another thread has executed and stored.
    pub(super) fn unite(&mut self, other: &Patches) {
        for place in places(&other.executed) {
            self.both.extend(add(&mut self.executed, place, &self.stored));
        }
        for place in places(&other.stored) {
            self.both.extend(add(&mut self.stored, place, &self.executed));
        }
    }

    /// Bytes that have turned out to be both executed and stored to.
    pub(super) fn take_both(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.both)
    }
}

/// Adds the bytes of `place` to `bytes`; returns those of them that were not there and that are among `others`.
fn add(bytes: &mut Bytes, place: Place, others: &Bytes) -> Vec<u64> {
    let mut both = Vec::new();
    for granule in granules(place.address, place.length) {
        let bits = bits_of(place, granule);
        let known = bytes.entry(granule).or_default();
        let new = bits & !*known;
        *known |= bits;
        if new != 0
            && let Some(other) = others.get(&granule)
        {
            both.extend((0..GRANULE).filter(|bit| new & other & 1 << bit != 0).map(|bit| granule + bit));
        }
    }
    both
}

/// A bit for each byte of `granule` that is in `place`.
fn bits_of(place: Place, granule: u64) -> u8 {
    let Place { address: PhysAddr(address), length } = place;
    let is_in = |bit: &u64| (address..address + length).contains(&(granule + bit));
    (0..GRANULE).filter(is_in).fold(0, |bits, bit| bits | 1 << bit)
}

fn places(bytes: &Bytes) -> impl Iterator<Item = Place> + '_ {
    bytes.iter().flat_map(|(&granule, &bits)| {
        let set = (0..GRANULE).filter(move |bit| bits & 1 << bit != 0);
        set.map(move |bit| Place { address: PhysAddr(granule + bit), length: 1 })
    })
}
