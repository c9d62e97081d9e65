//! ELF executables: what is loaded where (ELF specification, chapter 2; System V ABI for i386 and x86-64).
//!
//! The project's own protocol wants virtual and physical addresses to be the same, since it maps memory one to one.
//! Multiboot and PVH load by physical address and leave the mapping to the kernel; they never look at the ELF type.

use super::{Format, LoadSegment};
use object::elf::{
    EM_386, EM_X86_64, ET_DYN, ET_EXEC, FileHeader32, FileHeader64, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD,
    PT_NOTE,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadRef};

/// What an executable says of itself.
pub(super) struct Executable {
    pub(super) format: Format,
    /// The entry point in the ELF header.
    pub(super) entry: u64,
    pub(super) segments: Vec<LoadSegment>,
    /// Where Xen's note says that PVH enters, a physical address.
    pub(super) pvh_entry: Option<u64>,
}

/// Which addresses count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Addressing {
    /// Virtual and physical addresses are the same.
    OneToOne,
    /// Segments are loaded at their physical addresses; virtual ones are the kernel's affair.
    Physical,
}

/// Whether `bytes` begin as every ELF file does.
pub(super) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Reads the executable in `bytes`; the error says what is wrong with it.
pub(super) fn parse(bytes: &[u8], addressing: Addressing) -> Result<Executable, String> {
    const IDENT: usize = 16;
    if !is_elf(bytes) {
        return Err("it is not an ELF file; for raw code use --flat".into());
    }
    if bytes.len() < IDENT {
        return Err("the ELF header is cut short".into());
    }
    if bytes[5] != 1 {
        return Err("it is a big-endian ELF file; x86 is little-endian".into());
    }
    match bytes[4] {
        2 => executable::<FileHeader64<LittleEndian>>(bytes, Format::Elf64, EM_X86_64, addressing),
        1 => executable::<FileHeader32<LittleEndian>>(bytes, Format::Elf32, EM_386, addressing),
        class => Err(format!("ELF class {class} is neither 1 (32-bit) nor 2 (64-bit)")),
    }
}

fn executable<H: FileHeader<Endian = LittleEndian>>(
    bytes: &[u8],
    format: Format,
    machine: u16,
    addressing: Addressing,
) -> Result<Executable, String> {
    let header = H::parse(bytes).map_err(|_| "the ELF header is cut short or malformed".to_string())?;
    let found = header.e_machine(LittleEndian);
    if found != machine {
        let name = if format == Format::Elf64 { "x86-64" } else { "x86" };
        return Err(format!("it is for another processor (ELF machine {found}, this machine is {name}, {machine})"));
    }
    match header.e_type(LittleEndian) {
        ET_EXEC => (),
        ET_DYN if addressing == Addressing::Physical => (),
        ET_DYN => return Err("it is position-independent or a shared library; link it with -static -no-pie".into()),
        other => return Err(format!("it is not an executable (ELF type {other}); link it first")),
    }
    let headers =
        header.program_headers(LittleEndian, bytes).map_err(|_| "its program headers are cut short".to_string())?;
    let mut segments = Vec::new();
    for header in headers {
        match header.p_type(LittleEndian) {
            PT_INTERP | PT_DYNAMIC if addressing == Addressing::OneToOne => {
                return Err("it is dynamically linked; link it with -static".into());
            }
            PT_LOAD => segments.extend(segment(header, bytes, addressing)?),
            _ => (),
        }
    }
    let entry = header.e_entry(LittleEndian).into();
    if segments.is_empty() {
        return Err("it has no segment to load".into());
    }
    if addressing == Addressing::OneToOne && !segments.iter().any(|segment| segment.executable && segment.holds(entry))
    {
        return Err(format!("its entry point {entry:#x} is not in an executable segment"));
    }
    let pvh_entry = headers.iter().find_map(|header| pvh_note(header, bytes));
    Ok(Executable { format, entry, segments, pvh_entry })
}

/// One loadable segment; `None` when it is empty.
fn segment<P: ProgramHeader<Endian = LittleEndian>>(
    header: &P,
    bytes: &[u8],
    addressing: Addressing,
) -> Result<Option<LoadSegment>, String> {
    let address: u64 = header.p_paddr(LittleEndian).into();
    let virtual_address: u64 = header.p_vaddr(LittleEndian).into();
    let (offset, in_file) = (header.p_offset(LittleEndian).into(), header.p_filesz(LittleEndian).into());
    let size: u64 = header.p_memsz(LittleEndian).into();
    if size == 0 {
        return Ok(None);
    }
    if addressing == Addressing::OneToOne && address != virtual_address {
        return Err(format!(
            "a segment for virtual address {virtual_address:#x} loads at {address:#x}; memory is mapped one to one, so link them equal"
        ));
    }
    if in_file > size || address.checked_add(size).is_none() {
        return Err(format!(
            "the segment at {address:#x} has impossible sizes ({in_file} bytes in the file, {size} in memory)"
        ));
    }
    let content = bytes.read_bytes_at(offset, in_file).map_err(|()| {
        let end = offset.saturating_add(in_file);
        format!(
            "the file is cut short: the segment at {address:#x} needs {end} bytes of it, and there are {}",
            bytes.len()
        )
    })?;
    let flags = header.p_flags(LittleEndian);
    if addressing == Addressing::OneToOne && flags & (PF_R | PF_W | PF_X) == 0 {
        return Ok(None);
    }
    Ok(Some(LoadSegment {
        address,
        virtual_address,
        bytes: content.to_vec(),
        size,
        writable: flags & PF_W != 0,
        executable: flags & PF_X != 0,
    }))
}

/// XEN_ELFNOTE_PHYS32_ENTRY: the note that makes an ELF file a PVH kernel (Xen, public/elfnote.h).
const PHYS32_ENTRY: u32 = 18;

/// The entry in the Xen note of a PT_NOTE segment, a number of 4 or 8 bytes.
fn pvh_note<P: ProgramHeader<Endian = LittleEndian>>(header: &P, bytes: &[u8]) -> Option<u64> {
    if header.p_type(LittleEndian) != PT_NOTE {
        return None;
    }
    let mut notes = header.notes(LittleEndian, bytes).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() != b"Xen" || note.n_type(LittleEndian) != PHYS32_ENTRY {
            continue;
        }
        let content = note.desc();
        let entry = match content.len() {
            4 => content.try_into().map(u32::from_le_bytes).map(u64::from),
            _ => content.try_into().map(u64::from_le_bytes),
        };
        if let Ok(entry) = entry {
            return Some(entry);
        }
    }
    None
}
