//! Where the three parts of a split virtqueue lie (2.7).

use crate::PhysAddr;

/// The most entries a queue here can have: a power of two, and as many as QEMU's disks have.
pub(super) const MOST_ENTRIES: u16 = 128;

/// Bytes in a descriptor (2.7.5).
pub(super) const DESCRIPTOR_BYTES: u64 = 16;

/// The size of a queue and the addresses of its parts, as the driver wrote them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Ring {
    /// Entries; what a driver writes is wider.
    pub(super) size: u32,
    /// The descriptor table.
    pub(super) descriptors: u64,
    /// The available ring: the driver area.
    pub(super) available: u64,
    /// The used ring: the device area.
    pub(super) used: u64,
}

impl Ring {
    /// Whether size, alignment and place are what they have to be (2.7).
    pub(super) fn is_sound(&self) -> bool {
        let size = u64::from(self.size);
        let lies_well =
            |address: u64, alignment, bytes| address.is_multiple_of(alignment) && address.checked_add(bytes).is_some();
        self.size.is_power_of_two()
            && self.size <= MOST_ENTRIES.into()
            && lies_well(self.descriptors, 16, DESCRIPTOR_BYTES * size)
            && lies_well(self.available, 2, 6 + 2 * size)
            && lies_well(self.used, 4, 6 + 8 * size)
    }

    pub(super) fn available_flags(&self) -> PhysAddr {
        PhysAddr(self.available)
    }

    pub(super) fn available_index(&self) -> PhysAddr {
        PhysAddr(self.available + 2)
    }

    /// The entry for the buffer that is number `index`, counted round and round.
    pub(super) fn available_entry(&self, index: u16) -> PhysAddr {
        PhysAddr(self.available + 4 + 2 * self.slot(index))
    }

    pub(super) fn used_flags(&self) -> PhysAddr {
        PhysAddr(self.used)
    }

    pub(super) fn used_index(&self) -> PhysAddr {
        PhysAddr(self.used + 2)
    }

    /// The element for the buffer that is number `index`.
    pub(super) fn used_element(&self, index: u16) -> PhysAddr {
        PhysAddr(self.used + 4 + 8 * self.slot(index))
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index) % u64::from(self.size)
    }
}
