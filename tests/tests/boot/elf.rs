//! ELF executables as linkers make them for kernels (ELF specification, figures 1-3 and 2-1).

/// One program header with its content.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) kind: u32,
    pub(crate) physical: u64,
    pub(crate) virtual_address: u64,
    pub(crate) content: Vec<u8>,
    /// Bytes in memory.
    pub(crate) size: u64,
}

impl Part {
    /// A loadable segment that can be read, written and executed.
    pub(crate) fn load(physical: u64, virtual_address: u64, content: Vec<u8>) -> Part {
        Part { kind: 1, physical, virtual_address, size: content.len() as u64, content }
    }

    /// A segment with one note.
    pub(crate) fn note(owner: &[u8], kind: u32, content: &[u8]) -> Part {
        let mut note = [owner.len() as u32 + 1, content.len() as u32, kind].map(u32::to_le_bytes).concat();
        for field in [&[owner, &[0]].concat()[..], content] {
            note.extend(field);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        Part { kind: 4, physical: 0, virtual_address: 0, size: note.len() as u64, content: note }
    }
}

/// A 32-bit executable.
pub(crate) fn elf32(entry: u32, parts: &[Part]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    file.extend([1, entry, 52, 0, 0].map(u32::to_le_bytes).concat());
    file.extend([52, 32, parts.len() as u16, 40, 0, 0].map(u16::to_le_bytes).concat());
    let mut offset = 52 + 32 * parts.len() as u32;
    for part in parts {
        let in_file = part.content.len() as u32;
        let addresses = [part.virtual_address as u32, part.physical as u32];
        let header = [part.kind, offset, addresses[0], addresses[1], in_file, part.size as u32, 7, 4];
        file.extend(header.map(u32::to_le_bytes).concat());
        offset += in_file;
    }
    parts.iter().for_each(|part| file.extend(&part.content));
    file
}

/// A 64-bit executable.
pub(crate) fn elf64(entry: u64, parts: &[Part]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([entry, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64, 56, parts.len() as u16, 64, 0, 0].map(u16::to_le_bytes).concat());
    let mut offset = 64 + 56 * parts.len() as u64;
    for part in parts {
        let in_file = part.content.len() as u64;
        file.extend([part.kind, 7].map(u32::to_le_bytes).concat());
        let header = [offset, part.virtual_address, part.physical, in_file, part.size, 4];
        file.extend(header.map(u64::to_le_bytes).concat());
        offset += in_file;
    }
    parts.iter().for_each(|part| file.extend(&part.content));
    file
}
