//! The MP floating pointer and configuration table (Intel MultiProcessor Specification 1.4, chapter 4).
//!
//! One processor for each core, whose local APIC has the core's number, the ISA bus, one I/O APIC, the ISA interrupts
//! straight to its pins but for the timer, which is on pin 2 (5.1), and the local interrupts of every processor.
//!
//! Left out: PCI, and the extended entries of chapter 4.4.

use super::firmware::{IO_APIC, LOCAL_APIC, MP_TABLES, io_apic_id};
use crate::core::{CoreId, cpuid};
use crate::machine::Settings;

/// Bytes of the floating pointer, behind which the table lies.
const POINTER: usize = 16;
/// Bytes of the table's header.
const HEADER: usize = 44;
/// Version 1.4.
const REVISION: u8 = 4;

/// Types of entries (table 4-3).
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC_ENTRY: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

/// Types of interrupts (table 4-11).
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;

/// In a processor's or I/O APIC's flags: it can be used.
const ENABLED: u8 = 1;
/// In a processor's flags: it is the one that boots.
const BOOTSTRAP: u8 = 2;
/// The version register of a local APIC inside a processor, and of the I/O APIC.
const LOCAL_APIC_VERSION: u8 = 0x14;
const IO_APIC_VERSION: u8 = 0x20;
/// Every local APIC.
const ALL: u8 = 0xff;
/// The only bus.
const ISA: u8 = 0;

/// Pointer and table, to be put at [`MP_TABLES`].
pub(super) fn mp_tables(settings: &Settings) -> Vec<u8> {
    let mut tables = floating_pointer().to_vec();
    tables.extend(configuration(settings));
    tables
}

fn floating_pointer() -> [u8; POINTER] {
    let mut pointer = [0; POINTER];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&(MP_TABLES.start as u32 + POINTER as u32).to_le_bytes());
    // Its length in paragraphs; the feature bytes say: there is a table, and virtual wire mode.
    pointer[8..10].copy_from_slice(&[1, REVISION]);
    pointer[10] = checksum(&pointer);
    pointer
}

fn configuration(settings: &Settings) -> Vec<u8> {
    let entries = entries(settings);
    let bytes = HEADER + entries.iter().map(Vec::len).sum::<usize>();
    let mut table = b"PCMP".to_vec();
    table.extend((bytes as u16).to_le_bytes());
    table.extend([REVISION, 0]);
    table.extend(b"FNCEPOSTFencepost   ");
    // No table of a manufacturer.
    table.extend([0; 6]);
    table.extend((entries.len() as u16).to_le_bytes());
    table.extend(LOCAL_APIC.to_le_bytes());
    // No extended entries.
    table.extend([0; 4]);
    table.extend(entries.into_iter().flatten());
    table[7] = checksum(&table);
    table
}

fn entries(settings: &Settings) -> Vec<Vec<u8>> {
    let id = io_apic_id(settings);
    let mut entries: Vec<Vec<u8>> = (0..settings.cores).map(processor).collect();
    entries.push([&[BUS, ISA][..], b"ISA   "].concat());
    entries.push([&[IO_APIC_ENTRY, id, IO_APIC_VERSION, ENABLED][..], &IO_APIC.to_le_bytes()].concat());
    // IRQ 2 is the way of the second interrupt controller into the first.
    for irq in (0..16).filter(|&irq| irq != 2) {
        let pin = if irq == 0 { 2 } else { irq };
        entries.push(vec![IO_INTERRUPT, INT, 0, 0, ISA, irq, id, pin]);
    }
    for (kind, pin) in [(EXT_INT, 0), (NMI, 1)] {
        entries.push(vec![LOCAL_INTERRUPT, kind, 0, 0, ISA, 0, ALL, pin]);
    }
    entries
}

fn processor(core: u8) -> Vec<u8> {
    let [signature, _, _, features] = cpuid::leaf(1, 0, CoreId(core), 1);
    let flags = if core == 0 { ENABLED | BOOTSTRAP } else { ENABLED };
    let mut entry = vec![PROCESSOR, core, LOCAL_APIC_VERSION, flags];
    // Stepping, model and family, without the extended ones (figure 4-4).
    entry.extend((signature & 0xfff).to_le_bytes());
    entry.extend(features.to_le_bytes());
    entry.extend([0; 8]);
    entry
}

/// The byte that makes the sum of `bytes` zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte))
}
