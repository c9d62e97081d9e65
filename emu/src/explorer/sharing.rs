//! Which memory cores share: accesses to what no two of them contend for are nobody else's business.

use super::delta::granules;
use super::op::{Op, Place};
use super::stage::granules_of;
use crate::core::CoreId;
use fencepost_devices::PhysAddr;
use rustc_hash::{FxHashMap, FxHashSet};

/// Who was seen to access what.
#[derive(Default)]
pub(super) struct Sharing {
    /// Bit sets of the cores that read and that write each granule.
    seen: FxHashMap<u64, Seen>,
    /// Granules that one core writes and another accesses.
    contended: FxHashSet<u64>,
    /// Nothing is private.
    is_all: bool,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    readers: u64,
    writers: u64,
}

impl Sharing {
    /// Nothing is known: whatever is accessed may be shared.
    pub(super) fn everything() -> Sharing {
        Sharing { is_all: true, ..Sharing::default() }
    }

    /// Notes that `core` may perform `op` on a machine with so much RAM. Returns whether a granule was found to be contended
    /// that was not known to be.
    pub(super) fn note(&mut self, core: CoreId, op: &Op, ram_bytes: u64) -> bool {
        let mut is_news = false;
        touched(core, op, ram_bytes, &mut |granule, seen| is_news |= self.see(granule, seen));
        is_news
    }

    /// Whether all of that has been noted before.
    pub(super) fn knows(&self, core: CoreId, op: &Op, ram_bytes: u64) -> bool {
        let mut is_known = true;
        touched(core, op, ram_bytes, &mut |granule, seen| {
            is_known &= self.seen.get(&granule).is_some_and(|known| known.has(seen));
        });
        is_known
    }

    /// Whether no two contend for any of `length` bytes at `address`.
    pub(super) fn is_private(&self, address: PhysAddr, length: u64) -> bool {
        !self.is_all && granules(address, length).all(|at| !self.contended.contains(&at))
    }

    /// Whether no two contend for any of `places`.
    pub(super) fn are_private(&self, places: &[Place]) -> bool {
        places.iter().all(|place| self.is_private(place.address, place.length))
    }

    fn see(&mut self, granule: u64, now: Seen) -> bool {
        let seen = self.seen.entry(granule).or_default();
        seen.readers |= now.readers;
        seen.writers |= now.writers;
        let is_contended = seen.writers != 0 && (seen.readers | seen.writers).count_ones() > 1;
        is_contended && self.contended.insert(granule)
    }
}

impl Seen {
    fn has(self, other: Seen) -> bool {
        self.readers & other.readers == other.readers && self.writers & other.writers == other.writers
    }
}

/// Calls `see` with each granule that `op` of `core` touches, and how.
fn touched(core: CoreId, op: &Op, ram_bytes: u64, see: &mut impl FnMut(u64, Seen)) {
    let bit = 1 << core.0;
    let (reads, writes) = (Seen { readers: bit, writers: 0 }, Seen { readers: 0, writers: bit });
    match op {
        Op::Load(place) => granules(place.address, place.length).for_each(|at| see(at, reads)),
        Op::Store(entry) => {
            for at in granules(entry.address, u64::from(entry.length)) {
                // Devices may read pixels.
                let readers = if at < ram_bytes { 0 } else { DEVICES };
                see(at, Seen { readers, ..writes });
            }
        }
        Op::Locked { loads, stores } => {
            granules_of(loads).for_each(|at| see(at, reads));
            granules_of(stores).for_each(|at| see(at, writes));
        }
        Op::Nothing
        | Op::FullFence
        | Op::StoreFence
        | Op::Device
        | Op::Priority
        | Op::Enters
        | Op::Finished
        | Op::Diverges
        | Op::Fault { .. }
        | Op::Beyond { .. } => (),
    }
}

/// The bit of devices among the readers: one more than there can be cores is not a bit, so the last core's is shared, which
/// can only make more contended.
const DEVICES: u64 = 1 << 63;
