//! The Multiboot 2 header (Multiboot2 Specification 2.0, 3.1).
//!
//! The kernel is an ELF file, or any file whose header has an address tag. An entry address tag wins over the ELF header.
//! A tag that must be obeyed and is unknown, or asks for what this machine does not give, is refused by its number.
//!
//! Left out: EFI (its tags are ignored, as they are to be on a machine without it), a framebuffer (refused if required),
//! and loading at another address (a relocatable kernel is loaded where it is linked).

use super::multiboot::{RawFields, format_of, from_elf};
use super::{Parsed, Protocol};

const MAGIC: u32 = 0xe852_50d6;
/// The header lies within so many bytes of the file.
const SEARCHED: usize = 32768;
/// Magic, architecture, length, checksum.
const FIXED: usize = 16;
/// Architecture: 32-bit protected mode of i386.
const I386: u32 = 0;

/// Tags of the header (3.1.3 to 3.1.13).
const END: u16 = 0;
const INFORMATION_REQUEST: u16 = 1;
const ADDRESS: u16 = 2;
const ENTRY_ADDRESS: u16 = 3;
const CONSOLE_FLAGS: u16 = 4;
const MODULE_ALIGNMENT: u16 = 6;
const EFI_ENTRY_I386: u16 = 8;
const EFI_ENTRY_AMD64: u16 = 9;
const RELOCATABLE: u16 = 10;
/// In a tag's flags: it may be ignored.
const OPTIONAL: u16 = 1;

/// Tags of the boot information that `boot/multiboot2.rs` gives.
const GIVEN: [u32; 7] = [1, 2, 3, 4, 6, 14, 15];

/// A header and its place in the file.
pub(super) struct Header<'a> {
    offset: usize,
    architecture: u32,
    /// The header's bytes, its fixed part included.
    bytes: &'a [u8],
}

/// One tag.
struct Tag<'a> {
    kind: u16,
    flags: u16,
    /// What follows type, flags and size.
    content: &'a [u8],
}

impl<'a> Header<'a> {
    /// The first header in `bytes`.
    pub(super) fn find(bytes: &'a [u8]) -> Option<Header<'a>> {
        let last = bytes.len().min(SEARCHED).checked_sub(FIXED)?;
        (0..=last).step_by(8).find_map(|offset| Header::at(bytes, offset))
    }

    fn at(bytes: &'a [u8], offset: usize) -> Option<Header<'a>> {
        let word = |index: usize| super::word(bytes, offset + 4 * index);
        let [magic, architecture, length, checksum] = [word(0)?, word(1)?, word(2)?, word(3)?];
        let sum = magic.wrapping_add(architecture).wrapping_add(length).wrapping_add(checksum);
        if magic != MAGIC || sum != 0 {
            return None;
        }
        let end = offset.saturating_add(length as usize).min(bytes.len());
        Some(Header { offset, architecture, bytes: bytes.get(offset..end)? })
    }

    /// What to load and where to enter.
    pub(super) fn load(&self, file: &[u8]) -> Result<Parsed, String> {
        if self.architecture != I386 {
            return Err(format!("its Multiboot 2 header is for architecture {}, not for x86 (0)", self.architecture));
        }
        let (mut entry, mut addresses) = (None, None);
        for tag in self.tags()? {
            let word = |index: usize| {
                super::word(tag.content, 4 * index)
                    .ok_or_else(|| format!("tag {} of its Multiboot 2 header is cut short", tag.kind))
            };
            match tag.kind {
                ENTRY_ADDRESS => entry = Some(u64::from(word(0)?)),
                ADDRESS => addresses = Some([word(0)?, word(1)?, word(2)?, word(3)?]),
                INFORMATION_REQUEST => check_requests(&tag)?,
                CONSOLE_FLAGS | MODULE_ALIGNMENT | EFI_ENTRY_I386 | EFI_ENTRY_AMD64 | RELOCATABLE => (),
                _ if tag.flags & OPTIONAL != 0 => (),
                kind => {
                    return Err(format!(
                        "its Multiboot 2 header requires tag {kind}, which this machine does not support; make it optional"
                    ));
                }
            }
        }
        let mut parsed = match addresses {
            Some(fields) => self.raw(file, fields, entry)?,
            None => from_elf(file, Protocol::Multiboot2)?,
        };
        parsed.entry = entry.unwrap_or(parsed.entry);
        Ok(parsed)
    }

    fn raw(&self, file: &[u8], fields: [u32; 4], entry: Option<u64>) -> Result<Parsed, String> {
        let Some(entry) = entry else {
            return Err("its Multiboot 2 header has an address tag and no entry address tag; add one".into());
        };
        let [header, load, load_end, bss_end] = fields.map(u64::from);
        let given = |end: u64| (end != 0).then_some(end);
        // A load address of all ones means: the file from its beginning.
        let load = if fields[1] == u32::MAX { header.saturating_sub(self.offset as u64) } else { load };
        let fields = RawFields { header, load, load_end: given(load_end), bss_end: given(bss_end) };
        let segment = fields.segment(file, self.offset as u64)?;
        Ok(Parsed { protocol: Protocol::Multiboot2, format: format_of(file), entry, segments: vec![segment] })
    }

    /// All tags up to the one that ends them.
    fn tags(&self) -> Result<Vec<Tag<'a>>, String> {
        let mut tags = Vec::new();
        let mut at = FIXED;
        loop {
            let cut_short = || "the tags of its Multiboot 2 header run past the header's end".to_string();
            let (kinds, size) =
                super::word(self.bytes, at).zip(super::word(self.bytes, at + 4)).ok_or_else(cut_short)?;
            let (kind, flags) = (kinds as u16, (kinds >> 16) as u16);
            if kind == END {
                return Ok(tags);
            }
            let end = at.saturating_add(size as usize);
            let content = self.bytes.get(at + 8..end).ok_or_else(cut_short)?;
            tags.push(Tag { kind, flags, content });
            at = end.next_multiple_of(8);
        }
    }
}

/// Whether all the information that a kernel cannot do without is given.
fn check_requests(tag: &Tag) -> Result<(), String> {
    if tag.flags & OPTIONAL != 0 {
        return Ok(());
    }
    let (requests, _) = tag.content.as_chunks();
    match requests.iter().map(|&bytes| u32::from_le_bytes(bytes)).find(|request| !GIVEN.contains(request)) {
        None => Ok(()),
        Some(request) => Err(format!(
            "its Multiboot 2 header requires information of type {request}, which this machine does not give; \
             make the request optional"
        )),
    }
}
