//! The guest's image: code, and the tables that interruptions go through, most of it right.

use super::gadgets::{self, Entries};
use crate::guest::{HEADERS, elf_32};
use crate::random::Random;
use fencepost::loader::{FLAT_BASE, Image};

/// Where data begins, behind the code.
pub(super) const DATA: u64 = FLAT_BASE + 0x8000;
const IDT: u64 = DATA;
const GDT: u64 = DATA + 0x1000;
/// Limit and base of the IDT, and of the GDT.
pub(super) const IDT_POINTER: u64 = GDT + 0x200;
pub(super) const GDT_POINTER: u64 = GDT + 0x210;
/// Task state segments: of the kernel, of another task, and of one with 16 bits.
const TASKS: [u64; 3] = [GDT + 0x400, GDT + 0x500, GDT + 0x600];
/// Code in real mode and its vectors, which are copied to where a start-up message finds them.
pub(super) const REAL_MODE: u64 = DATA + 0x2000;
pub(super) const REAL_MODE_VECTORS: u64 = DATA + 0x3000;
/// Page tables, [`ROOTS`] sets of them.
const PAGES: u64 = DATA + 0x4000;
const PAGES_OF_A_SET: u64 = 5;
pub(super) const ROOTS: u64 = 4;
/// Pages whose entries guests change: of code, of data and stacks, of the IDT.
pub(super) const PAGES_THAT_MOVE: [u64; 8] = [0x100, 0x101, 0x108, 0x180, 0x181, 0x182, 0x183, 0x184];
/// The page at which real mode starts.
pub(super) const START_PAGE: u64 = 8;

/// Selectors of the GDT: what there is, in order; those of users have level 3.
pub(super) const SELECTORS: [u16; 13] =
    [0, 0x08, 0x10, 0x18, 0x20 | 3, 0x28 | 3, 0x30 | 3, 0x38, 0x48, 0x50, 0x58 | 3, 0x60, 0x68];

/// Where page table set `index` begins, as CR3 says it.
pub(super) fn root(index: u64) -> u64 {
    PAGES + 0x1000 * PAGES_OF_A_SET * index
}

/// The address of the entry for `page`, one of the first 512, in page table set `set`.
pub(super) fn entry(bits: u32, set: u64, page: u64) -> u64 {
    if bits == 64 { root(set) + 0x3000 + 8 * page } else { root(set) + 0x1000 + 4 * page }
}

/// The guest for `bits` (64 or 32).
pub(super) fn image(bits: u32, random: &mut Random) -> Image {
    let headers = if bits == 64 { 0 } else { u64::from(HEADERS) };
    let (mut bytes, entries) = gadgets::code(bits, FLAT_BASE + headers, random);
    let (real_code, real_entries) = gadgets::code(16, 0, random);
    bytes.resize((DATA - FLAT_BASE - headers) as usize, 0);
    let mut data = vec![0; (root(ROOTS) - DATA) as usize];
    let mut put = |at: u64, bytes: &[u8]| data[(at - DATA) as usize..][..bytes.len()].copy_from_slice(bytes);
    put(IDT, &idt(bits, &entries, random));
    put(GDT, &gdt(bits, &entries, random));
    let limit = |random: &mut Random, right: u16| if random.one_in(16) { random.next() as u16 } else { right };
    put(IDT_POINTER, &pointer(limit(random, if bits == 64 { 0xfff } else { 0x7ff }), IDT));
    put(GDT_POINTER, &pointer(limit(random, 0x6f), GDT));
    for (index, at) in TASKS.into_iter().enumerate() {
        put(at, &task(bits, index, &entries, random));
    }
    put(REAL_MODE, &real_code[..real_code.len().min(0x1000)]);
    put(REAL_MODE_VECTORS, &vectors(&real_entries, random));
    for set in 0..ROOTS {
        let pages = if bits == 64 { pages_64(root(set), random) } else { pages_32(root(set), random) };
        put(root(set), &pages);
    }
    bytes.extend(data);
    if bits == 64 {
        Image::from_flat("interrupts", bytes)
    } else {
        Image::from_elf("interrupts", elf_32(&bytes)).expect("the header is right")
    }
}

fn pointer(limit: u16, base: u64) -> Vec<u8> {
    [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat()
}

/// Where vector `vector` leads: exceptions to a new beginning, interrupts to an end of interrupt, now and then elsewhere.
fn entry_for(vector: usize, entries: &Entries, random: &mut Random) -> u64 {
    let usual = if vector < 32 { &entries.restarts } else { &entries.acknowledges };
    let from = if random.one_in(8) { &entries.others } else { usual };
    random.pick(from)
}

fn idt(bits: u32, entries: &Entries, random: &mut Random) -> Vec<u8> {
    (0..256).flat_map(|vector| gate(bits, entry_for(vector, entries, random), random)).collect()
}

fn gate(bits: u32, to: u64, random: &mut Random) -> Vec<u8> {
    let (mut selector, mut attributes): (u16, u16) = (if bits == 64 { 8 } else { 0x18 }, 0x8e00);
    match random.below(40) {
        0 => selector = random.pick(&SELECTORS),
        1 => attributes = random.next() as u16,
        2 => attributes &= 0x7fff,
        3 => attributes |= 1 << 8,
        // A stack of the interrupt stack table, or reserved bits.
        4 | 5 => attributes |= 1 + random.below(7) as u16,
        // A task gate.
        6 | 7 if bits == 32 => (selector, attributes) = (random.pick(&[0x48, 0x48, 0x50, 0x38]), 0xe500),
        _ => (),
    }
    if random.one_in(3) {
        attributes |= 3 << 13;
    }
    let mut bytes = Vec::new();
    for half in [to as u16, selector, attributes, (to >> 16) as u16] {
        bytes.extend(half.to_le_bytes());
    }
    if bits == 64 {
        let high = if random.one_in(200) { random.next() as u32 } else { 0 };
        bytes.extend(high.to_le_bytes());
        bytes.extend([0; 4]);
    }
    bytes
}

fn gdt(bits: u32, entries: &Entries, random: &mut Random) -> Vec<u8> {
    let system = |kind: u64, base: u64, limit: u64| {
        limit | (base & 0xff_ffff) << 16 | kind << 40 | 0x80 << 40 | (base >> 24 & 0xff) << 56
    };
    let kinds = if bits == 64 { [9, 9, 9] } else { [9, 9, 1] };
    let gate = random.pick(&entries.restarts);
    let call_gate = gate & 0xffff | 0x18 << 16 | 0xec << 40 | (gate >> 16 & 0xffff) << 48;
    let descriptors = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_9b00_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        system(kinds[0], TASKS[0], 0x67),
        0,
        system(kinds[1], TASKS[1], 0x67),
        system(kinds[2], TASKS[2], if kinds[2] == 1 { 0x2b } else { 0x67 }),
        call_gate,
        random.next(),
        // Code that is not present.
        0x00cf_1b00_0000_ffff,
    ];
    descriptors.iter().flat_map(|descriptor: &u64| descriptor.to_le_bytes()).collect()
}

/// A task state segment: with stacks for level 0, and in 32 bits all that a task needs.
fn task(bits: u32, index: usize, entries: &Entries, random: &mut Random) -> Vec<u8> {
    let stack = |random: &mut Random| {
        if random.one_in(12) { random.limit() } else { 0x18_4000 + 0x400 * (1 + random.below(8)) }
    };
    let mut bytes = vec![0; 0x68];
    if bits == 64 {
        for at in [4, 0xc, 0x14, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54] {
            let value = stack(random);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        return bytes;
    }
    let selector = |random: &mut Random, right: u16| if random.one_in(24) { random.pick(&SELECTORS) } else { right };
    let entry = random.pick(&entries.restarts);
    if index == 2 {
        // Of 16 bits: link, three stacks, IP at 14, flags, eight registers, ES, CS, SS, DS, LDT.
        let words = [0, 0x6000, 0x10, 0x6000, 0x10, 0x6000, 0x10, entry as u16, 2, 1, 2, 3, 4, 0x5ff0, 6, 7, 8];
        let segments = [0x10, 0x18, 0x10, 0x10].map(|right| selector(random, right));
        for (at, word) in words.into_iter().chain(segments).enumerate() {
            bytes[2 * at..2 * at + 2].copy_from_slice(&word.to_le_bytes());
        }
        return bytes;
    }
    let cr3 = root(random.below(ROOTS)) as u32;
    let mut words: Vec<u32> = vec![random.pick(&[0, 0, 0x38, 0x48])];
    words.extend((0..3).flat_map(|_| [stack(random) as u32, 0x10]));
    words.extend([cr3, entry as u32, random.pick(&[2, 0x202, 0x4202, 0x102])]);
    words.extend([1, 2, 3, 4, stack(random) as u32, 6, 7, 8]);
    words.extend([0x10, 0x18, 0x10, 0x10, 0x10, 0x10].map(|right| u32::from(selector(random, right))));
    words.extend([0, 0x68 << 16 | u32::from(random.one_in(16))]);
    for (at, word) in words.into_iter().enumerate() {
        bytes[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The vectors of real mode, at address 0.
fn vectors(entries: &Entries, random: &mut Random) -> Vec<u8> {
    let segment = (START_PAGE << 8) as u16;
    let entry = |vector: usize, random: &mut Random| {
        let (to, segment) = match random.below(40) {
            0 => (random.next() as u16, segment),
            1 => (random.next() as u16, random.next() as u16),
            _ => (entry_for(vector, entries, random) as u16, segment),
        };
        [to.to_le_bytes(), segment.to_le_bytes()].concat()
    };
    (0..256).flat_map(|vector| entry(vector, random)).collect()
}

const PRESENT: u64 = 1;
/// Always set: an engine that translates code ahead sets it early, as processors may, and each sets it at its own time.
pub(super) const ACCESSED_AND_DIRTY: u64 = 0x60;
const USABLE: u64 = PRESENT | 2 | 4 | ACCESSED_AND_DIRTY;
const LARGE: u64 = 1 << 7;

/// The flags of a page: all rights, or few, or any.
fn flags(random: &mut Random) -> u64 {
    match random.below(120) {
        0 => 0,
        1 => PRESENT | ACCESSED_AND_DIRTY,
        2 => random.next() & 0x1ff | ACCESSED_AND_DIRTY,
        3 | 4 => USABLE & !4,
        _ => USABLE,
    }
}

/// Root, pointers, directory of the first GiB, its first table, directory of the fourth GiB.
fn pages_64(at: u64, random: &mut Random) -> Vec<u8> {
    let table = |index: u64| (at + 0x1000 * index) | USABLE;
    let mut entries = vec![0u64; 5 * 512];
    (entries[0], entries[512], entries[512 + 3], entries[1024]) = (table(1), table(2), table(4), table(3));
    for page in 0..512 {
        let no_execute = if random.one_in(120) { 1 << 63 } else { 0 };
        entries[1536 + page] = (page as u64) << 12 | flags(random) | no_execute;
        entries[2048 + page] = 3 << 30 | (page as u64) << 21 | LARGE | USABLE;
    }
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// A directory of 4 MiB pages, and the table of its first 4 MiB.
fn pages_32(at: u64, random: &mut Random) -> Vec<u8> {
    let mut entries = vec![0u32; 2 * 1024];
    for page in 0..1024 {
        entries[page] = ((page as u64) << 22 | LARGE | USABLE) as u32;
        entries[1024 + page] = ((page as u64) << 12 | flags(random)) as u32;
    }
    entries[0] = ((at + 0x1000) | USABLE) as u32;
    entries.into_iter().flat_map(u32::to_le_bytes).collect()
}
