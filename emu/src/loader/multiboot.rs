//! The Multiboot header, version 1 (Multiboot Specification 0.6.96, 3.1).
//!
//! A kernel is an ELF file, or any file whose header says where its bytes go (the "a.out kludge", flag 16); where both are
//! there the header's addresses count, as the specification says and QEMU does.
//! An ELF entry point that is a virtual address inside an executable segment is translated to where that segment is
//! loaded, as QEMU does. ELF64 is loaded like ELF32; QEMU refuses it.
//!
//! Left out: the wish for a video mode (flag 2) is not met, as in QEMU.

use super::elf::{self, Addressing};
use super::{Format, LoadSegment, Parsed, Protocol};

const MAGIC: u32 = 0x1bad_b002;
/// The header lies within so many bytes of the file.
const SEARCHED: usize = 8192;
/// Bytes of a header without addresses.
const SHORTEST: usize = 12;

/// The features that a kernel must have to boot are bits 0 to 15: aligned modules, memory information, video mode.
const KNOWN_REQUIRED: u32 = 0b111;
const REQUIRED: u32 = 0xffff;
/// The header's own load addresses are valid.
const HAS_ADDRESSES: u32 = 1 << 16;

/// A header and its place in the file.
pub(super) struct Header {
    offset: usize,
    flags: u32,
    addresses: Option<Addresses>,
}

/// The address fields, of a file in any format.
struct Addresses {
    header: u32,
    load: u32,
    load_end: u32,
    bss_end: u32,
    entry: u32,
}

impl Header {
    /// The first header in `bytes`.
    pub(super) fn find(bytes: &[u8]) -> Option<Header> {
        let last = bytes.len().min(SEARCHED).checked_sub(SHORTEST)?;
        (0..=last).step_by(4).find_map(|offset| Header::at(bytes, offset))
    }

    fn at(bytes: &[u8], offset: usize) -> Option<Header> {
        let word = |index: usize| super::word(bytes, offset + 4 * index);
        let (magic, flags, checksum) = (word(0)?, word(1)?, word(2)?);
        if magic != MAGIC || magic.wrapping_add(flags).wrapping_add(checksum) != 0 {
            return None;
        }
        let fields = |()| {
            let [header, load, load_end, bss_end, entry] = [word(3)?, word(4)?, word(5)?, word(6)?, word(7)?];
            Some(Addresses { header, load, load_end, bss_end, entry })
        };
        let addresses = if flags & HAS_ADDRESSES != 0 { Some(fields(())?) } else { None };
        Some(Header { offset, flags, addresses })
    }

    /// Whether the header alone tells how to load the file.
    pub(super) fn has_addresses(&self) -> bool {
        self.addresses.is_some()
    }

    /// What to load and where to enter.
    pub(super) fn load(&self, bytes: &[u8]) -> Result<Parsed, String> {
        let unknown = self.flags & REQUIRED & !KNOWN_REQUIRED;
        if unknown != 0 {
            return Err(format!(
                "its Multiboot header requires features {unknown:#x}, which are unknown here; clear those flags"
            ));
        }
        match &self.addresses {
            Some(addresses) => {
                let segment = addresses.segment(bytes, self.offset)?;
                let format = format_of(bytes);
                Ok(Parsed {
                    protocol: Protocol::Multiboot,
                    format,
                    entry: addresses.entry.into(),
                    segments: vec![segment],
                })
            }
            None if elf::is_elf(bytes) => from_elf(bytes, Protocol::Multiboot),
            None => Err("its Multiboot header has no load addresses (flag 16), and it is not an ELF file; \
                         set them or link it as ELF"
                .into()),
        }
    }
}

impl Addresses {
    /// The stretch of the file that is loaded, whose header is at `header_offset`.
    fn segment(&self, bytes: &[u8], header_offset: usize) -> Result<LoadSegment, String> {
        let fields = RawFields {
            header: self.header.into(),
            load: self.load.into(),
            load_end: Some(self.load_end.into()).filter(|&end: &u64| end != 0),
            bss_end: Some(self.bss_end.into()).filter(|&end: &u64| end != 0),
        };
        fields.segment(bytes, header_offset as u64)
    }
}

/// Load addresses as both versions of Multiboot give them.
pub(super) struct RawFields {
    /// Where the header is to lie.
    pub(super) header: u64,
    /// Where loading begins.
    pub(super) load: u64,
    /// Where it ends; without it the whole file is loaded.
    pub(super) load_end: Option<u64>,
    /// Where the zeroes behind it end.
    pub(super) bss_end: Option<u64>,
}

impl RawFields {
    /// The stretch of `bytes` that is loaded.
    pub(super) fn segment(&self, bytes: &[u8], header_offset: u64) -> Result<LoadSegment, String> {
        let RawFields { header, load, load_end, bss_end } = *self;
        let wrong = |what: &str| format!("the load addresses in its Multiboot header are impossible: {what}");
        let before = header.checked_sub(load).ok_or_else(|| wrong("the header lies before what is loaded"))?;
        let start =
            header_offset.checked_sub(before).ok_or_else(|| wrong("loading would begin before the file does"))?;
        let in_file = match load_end {
            Some(end) => end.checked_sub(load).ok_or_else(|| wrong("loading ends before it begins"))?,
            None => bytes.len() as u64 - start,
        };
        let content = usize::try_from(start)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(usize::try_from(in_file).ok()?)?))
            .ok_or_else(|| wrong("they ask for more bytes than the file has"))?;
        let size = match bss_end {
            Some(end) => end.checked_sub(load).ok_or_else(|| wrong("zeroes end before loading begins"))?,
            None => in_file,
        };
        if size == 0 {
            return Err(wrong("nothing is loaded"));
        }
        Ok(LoadSegment {
            address: load,
            virtual_address: load,
            bytes: content.to_vec(),
            size: size.max(in_file),
            writable: true,
            executable: true,
        })
    }
}

/// What the file is for those who read names from it.
pub(super) fn format_of(bytes: &[u8]) -> Format {
    match bytes.get(4) {
        Some(1) if elf::is_elf(bytes) => Format::Elf32,
        Some(2) if elf::is_elf(bytes) => Format::Elf64,
        _ => Format::Flat,
    }
}

/// An ELF file entered at its own entry point, made physical.
pub(super) fn from_elf(bytes: &[u8], protocol: Protocol) -> Result<Parsed, String> {
    let executable = elf::parse(bytes, Addressing::Physical)?;
    let entry = physical(executable.entry, &executable.segments);
    Ok(Parsed { protocol, format: executable.format, entry, segments: executable.segments })
}

/// Where an entry point lies in memory that is not mapped yet.
fn physical(entry: u64, segments: &[LoadSegment]) -> u64 {
    let offset_in = |segment: &LoadSegment| {
        entry.checked_sub(segment.virtual_address).filter(|&offset| segment.executable && offset < segment.size)
    };
    let translated = segments.iter().find_map(|segment| Some(segment.address + offset_in(segment)?));
    translated.unwrap_or(entry)
}
