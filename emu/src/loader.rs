//! Loading guest images: executables and disks for each of the ways in which a machine is started.
//!
//! What a file is, it says itself ([`Image::open`]); `protocol.rs` has the rules, the files beside it one format each.
//! Symbols and source lines are kept for people; the machine itself never looks at them.

mod elf;
mod multiboot;
mod multiboot2;
mod protocol;
mod symbols;

pub use protocol::Protocol;
pub use symbols::{Location, Symbol, Symbols};

use fencepost_devices::Ticks;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;

/// Where a flat binary is loaded and entered: the first address past the machine's own tables.
pub const FLAT_BASE: u64 = 0x10_0000;

/// Images larger than this are refused before they are read, so that a wrong file name costs nothing.
const LARGEST_FILE: u64 = 1 << 30;

/// What kind of file an image is. Under [`Protocol::Native`] it says in which mode the cores start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// A 64-bit executable: long mode.
    Elf64,
    /// A 32-bit executable: protected mode without paging.
    Elf32,
    /// Raw code: long mode, entered at its first byte.
    Flat,
}

/// A stretch of memory that the image fills.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadSegment {
    /// Physical address of the first byte.
    pub address: u64,
    /// The address by which the image's symbols know it, once the guest has mapped it.
    pub virtual_address: u64,
    /// Content; the rest up to `size` is zero.
    pub bytes: Vec<u8>,
    /// Size in memory, in bytes.
    pub size: u64,
    /// Whether the guest may write it.
    pub writable: bool,
    /// Whether the guest may execute it.
    pub executable: bool,
}

impl LoadSegment {
    /// Whether the byte at physical address `address` is part of it.
    pub(crate) fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < self.size)
    }
}

/// A file that is put into memory beside a kernel, which is told where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// What the kernel is told about it: by custom its name, then arguments.
    pub command_line: String,
    /// Its content.
    pub bytes: Arc<[u8]>,
}

/// An Ethernet frame and when it comes.
pub type Frame = (Ticks, Vec<u8>);

/// A guest image, ready to be put into a machine, with the modules and disks that go with it.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    protocol: Protocol,
    format: Format,
    entry: u64,
    segments: Vec<LoadSegment>,
    modules: Vec<Module>,
    disks: Vec<Arc<[u8]>>,
    frames: Option<Arc<[Frame]>>,
    file: Arc<[u8]>,
    hash: u64,
}

/// What a file says of itself.
struct Parsed {
    protocol: Protocol,
    format: Format,
    entry: u64,
    segments: Vec<LoadSegment>,
}

impl Image {
    /// Reads the image in the file at `path`, which says itself how it is to be started.
    ///
    /// # Errors
    /// The file cannot be read, or [`Image::recognise`] refuses it.
    pub fn open(path: &Path) -> Result<Image, LoadError> {
        Image::recognise(path.display().to_string(), read_file(path)?)
    }

    /// An image from the bytes of a file that says itself how it is to be started.
    ///
    /// # Errors
    /// `bytes` are no kernel, executable or boot sector for this machine, or are cut short.
    pub fn recognise(name: impl Into<String>, bytes: Vec<u8>) -> Result<Image, LoadError> {
        Image::read(name.into(), bytes, protocol::recognise)
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

    /// An image from the bytes of an ELF executable, started by the machine's own protocol whatever headers it has.
    ///
    /// # Errors
    /// `bytes` are not a static little-endian ELF executable for x86 or x86-64, or are cut short.
    pub fn from_elf(name: impl Into<String>, bytes: Vec<u8>) -> Result<Image, LoadError> {
        Image::read(name.into(), bytes, protocol::native)
    }

    fn read(name: String, bytes: Vec<u8>, parse: fn(&[u8]) -> Result<Parsed, String>) -> Result<Image, LoadError> {
        match parse(&bytes) {
            Ok(parsed) => Ok(Image::new(name, parsed, bytes)),
            Err(problem) => Err(LoadError { image: name, problem }),
        }
    }

    /// An image of raw code, loaded at [`FLAT_BASE`].
    pub fn from_flat(name: impl Into<String>, bytes: Vec<u8>) -> Image {
        let segment = LoadSegment {
            address: FLAT_BASE,
            virtual_address: FLAT_BASE,
            size: bytes.len() as u64,
            bytes: bytes.clone(),
            writable: true,
            executable: true,
        };
        let parsed =
            Parsed { protocol: Protocol::Native, format: Format::Flat, entry: FLAT_BASE, segments: vec![segment] };
        Image::new(name.into(), parsed, bytes)
    }

    fn new(name: String, parsed: Parsed, bytes: Vec<u8>) -> Image {
        let Parsed { protocol, format, entry, segments } = parsed;
        let file: Arc<[u8]> = bytes.into();
        let disks = if protocol == Protocol::BootSector { vec![file.clone()] } else { Vec::new() };
        let hash = hash(&[&file]);
        Image { name, protocol, format, entry, segments, modules: Vec::new(), disks, frames: None, file, hash }
    }

    /// The image with one more module, which its kernel is told about as `command_line`.
    ///
    /// Only Multiboot and PVH know modules: a machine with another image refuses them.
    pub fn with_module(mut self, command_line: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Image {
        let module = Module { command_line: command_line.into(), bytes: bytes.into() };
        self.hash =
            hash(&[&self.hash.to_le_bytes(), b"module\0", module.command_line.as_bytes(), b"\0", &module.bytes]);
        self.modules.push(module);
        self
    }

    /// The image with one more disk. A boot sector's own disk is the first.
    pub fn with_disk(mut self, bytes: impl Into<Arc<[u8]>>) -> Image {
        let disk = bytes.into();
        self.hash = hash(&[&self.hash.to_le_bytes(), b"disk\0", &disk]);
        self.disks.push(disk);
        self
    }

    /// The image in a machine to whose network card `frames` come, each at its time, instead of what the card sends.
    pub fn with_frames(mut self, frames: Vec<Frame>) -> Image {
        for (time, frame) in &frames {
            self.hash = hash(&[&self.hash.to_le_bytes(), b"frame\0", &time.0.to_le_bytes(), frame]);
        }
        self.frames = Some(frames.into());
        self
    }

    /// What comes to the network card; `None` where its own frames come back to it.
    pub fn frames(&self) -> Option<&[Frame]> {
        self.frames.as_deref()
    }

    /// The program's name or the file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is started.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How wide most of its code is, in bits: 16, 32 or 64.
    pub fn code_bits(&self) -> u32 {
        match (self.protocol, self.format) {
            (Protocol::BootSector, _) => 16,
            (_, Format::Elf64) | (Protocol::Native, Format::Flat) => 64,
            (_, Format::Elf32 | Format::Flat) => 32,
        }
    }

    /// Where it starts, as a physical address.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// What it puts into memory.
    pub fn segments(&self) -> &[LoadSegment] {
        &self.segments
    }

    /// The files that are put into memory beside it, in the order in which its kernel is told of them.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The contents of the machine's disks; what a boot sector is read from is the first.
    pub fn disks(&self) -> &[Arc<[u8]>] {
        &self.disks
    }

    /// A hash of the file with its modules and disks, by which schedules know their image.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Names and source lines, as far as the image has them. Reading them takes milliseconds: keep the result.
    ///
    /// Code is found by the address it is linked for, and by the one it is loaded at, where it runs before it is mapped.
    pub fn symbols(&self) -> Symbols {
        match self.format {
            Format::Elf64 | Format::Elf32 => Symbols::read(&self.file, &self.segments),
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

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// The little-endian word at `offset`, if there is one.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|&word| u32::from_le_bytes(word))
}
