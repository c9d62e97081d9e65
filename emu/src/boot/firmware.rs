//! What firmware leaves in memory for any guest to find, and where.
//!
//! | address | what |
//! |---|---|
//! | 0x400 | BIOS data area ([`bios_data`]) |
//! | 0x9fc00 | extended BIOS data area: its size, and nothing else |
//! | 0xf0000 | code and data of the BIOS, and from address 0 its vectors, under all protocols but the machine's own ([`bios`]) |
//! | 0xf6000 | MP floating pointer and configuration table ([`mp_table`]) |
//! | 0xf7000 | ACPI tables ([`acpi`]) |
//! | 0xfe000 | the GDT with which Multiboot and PVH kernels start |
//!
//! False on hardware: all of it is RAM that a guest can write.

use super::memory_map::EXTENDED_BIOS_DATA;
use super::{acpi, bios, bios_data, mp_table, put};
use crate::loader::Image;
use crate::machine::Settings;
use crate::memory::Memory;
use std::ops::Range;

/// Where the MP tables go.
pub(super) const MP_TABLES: Range<u64> = 0xf_6000..0xf_7000;
/// Where the ACPI tables go.
pub(super) const ACPI_TABLES: Range<u64> = 0xf_7000..0xf_9000;
/// The GDT of [`protected`](super::protected).
pub(super) const GDT: u64 = 0xf_e000;

/// The local APICs' registers, the same address on each core (SDM 3A 11.4.1).
pub(super) const LOCAL_APIC: u32 = 0xfee0_0000;
/// The I/O APIC's registers (82093AA 3.0).
pub(super) const IO_APIC: u32 = 0xfec0_0000;

/// The I/O APIC's identity: the first that no local APIC has.
pub(super) fn io_apic_id(settings: &Settings) -> u8 {
    settings.cores
}

/// Puts all tables and the BIOS into `memory`.
pub(super) fn put_all(memory: &mut Memory, image: &Image, settings: &Settings) {
    put_where(memory, image, settings, |_| true);
    for (address, bytes) in bios::parts(image, settings) {
        put(memory, address, &bytes);
    }
}

/// Puts those tables into `memory` whose place is free.
pub(super) fn put_where(
    memory: &mut Memory,
    image: &Image,
    settings: &Settings,
    is_free: impl Fn(&Range<u64>) -> bool,
) {
    let data = bios_data::RANGE;
    put(memory, data.start, &bios_data::bios_data(image));
    if is_free(&EXTENDED_BIOS_DATA) {
        // Its first byte is its size in KiB (IBM PS/2, "Extended BIOS Data Area").
        put(memory, EXTENDED_BIOS_DATA.start, &[1]);
    }
    for (range, tables) in [(MP_TABLES, mp_table::mp_tables(settings)), (ACPI_TABLES, acpi::tables(settings))] {
        assert!(tables.len() as u64 <= range.end - range.start, "firmware tables fit in their place: {range:#x?}");
        if is_free(&range) {
            put(memory, range.start, &tables);
        }
    }
}
