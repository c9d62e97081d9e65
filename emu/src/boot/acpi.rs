//! ACPI tables (ACPI 6.5, chapter 5): RSDP, RSDT, XSDT, FADT, FACS, MADT and a DSDT without content.
//!
//! Left out: the power management registers (their ports are 0, so nothing can be put to sleep or switched off through
//! them), AML (the DSDT is a header: devices are the ones every PC has), HPET, MCFG, SRAT.
//! False on hardware: the event and control blocks of the FADT are not optional (5.2.9).

use super::firmware::{ACPI_TABLES, IO_APIC, LOCAL_APIC, io_apic_id};
use super::mp_table::checksum;
use crate::machine::Settings;

/// Bytes of the RSDP, revision 2.
pub(super) const RSDP_BYTES: usize = 36;
/// Bytes of the RSDP of ACPI 1.0.
pub(super) const OLD_RSDP_BYTES: usize = 20;
/// Where the RSDP is.
pub(super) const RSDP: u64 = ACPI_TABLES.start;

/// Bytes of every other table's header, the FACS excepted.
const HEADER: usize = 36;
/// The place of the checksum in it.
const CHECKSUM: usize = 9;
const OEM: &[u8; 6] = b"FNCPST";
/// The FACS is aligned to 64 bytes (5.2.10), the others need 16 at the most.
const ALIGNMENT: u64 = 64;

/// All tables, to be put at [`ACPI_TABLES`].
pub(super) fn tables(settings: &Settings) -> Vec<u8> {
    let mut place = Place { bytes: vec![0; RSDP_BYTES] };
    let facs = place.put(&facs());
    let dsdt = place.put(&dsdt());
    let fadt = place.put(&fadt(facs, dsdt));
    let madt = place.put(&madt(settings));
    let listed = [fadt, madt];
    let rsdt = place.put(&table(b"RSDT", 1, &listed.map(u32::to_le_bytes).concat()));
    let xsdt = place.put(&table(b"XSDT", 1, &listed.map(|address| u64::from(address).to_le_bytes()).concat()));
    place.bytes[..RSDP_BYTES].copy_from_slice(&rsdp(rsdt, xsdt));
    place.bytes
}

/// The tables that have a place already.
struct Place {
    bytes: Vec<u8>,
}

impl Place {
    /// Appends `table`; returns its address.
    fn put(&mut self, table: &[u8]) -> u32 {
        let address = (ACPI_TABLES.start + self.bytes.len() as u64).next_multiple_of(ALIGNMENT);
        self.bytes.resize((address - ACPI_TABLES.start) as usize, 0);
        self.bytes.extend(table);
        address as u32
    }
}

/// A table with its header (5.2.6).
fn table(signature: &[u8; 4], revision: u8, content: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend((HEADER as u32 + content.len() as u32).to_le_bytes());
    table.extend([revision, 0]);
    table.extend(OEM);
    table.extend(b"FENCEPST");
    table.extend(1_u32.to_le_bytes());
    table.extend(b"FNCP");
    table.extend(1_u32.to_le_bytes());
    table.extend(content);
    table[CHECKSUM] = checksum(&table);
    table
}

/// The root pointer (5.2.5.3), whose first part is that of ACPI 1.0.
fn rsdp(rsdt: u32, xsdt: u32) -> [u8; RSDP_BYTES] {
    let mut rsdp = [0; RSDP_BYTES];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[9..15].copy_from_slice(OEM);
    rsdp[15] = 2;
    rsdp[16..20].copy_from_slice(&rsdt.to_le_bytes());
    rsdp[8] = checksum(&rsdp[..OLD_RSDP_BYTES]);
    rsdp[20..24].copy_from_slice(&(RSDP_BYTES as u32).to_le_bytes());
    rsdp[24..32].copy_from_slice(&u64::from(xsdt).to_le_bytes());
    rsdp[32] = checksum(&rsdp);
    rsdp
}

/// The firmware control structure (5.2.10), which has no header of the usual kind.
fn facs() -> [u8; 64] {
    let mut facs = [0; 64];
    facs[..4].copy_from_slice(b"FACS");
    facs[4] = 64;
    facs[32] = 2;
    facs
}

/// Revision 2: integers of 64 bits; no definitions follow.
fn dsdt() -> Vec<u8> {
    table(b"DSDT", 2, &[])
}

/// Bytes of a FADT of revision 3.
const FADT_BYTES: usize = 244;

/// The fixed description table (5.2.9), with offsets of the whole table.
fn fadt(facs: u32, dsdt: u32) -> Vec<u8> {
    let mut content = [0; FADT_BYTES - HEADER];
    let mut field = |offset: usize, bytes: &[u8]| {
        content[offset - HEADER..offset - HEADER + bytes.len()].copy_from_slice(bytes);
    };
    field(36, &facs.to_le_bytes());
    field(40, &dsdt.to_le_bytes());
    field(46, &9_u16.to_le_bytes()); // SCI_INT
    field(96, &101_u16.to_le_bytes()); // P_LVL2_LAT: over 100, there is no C2
    field(98, &1001_u16.to_le_bytes()); // P_LVL3_LAT: over 1000, there is no C3
    field(108, &[0x32]); // CENTURY: its byte in the clock's memory
    field(109, &LEGACY_BOOT.to_le_bytes());
    field(112, &FLAGS.to_le_bytes());
    // RESET_REG: port 0x64, one byte; RESET_VALUE pulses the processor's reset line.
    field(116, &[1, 8, 0, 1]);
    field(120, &0x64_u64.to_le_bytes());
    field(128, &[0xfe]);
    field(140, &u64::from(dsdt).to_le_bytes()); // X_DSDT
    table(b"FACP", 3, &content)
}

/// IAPC_BOOT_ARCH: devices of an ISA bus, and an 8042 (table 5.11).
const LEGACY_BOOT: u16 = 1 << 0 | 1 << 1;
/// Flags (table 5.10): WBINVD works; power button, sleep button and RTC wake are no fixed hardware; RESET_REG is there.
const FLAGS: u32 = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10;

/// Interrupt controller structures of the MADT (table 5.21).
const PROCESSOR_LOCAL_APIC: u8 = 0;
const IO_APIC_ENTRY: u8 = 1;
const SOURCE_OVERRIDE: u8 = 2;
const LOCAL_APIC_NMI: u8 = 4;
/// In the MADT's flags: there is a pair of 8259s too.
const PCAT_COMPAT: u32 = 1;

/// The interrupt controllers (5.2.12).
fn madt(settings: &Settings) -> Vec<u8> {
    let mut content = [LOCAL_APIC, PCAT_COMPAT].map(u32::to_le_bytes).concat();
    for core in 0..settings.cores {
        content.extend([PROCESSOR_LOCAL_APIC, 8, core, core, 1, 0, 0, 0]);
    }
    content.extend([IO_APIC_ENTRY, 12, io_apic_id(settings), 0]);
    content.extend(IO_APIC.to_le_bytes());
    content.extend([0; 4]);
    // IRQ 0 of the ISA bus is on pin 2, active and triggered as usual there.
    content.extend([SOURCE_OVERRIDE, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    // LINT1 of every processor.
    content.extend([LOCAL_APIC_NMI, 6, 0xff, 0, 0, 1]);
    table(b"APIC", 3, &content)
}
