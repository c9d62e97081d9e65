//! Starting a Multiboot 2 kernel (Multiboot2 Specification 2.0, 3.3 to 3.6).
//!
//! The boot information is a list of tags: command line, loader's name, modules, memory sizes and map, and copies of both
//! root pointers of ACPI. The command line is what the guest is told, without the image's name, as GRUB gives it.
//!
//! Left out: all other tags; a kernel that requires one is refused when it is loaded (`loader/multiboot2.rs`).

use super::handoff::{Handoff, LOADER, terminated};
use super::memory_map::{lower_kib, memory_map, upper_kib};
use super::{BootError, acpi, protected};
use crate::core::cpu_state::CpuState;
use crate::loader::Image;
use crate::machine::Settings;
use crate::memory::Memory;
use fencepost_devices::PhysAddr;

/// What EAX says: a Multiboot 2 loader has been here.
const LOADED: u32 = 0x36d7_6289;

/// Tags of the information (3.6).
const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const LOADER_NAME: u32 = 2;
const MODULE: u32 = 3;
const MEMORY_SIZES: u32 = 4;
const MEMORY_MAP: u32 = 6;
const OLD_RSDP: u32 = 14;
const NEW_RSDP: u32 = 15;

/// Bytes of a map entry.
const MAP_ENTRY_BYTES: u32 = 24;

/// Puts the kernel and its boot information into `memory`; returns the first core's registers.
pub(super) fn boot(image: &Image, settings: &Settings, memory: &mut Memory) -> Result<CpuState, BootError> {
    let mut handoff = Handoff::load(image, settings, memory)?;
    let mut tags = Tags::default();
    tags.add(COMMAND_LINE, &terminated(&settings.command_line));
    tags.add(LOADER_NAME, &terminated(LOADER));
    for module in handoff.put_modules()? {
        let range = [module.range.start, module.range.end].map(|address| (address as u32).to_le_bytes());
        tags.add(MODULE, &[&range.concat()[..], &terminated(&module.command_line)].concat());
    }
    tags.add(MEMORY_SIZES, &[lower_kib(), upper_kib(settings)].map(u32::to_le_bytes).concat());
    tags.add(MEMORY_MAP, &map(settings));
    let mut rsdp = [0; acpi::RSDP_BYTES];
    let is_memory = handoff.memory().read(PhysAddr(acpi::RSDP), &mut rsdp);
    assert!(is_memory, "the firmware's tables are in RAM");
    tags.add(OLD_RSDP, &rsdp[..acpi::OLD_RSDP_BYTES]);
    tags.add(NEW_RSDP, &rsdp);
    let information = handoff.put(8, &tags.finish())?;
    Ok(protected::enter(handoff.memory(), image.entry(), LOADED, information))
}

fn map(settings: &Settings) -> Vec<u8> {
    let mut map = [MAP_ENTRY_BYTES, 0].map(u32::to_le_bytes).concat();
    for entry in memory_map(settings) {
        let (base, bytes, kind) = entry.fields();
        map.extend(base.to_le_bytes());
        map.extend(bytes.to_le_bytes());
        map.extend(u64::from(kind).to_le_bytes());
    }
    map
}

/// Tags, each aligned to 8 bytes.
#[derive(Default)]
struct Tags(Vec<u8>);

impl Tags {
    fn add(&mut self, kind: u32, content: &[u8]) {
        self.0.extend([kind, 8 + content.len() as u32].map(u32::to_le_bytes).concat());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }

    /// The whole information: its size, and the tags with the one that ends them.
    fn finish(mut self) -> Vec<u8> {
        self.add(END, &[]);
        let fixed = [8 + self.0.len() as u32, 0].map(u32::to_le_bytes).concat();
        [fixed, self.0].concat()
    }
}
