//! A core's store buffer: stores that have executed but that no other core sees yet (x86-TSO, CACM 2010).
//!
//! Entries are kept oldest first. Which entry may drain next is decided by three rules, checked against every older entry:
//!
//! 1. stores to the same byte drain in program order, under every model;
//! 2. stores on different sides of an SFENCE drain in program order (SDM 2B, SFENCE);
//! 3. whatever else the [memory model](crate::memory_model) keeps in order: TSO keeps ordinary stores in order,
//!    and neither model orders write-combining or non-temporal stores (SDM 3A 12.3.1, 9.2.2).
//!
//! A load sees the youngest entry that covers it ("store forwarding"). One that is only partly covered waits until no entry
//! overlaps it any more, as processors do whose forwarding fails. But some [processors](crate::processor) put neighbouring
//! stores together, and such a load may take its bytes from several entries:
//!
//! - they cover it completely: never is a part from memory;
//! - the youngest of them is the youngest that overlaps the load, and from it back to the oldest there is no entry outside of
//!   the load's cache line: never does a store to another line stand between. One to the same line does not part them: AMD's
//!   Zen 3 was seen to forward two bytes as a word with one stored in between to the same line.
//!
//! Each byte is the youngest one. Waiting is then no choice of its own: it is that some of the entries drain first.
//! Kinds and SFENCE make no difference to this: nobody says what a processor does there, and a proof must hold if it forwards.
//! Nor does what has drained: entries that stand next to one another because those between are gone are no less together.
//!
//! Not modelled: combining of neighbouring write-combining stores into one line; hardware's limits on how long an entry stays.

use crate::memory::LINE;
use crate::memory_model::MemoryModel;
use crate::processor::Processor;
use fencepost_devices::PhysAddr;
use smallvec::SmallVec;

/// The widest single entry, in bytes: a store within an aligned 8 bytes is single-copy atomic (SDM 3A 9.1.1).
pub const ENTRY_BYTES: usize = 8;

/// So many entries need no memory of their own.
const FEW: usize = 2;

/// What kind of store an entry is; it decides what order is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// An ordinary store to write-back memory.
    Ordinary,
    /// A store to write-combining memory, or a non-temporal store (MOVNTI and its relatives).
    WriteCombining,
}

/// One buffered store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Physical address of the first byte.
    pub address: PhysAddr,
    /// How many bytes, 1 to [`ENTRY_BYTES`].
    pub length: u8,
    /// The bytes; those past `length` are zero.
    pub bytes: [u8; ENTRY_BYTES],
    /// Ordinary or write-combining.
    pub kind: StoreKind,
    /// An SFENCE separates this entry from every older one.
    after_fence: bool,
}

impl Entry {
    /// An entry that stores `bytes` (1 to 8 of them) at `address`.
    pub fn new(address: PhysAddr, bytes: &[u8], kind: StoreKind) -> Entry {
        assert!((1..=ENTRY_BYTES).contains(&bytes.len()), "a buffered store has 1 to 8 bytes, not {}", bytes.len());
        let mut padded = [0; ENTRY_BYTES];
        padded[..bytes.len()].copy_from_slice(bytes);
        Entry { address, length: bytes.len() as u8, bytes: padded, kind, after_fence: false }
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The stored value, read as a little-endian number.
    pub fn value(&self) -> u64 {
        u64::from_le_bytes(self.bytes)
    }

    /// Whether the entry shares a byte with `length` bytes at `address`.
    pub fn overlaps(&self, address: PhysAddr, length: u64) -> bool {
        self.address.0 < address.0 + length && address.0 < self.address.0 + u64::from(self.length)
    }

    /// Whether the entry covers all of `length` bytes at `address`.
    fn covers(&self, address: PhysAddr, length: u64) -> bool {
        self.address.0 <= address.0 && address.0 + length <= self.address.0 + u64::from(self.length)
    }

    /// Which of `length` bytes at `address` the entry has: a bit each, the lowest for the first.
    fn share_of(&self, address: PhysAddr, length: u64) -> u8 {
        let has = |offset: &u64| self.overlaps(PhysAddr(address.0 + offset), 1);
        (0..length).filter(has).fold(0, |bits, offset| bits | 1 << offset)
    }
}

/// The store buffer of one core.
#[derive(PartialEq, Eq, Hash, Debug, Default)]
pub struct StoreBuffer {
    entries: SmallVec<[Entry; FEW]>,
    /// An SFENCE has executed since the youngest entry.
    fence_pending: bool,
}

impl Clone for StoreBuffer {
    fn clone(&self) -> StoreBuffer {
        // In one piece, which `SmallVec::clone` does not do.
        StoreBuffer { entries: SmallVec::from_slice(&self.entries), fence_pending: self.fence_pending }
    }
}

impl StoreBuffer {
    /// The entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries of `kind` are pending.
    pub fn count(&self, kind: StoreKind) -> usize {
        self.entries.iter().filter(|entry| entry.kind == kind).count()
    }

    /// Adds the youngest entry.
    pub fn push(&mut self, mut entry: Entry) {
        entry.after_fence = std::mem::take(&mut self.fence_pending);
        self.entries.push(entry);
    }

    /// SFENCE: what is pending now drains before whatever is stored later.
    pub fn fence(&mut self) {
        self.fence_pending = !self.entries.is_empty();
    }

    /// Whether entry `index` may drain now: no older entry has to drain before it.
    pub fn may_drain(&self, index: usize, model: MemoryModel) -> bool {
        index < self.entries.len() && (0..index).all(|older| !self.is_ordered(older, index, model))
    }

    /// The indices of the entries that may drain now.
    pub fn drainable(&self, model: MemoryModel) -> impl Iterator<Item = usize> + '_ {
        (0..self.entries.len()).filter(move |&index| self.may_drain(index, model))
    }

    /// Removes entry `index` so that the caller can commit it to memory.
    pub fn remove(&mut self, index: usize) -> Entry {
        let entry = self.entries.remove(index);
        if entry.after_fence {
            match self.entries.get_mut(index) {
                Some(next) => next.after_fence = true,
                None => self.fence_pending = true,
            }
        }
        // A fence with nothing older than it orders nothing; equal buffers must compare equal.
        match self.entries.first_mut() {
            Some(oldest) => oldest.after_fence = false,
            None => self.fence_pending = false,
        }
        entry
    }

    /// Takes back the entries from `length` on, youngest first, because their instruction faulted.
    pub fn truncate(&mut self, length: usize) {
        if length < self.entries.len() {
            self.fence_pending = length > 0 && self.entries[length].after_fence;
            self.entries.truncate(length);
        }
    }

    /// Replaces the bytes of entry `index`, when the page walker has set a bit in the buffered value itself.
    pub(crate) fn rewrite(&mut self, index: usize, bytes: &[u8]) {
        let entry = &mut self.entries[index];
        entry.bytes[..usize::from(entry.length)].copy_from_slice(bytes);
    }

    /// The entry to drain when one of `kind` has to make room: the oldest of that kind and all that must go before it.
    pub fn first_to_make_room(&self, kind: StoreKind, model: MemoryModel) -> Option<usize> {
        let oldest = self.entries.iter().position(|entry| entry.kind == kind)?;
        Some(self.first_before(oldest, model))
    }

    /// The entry to drain next on behalf of a load of `length` bytes at `address`; `None` when the load need not wait.
    ///
    /// A load waits when it overlaps an entry without being covered by the youngest one that it overlaps, or, on some
    /// processors, by that and those before it.
    pub fn load_waits_for(
        &self,
        address: PhysAddr,
        length: u64,
        model: MemoryModel,
        processor: Processor,
    ) -> Option<usize> {
        let youngest = self.entries.iter().rposition(|entry| entry.overlaps(address, length))?;
        let is_covered = self.entries[youngest].covers(address, length)
            || processor.joins_stores() && self.cover_together(youngest, address, length);
        if is_covered { None } else { self.first_overlapping(address, length, model) }
    }

    /// Whether `youngest` and the entries right before it that are in the same cache line cover all of `length` bytes at
    /// `address`.
    fn cover_together(&self, youngest: usize, address: PhysAddr, length: u64) -> bool {
        assert!((1..=ENTRY_BYTES as u64).contains(&length), "a load has 1 to 8 bytes, not {length}");
        let mut missing = u8::MAX >> (ENTRY_BYTES as u64 - length);
        let is_in_line = |entry: &&Entry| entry.address.0 / LINE == address.0 / LINE;
        let run = self.entries[..=youngest].iter().rev().take_while(is_in_line);
        run.into_iter().any(|entry| {
            missing &= !entry.share_of(address, length);
            missing == 0
        })
    }

    /// The entry to drain next until none overlaps `length` bytes at `address`.
    pub fn first_overlapping(&self, address: PhysAddr, length: u64, model: MemoryModel) -> Option<usize> {
        let oldest = self.entries.iter().position(|entry| entry.overlaps(address, length))?;
        Some(self.first_before(oldest, model))
    }

    /// The oldest entry that must drain before `index`, or `index` itself.
    fn first_before(&self, index: usize, model: MemoryModel) -> usize {
        let older = (0..index).find(|&older| self.is_ordered(older, index, model));
        older.map_or(index, |older| self.first_before(older, model))
    }

    /// Whether entry `older` must drain before entry `younger`.
    fn is_ordered(&self, older: usize, younger: usize, model: MemoryModel) -> bool {
        let (first, second) = (&self.entries[older], &self.entries[younger]);
        first.overlaps(second.address, u64::from(second.length))
            || self.entries[older + 1..=younger].iter().any(|entry| entry.after_fence)
            || model.keeps_order(first.kind, second.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StoreKind::{Ordinary, WriteCombining};

    fn buffer(entries: &[(u64, u8, StoreKind)]) -> StoreBuffer {
        let mut buffer = StoreBuffer::default();
        for &(address, length, kind) in entries {
            buffer.push(Entry::new(PhysAddr(address), &[1; 8][..usize::from(length)], kind));
        }
        buffer
    }

    fn drainable(buffer: &StoreBuffer, model: MemoryModel) -> Vec<usize> {
        buffer.drainable(model).collect()
    }

    #[test]
    fn tso_drains_ordinary_stores_first_in_first_out() {
        let b = buffer(&[(0, 8, Ordinary), (8, 8, Ordinary)]);
        assert_eq!(drainable(&b, MemoryModel::TSO), [0]);
    }

    #[test]
    fn pso_drains_ordinary_stores_to_different_bytes_in_any_order() {
        let b = buffer(&[(0, 8, Ordinary), (8, 8, Ordinary), (4, 8, Ordinary)]);
        assert_eq!(drainable(&b, MemoryModel::PSO), [0, 1]);
    }

    #[test]
    fn write_combining_stores_drain_in_any_order_except_to_the_same_byte() {
        let b = buffer(&[(0, 4, WriteCombining), (8, 8, Ordinary), (16, 4, WriteCombining), (2, 1, WriteCombining)]);
        for model in [MemoryModel::TSO, MemoryModel::PSO] {
            assert_eq!(drainable(&b, model), [0, 1, 2]);
        }
    }

    #[test]
    fn sfence_orders_every_earlier_store_before_every_later_one() {
        let mut b = buffer(&[(0, 8, WriteCombining)]);
        b.fence();
        b.push(Entry::new(PhysAddr(64), &[2], Ordinary));
        b.push(Entry::new(PhysAddr(65), &[3], WriteCombining));
        assert_eq!(drainable(&b, MemoryModel::PSO), [0]);
        b.remove(0);
        assert_eq!(drainable(&b, MemoryModel::PSO), [0, 1]);
    }

    #[test]
    fn sfence_survives_the_entry_that_carries_it() {
        let mut b = buffer(&[(0, 8, WriteCombining)]);
        b.fence();
        b.push(Entry::new(PhysAddr(64), &[2], Ordinary));
        b.push(Entry::new(PhysAddr(72), &[3], Ordinary));
        // The carrier cannot drain, but a fault may take it back; the fence then waits for the next store.
        b.truncate(1);
        b.push(Entry::new(PhysAddr(80), &[4], Ordinary));
        assert_eq!(drainable(&b, MemoryModel::PSO), [0]);
    }

    #[test]
    fn sfence_in_an_empty_buffer_leaves_no_trace() {
        let mut b = StoreBuffer::default();
        b.fence();
        assert_eq!(b, StoreBuffer::default());
    }

    #[test]
    fn a_load_covered_by_the_youngest_overlapping_store_does_not_wait() {
        let b = buffer(&[(2, 1, Ordinary), (0, 8, Ordinary)]);
        assert_eq!(b.load_waits_for(PhysAddr(2), 4, MemoryModel::TSO, Processor::INTEL), None);
    }

    #[test]
    fn a_partly_covered_load_waits_for_the_overlapping_stores_only() {
        let b = buffer(&[(64, 8, Ordinary), (0, 4, Ordinary), (128, 8, Ordinary)]);
        for processor in Processor::ALL {
            assert_eq!(b.load_waits_for(PhysAddr(0), 8, MemoryModel::PSO, processor), Some(1));
            // TSO has to drain the older ordinary store first.
            assert_eq!(b.load_waits_for(PhysAddr(0), 8, MemoryModel::TSO, processor), Some(0));
        }
    }

    /// Whether a load of `length` bytes at 0 waits under each processor, in their order.
    fn waits(entries: &[(u64, u8)], length: u64) -> [bool; 3] {
        let b = buffer(&entries.iter().map(|&(address, length)| (address, length, Ordinary)).collect::<Vec<_>>());
        Processor::ALL.map(|it| b.load_waits_for(PhysAddr(0), length, MemoryModel::TSO, it).is_some())
    }

    #[test]
    fn a_load_may_take_the_bytes_of_stores_that_stand_next_to_one_another() {
        let [may_take, waits_everywhere] = [[false, true, false], [true; 3]];
        // Bytes as a word, in either order; longs as a quad; a byte laid into a quad, twice.
        assert_eq!(waits(&[(0, 1), (1, 1)], 2), may_take);
        assert_eq!(waits(&[(1, 1), (0, 1)], 2), may_take);
        assert_eq!(waits(&[(0, 4), (4, 4)], 8), may_take);
        assert_eq!(waits(&[(0, 8), (3, 1), (3, 1)], 8), may_take);
        // With others before and after them.
        assert_eq!(waits(&[(64, 8), (0, 1), (1, 1), (64, 8)], 2), may_take);
        // Another of the same line between.
        assert_eq!(waits(&[(0, 1), (56, 8), (1, 1)], 2), may_take);
        // Another of another line between, or a part from memory.
        assert_eq!(waits(&[(0, 1), (64, 8), (1, 1)], 2), waits_everywhere);
        assert_eq!(waits(&[(0, 1), (1, 1)], 4), waits_everywhere);
        assert_eq!(waits(&[(1, 1), (2, 1)], 2), waits_everywhere);
    }

    #[test]
    fn making_room_drains_what_must_go_first() {
        let mut b = buffer(&[(0, 8, WriteCombining)]);
        b.fence();
        b.push(Entry::new(PhysAddr(64), &[2], Ordinary));
        assert_eq!(b.first_to_make_room(Ordinary, MemoryModel::TSO), Some(0));
    }
}
