//! Starting a Multiboot kernel, version 1 (Multiboot Specification 0.6.96, 3.2 and 3.3).
//!
//! The boot information has memory sizes and map, the command line, the modules and the loader's name.
//! As under QEMU's `-kernel` the command line's first word is the image's name, which kernels take for `argv[0]`.
//!
//! Left out: boot device, drives, BIOS configuration table, APM, VBE, framebuffer, and the symbols of the ELF file.

use super::handoff::{Handoff, LOADER, named_command_line};
use super::memory_map::{lower_kib, memory_map, upper_kib};
use super::{BootError, protected};
use crate::core::cpu_state::CpuState;
use crate::loader::Image;
use crate::machine::Settings;
use crate::memory::Memory;

/// What EAX says: a Multiboot loader has been here.
const LOADED: u32 = 0x2bad_b002;

/// Which fields of the information are there.
const MEMORY: u32 = 1 << 0;
const COMMAND_LINE: u32 = 1 << 2;
const MODULES: u32 = 1 << 3;
const MEMORY_MAP: u32 = 1 << 6;
const LOADER_NAME: u32 = 1 << 9;

/// Words in the information up to the framebuffer's fields.
const INFORMATION_WORDS: usize = 29;
/// Bytes of a map entry, without the word that says so.
const MAP_ENTRY_BYTES: u32 = 20;

/// Puts the kernel and its boot information into `memory`; returns the first core's registers.
pub(super) fn boot(image: &Image, settings: &Settings, memory: &mut Memory) -> Result<CpuState, BootError> {
    let mut handoff = Handoff::load(image, settings, memory)?;
    let modules = put_modules(&mut handoff)?;
    let map = map(settings);
    let fields = [
        (0, MEMORY | COMMAND_LINE | MODULES | MEMORY_MAP | LOADER_NAME),
        (1, lower_kib()),
        (2, upper_kib(settings)),
        (4, word(handoff.put_text(&named_command_line(image, settings))?)),
        (5, image.modules().len() as u32),
        (6, word(modules)),
        (11, map.len() as u32),
        (12, word(handoff.put(4, &map)?)),
        (16, word(handoff.put_text(LOADER)?)),
    ];
    let mut information = [0; INFORMATION_WORDS];
    for (index, value) in fields {
        information[index] = value;
    }
    let information = handoff.put(4, &information.map(u32::to_le_bytes).concat())?;
    Ok(protected::enter(handoff.memory(), image.entry(), LOADED, information))
}

/// The modules, and the list of them, whose address it is.
fn put_modules(handoff: &mut Handoff) -> Result<u64, BootError> {
    let mut list = Vec::new();
    for module in handoff.put_modules()? {
        let text = handoff.put_text(&module.command_line)?;
        list.extend([module.range.start, module.range.end, text, 0].map(|field| word(field).to_le_bytes()).concat());
    }
    handoff.put(4, &list)
}

fn map(settings: &Settings) -> Vec<u8> {
    let mut map = Vec::new();
    for entry in memory_map(settings) {
        let (base, bytes, kind) = entry.fields();
        map.extend(MAP_ENTRY_BYTES.to_le_bytes());
        map.extend(base.to_le_bytes());
        map.extend(bytes.to_le_bytes());
        map.extend(kind.to_le_bytes());
    }
    map
}

/// An address in the information: RAM ends below 4 GiB.
fn word(address: u64) -> u32 {
    u32::try_from(address).expect("RAM ends below 4 GiB")
}
