//! What goes into a machine beside the image, and which protocol a file gets.

use super::elf::{Part, elf32};
use super::memory::{bytes, rbx, refusal, state, text, u32_at};
use super::{multiboot, multiboot2, pvh};
use fencepost::loader::{Image, Protocol};
use fencepost::machine::Settings;

fn recognise(file: Vec<u8>) -> Image {
    Image::recognise("image", file).expect("it is well formed")
}

/// A sector with a boot sector's signature.
fn sector() -> Vec<u8> {
    let mut sector = vec![0xf4; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn a_multiboot_kernel_is_told_where_its_modules_are() {
    let image =
        recognise(multiboot::kernel(0x10_0000)).with_module("one 1", vec![1; 10]).with_module("two", vec![2; 20]);
    let state = state(&image, &Settings::default());
    let (memory, information) = (&state.memory, rbx(&state.cores[0]));
    assert_eq!(u32_at(memory, information + 20), 2);
    let list = u64::from(u32_at(memory, information + 24));
    for (index, (name, content)) in [("one 1", &[1; 10][..]), ("two", &[2; 20])].into_iter().enumerate() {
        let [start, end, string] = [0, 4, 8].map(|offset| u32_at(memory, list + 16 * index as u64 + offset));
        assert_eq!(bytes(memory, start.into(), (end - start).into()), content);
        assert_eq!((start % 4096, text(memory, string.into())), (0, name.to_owned()));
    }
}

#[test]
fn the_hash_covers_modules_and_disks() {
    let plain = recognise(multiboot::kernel(0x10_0000));
    let variants = [
        plain.clone(),
        plain.clone().with_module("a", vec![1]),
        plain.clone().with_module("b", vec![1]),
        plain.clone().with_module("a", vec![2]),
        plain.clone().with_disk(vec![1]),
        plain.clone().with_disk(vec![2]),
    ];
    for (index, variant) in variants.iter().enumerate() {
        assert!(
            variants[..index].iter().all(|other| other.hash() != variant.hash()),
            "variant {index} has its own hash"
        );
    }
    let from_elf = Image::from_elf("image", multiboot::kernel(0x10_0000)).expect("it is an executable");
    assert_eq!(plain.hash(), from_elf.hash(), "without any it is the file's");
}

#[test]
fn a_boot_sectors_own_disk_comes_first() {
    let disk = [sector(), vec![3; 1024]].concat();
    let image = recognise(disk.clone()).with_disk(vec![4; 512]);
    assert_eq!(image.disks().iter().map(|disk| disk.to_vec()).collect::<Vec<_>>(), [disk, vec![4; 512]]);
    assert!(recognise(multiboot::kernel(0x10_0000)).disks().is_empty());
}

#[test]
fn what_does_not_fit_the_protocol_or_the_machine_is_refused() {
    let settings = Settings::default();
    let native = Image::from_flat("raw", vec![0xf4]).with_module("m", vec![1]);
    assert!(refusal(&native, &settings).contains("knows no modules"));
    let many = recognise(sector()).with_disk(vec![1]).with_disk(vec![2]);
    assert!(refusal(&many, &settings).contains("3 disks"));
    let large = recognise(multiboot::kernel(0x10_0000)).with_module("m", vec![1; 8 << 20]);
    assert!(refusal(&large, &settings).contains("--ram"));
}

#[test]
fn the_first_protocol_that_applies_counts() {
    assert_eq!(recognise(pvh::kernel()).protocol(), Protocol::Pvh);
    assert_eq!(recognise(multiboot2::kernel(&[])).protocol(), Protocol::Multiboot2);
    // Multiboot before PVH, as QEMU has it.
    let header = [0x1bad_b002, 0, 0xe452_4ffe_u32].map(u32::to_le_bytes).concat();
    let note = || Part::note(b"Xen", 18, &0x10_0000_u32.to_le_bytes());
    let both = elf32(0x10_0000, &[Part::load(0x10_0000, 0x10_0000, header.clone()), note()]);
    assert_eq!(recognise(both).protocol(), Protocol::Multiboot);
    // PVH before Multiboot 2.
    let both = [pvh::kernel(), multiboot2::kernel(&[])].concat();
    assert_eq!(recognise(both).protocol(), Protocol::Pvh);
    // A kernel further inside a disk does not make it a kernel.
    assert_eq!(recognise([sector(), header].concat()).protocol(), Protocol::BootSector);
}

#[test]
fn a_bzimage_is_refused_with_the_way_out() {
    let mut file = [sector(), vec![0; 512]].concat();
    file[0x202..0x206].copy_from_slice(b"HdrS");
    let message = Image::recognise("bzImage", file).expect_err("it is no boot sector").to_string();
    assert!(message.contains("vmlinux"), "{message}");
}
