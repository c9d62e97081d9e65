//! The tables that a guest finds: BIOS data area, MP tables, ACPI.
//!
//! They are found and read as a guest does, by searching for signatures and following addresses.

use super::memory::{bytes, state, sum, u16_at, u32_at, u64_at};
use super::multiboot;
use fencepost::loader::Image;
use fencepost::machine::Settings;
use fencepost::memory::Memory;
use std::collections::BTreeMap;

/// The memory of a machine with so many cores.
fn memory_of(cores: u8) -> Memory {
    let image = Image::recognise("kernel", multiboot::kernel(0x10_0000)).expect("it is well formed");
    state(&image, &Settings { cores, ..Settings::default() }).memory
}

/// Where `signature` is in the BIOS's memory, at a multiple of 16.
fn find(memory: &Memory, signature: &[u8]) -> u64 {
    let mut places = (0xe_0000..0x10_0000).step_by(16);
    places.find(|&at| bytes(memory, at, signature.len() as u64) == signature).expect("the table is there")
}

/// Every ACPI table that the RSDT and the XSDT name, by signature, and what the FADT names.
fn acpi_tables(memory: &Memory) -> BTreeMap<String, u64> {
    let rsdp = find(memory, b"RSD PTR ");
    assert_eq!((sum(bytes(memory, rsdp, 20)), sum(bytes(memory, rsdp, 36))), (0, 0));
    let (rsdt, xsdt) = (u64::from(u32_at(memory, rsdp + 16)), u64_at(memory, rsdp + 24));
    let count = (u32_at(memory, rsdt + 4) - 36) / 4;
    assert_eq!(count, (u32_at(memory, xsdt + 4) - 36) / 8);
    let mut tables = vec![rsdt, xsdt];
    for index in 0..u64::from(count) {
        let address = u64_at(memory, xsdt + 36 + 8 * index);
        assert_eq!(address, u64::from(u32_at(memory, rsdt + 36 + 4 * index)));
        tables.push(address);
    }
    let fadt = tables.iter().copied().find(|&at| bytes(memory, at, 4) == b"FACP").expect("there is a FADT");
    tables.push(u32_at(memory, fadt + 40).into());
    for &table in &tables {
        let length = u32_at(memory, table + 4);
        assert!(length >= 36);
        assert_eq!(sum(bytes(memory, table, length.into())), 0, "the checksum of the table at {table:#x}");
    }
    let name = |at| String::from_utf8_lossy(bytes(memory, at, 4)).into_owned();
    tables.into_iter().map(|at| (name(at), at)).collect()
}

/// The entries of the MADT: type and content.
fn madt(memory: &Memory) -> Vec<(u8, Vec<u8>)> {
    let table = acpi_tables(memory)["APIC"];
    let end = table + u64::from(u32_at(memory, table + 4));
    let mut entries = Vec::new();
    let mut at = table + 44;
    while at < end {
        let [kind, length] = bytes(memory, at, 2).try_into().expect("two bytes");
        entries.push((kind, bytes(memory, at + 2, u64::from(length) - 2).to_vec()));
        at += u64::from(length);
    }
    assert_eq!(at, end);
    entries
}

#[test]
fn the_bios_data_area_says_where_things_are() {
    let memory = memory_of(2);
    assert_eq!(u16_at(&memory, 0x400), 0x3f8);
    assert_eq!(u16_at(&memory, 0x40e), 0x9fc0);
    assert_eq!(u16_at(&memory, 0x413), 639);
    assert_eq!((u16_at(&memory, 0x41a), u16_at(&memory, 0x41c)), (0x1e, 0x1e));
    assert_eq!(bytes(&memory, 0x9_fc00, 1), [1]);
}

#[test]
fn the_mp_table_lists_every_core_and_the_interrupts() {
    for cores in [1, 2, 64] {
        let memory = memory_of(cores);
        let pointer = find(&memory, b"_MP_");
        assert_eq!(sum(bytes(&memory, pointer, 16)), 0);
        let table = u64::from(u32_at(&memory, pointer + 4));
        assert_eq!(bytes(&memory, table, 4), b"PCMP");
        let length = u64::from(u16_at(&memory, table + 4));
        assert_eq!(sum(bytes(&memory, table, length)), 0);
        assert_eq!(u32_at(&memory, table + 36), 0xfee0_0000);
        let (mut at, mut kinds, mut pins) = (table + 44, [0; 5], BTreeMap::new());
        for _ in 0..u16_at(&memory, table + 34) {
            let entry = bytes(&memory, at, 8);
            kinds[usize::from(entry[0])] += 1;
            match entry[0] {
                0 => {
                    assert_eq!((entry[1], entry[3] & 2 != 0), (kinds[0] - 1, entry[1] == 0), "core and bootstrap flag")
                }
                2 => assert_eq!((entry[1], u32_at(&memory, at + 4)), (cores, 0xfec0_0000)),
                3 => _ = pins.insert(entry[5], (entry[6], entry[7])),
                _ => (),
            }
            at += if entry[0] == 0 { 20 } else { 8 };
        }
        assert_eq!(at, table + length, "the entries fill the table");
        assert_eq!(kinds, [cores, 1, 1, 15, 2]);
        assert_eq!((pins[&0], pins[&1], pins.get(&2), pins[&15]), ((cores, 2), (cores, 1), None, (cores, 15)));
    }
}

#[test]
fn the_madt_lists_every_core_and_the_timers_override() {
    for cores in [1, 3, 64] {
        let entries = madt(&memory_of(cores));
        let ids: Vec<u8> = entries.iter().filter(|(kind, _)| *kind == 0).map(|(_, entry)| entry[1]).collect();
        assert_eq!(ids, (0..cores).collect::<Vec<_>>());
        assert!(entries.contains(&(1, vec![cores, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0])), "the I/O APIC: {entries:x?}");
        assert!(entries.contains(&(2, vec![0, 0, 2, 0, 0, 0, 0, 0])), "IRQ 0 is on pin 2: {entries:x?}");
        assert!(entries.contains(&(4, vec![0xff, 0, 0, 1])), "LINT1 is the NMI: {entries:x?}");
    }
}

#[test]
fn the_fadt_names_dsdt_and_facs_and_no_power_management() {
    let memory = memory_of(2);
    let tables = acpi_tables(&memory);
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["APIC", "DSDT", "FACP", "RSDT", "XSDT"]);
    let fadt = tables["FACP"];
    let facs = u64::from(u32_at(&memory, fadt + 36));
    assert_eq!((bytes(&memory, facs, 4), u32_at(&memory, facs + 4), facs % 64), (&b"FACS"[..], 64, 0));
    assert_eq!((u32_at(&memory, fadt + 4), bytes(&memory, fadt + 8, 1)[0]), (244, 3));
    assert_eq!(u64_at(&memory, fadt + 140), tables["DSDT"]);
    assert_eq!(u16_at(&memory, fadt + 46), 9, "the SCI");
    assert!(bytes(&memory, fadt + 48, 40).iter().all(|&byte| byte == 0), "no power management ports");
    assert_eq!(u32_at(&memory, fadt + 112) & 1 << 20, 0, "the hardware is not reduced");
    assert_eq!(u16_at(&memory, fadt + 109), 3, "legacy devices and an 8042");
}

#[test]
fn a_native_guest_finds_the_same_tables_unless_it_lies_over_them() {
    let native = state(&Image::from_flat("raw", vec![0xf4]), &Settings::default()).memory;
    let kernel = memory_of(2);
    assert_eq!(bytes(&native, 0xf_6000, 0x3000), bytes(&kernel, 0xf_6000, 0x3000));
    let low = super::elf::Part { size: 0x1000, ..super::elf::Part::load(0xf_6000, 0xf_6000, vec![0xf4]) };
    let image = Image::from_elf("low", super::elf::elf32(0xf_6000, &[low])).expect("it is well formed");
    let memory = state(&image, &Settings::default()).memory;
    assert_eq!(bytes(&memory, 0xf_6000, 4), [0xf4, 0, 0, 0]);
    assert_eq!(bytes(&memory, 0xf_7000, 8), b"RSD PTR ");
}
