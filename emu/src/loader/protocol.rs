//! Which way of starting a file asks for.
//!
//! The first that applies counts: Multiboot, PVH, Multiboot 2, a boot sector, and else the protocol of `programs/BOOT.md`.
//! That is the order in which QEMU's `-kernel` looks (hw/i386/x86-common.c: Multiboot before an ELF file's PVH note), with
//! Multiboot 2, which it does not know, behind.
//! One more rule keeps disks apart: a file with a boot sector's signature whose Multiboot header cannot load it (the header
//! of a kernel further inside, say) is a disk.

use super::elf::{self, Addressing};
use super::{Format, Parsed, multiboot, multiboot2};

/// How a guest is started and what it is given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// All cores enter at once, with boot information (`programs/BOOT.md`).
    Native,
    /// Multiboot, version 1: 32-bit protected mode, core 0 alone.
    Multiboot,
    /// Multiboot, version 2: the same with another boot information.
    Multiboot2,
    /// Xen's PVH: 32-bit protected mode, core 0 alone.
    Pvh,
    /// A PC's boot sector: real mode, with a BIOS, core 0 alone.
    BootSector,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Native => "native",
            Protocol::Multiboot => "Multiboot",
            Protocol::Multiboot2 => "Multiboot 2",
            Protocol::Pvh => "PVH",
            Protocol::BootSector => "boot sector",
        })
    }
}

/// Bytes of a boot sector.
const SECTOR: usize = 512;
/// Where a boot sector is loaded and entered.
const BOOT_SECTOR_ADDRESS: u64 = 0x7c00;

/// Recognises the protocol of `bytes` and reads what is to be loaded.
pub(super) fn recognise(bytes: &[u8]) -> Result<Parsed, String> {
    let is_disk = !elf::is_elf(bytes) && bytes.get(SECTOR - 2..SECTOR) == Some(&[0x55, 0xaa]);
    if is_disk && bytes.get(0x202..0x206) == Some(b"HdrS") {
        return Err("it is a Linux bzImage, whose protocol this machine does not know; \
                    use the vmlinux it was made from, with CONFIG_PVH"
            .into());
    }
    if let Some(header) = multiboot::Header::find(bytes)
        && (header.has_addresses() || !is_disk)
    {
        return header.load(bytes);
    }
    let is_kernel = |executable: &elf::Executable| executable.pvh_entry.is_some();
    if let Some(executable) = elf::parse(bytes, Addressing::Physical).ok().filter(is_kernel) {
        return Ok(pvh(executable));
    }
    match multiboot2::Header::find(bytes) {
        Some(header) if !is_disk => header.load(bytes),
        _ if is_disk => Ok(boot_sector(bytes)),
        _ if !elf::is_elf(bytes) => Err("it is not an ELF file, and no disk that boots: \
                                         its first 512 bytes do not end in 55 aa; for raw code use --flat"
            .into()),
        _ => native(bytes),
    }
}

/// An ELF executable by the machine's own protocol, whatever else it could be.
pub(super) fn native(bytes: &[u8]) -> Result<Parsed, String> {
    let elf::Executable { format, entry, segments, .. } = elf::parse(bytes, Addressing::OneToOne)?;
    Ok(Parsed { protocol: Protocol::Native, format, entry, segments })
}

fn pvh(executable: elf::Executable) -> Parsed {
    let elf::Executable { format, entry, segments, pvh_entry } = executable;
    Parsed { protocol: Protocol::Pvh, format, entry: pvh_entry.unwrap_or(entry), segments }
}

/// The first sector of a disk.
fn boot_sector(bytes: &[u8]) -> Parsed {
    let segment = super::LoadSegment {
        address: BOOT_SECTOR_ADDRESS,
        virtual_address: BOOT_SECTOR_ADDRESS,
        bytes: bytes[..SECTOR].to_vec(),
        size: SECTOR as u64,
        writable: true,
        executable: true,
    };
    Parsed { protocol: Protocol::BootSector, format: Format::Flat, entry: BOOT_SECTOR_ADDRESS, segments: vec![segment] }
}
