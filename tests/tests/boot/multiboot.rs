//! Multiboot, version 1.

use super::elf::{Part, elf32, elf64};
use super::memory::{bytes, rax, rbx, refusal, state, text, u32_at, u64_at};
use fencepost::core::Activity;
use fencepost::core::cpu_state::SegmentName;
use fencepost::loader::{Format, Image, Protocol};
use fencepost::machine::Settings;
use fencepost::memory::Memory;
use fencepost::testbench::Testbench;

const MAGIC: u32 = 0x1bad_b002;

/// A header with `flags` and its address fields.
fn header(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let mut words = vec![MAGIC, flags, 0_u32.wrapping_sub(MAGIC).wrapping_sub(flags)];
    words.extend(addresses);
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// mov eax, ebx; out 0xf4, al; hlt: behind the header, at offset 12.
const CODE: [u8; 5] = [0x89, 0xd8, 0xe6, 0xf4, 0xf4];

/// A kernel at physical address 1 MiB, linked for `virtual_address` and entered there.
pub(crate) fn kernel(virtual_address: u32) -> Vec<u8> {
    let content = [header(3, &[]), CODE.to_vec()].concat();
    let part = Part { size: 0x3000, ..Part::load(0x10_0000, virtual_address.into(), content) };
    elf32(virtual_address + 12, &[part])
}

fn open(file: Vec<u8>) -> Image {
    Image::recognise("folder/kernel name.elf", file).expect("the kernel is well formed")
}

fn settings() -> Settings {
    Settings { command_line: "console=ttyS0 -v".into(), ..Settings::default() }
}

/// The boot information's memory map: base, bytes, kind.
fn map(memory: &Memory, information: u64) -> Vec<(u64, u64, u32)> {
    let (length, start) = (u32_at(memory, information + 44), u64::from(u32_at(memory, information + 48)));
    let mut map = Vec::new();
    let mut at = start;
    while at < start + u64::from(length) {
        map.push((u64_at(memory, at + 4), u64_at(memory, at + 12), u32_at(memory, at + 20)));
        at += 4 + u64::from(u32_at(memory, at));
    }
    map
}

#[test]
fn it_enters_32_bit_protected_mode_with_the_boot_information_in_ebx() {
    let image = open(kernel(0x10_0000));
    assert_eq!((image.protocol(), image.format()), (Protocol::Multiboot, Format::Elf32));
    let state = state(&image, &settings());
    let cpu = &state.cores[0].cpu;
    assert_eq!(rax(&state.cores[0]), 0x2bad_b002);
    assert_eq!((cpu.rip, cpu.cr0, cpu.cr4, cpu.efer, cpu.rflags), (0x10_000c, 0x11, 0, 0, 2));
    for name in [SegmentName::Cs, SegmentName::Ds, SegmentName::Es, SegmentName::Fs, SegmentName::Gs, SegmentName::Ss] {
        let segment = cpu.segment(name);
        assert_eq!((segment.base, segment.limit), (0, u32::MAX), "{name:?} is flat");
    }
    assert_eq!(state.cores[1].activity, Activity::AwaitsStartUp);
}

#[test]
fn the_boot_information_has_memory_command_line_map_and_loader() {
    let state = state(&open(kernel(0x10_0000)), &settings());
    let (memory, information) = (&state.memory, rbx(&state.cores[0]));
    let field = |offset| u32_at(memory, information + offset);
    assert_eq!(field(0), 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    assert_eq!((field(4), field(8)), (639, 7 << 10));
    assert_eq!(text(memory, field(16).into()), "kernel_name.elf console=ttyS0 -v");
    assert_eq!(field(20), 0, "there are no modules");
    assert_eq!(text(memory, field(64).into()), "fencepost");
    let map = map(memory, information);
    assert_eq!(map[0], (0, 0x9_fc00, 1));
    assert!(map.contains(&(0x10_0000, 7 << 20, 1)), "RAM above 1 MiB is free: {map:x?}");
    assert!(information >= 0x10_3000, "it lies behind the kernel and its zeroes");
}

#[test]
fn the_kernel_runs() {
    let image = open(kernel(0x10_0000));
    let information = rbx(&state(&image, &Settings::default()).cores[0]);
    let run = Testbench::image(image).cores(2).run().expect("the image fits");
    assert_eq!(run.exit_code(), Some(information as u8));
}

#[test]
fn a_virtual_entry_point_is_made_physical_and_symbols_keep_theirs() {
    let image = open(kernel(0x8010_0000));
    assert_eq!(image.entry(), 0x10_000c);
    assert_eq!((image.segments()[0].address, image.segments()[0].virtual_address), (0x10_0000, 0x8010_0000));
    assert_eq!(bytes(&state(&image, &settings()).memory, 0x10_000c, 5), CODE);
}

#[test]
fn a_physical_entry_point_stays() {
    let content = [header(0, &[]), CODE.to_vec()].concat();
    let image = open(elf32(0x10_000c, &[Part::load(0x10_0000, 0x8010_0000, content)]));
    assert_eq!(image.entry(), 0x10_000c);
}

#[test]
fn a_64_bit_kernel_is_entered_in_32_bit_mode() {
    let content = [header(0, &[]), CODE.to_vec()].concat();
    let virtual_address = 0xffff_ffff_8010_0000;
    let image = open(elf64(virtual_address + 12, &[Part::load(0x10_0000, virtual_address, content)]));
    assert_eq!((image.format(), image.entry()), (Format::Elf64, 0x10_000c));
    assert_eq!(state(&image, &settings()).cores[0].cpu.efer, 0);
}

#[test]
fn a_header_with_addresses_loads_any_file() {
    // 16 bytes before the header; it goes to 0x200010, and zeroes follow up to 0x200100.
    let addresses = [0x20_0010, 0x20_0000, 0x20_0000 + 16 + 32 + 5, 0x20_0100, 0x20_0030];
    let file = [vec![0x90; 16], header(1 << 16, &addresses), CODE.to_vec(), vec![0xee; 8]].concat();
    let image = open(file);
    assert_eq!((image.format(), image.entry()), (Format::Flat, 0x20_0030));
    let [segment] = image.segments() else { panic!("one segment is loaded") };
    assert_eq!((segment.address, segment.bytes.len(), segment.size), (0x20_0000, 53, 0x100));
    assert_eq!(bytes(&state(&image, &settings()).memory, 0x20_0030, 5), CODE);
}

#[test]
fn a_segment_over_the_firmwares_tables_or_beyond_ram_is_refused_by_its_address() {
    for (address, word) in [(0x0_u64, "vectors"), (0x9_f000, "video"), (0xb_8000, "video"), (0xf_6000, "firmware")] {
        let far = Part { size: 0x1000, ..Part::load(address, address, vec![0xf4]) };
        let file = elf32(0x10_000c, &[Part::load(0x10_0000, 0x10_0000, [header(0, &[]), CODE.to_vec()].concat()), far]);
        let message = refusal(&open(file), &settings());
        assert!(message.contains(word) && message.contains(&format!("{address:#x}")), "{message}");
    }
    let high = Part::load(8 << 20, 8 << 20, vec![0xf4]);
    let file = elf32(0x10_000c, &[Part::load(0x10_0000, 0x10_0000, [header(0, &[]), CODE.to_vec()].concat()), high]);
    let message = refusal(&open(file), &settings());
    assert!(message.contains("0x800000") && message.contains("--ram"), "{message}");
}

#[test]
fn a_segment_of_elf_headers_below_the_kernel_is_named_with_the_way_out() {
    let kernel = || Part::load(0x10_0000, 0x10_0000, [header(0, &[]), CODE.to_vec()].concat());
    let message = |content: &[u8]| {
        let below = Part::load(0xf_f000, 0xf_f000, content.to_vec());
        refusal(&open(elf32(0x10_000c, &[kernel(), below])), &settings())
    };
    let headers = message(b"\x7fELF and so on");
    assert!(headers.contains("ELF headers") && headers.contains("-Wl,-n"), "{headers}");
    let other = message(b"something else");
    assert!(other.contains("link it elsewhere") && !other.contains("-Wl,-n"), "{other}");
}

#[test]
fn what_a_header_requires_and_is_unknown_is_refused() {
    let file = elf32(0x10_000c, &[Part::load(0x10_0000, 0x10_0000, [header(1 << 5, &[]), CODE.to_vec()].concat())]);
    let message = Image::recognise("kernel", file).expect_err("the feature is unknown").to_string();
    assert!(message.contains("0x20"), "{message}");
}

#[test]
fn a_wrong_checksum_is_no_header() {
    let mut content = [header(3, &[]), CODE.to_vec()].concat();
    content[8] ^= 1;
    let image = open(elf32(0x10_000c, &[Part::load(0x10_0000, 0x10_0000, content)]));
    assert_eq!(image.protocol(), Protocol::Native);
}
