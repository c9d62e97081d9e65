//! Multiboot, version 2.

use super::elf::{Part, elf32};
use super::memory::{bytes, rax, rbx, state, sum, text, u32_at, u64_at};
use fencepost::loader::{Image, LoadError, Protocol};
use fencepost::machine::Settings;
use fencepost::memory::Memory;
use std::collections::BTreeMap;

const MAGIC: u32 = 0xe852_50d6;
const REQUIRED: u16 = 0;
const OPTIONAL: u16 = 1;

/// A header with tags of a type, flags and words.
fn header(tags: &[(u16, u16, &[u32])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, flags, words) in tags.iter().chain(&[(0, 0, &[][..])]) {
        body.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
        body.extend((8 + 4 * words.len() as u32).to_le_bytes());
        words.iter().for_each(|word| body.extend(word.to_le_bytes()));
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let length = 16 + body.len() as u32;
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(length);
    [[MAGIC, 0, length, checksum].map(u32::to_le_bytes).concat(), body].concat()
}

/// An ELF kernel at 1 MiB with such a header at its beginning, where the file's offset is a multiple of 8.
pub(crate) fn kernel(tags: &[(u16, u16, &[u32])]) -> Vec<u8> {
    let content = [vec![0; 4], header(tags), vec![0xf4]].concat();
    let size = content.len() as u64;
    // The program's headers end at offset 84.
    elf32(0x10_0003, &[Part { size, ..Part::load(0x10_0000, 0x10_0000, content) }])
}

fn open(tags: &[(u16, u16, &[u32])]) -> Result<Image, LoadError> {
    Image::recognise("kernel", kernel(tags))
}

/// The tags of the boot information: where their content begins.
fn tags(memory: &Memory, information: u64) -> BTreeMap<u32, Vec<u64>> {
    let end = information + u64::from(u32_at(memory, information));
    let mut tags: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut at = information + 8;
    while at < end {
        tags.entry(u32_at(memory, at)).or_default().push(at + 8);
        at += u64::from(u32_at(memory, at + 4)).next_multiple_of(8);
    }
    assert_eq!(at, end, "the tags end where the information does");
    tags
}

#[test]
fn the_boot_information_is_a_list_of_tags() {
    let image = open(&[(1, REQUIRED, &[1, 3, 6])]).expect("it is well formed");
    assert_eq!(image.protocol(), Protocol::Multiboot2);
    let image = image.with_module("data one", vec![7; 100]).with_module("two", vec![8; 10]);
    let state = state(&image, &Settings { command_line: "a b".into(), ..Settings::default() });
    let (memory, information) = (&state.memory, rbx(&state.cores[0]));
    assert_eq!(rax(&state.cores[0]), 0x36d7_6289);
    assert_eq!(information % 8, 0);
    let tags = tags(memory, information);
    assert_eq!(tags.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 14, 15]);
    assert_eq!(text(memory, tags[&1][0]), "a b");
    assert_eq!(text(memory, tags[&2][0]), "fencepost");
    assert_eq!((u32_at(memory, tags[&4][0]), u32_at(memory, tags[&4][0] + 4)), (639, 7 << 10));
    let [first, second] = tags[&3][..] else { panic!("there are two modules") };
    assert_eq!((text(memory, first + 8), text(memory, second + 8)), ("data one".into(), "two".into()));
    let range = u32_at(memory, first)..u32_at(memory, first + 4);
    assert_eq!((range.start % 4096, bytes(memory, range.start.into(), 100)), (0, &[7; 100][..]));
    assert_eq!(range.len(), 100);
    assert_eq!((u32_at(memory, tags[&6][0]), u64_at(memory, tags[&6][0] + 8 + 8)), (24, 0x9_fc00));
    assert_eq!((sum(bytes(memory, tags[&14][0], 20)), sum(bytes(memory, tags[&15][0], 36))), (0, 0));
}

#[test]
fn an_entry_address_tag_wins_over_the_elf_header() {
    let image = open(&[(3, REQUIRED, &[0x10_0002])]).expect("it is well formed");
    assert_eq!(image.entry(), 0x10_0002);
}

#[test]
fn an_address_tag_loads_any_file() {
    let addresses = [0x20_0000, 0x20_0000, 0, 0x20_1000];
    let file = header(&[(2, REQUIRED, &addresses), (3, REQUIRED, &[0x20_0004])]);
    let image = Image::recognise("raw", file.clone()).expect("it is well formed");
    assert_eq!(
        (image.entry(), image.segments()[0].bytes.len(), image.segments()[0].size),
        (0x20_0004, file.len(), 0x1000)
    );
    let without_entry = header(&[(2, REQUIRED, &addresses)]);
    let message = Image::recognise("raw", without_entry).expect_err("nobody knows where to enter").to_string();
    assert!(message.contains("entry address tag"), "{message}");
}

#[test]
fn what_it_requires_and_is_not_there_is_refused_by_its_number() {
    for (tag, number) in [((5, REQUIRED, &[80, 25, 0][..]), "5"), ((1, REQUIRED, &[8][..]), "8")] {
        let message = open(&[tag]).expect_err("it is required").to_string();
        assert!(message.contains(number) && message.contains("optional"), "{message}");
        let (kind, _, words) = tag;
        open(&[(kind, OPTIONAL, words)]).expect("it is optional");
    }
}
