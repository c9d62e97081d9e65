//! Starting a PVH kernel (Xen, "x86/HVM direct boot ABI"; public/arch-x86/hvm/start_info.h).
//!
//! The kernel is entered where its note says, with the start information in EBX: command line, modules, memory map, and
//! the root pointer of ACPI. The command line is what the guest is told, without the image's name, as QEMU gives it.

use super::handoff::Handoff;
use super::memory_map::memory_map;
use super::{BootError, acpi, protected};
use crate::core::cpu_state::CpuState;
use crate::loader::Image;
use crate::machine::Settings;
use crate::memory::Memory;

/// "xEn3" with the top bit of its E set.
const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const VERSION: u32 = 1;

/// Puts the kernel and its start information into `memory`; returns the first core's registers.
pub(super) fn boot(image: &Image, settings: &Settings, memory: &mut Memory) -> Result<CpuState, BootError> {
    let mut handoff = Handoff::load(image, settings, memory)?;
    let modules = put_modules(&mut handoff)?;
    let command_line = handoff.put_text(&settings.command_line)?;
    let map = memory_map(settings);
    let lines = map.iter().map(|entry| {
        let (base, bytes, kind) = entry.fields();
        [base, bytes, kind.into()].map(u64::to_le_bytes).concat()
    });
    let lines = handoff.put(8, &lines.collect::<Vec<_>>().concat())?;
    let mut information = [MAGIC, VERSION, 0, image.modules().len() as u32].map(u32::to_le_bytes).concat();
    information.extend([modules, command_line, acpi::RSDP, lines].map(u64::to_le_bytes).concat());
    information.extend([map.len() as u32, 0].map(u32::to_le_bytes).concat());
    let information = handoff.put(8, &information)?;
    Ok(protected::enter(handoff.memory(), image.entry(), 0, information))
}

/// The modules, and the list of them, whose address it is.
fn put_modules(handoff: &mut Handoff) -> Result<u64, BootError> {
    let mut list = Vec::new();
    for module in handoff.put_modules()? {
        let text = handoff.put_text(&module.command_line)?;
        let bytes = module.range.end - module.range.start;
        list.extend([module.range.start, bytes, text, 0].map(u64::to_le_bytes).concat());
    }
    handoff.put(8, &list)
}
