//! `fencepost disasm`: a guest's machine code, with what each instruction is to the memory model.

use super::assembly;
use super::colour::{self, Colour, paint};
use super::failure::{Failure, refuse};
use super::guest::{RULE, Target};
use super::stdout::Stdout;
use clap::Args;
use fencepost::core::decode::{Class, classify};
use fencepost::loader::{Image, LoadSegment, Symbol, Symbols};
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory, NasmFormatter, OpAccess, Register,
    SymbolResolver, SymbolResult,
};
use std::collections::HashMap;
use std::ops::Range;

/// Disassemble a program or an ELF file, marking what the memory model cares about
#[derive(Args)]
#[command(after_long_help = after_long_help())]
pub(super) struct Disasm {
    /// A program or an executable file
    #[arg(value_name = "NAME|FILE")]
    target: String,

    /// The file is raw 64-bit code, loaded at 0x100000
    #[arg(long)]
    flat: bool,

    /// Only this function; its last path component is enough
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "all"])]
    symbol: Option<String>,

    /// From this address on, hexadecimal after 0x
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, conflicts_with = "all")]
    from: Option<u64>,

    /// Up to and without this address
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, conflicts_with = "all")]
    to: Option<u64>,

    /// Everything, the libraries' functions too
    #[arg(long)]
    all: bool,
}

fn after_long_help() -> String {
    format!("{RULE}\n\n{EXAMPLES}")
}

const EXAMPLES: &str = "\
Without --symbol, --from, --to or --all you get the functions that have code
from the program's own source, and not its libraries'.

The word before an instruction says what it is to the memory model:
  load, store   memory is read or written; what is addressed by the stack
                pointer is left out, since no other core looks there
  load+store    both, and another core can step between them
  LOCK          one indivisible step; the store buffer drains first
  mfence        the store buffer drains first
  sfence        stores before it become visible before stores after it
  lfence        nothing
  nt            a store that other stores may overtake
  port          IN or OUT: the store buffer drains first
  serial        serialising: the store buffer drains first
  int           a software interrupt: the store buffer drains first
  #UD           this processor does not have it: an invalid opcode
  time, random, pause, halt, syscall

Examples:
  fencepost disasm store-buffering
  fencepost disasm torn-frame --symbol presenter
  fencepost disasm ./kernel.elf --from 0x100000 --to 0x100040";

impl Disasm {
    /// Disassembles.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let target = Target::find(&self.target, None, self.flat)?;
        let image = target.image()?;
        let listing = Listing::new(&image, &target);
        let ranges = self.ranges(&listing)?;
        let mut out = Stdout::new();
        for range in ranges {
            listing.print(range, &mut out)?;
        }
        out.flush()?;
        Ok(0)
    }

    /// The addresses to disassemble.
    fn ranges(&self, listing: &Listing) -> Result<Vec<Range<u64>>, Failure> {
        if let Some(name) = &self.symbol {
            return listing.function(name).map(|range| vec![range]);
        }
        let everything = listing.code();
        if self.from.is_some() || self.to.is_some() {
            return cut(&everything, self.from.unwrap_or(0)..self.to.unwrap_or(u64::MAX));
        }
        let own = listing.own_functions();
        Ok(if self.all || own.is_empty() { everything } else { own })
    }
}

/// The part of `code` in `wanted`.
fn cut(code: &[Range<u64>], wanted: Range<u64>) -> Result<Vec<Range<u64>>, Failure> {
    let parts = code.iter().map(|code| code.start.max(wanted.start)..code.end.min(wanted.end));
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        let there = code.iter().map(|code| format!("{:#x}..{:#x}", code.start, code.end));
        let there = there.collect::<Vec<_>>().join(", ");
        return refuse(format!("there is no code in {:#x}..{:#x}; there is in {there}", wanted.start, wanted.end));
    }
    Ok(parts)
}

/// An image, ready to be disassembled.
struct Listing<'a> {
    image: &'a Image,
    symbols: Symbols,
    /// The source file of a program of our own: what counts as the program's own code.
    source: Option<&'static str>,
    bits: u32,
}

impl<'a> Listing<'a> {
    fn new(image: &'a Image, target: &Target) -> Listing<'a> {
        let bits = image.code_bits();
        let source = match target {
            Target::Program(program, _) => Some(program.source),
            Target::Elf(..) | Target::Flat(_) => None,
        };
        Listing { image, symbols: image.symbols(), source, bits }
    }

    /// All executable segments, as far as they have content.
    fn code(&self) -> Vec<Range<u64>> {
        self.segments().map(|segment| segment.address..segment.address + segment.bytes.len() as u64).collect()
    }

    fn segments(&self) -> impl Iterator<Item = &LoadSegment> {
        self.image.segments().iter().filter(|segment| segment.executable && !segment.bytes.is_empty())
    }

    /// The code symbols with the addresses they cover.
    fn functions(&self) -> impl Iterator<Item = (&Symbol, Range<u64>)> {
        let code = self.symbols.all().iter().filter(|symbol| symbol.is_code);
        code.filter_map(|symbol| Some((symbol, self.extent(symbol)?)))
    }

    /// The addresses of `symbol`: as many as it says, else up to the next symbol.
    fn extent(&self, symbol: &Symbol) -> Option<Range<u64>> {
        let segment = self.segments().find(|segment| self.holds(segment, symbol.address))?;
        let segment_end = segment.address + segment.bytes.len() as u64;
        let next = || {
            let later = self.symbols.all().iter().map(|other| other.address);
            later.filter(|&address| address > symbol.address).min().unwrap_or(segment_end)
        };
        let end = if symbol.size == 0 { next() } else { symbol.address.saturating_add(symbol.size) };
        Some(symbol.address..end.min(segment_end))
    }

    fn holds(&self, segment: &LoadSegment, address: u64) -> bool {
        (segment.address..segment.address + segment.bytes.len() as u64).contains(&address)
    }

    /// The addresses of the function called `name`.
    fn function(&self, name: &str) -> Result<Range<u64>, Failure> {
        if let Some(range) = self.symbols.find(name).and_then(|symbol| self.extent(symbol)) {
            return Ok(range);
        }
        let likeness = |symbol: &Symbol| {
            let last = symbol.name.rsplit("::").next().unwrap_or(&symbol.name);
            strsim::jaro_winkler(last, name)
        };
        let near = self.functions().map(|(symbol, _)| symbol);
        let near = near.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|symbol| likeness(symbol) > 0.75);
        refuse(match near {
            Some(symbol) => {
                format!("`{}` has no function `{name}`; did you mean `{}`?", self.image.name(), symbol.name)
            }
            None => format!("`{}` has no function `{name}`; leave --symbol out to see what it has", self.image.name()),
        })
    }

    /// The functions with code from the program's own source, in order.
    fn own_functions(&self) -> Vec<Range<u64>> {
        let mut own: Vec<_> = self.functions().map(|(_, range)| range).filter(|range| self.is_own(range)).collect();
        own.sort_by_key(|range| range.start);
        own.dedup();
        own
    }

    /// Whether an instruction in `range` is from the program's own source.
    fn is_own(&self, range: &Range<u64>) -> bool {
        let files = self.instructions(range).into_iter();
        let mut files = files.map(|instruction| self.symbols.locate(instruction.ip()).file).peekable();
        // Assembly without line tables can only be the program's own.
        let has_no_lines = files.peek().is_some_and(Option::is_none);
        has_no_lines && self.source.is_none()
            || files.flatten().any(|file| match self.source {
                Some(source) => file.ends_with(source),
                None => !is_library(&file),
            })
    }

    fn instructions(&self, range: &Range<u64>) -> Vec<Instruction> {
        let mut decoder = Decoder::with_ip(self.bits, self.bytes(range), range.start, DecoderOptions::NONE);
        decoder.iter().collect()
    }

    /// The bytes of `range`, which lies in one segment.
    fn bytes(&self, range: &Range<u64>) -> &[u8] {
        let Some(segment) = self.segments().find(|segment| self.holds(segment, range.start)) else { return &[] };
        let at = |address: u64| ((address - segment.address) as usize).min(segment.bytes.len());
        &segment.bytes[at(range.start)..at(range.end)]
    }

    fn print(&self, range: Range<u64>, out: &mut Stdout) -> Result<(), Failure> {
        let mut printer = Printer::new(self);
        for instruction in self.instructions(&range) {
            let text = printer.lines(&instruction);
            out.write(text.as_bytes())?;
        }
        out.write(b"\n")
    }
}

/// Whether a source file belongs to Rust's own or to a downloaded crate.
fn is_library(file: &str) -> bool {
    ["/rustc/", "/library/core/", "/library/alloc/", "/compiler-builtins", "/registry/src/"]
        .iter()
        .any(|part| file.contains(part))
}

/// Prints instruction after instruction, with labels and source lines where they change.
struct Printer<'a> {
    listing: &'a Listing<'a>,
    formatter: NasmFormatter,
    info: InstructionInfoFactory,
    place: Option<(String, u32)>,
    /// Source files, by line; empty when they cannot be read.
    sources: HashMap<String, Vec<String>>,
    coloured: bool,
}

impl<'a> Printer<'a> {
    fn new(listing: &'a Listing<'a>) -> Printer<'a> {
        // A symbol outside the image is a constant, and any number might be meant by its value.
        let segments = listing.image.segments();
        let is_inside = |symbol: &&Symbol| {
            segments.iter().any(|segment| (segment.address..segment.address + segment.size).contains(&symbol.address))
        };
        let symbols = listing.symbols.all().iter().filter(is_inside);
        let names = symbols.map(|symbol| (symbol.address, symbol.name.clone())).collect();
        Printer {
            listing,
            formatter: assembly::formatter_with(Box::new(Names(names))),
            info: InstructionInfoFactory::new(),
            place: None,
            sources: HashMap::new(),
            coloured: colour::is_wanted(&std::io::stdout()),
        }
    }

    /// The line of `instruction`, and before it its label and its source line if they are new.
    fn lines(&mut self, instruction: &Instruction) -> String {
        let address = instruction.ip();
        let mut text = String::new();
        for symbol in self.listing.symbols.all().iter().filter(|symbol| symbol.address == address && symbol.is_code) {
            text += &format!("{address:#x} <{}>:\n", symbol.name);
        }
        text += &self.source_line(address);
        let bytes = self.listing.bytes(&(address..address + instruction.len() as u64));
        let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut assembly = String::new();
        self.formatter.format(instruction, &mut assembly);
        let mark = mark(instruction, &mut self.info);
        let marked = paint(&format!("{mark:10}"), Colour::Bad, self.coloured && is_striking(instruction));
        text + &format!("{address:#10x}  {:30}  {marked}  {assembly}\n", bytes.join(" "))
    }

    fn source_line(&mut self, address: u64) -> String {
        let location = self.listing.symbols.locate(address);
        let (Some(file), Some(line)) = (location.file, location.line) else { return String::new() };
        if self.place.as_ref().is_some_and(|place| place.0 == file && place.1 == line) {
            return String::new();
        }
        let lines = self.sources.entry(file.clone()).or_insert_with(|| read_lines(&file));
        let code = (line as usize).checked_sub(1).and_then(|index| lines.get(index)).map_or("", |line| line.trim());
        // Rust's own sources are named by the compiler's commit, which says nothing to a reader.
        let name = file.find("/library/").filter(|_| file.starts_with("/rustc/")).map_or(&*file, |at| &file[at + 1..]);
        let text = format!("; {name}:{line}  {code}");
        self.place = Some((file, line));
        paint(text.trim_end(), Colour::Faint, self.coloured) + "\n"
    }
}

fn read_lines(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The word that says what `instruction` is to the memory model.
fn mark(instruction: &Instruction, info: &mut InstructionInfoFactory) -> &'static str {
    if instruction.is_invalid() {
        return "";
    }
    match classify(instruction) {
        Class::Plain => accesses(instruction, info),
        Class::Locked => "LOCK",
        Class::FullFence => "mfence",
        Class::StoreFence => "sfence",
        Class::LoadFence => "lfence",
        Class::NonTemporal => "nt",
        Class::PortIo | Class::StringPortIo => "port",
        Class::Serialising | Class::ControlRegister | Class::CpuId | Class::WriteMsr => "serial",
        Class::ReadMsr => "msr",
        Class::TimeStamp => "time",
        Class::Random => "random",
        Class::MediaControl => "mxcsr",
        Class::Halt => "halt",
        Class::Pause => "pause",
        Class::SetInterruptFlag => "sti",
        Class::TaskPriority => "tpr",
        Class::StatusWord => "cr",
        Class::Mark => "region",
        Class::ModeChange => "mode",
        Class::SoftwareInterrupt => "int",
        Class::SystemCall => "syscall",
        Class::Absent => "#UD",
    }
}

/// Whether a mark is worth a colour: what orders memory, and what does not although one might think so.
fn is_striking(instruction: &Instruction) -> bool {
    match classify(instruction) {
        Class::Locked
        | Class::FullFence
        | Class::StoreFence
        | Class::LoadFence
        | Class::NonTemporal
        | Class::PortIo
        | Class::StringPortIo
        | Class::Serialising
        | Class::ControlRegister
        | Class::CpuId
        | Class::WriteMsr
        | Class::SoftwareInterrupt => true,
        Class::Plain
        | Class::ReadMsr
        | Class::MediaControl
        | Class::TimeStamp
        | Class::Random
        | Class::Halt
        | Class::Pause
        | Class::SetInterruptFlag
        | Class::TaskPriority
        | Class::StatusWord
        | Class::Mark
        | Class::ModeChange
        | Class::SystemCall
        | Class::Absent => false,
    }
}

/// What a plain instruction does to memory other than the top of its stack.
fn accesses(instruction: &Instruction, info: &mut InstructionInfoFactory) -> &'static str {
    let operands = info
        .info(instruction)
        .used_memory()
        .iter()
        .filter(|operand| !matches!(operand.base(), Register::RSP | Register::ESP));
    let (mut reads, mut writes) = (false, false);
    for operand in operands {
        match operand.access() {
            OpAccess::Read | OpAccess::CondRead => reads = true,
            OpAccess::Write | OpAccess::CondWrite => writes = true,
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (reads, writes) = (true, true),
            OpAccess::None | OpAccess::NoMemAccess => (),
        }
    }
    match (reads, writes) {
        (true, true) => "load+store",
        (true, false) => "load",
        (false, true) => "store",
        (false, false) => "",
    }
}

/// Names for the addresses that operands mention.
struct Names(HashMap<u64, String>);

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        Some(SymbolResult::with_str(address, self.0.get(&address)?))
    }
}

/// A decimal number, or a hexadecimal one after 0x.
fn parse_address(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "an address is a number such as 0x100000".to_owned())
}
