//! Loading guest images: ELF64 and ELF32 executables, and flat binaries.
//!
//! An executable must be static and linked at fixed physical addresses (ELF specification, chapter 2).
//! Symbols and source lines are kept for people; the machine itself never looks at them.

mod symbols;

pub use symbols::{Location, Symbol, Symbols};

use object::elf::{
    EM_386, EM_X86_64, ET_DYN, ET_EXEC, FileHeader32, FileHeader64, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadRef};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::path::Path;

/// Where a flat binary is loaded and entered: the first address past the machine's own tables.
pub const FLAT_BASE: u64 = 0x10_0000;

/// Images larger than this are refused before they are read, so that a wrong file name costs nothing.
const LARGEST_FILE: u64 = 1 << 30;

/// What an image is, and so in which mode its cores start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// Starts in long mode.
    Elf64,
    /// Starts in protected mode without paging.
    Elf32,
    /// Raw code, entered at its first byte in long mode.
    Flat,
}

/// A stretch of memory that the image fills.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadSegment {
    /// Physical address of the first byte.
    pub address: u64,
    /// Content; the rest up to `size` is zero.
    pub bytes: Vec<u8>,
    /// Size in memory, in bytes.
    pub size: u64,
    /// Whether the guest may write it.
    pub writable: bool,
    /// Whether the guest may execute it.
    pub executable: bool,
}

/// A guest image, ready to be put into a machine.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    format: Format,
    entry: u64,
    segments: Vec<LoadSegment>,
    file: Vec<u8>,
    hash: u64,
}

impl Image {
    /// Reads the image in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or [`Image::from_elf`] refuses it.
    pub fn open(path: &Path) -> Result<Image, LoadError> {
        Image::from_elf(path.display().to_string(), read_file(path)?)
    }

    /// Reads the file at `path` as a flat binary.
    ///
    /// # Errors
    /// The file cannot be read or is empty.
    pub fn open_flat(path: &Path) -> Result<Image, LoadError> {
        let name = path.display().to_string();
        let bytes = read_file(path)?;
        if bytes.is_empty() {
            return Err(LoadError {
                image: name,
                problem: "the file is empty; a flat binary is at least one instruction".into(),
            });
        }
        Ok(Image::from_flat(name, bytes))
    }

    /// An image from the bytes of an ELF executable.
    ///
    /// # Errors
    /// `bytes` are not a static little-endian ELF executable for x86 or x86-64, or are cut short.
    pub fn from_elf(name: impl Into<String>, bytes: Vec<u8>) -> Result<Image, LoadError> {
        let name = name.into();
        match parse_elf(&bytes) {
            Ok((format, entry, segments)) => {
                Ok(Image { hash: hash(&bytes), name, format, entry, segments, file: bytes })
            }
            Err(problem) => Err(LoadError { image: name, problem }),
        }
    }

    /// An image of raw code, loaded at [`FLAT_BASE`].
    pub fn from_flat(name: impl Into<String>, bytes: Vec<u8>) -> Image {
        let segment = LoadSegment {
            address: FLAT_BASE,
            size: bytes.len() as u64,
            bytes: bytes.clone(),
            writable: true,
            executable: true,
        };
        Image {
            hash: hash(&bytes),
            name: name.into(),
            format: Format::Flat,
            entry: FLAT_BASE,
            segments: vec![segment],
            file: bytes,
        }
    }

    /// The program's name or the file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In which mode it starts.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where every core starts.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// What it puts into memory.
    pub fn segments(&self) -> &[LoadSegment] {
        &self.segments
    }

    /// A hash of the file, by which schedules know their image.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Names and source lines, as far as the image has them. Reading them takes milliseconds: keep the result.
    pub fn symbols(&self) -> Symbols {
        match self.format {
            Format::Elf64 | Format::Elf32 => Symbols::read(&self.file),
            // Raw bytes may happen to be an ELF file, whose addresses are not those at which the bytes are loaded.
            Format::Flat => Symbols::none(),
        }
    }
}

/// An image that cannot be loaded, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadError {
    image: String,
    problem: String,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot load `{}`: {}", self.image, self.problem)
    }
}

impl std::error::Error for LoadError {}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let fail = |problem: String| LoadError { image: path.display().to_string(), problem };
    let found = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
    if found.is_dir() {
        return Err(fail("it is a directory; name the executable in it".into()));
    }
    if !found.is_file() {
        return Err(fail("it is not a regular file".into()));
    }
    if found.len() > LARGEST_FILE {
        return Err(fail(format!("it has {} bytes; images have at most {LARGEST_FILE}", found.len())));
    }
    std::fs::read(path).map_err(|error| fail(error.to_string()))
}

type Parsed = (Format, u64, Vec<LoadSegment>);

fn parse_elf(bytes: &[u8]) -> Result<Parsed, String> {
    const IDENT: usize = 16;
    if !bytes.starts_with(b"\x7fELF") {
        return Err("it is not an ELF file; for raw code use --flat".into());
    }
    if bytes.len() < IDENT {
        return Err("the ELF header is cut short".into());
    }
    if bytes[5] != 1 {
        return Err("it is a big-endian ELF file; x86 is little-endian".into());
    }
    match bytes[4] {
        2 => segments::<FileHeader64<LittleEndian>>(bytes, Format::Elf64, EM_X86_64),
        1 => segments::<FileHeader32<LittleEndian>>(bytes, Format::Elf32, EM_386),
        class => Err(format!("ELF class {class} is neither 1 (32-bit) nor 2 (64-bit)")),
    }
}

fn segments<H: FileHeader<Endian = LittleEndian>>(
    bytes: &[u8],
    format: Format,
    machine: u16,
) -> Result<Parsed, String> {
    let header = H::parse(bytes).map_err(|_| "the ELF header is cut short or malformed".to_string())?;
    let found = header.e_machine(LittleEndian);
    if found != machine {
        let name = if format == Format::Elf64 { "x86-64" } else { "x86" };
        return Err(format!("it is for another processor (ELF machine {found}, this machine is {name}, {machine})"));
    }
    match header.e_type(LittleEndian) {
        ET_EXEC => (),
        ET_DYN => return Err("it is position-independent or a shared library; link it with -static -no-pie".into()),
        other => return Err(format!("it is not an executable (ELF type {other}); link it first")),
    }
    let headers =
        header.program_headers(LittleEndian, bytes).map_err(|_| "its program headers are cut short".to_string())?;
    let mut loaded = Vec::new();
    for header in headers {
        match header.p_type(LittleEndian) {
            PT_INTERP | PT_DYNAMIC => return Err("it is dynamically linked; link it with -static".into()),
            PT_LOAD => loaded.extend(segment(header, bytes)?),
            _ => (),
        }
    }
    let entry = header.e_entry(LittleEndian).into();
    let is_inside = |segment: &LoadSegment| {
        segment.executable && (segment.address..segment.address + segment.size).contains(&entry)
    };
    if loaded.is_empty() {
        return Err("it has no segment to load".into());
    }
    if !loaded.iter().any(is_inside) {
        return Err(format!("its entry point {entry:#x} is not in an executable segment"));
    }
    Ok((format, entry, loaded))
}

/// One loadable segment; `None` when it is empty.
fn segment<P: ProgramHeader<Endian = LittleEndian>>(header: &P, bytes: &[u8]) -> Result<Option<LoadSegment>, String> {
    let address: u64 = header.p_paddr(LittleEndian).into();
    let virtual_address: u64 = header.p_vaddr(LittleEndian).into();
    let (offset, in_file) = (header.p_offset(LittleEndian).into(), header.p_filesz(LittleEndian).into());
    let size: u64 = header.p_memsz(LittleEndian).into();
    if size == 0 {
        return Ok(None);
    }
    if address != virtual_address {
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
    if flags & (PF_R | PF_W | PF_X) == 0 {
        return Ok(None);
    }
    Ok(Some(LoadSegment {
        address,
        bytes: content.to_vec(),
        size,
        writable: flags & PF_W != 0,
        executable: flags & PF_X != 0,
    }))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}
