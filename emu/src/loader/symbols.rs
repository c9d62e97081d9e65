//! Function names and source lines of an image.

use addr2line::Context;
use gimli::{EndianArcSlice, LittleEndian, Section};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::sync::Arc;

use super::LoadSegment;

type Reader = EndianArcSlice<LittleEndian>;

/// What the paths of libraries contain: Rust's own, crates, and the kit of the guests here.
const LIBRARIES: [&str; 4] = ["/rustc/", "/library/", "/registry/src/", "programs/guest/kit/"];

/// A place in the guest's source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Location {
    /// The function, demangled, with the offset into it in bytes.
    pub function: Option<(String, u64)>,
    /// Source file.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((name, offset)) = &self.function {
            write!(f, "{name}+{offset:#x}")?;
        }
        if let (Some(file), Some(line)) = (&self.file, self.line) {
            write!(f, "{}{file}:{line}", if self.function.is_some() { " " } else { "" })?;
        }
        Ok(())
    }
}

/// One function or object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// First address.
    pub address: u64,
    /// Size in bytes; 0 when the image does not say.
    pub size: u64,
    /// Demangled name.
    pub name: String,
    /// Whether it is code.
    pub is_code: bool,
    /// Where its section ends, 0 for numbers that are in none: a symbol without a size names nothing beyond.
    section_end: u64,
}

/// What an image knows of its own source.
pub struct Symbols {
    /// Sorted by address.
    symbols: Vec<Symbol>,
    lines: Option<Context<Reader>>,
    /// Where segments are loaded that are linked for elsewhere: first address, size, address they are linked for.
    moved: Vec<(u64, u64, u64)>,
}

impl Symbols {
    /// No symbols and no lines.
    pub(super) fn none() -> Symbols {
        Symbols { symbols: Vec::new(), lines: None, moved: Vec::new() }
    }

    /// Reads symbol table and line tables; what is missing or malformed is simply not known.
    pub(super) fn read(file: &[u8], segments: &[LoadSegment]) -> Symbols {
        let Ok(object) = object::File::parse(file) else { return Symbols::none() };
        let named = object.symbols().filter(|symbol| {
            matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data | SymbolKind::Label | SymbolKind::Unknown)
        });
        let mut symbols: Vec<Symbol> = named
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?;
                let section = symbol.section_index().and_then(|index| object.section_by_index(index).ok());
                let is_code = section.as_ref().is_some_and(|section| section.kind() == object::SectionKind::Text);
                let section_end = section.map_or(0, |section| section.address().saturating_add(section.size()));
                let name = format!("{:#}", rustc_demangle::demangle(name));
                (symbol.address() != 0).then(|| Symbol {
                    address: symbol.address(),
                    size: symbol.size(),
                    name,
                    is_code,
                    section_end,
                })
            })
            .collect();
        symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        let moved = segments.iter().filter(|segment| segment.address != segment.virtual_address);
        let moved = moved.map(|segment| (segment.address, segment.size, segment.virtual_address)).collect();
        Symbols { symbols, lines: lines(&object), moved }
    }

    /// All symbols, by address.
    pub fn all(&self) -> &[Symbol] {
        &self.symbols
    }

    /// The symbol called `name`, or whose last path component is `name`.
    pub fn find(&self, name: &str) -> Option<&Symbol> {
        let is_it = |symbol: &&Symbol| symbol.name == name || symbol.name.rsplit("::").next() == Some(name);
        self.symbols.iter().find(is_it)
    }

    /// Where the code or data at `address` comes from.
    pub fn locate(&self, address: u64) -> Location {
        let linked = self.linked(address);
        let (file, line) = self.line(linked).unwrap_or_default();
        Location { function: self.function(linked), file, line }
    }

    /// The address for which the code at `address` is linked, when it is loaded there and not yet mapped.
    fn linked(&self, address: u64) -> u64 {
        let moved = self.moved.iter().find_map(|&(loaded, size, linked)| {
            let offset = address.checked_sub(loaded).filter(|&offset| offset < size)?;
            Some(linked.wrapping_add(offset))
        });
        moved.unwrap_or(address)
    }

    /// File and line of the code at `address`, as its author sees it: of the functions that were inlined there, the innermost
    /// one that is in no library.
    pub fn place(&self, address: u64) -> Option<(String, u32)> {
        self.places(address).into_iter().next()
    }

    /// That place, and those of the calls through which it was inlined, innermost first and those in libraries left out.
    pub fn places(&self, address: u64) -> Vec<(String, u32)> {
        let places = self.inlined(address).unwrap_or_default();
        let is_library = |file: &str| LIBRARIES.iter().any(|library| file.contains(library));
        let own: Vec<_> = places.iter().filter(|(file, _)| !is_library(file)).cloned().collect();
        if own.is_empty() { places } else { own }
    }

    /// Where the code at `address` is from, and each call through which it was inlined.
    fn inlined(&self, address: u64) -> Option<Vec<(String, u32)>> {
        let mut frames = self.lines.as_ref()?.find_frames(self.linked(address)).skip_all_loads().ok()?;
        let mut places = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let place = frame.location.and_then(|location| Some((location.file?.to_owned(), location.line?)));
            places.extend(place);
        }
        Some(places)
    }

    fn function(&self, address: u64) -> Option<(String, u64)> {
        let after = self.symbols.partition_point(|symbol| symbol.address <= address);
        let reaches = |symbol: &&Symbol| match symbol.size {
            0 => address < symbol.section_end || address == symbol.address,
            size => address - symbol.address < size,
        };
        let symbol = self.symbols[..after].iter().rev().find(reaches)?;
        Some((symbol.name.clone(), address - symbol.address))
    }

    fn line(&self, address: u64) -> Option<(Option<String>, Option<u32>)> {
        let location = self.lines.as_ref()?.find_location(address).ok()??;
        Some((location.file.map(str::to_owned), location.line))
    }
}

fn lines(object: &object::File) -> Option<Context<Reader>> {
    let load = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
        let section = object.section_by_name(id.name());
        let data = section.and_then(|section| section.uncompressed_data().ok()).unwrap_or_default();
        Ok(Reader::new(Arc::from(&*data), LittleEndian))
    };
    let _ = gimli::DebugInfo::<Reader>::id();
    let dwarf = gimli::Dwarf::load(load).ok()?;
    Context::from_dwarf(dwarf).ok()
}
