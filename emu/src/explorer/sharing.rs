//! Which memory cores share: accesses to what no two of them contend for are nobody else's business.

use super::delta::granules;
use super::local::LocalId;
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
    /// Of each local state, a bit set of the cores whose operation in it has been noted.
    noted: Vec<u64>,
    /// Which instruction of which core accesses which granule.
    accesses: FxHashSet<(CoreId, u64, u64)>,
    /// Which instruction of which core reaches a device.
    device_accesses: FxHashSet<(CoreId, u64)>,
    /// A bit set of the cores that take interrupts.
    interrupted: u64,
    /// And of those that do so at the mark at which their region ends.
    interrupted_at_mark: u64,
}

/// What a core may do, met in an exploration.
#[derive(Clone)]
pub(super) struct Note {
    pub(super) core: CoreId,
    /// Which operation.
    pub(super) op: Op,
    /// The local state in which the core performs it, and the linear address of the instruction; `None` of what the processor
    /// does by itself, and of stores whose instruction is over.
    pub(super) of: Option<(LocalId, u64)>,
    /// Whether it belongs to an interrupt.
    pub(super) interrupt: Interrupted,
}

/// Whether something belongs to an interrupt from outside its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interrupted {
    No,
    Yes,
    /// To one that comes to a core at the mark at which its region ends.
    AtMark,
}

/// What of an exploration one core does and another could see: without any of it, all orders are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Witness {
    /// Instructions that access memory which two cores contend for, or a core and a device.
    pub shared_accesses: usize,
    /// Instructions that reach devices.
    pub device_accesses: usize,
    /// Cores that have such instructions.
    pub cores_at_devices: usize,
    /// Cores that are interrupted.
    pub interrupted_cores: usize,
    /// A bit set of the cores that are interrupted at the mark at which their region ends: they are taken to leave interrupts on
    /// behind it, which is not looked at.
    pub interrupted_at_mark: u64,
}

impl Witness {
    /// Whether nothing that a core does could be seen by another, or by a handler that interrupts it.
    pub fn is_hollow(&self) -> bool {
        self.shared_accesses == 0 && self.cores_at_devices < 2 && self.interrupted_cores == 0
    }
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

    /// Notes what a core may do on a machine with so much RAM. Returns whether a granule was found to be contended that was not
    /// known to be.
    pub(super) fn note(&mut self, note: &Note, ram_bytes: u64) -> bool {
        let &Note { core, ref op, of, interrupt } = note;
        let mut is_news = false;
        touched(core, op, ram_bytes, &mut |granule, seen| {
            is_news |= self.see(granule, seen);
            self.accesses.extend(of.map(|(_, pc)| (core, pc, granule)));
        });
        if let Some((local, pc)) = of {
            if self.noted.len() <= local.index() {
                self.noted.resize(local.index() + 1, 0);
            }
            self.noted[local.index()] |= bit_of(core);
            if *op == Op::Device {
                self.device_accesses.insert((core, pc));
            }
        }
        match interrupt {
            Interrupted::No => (),
            Interrupted::Yes => self.interrupted |= bit_of(core),
            Interrupted::AtMark => {
                self.interrupted |= bit_of(core);
                self.interrupted_at_mark |= bit_of(core);
            }
        }
        is_news
    }

    /// Whether the operation that `core` performs in that local state has been noted before.
    pub(super) fn knows(&self, core: CoreId, local: LocalId) -> bool {
        self.noted.get(local.index()).is_some_and(|cores| cores & bit_of(core) != 0)
    }

    /// What has been seen that another could see.
    pub(super) fn witness(&self) -> Witness {
        let shared = self.accesses.iter().filter(|(_, _, granule)| self.contended.contains(granule));
        let shared: FxHashSet<(CoreId, u64)> = shared.map(|&(core, pc, _)| (core, pc)).collect();
        let at_devices: FxHashSet<CoreId> = self.device_accesses.iter().map(|(core, _)| *core).collect();
        Witness {
            shared_accesses: shared.len(),
            device_accesses: self.device_accesses.len(),
            cores_at_devices: at_devices.len(),
            interrupted_cores: self.interrupted.count_ones() as usize,
            interrupted_at_mark: self.interrupted_at_mark,
        }
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

/// Calls `see` with each granule that `op` of `core` touches, and how.
fn touched(core: CoreId, op: &Op, ram_bytes: u64, see: &mut impl FnMut(u64, Seen)) {
    let bit = bit_of(core);
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

fn bit_of(core: CoreId) -> u64 {
    1 << core.0
}

/// The bit of devices among the readers: one more than there can be cores is not a bit, so the last core's is shared, which
/// can only make more contended.
const DEVICES: u64 = 1 << 63;
