//! What a boot loader hands to a kernel: the kernel's own segments, and behind them the boot information and the modules.
//!
//! That is where QEMU and GRUB put them. Nothing else marks that memory as used: a kernel that frees what lies behind it
//! does so at its own risk, here as there.

use super::memory_map::{EXTENDED_BIOS_DATA, FIRMWARE};
use super::{BootError, bios_data, firmware, intersects, put};
use crate::loader::Image;
use crate::machine::Settings;
use crate::memory::{Memory, PAGE, VGA_HOLE};
use std::ops::Range;
use std::path::Path;

/// The loader's name, for kernels that ask.
pub(super) const LOADER: &str = "fencepost";

/// Addresses that no segment may cover, and why.
const TAKEN: [(Range<u64>, &str); 3] = [
    (0..bios_data::RANGE.end, "the interrupt vectors and the BIOS data area are"),
    (EXTENDED_BIOS_DATA.start..VGA_HOLE.end, "the extended BIOS data area and the video memory are"),
    (FIRMWARE, "the firmware's tables are"),
];

/// Memory behind a kernel that is being filled.
pub(super) struct Handoff<'a> {
    image: &'a Image,
    memory: &'a mut Memory,
    next: u64,
}

/// A module in its place.
pub(super) struct Placed {
    pub(super) range: Range<u64>,
    /// Its command line, for the boot information.
    pub(super) command_line: String,
}

impl<'a> Handoff<'a> {
    /// Loads the image's segments and puts the firmware's tables in their places.
    pub(super) fn load(
        image: &'a Image,
        settings: &Settings,
        memory: &'a mut Memory,
    ) -> Result<Handoff<'a>, BootError> {
        for segment in image.segments() {
            let range = segment.address..segment.address.saturating_add(segment.size);
            if let Some((_, what)) = TAKEN.iter().find(|(taken, _)| intersects(segment, taken)) {
                // Where a linker puts the file's headers into a segment of their own, below the first that is asked for.
                let way_out = match segment.bytes.starts_with(b"\x7fELF") {
                    true => {
                        "it holds the ELF headers, which a kernel does without: link it with -Wl,-n, or by a linker script"
                    }
                    false => "link it elsewhere",
                };
                let problem = format!("its segment {range:#x?} lies where {what}; {way_out}");
                return Err(BootError::new(image, problem));
            }
            if range.end > memory.ram_bytes() {
                let problem =
                    format!("its segment {range:#x?} ends above RAM, {:#x}; use more --ram", memory.ram_bytes());
                return Err(BootError::new(image, problem));
            }
            put(memory, segment.address, &segment.bytes);
        }
        if !image.segments().iter().any(|segment| segment.holds(image.entry())) {
            let problem = format!("its entry point {:#x} is in none of its segments", image.entry());
            return Err(BootError::new(image, problem));
        }
        firmware::put_all(memory, image, settings);
        let end = image.segments().iter().map(|segment| segment.address + segment.size).max().unwrap_or(0);
        // Never below 1 MiB, where the free stretches are small.
        Ok(Handoff { image, memory, next: end.max(1 << 20).next_multiple_of(PAGE) })
    }

    /// Puts `bytes` at the next multiple of `alignment`; returns their address.
    pub(super) fn put(&mut self, alignment: u64, bytes: &[u8]) -> Result<u64, BootError> {
        let address = self.next.next_multiple_of(alignment);
        let end = address + bytes.len() as u64;
        if end > self.memory.ram_bytes() {
            let problem = format!(
                "what goes with it does not fit into RAM behind it: {end:#x} bytes are needed, and there are {:#x}; \
                 use more --ram",
                self.memory.ram_bytes()
            );
            return Err(BootError::new(self.image, problem));
        }
        put(self.memory, address, bytes);
        self.next = end;
        Ok(address)
    }

    /// Puts `text` with a zero behind it.
    pub(super) fn put_text(&mut self, text: &str) -> Result<u64, BootError> {
        self.put(1, &terminated(text))
    }

    /// Puts all modules, each on pages of its own.
    pub(super) fn put_modules(&mut self) -> Result<Vec<Placed>, BootError> {
        let image = self.image;
        let modules = image.modules().iter().map(|module| {
            let start = self.put(PAGE, &module.bytes)?;
            let range = start..start + module.bytes.len() as u64;
            Ok(Placed { range, command_line: module.command_line.clone() })
        });
        let placed = modules.collect();
        self.next = self.next.next_multiple_of(PAGE);
        placed
    }

    /// The memory that is being filled.
    pub(super) fn memory(&mut self) -> &mut Memory {
        self.memory
    }
}

/// `text` with a zero behind it.
pub(super) fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The command line as a kernel started by QEMU sees it: the image's name, and what the guest is told.
///
/// The name is without its folders, so that a run is the same wherever the file lies, and has no blanks.
pub(super) fn named_command_line(image: &Image, settings: &Settings) -> String {
    let name = Path::new(image.name()).file_name().map_or(image.name().into(), |name| name.to_string_lossy());
    let name = name.replace(char::is_whitespace, "_");
    match settings.command_line.as_str() {
        "" => name,
        arguments => format!("{name} {arguments}"),
    }
}
