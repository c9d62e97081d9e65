//! Guest-physical memory: RAM from address 0, and the framebuffer's pixels.
//!
//! What a store to it does is for its memory type to say, which each core has registers for
//! ([`memory_types`](crate::core::memory_types)); everything else belongs to devices.

use crate::core::engine::HostMemory;
use fencepost_devices::{Framebuffer, PhysAddr};
use std::ops::Range;

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// The bytes that can share one atomic access on an x86 (a cache line).
pub const LINE: u64 = 64;

/// The hole in RAM where a PC has its VGA memory (82441FX, 4.1): device space.
pub const VGA_HOLE: Range<u64> = 0xa0000..0xc0000;

/// What kind of memory an access is to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryType {
    /// Ordinary cached memory: write-back (WB), or write-through or write-protected, which nobody can tell from it here.
    #[default]
    WriteBack,
    /// Write-combining memory (WC).
    WriteCombining,
    /// Not cached, and accessed in order (UC).
    Uncached,
}

impl MemoryType {
    /// Whether stores are ordinary ones.
    pub fn is_write_back(&self) -> bool {
        *self == MemoryType::WriteBack
    }
}

/// All memory of a machine, as the guest's physical addresses see it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Memory {
    ram: HostMemory,
    pixels: HostMemory,
}

impl Memory {
    /// Zeroed memory with `ram_bytes` of RAM, a multiple of [`PAGE`] and at least 1 MiB.
    pub fn new(ram_bytes: u64) -> Memory {
        assert!(ram_bytes.is_multiple_of(PAGE) && ram_bytes >= 1 << 20, "RAM is whole pages, and 1 MiB at the least");
        Memory { ram: HostMemory::zeroed(ram_bytes), pixels: HostMemory::zeroed(Framebuffer::PIXEL_BYTES) }
    }

    /// Bytes of RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.ram.bytes().len() as u64
    }

    /// Whether there is memory at `address`, and not device space.
    pub fn holds(&self, address: PhysAddr) -> bool {
        self.ram_range(address, 1).is_some() || self.pixel_offset(address, 1).is_some()
    }

    /// Fills `bytes` from `address`; `false`, with `bytes` untouched, when that is not all memory.
    pub fn read(&self, address: PhysAddr, bytes: &mut [u8]) -> bool {
        match self.slice(address, bytes.len() as u64) {
            Some(found) => {
                bytes.copy_from_slice(found);
                true
            }
            None => false,
        }
    }

    /// Writes `bytes` at `address`; `false`, with memory untouched, when that is not all memory.
    pub fn write(&mut self, address: PhysAddr, bytes: &[u8]) -> bool {
        match self.slice_mut(address, bytes.len() as u64) {
            Some(found) => {
                found.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// The `length` bytes at `address`, when they are all memory.
    pub fn slice(&self, address: PhysAddr, length: u64) -> Option<&[u8]> {
        if let Some(range) = self.ram_range(address, length) {
            return Some(&self.ram.bytes()[range]);
        }
        let offset = self.pixel_offset(address, length)?;
        Some(&self.pixels.bytes()[offset..offset + length as usize])
    }

    /// A little-endian number of `N` bytes at `address`, when it is all memory.
    pub fn read_u64(&self, address: PhysAddr) -> Option<u64> {
        let bytes = self.slice(address, 8)?;
        Some(u64::from_le_bytes(bytes.try_into().expect("the slice has 8 bytes")))
    }

    /// Takes over the content of `other`, in place: engines go on pointing at the same host memory.
    pub fn copy_from(&mut self, other: &Memory) {
        self.ram.copy_from(&other.ram);
        self.pixels.copy_from(&other.pixels);
    }

    /// Every stretch of memory: what an engine maps.
    pub(crate) fn stretches(&self) -> [Stretch<'_>; 3] {
        let (hole, ram) = (VGA_HOLE, &self.ram);
        [
            Stretch { base: PhysAddr(0), host: ram, range: 0..hole.start as usize },
            Stretch { base: PhysAddr(hole.end), host: ram, range: hole.end as usize..ram.bytes().len() },
            Stretch { base: Framebuffer::PIXELS, host: &self.pixels, range: 0..self.pixels.bytes().len() },
        ]
    }

    /// The host's address of the byte at `address`, for engines to recognise it by.
    pub(crate) fn host_pointer(&self, address: PhysAddr) -> Option<*const u8> {
        self.slice(address, 1).map(<[u8]>::as_ptr)
    }

    fn slice_mut(&mut self, address: PhysAddr, length: u64) -> Option<&mut [u8]> {
        if let Some(range) = self.ram_range(address, length) {
            return Some(&mut self.ram.bytes_mut()[range]);
        }
        let offset = self.pixel_offset(address, length)?;
        Some(&mut self.pixels.bytes_mut()[offset..offset + length as usize])
    }

    fn ram_range(&self, address: PhysAddr, length: u64) -> Option<Range<usize>> {
        let is_below = address.0.checked_add(length)? <= VGA_HOLE.start;
        let is_outside = is_below || address.0 >= VGA_HOLE.end;
        range_within(address.0, length, self.ram_bytes()).filter(|_| is_outside)
    }

    fn pixel_offset(&self, address: PhysAddr, length: u64) -> Option<usize> {
        let offset = address.0.checked_sub(Framebuffer::PIXELS.0)?;
        range_within(offset, length, Framebuffer::PIXEL_BYTES).map(|range| range.start)
    }
}

/// Part of a block of host memory and where the guest sees it.
pub(crate) struct Stretch<'a> {
    pub(crate) base: PhysAddr,
    pub(crate) host: &'a HostMemory,
    /// Bytes of `host`.
    pub(crate) range: Range<usize>,
}

/// `offset..offset + length` as host indices, when it lies within `size` bytes.
fn range_within(offset: u64, length: u64, size: u64) -> Option<Range<usize>> {
    let end = offset.checked_add(length)?;
    (end <= size).then_some(offset as usize..end as usize)
}
