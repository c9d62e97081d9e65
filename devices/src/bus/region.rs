//! A range of ports or physical addresses.

use std::fmt;

use crate::{PhysAddr, Port};

/// A range of addresses at which one device answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Region {
    /// Which bus.
    pub space: Space,
    /// The first address.
    pub base: u64,
    /// Length in bytes, or ports.
    pub len: u64,
    /// What the device is told for an access to `base`.
    pub offset: u64,
}

/// The two address spaces of a PC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// What IN and OUT reach: 65,536 ports.
    Ports,
    /// Physical memory.
    Memory,
}

impl Region {
    /// `len` ports from `base` on.
    pub const fn ports(base: Port, len: u64) -> Region {
        Region { space: Space::Ports, base: base.0 as u64, len, offset: 0 }
    }

    /// `len` bytes of physical memory from `base` on.
    pub const fn memory(base: PhysAddr, len: u64) -> Region {
        Region { space: Space::Memory, base: base.0, len, offset: 0 }
    }

    /// The same range, but the device is told `offset` for its first address.
    ///
    /// This is how a device with registers in two places tells them apart.
    pub const fn at_offset(self, offset: u64) -> Region {
        Region { offset, ..self }
    }

    /// The last address; the region must not be empty.
    pub(super) const fn last(&self) -> u64 {
        self.base + (self.len - 1)
    }

    /// Whether it is not empty and ends inside its space, in addresses and in offsets.
    pub(super) fn fits(&self) -> bool {
        let Some(span) = self.len.checked_sub(1) else {
            return false;
        };
        let last = self.base.checked_add(span);
        last.is_some_and(|last| last <= self.space.last()) && self.offset.checked_add(span).is_some()
    }

    pub(super) fn contains(&self, space: Space, address: u64) -> bool {
        self.space == space && (self.base..=self.last()).contains(&address)
    }

    pub(super) fn overlaps(&self, other: &Region) -> bool {
        self.space == other.space && self.base <= other.last() && other.base <= self.last()
    }

    /// What the device is told for `address`, which must lie inside.
    pub(super) fn offset_of(&self, address: u64) -> u64 {
        self.offset + (address - self.base)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.base.saturating_add(self.len.saturating_sub(1));
        let unit = match self.space {
            Space::Ports => "port",
            Space::Memory => "memory",
        };
        write!(f, "{unit} {:#x}..={last:#x}", self.base)
    }
}

impl Space {
    /// The last address of the space.
    const fn last(self) -> u64 {
        match self {
            Space::Ports => u16::MAX as u64,
            Space::Memory => u64::MAX,
        }
    }

    /// An address in words: `port 0x1234`.
    pub(super) fn describe(self, address: u64) -> String {
        match self {
            Space::Ports => format!("port {address:#x}"),
            Space::Memory => format!("memory {address:#x}"),
        }
    }
}
