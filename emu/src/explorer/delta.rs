//! What of memory differs from how it was when the exploration began.

use crate::memory::Memory;
use fencepost_devices::PhysAddr;
use smallvec::SmallVec;

/// Memory is remembered, and sharing judged, in aligned pieces of this many bytes.
pub(super) const GRANULE: u64 = 8;

/// So many differences need no memory of their own.
const FEW: usize = 4;

/// The granules that differ, by rising address: equal memories have equal deltas.
#[derive(PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Delta(SmallVec<[(u64, u64); FEW]>);

impl Clone for Delta {
    fn clone(&self) -> Delta {
        // In one piece, which `SmallVec::clone` does not do.
        Delta(SmallVec::from_slice(&self.0))
    }
}

impl Delta {
    /// Each granule that differs: its address and its content.
    pub(super) fn granules(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Reads `bytes.len()` bytes at `address` from `base` with these differences.
    pub(super) fn read(&self, base: &Memory, address: PhysAddr, bytes: &mut [u8]) {
        let is_memory = base.read(address, bytes);
        assert!(is_memory, "the explorer reads only memory, and {address:?} is none");
        for granule in granules(address, bytes.len() as u64) {
            let Ok(found) = self.0.binary_search_by_key(&granule, |&(at, _)| at) else { continue };
            overlay(bytes, address.0, granule, &self.0[found].1.to_le_bytes());
        }
    }

    /// Writes `bytes` at `address`.
    pub(super) fn write(&mut self, base: &Memory, address: PhysAddr, bytes: &[u8]) {
        for granule in granules(address, bytes.len() as u64) {
            let original = base.read_u64(PhysAddr(granule)).expect("stores are to memory, which is whole pages");
            let found = self.0.binary_search_by_key(&granule, |&(at, _)| at);
            let mut content = found.map_or(original, |index| self.0[index].1).to_le_bytes();
            overlay(&mut content, granule, address.0, bytes);
            let content = u64::from_le_bytes(content);
            match (found, content == original) {
                (Ok(index), true) => _ = self.0.remove(index),
                (Ok(index), false) => self.0[index].1 = content,
                (Err(_), true) => (),
                (Err(index), false) => self.0.insert(index, (granule, content)),
            }
        }
    }
}

/// The granules that `length` bytes at `address` touch.
pub(super) fn granules(address: PhysAddr, length: u64) -> impl Iterator<Item = u64> {
    let first = address.0 & !(GRANULE - 1);
    (first..address.0 + length).step_by(GRANULE as usize)
}

/// Copies those of `from`'s bytes (which are at `from_address`) that `to` (at `to_address`) has too.
pub(super) fn overlay(to: &mut [u8], to_address: u64, from_address: u64, from: &[u8]) {
    let start = to_address.max(from_address);
    let end = (to_address + to.len() as u64).min(from_address + from.len() as u64);
    if start < end {
        let length = (end - start) as usize;
        let (to_start, from_start) = ((start - to_address) as usize, (start - from_address) as usize);
        to[to_start..to_start + length].copy_from_slice(&from[from_start..from_start + length]);
    }
}
