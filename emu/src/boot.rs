//! Starting a guest: what memory and registers hold before the first instruction.
//!
//! The contract is `programs/BOOT.md`, one page for guest authors; each protocol is one file beside this one.
//! The machine's own protocol (`native.rs`) starts every core at once.
//! Under all others core 0 starts alone, and the others await its start-up message, as on a PC (`reset.rs`).
//! What firmware leaves for a guest to find (the BIOS data area, MP and ACPI tables) is there under every protocol
//! (`firmware.rs`).

mod acpi;
mod bios;
mod bios_data;
mod boot_sector;
mod firmware;
mod handoff;
mod memory_map;
mod mp_table;
mod multiboot;
mod multiboot2;
mod native;
mod protected;
mod pvh;
mod reset;

pub(crate) use bios::PROGRAMMING;
pub use native::{GUEST_BASE, MAGIC, STACK_BYTES};
pub(crate) use reset::{init_state, reset_state, start_up_state};

use crate::core::cpu_state::CpuState;
use crate::core::{Activity, Core, CoreId};
use crate::loader::{Image, LoadSegment, Protocol};
use crate::machine::Settings;
use crate::memory::Memory;
use fencepost_devices::PhysAddr;
use std::ops::Range;

/// The longest command line, in bytes.
pub const LONGEST_COMMAND_LINE: usize = 0xe00;
/// Disks that the board has room for.
const MOST_DISKS: usize = 2;

/// The memory and the cores of a machine that is about to start `image`.
///
/// # Errors
/// The image or what goes with it does not fit, or its protocol does not know what goes with it.
pub(crate) fn boot(image: &Image, settings: &Settings) -> Result<(Memory, Vec<Core>), BootError> {
    check(image, settings)?;
    let mut memory = Memory::new(settings.ram_bytes);
    let cores = match image.protocol() {
        Protocol::Native => native::boot(image, settings, &mut memory)?,
        Protocol::Multiboot => first_alone(settings, multiboot::boot(image, settings, &mut memory)?),
        Protocol::Multiboot2 => first_alone(settings, multiboot2::boot(image, settings, &mut memory)?),
        Protocol::Pvh => first_alone(settings, pvh::boot(image, settings, &mut memory)?),
        Protocol::BootSector => first_alone(settings, boot_sector::boot(image, settings, &mut memory)),
    };
    Ok((memory, cores))
}

/// What must be right under every protocol.
fn check(image: &Image, settings: &Settings) -> Result<(), BootError> {
    if settings.command_line.len() > LONGEST_COMMAND_LINE {
        return Err(BootError::new(image, format!("the command line is longer than {LONGEST_COMMAND_LINE} bytes")));
    }
    if image.disks().len() > MOST_DISKS {
        let problem = format!("it comes with {} disks, and the machine has room for {MOST_DISKS}", image.disks().len());
        return Err(BootError::new(image, problem));
    }
    let knows_modules = match image.protocol() {
        Protocol::Native | Protocol::BootSector => false,
        Protocol::Multiboot | Protocol::Multiboot2 | Protocol::Pvh => true,
    };
    if !image.modules().is_empty() && !knows_modules {
        let problem = format!("it starts by the {} protocol, which knows no modules; leave them out", image.protocol());
        return Err(BootError::new(image, problem));
    }
    Ok(())
}

/// Core 0 in state `cpu`, and all others reset.
fn first_alone(settings: &Settings, cpu: CpuState) -> Vec<Core> {
    let others = (1..settings.cores).map(|index| {
        let mut core = Core::new(CoreId(index), reset_state());
        core.activity = Activity::AwaitsStartUp;
        core
    });
    std::iter::once(Core::new(CoreId(0), cpu)).chain(others).collect()
}

fn put(memory: &mut Memory, address: u64, bytes: &[u8]) {
    let is_ram = memory.write(PhysAddr(address), bytes);
    assert!(is_ram, "boot data at {address:#x} was checked to lie in RAM");
}

fn intersects(segment: &LoadSegment, range: &Range<u64>) -> bool {
    segment.address < range.end && range.start < segment.address + segment.size
}

/// An image that cannot be started with the settings given, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootError {
    image: String,
    problem: String,
}

impl BootError {
    fn new(image: &Image, problem: String) -> BootError {
        BootError { image: image.name().to_owned(), problem }
    }
}

impl std::fmt::Display for BootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot start `{}`: {}", self.image, self.problem)
    }
}

impl std::error::Error for BootError {}
