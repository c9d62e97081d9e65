//! PVH kernels.

use super::elf::{Part, elf32, elf64};
use super::memory::{bytes, rbx, state, sum, text, u32_at, u64_at};
use fencepost::loader::{Image, Protocol};
use fencepost::machine::Settings;

/// A kernel with Xen's note, entered at 1 MiB.
pub(crate) fn kernel() -> Vec<u8> {
    let code = Part::load(0x10_0000, 0xffff_ffff_8100_0000, vec![0xf4; 16]);
    elf64(0xffff_ffff_8100_0008, &[code, Part::note(b"Xen", 18, &0x10_0004_u64.to_le_bytes())])
}

#[test]
fn it_is_entered_where_its_note_says_with_the_start_information_in_ebx() {
    let image = Image::recognise("vmlinux", kernel()).expect("it is well formed");
    assert_eq!(image.protocol(), Protocol::Pvh);
    let image = image.with_module("initrd", vec![5; 5000]);
    let state = state(&image, &Settings { command_line: "root=/dev/ram".into(), ..Settings::default() });
    let (memory, information) = (&state.memory, rbx(&state.cores[0]));
    let cpu = &state.cores[0].cpu;
    assert_eq!((cpu.rip, cpu.cr0, cpu.cr4), (0x10_0004, 0x11, 0));
    let words = [0, 4, 8, 12].map(|offset| u32_at(memory, information + offset));
    assert_eq!(words, [0x336e_c578, 1, 0, 1]);
    let [modules, command_line, rsdp, map] = [16, 24, 32, 40].map(|offset| u64_at(memory, information + offset));
    assert_eq!(text(memory, command_line), "root=/dev/ram");
    assert_eq!(bytes(memory, rsdp, 8), b"RSD PTR ");
    assert_eq!(sum(bytes(memory, rsdp, 36)), 0);
    assert_eq!((u64_at(memory, modules + 8), text(memory, u64_at(memory, modules + 16))), (5000, "initrd".into()));
    assert_eq!(bytes(memory, u64_at(memory, modules), 5000), [5; 5000]);
    assert_eq!(u32_at(memory, information + 48), 6);
    assert_eq!((u64_at(memory, map), u64_at(memory, map + 8), u32_at(memory, map + 16)), (0, 0x9_fc00, 1));
}

#[test]
fn a_note_of_4_bytes_will_do_and_other_notes_make_no_kernel() {
    let code = || Part::load(0x10_0000, 0x10_0000, vec![0xf4; 16]);
    let entry = 0x10_0008_u32.to_le_bytes();
    let image = Image::recognise("kernel", elf32(0x10_0000, &[code(), Part::note(b"Xen", 18, &entry)]));
    assert_eq!(image.expect("it is well formed").entry(), 0x10_0008);
    for note in [Part::note(b"Xen", 17, &entry), Part::note(b"GNU", 18, &entry)] {
        let image = Image::recognise("program", elf32(0x10_0000, &[code(), note])).expect("it is well formed");
        assert_eq!(image.protocol(), Protocol::Native);
    }
}
