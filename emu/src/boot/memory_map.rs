//! Which physical addresses are what, as a PC's firmware tells it (ACPI 6.5, 15.3 "INT 15h, E820h").
//!
//! The same map goes to every protocol, in its own format.
//! Left out: the framebuffer, which firmware would have found behind a PCI bus.

use crate::machine::Settings;
use std::ops::Range;

/// The extended BIOS data area, 1 KiB at the end of base memory.
pub(super) const EXTENDED_BIOS_DATA: Range<u64> = 0x9_fc00..0xa_0000;
/// The firmware's code and tables.
pub(super) const FIRMWARE: Range<u64> = 0xf_0000..0x10_0000;
/// Where extended memory begins.
const ONE_MEGABYTE: u64 = 1 << 20;
/// The registers of the I/O APIC and of the local APICs.
const IO_APIC: Range<u64> = 0xfec0_0000..0xfec0_1000;
const LOCAL_APIC: Range<u64> = 0xfee0_0000..0xfee0_1000;

/// What a range of addresses may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// RAM for the guest.
    Free = 1,
    /// Not to be used.
    Reserved = 2,
}

/// One line of the map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MapEntry {
    pub(super) range: Range<u64>,
    pub(super) purpose: Use,
}

impl MapEntry {
    /// Base and size in bytes, and the number of the use.
    pub(super) fn fields(&self) -> (u64, u64, u32) {
        (self.range.start, self.range.end - self.range.start, self.purpose as u32)
    }
}

/// The map of a machine, by address.
pub(super) fn memory_map(settings: &Settings) -> Vec<MapEntry> {
    let free = |range| MapEntry { range, purpose: Use::Free };
    let reserved = |range| MapEntry { range, purpose: Use::Reserved };
    vec![
        free(0..EXTENDED_BIOS_DATA.start),
        reserved(EXTENDED_BIOS_DATA),
        reserved(FIRMWARE),
        free(ONE_MEGABYTE..settings.ram_bytes),
        reserved(IO_APIC),
        reserved(LOCAL_APIC),
    ]
}

/// KiB of memory below 640 KiB that are free.
pub(super) fn lower_kib() -> u32 {
    (EXTENDED_BIOS_DATA.start >> 10) as u32
}

/// KiB of memory above 1 MiB.
pub(super) fn upper_kib(settings: &Settings) -> u32 {
    ((settings.ram_bytes - ONE_MEGABYTE) >> 10) as u32
}
