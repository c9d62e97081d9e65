//! Fences and their places as a person writes them: in the language of the source line.
//!
//! An instruction is exact, a line is not: it may have several accesses, go round a loop, or be a header's. Where it is not
//! enough to say *before line 17*, what is said tells that.

use fencepost::explorer::doctor::Place;
use fencepost::explorer::own_fence::OwnFence;
use fencepost::explorer::survey::Surveyor;
use fencepost::loader::Symbols;
use iced_x86::{FlowControl, Instruction, OpKind, Register};

/// Of a function only so many bytes on either side of a place are looked at.
const FARTHEST: u64 = 1 << 14;

/// Says where fences are, and where they belong.
pub(super) struct Words<'a> {
    pub(super) surveyor: &'a mut Surveyor,
    pub(super) symbols: &'a Symbols,
}

/// What a source is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Language {
    Rust,
    /// C or C++.
    C,
    /// Assembler, or what is not known.
    Assembler,
}

/// How a place lies on its source line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lies {
    /// Nothing on the line accesses memory before it.
    First,
    /// Likewise, and the line goes round a loop without coming from another line.
    InLoop,
    /// Something on the line accesses memory before it.
    Within,
}

impl Words<'_> {
    /// The place of an added fence: `fence(SeqCst)` before line 17 of dekker.rs, and the instruction.
    pub(super) fn cure(&mut self, place: &Place) -> String {
        let Place { pc, store_fence } = *place;
        let instruction = self.instruction_text(pc);
        let places = self.symbols.places(pc);
        let Some((file, line)) = places.first() else {
            let fence = if store_fence { "`sfence`" } else { "`mfence`" };
            return format!("{fence} before {}  {instruction}", self.address(pc));
        };
        let language = Language::of(file);
        let fence = if store_fence { language.store_fence() } else { language.full_fence() };
        let line_of = format!("line {line} of {}", short(file));
        let called = called_from(&places);
        let there = match self.lies(pc, &places) {
            Lies::First => format!("before {line_of}{called}"),
            Lies::InLoop => format!("before {line_of}, each time round its loop{called}"),
            Lies::Within => format!("inside {line_of}, right before this access{called}"),
        };
        format!("{fence} {there}  {instruction}")
    }

    /// A fence of the guest's own: `fence(SeqCst)` at line 17 of dekker.rs, and the instruction.
    pub(super) fn own(&mut self, pc: u64, kind: OwnFence) -> String {
        let instruction = self.instruction_text(pc);
        let places = self.symbols.places(pc);
        let Some((file, line)) = places.first() else {
            return match kind {
                OwnFence::Exchange => format!("exchange at {}  {instruction}", self.address(pc)),
                OwnFence::Full | OwnFence::Store | OwnFence::LockedNothing => {
                    format!("{}  {instruction}", self.address(pc))
                }
            };
        };
        let language = Language::of(file);
        let fence = match kind {
            OwnFence::Full | OwnFence::LockedNothing => language.full_fence(),
            OwnFence::Store => language.store_fence(),
            OwnFence::Exchange => "exchange",
        };
        format!("{fence} at line {line} of {}{}  {instruction}", short(file), called_from(&places))
    }

    fn instruction_text(&mut self, pc: u64) -> String {
        self.surveyor.instruction_text(pc).unwrap_or_default()
    }

    /// `0x100010`, and where that is in which function, if that is known.
    fn address(&self, pc: u64) -> String {
        match self.symbols.locate(pc).function {
            Some((name, offset)) => format!("{pc:#x} ({name}+{offset:#x})"),
            None => format!("{pc:#x}"),
        }
    }

    /// How the instruction at `pc` lies on its line, which is the first of `places`; another call's copy is another line.
    fn lies(&mut self, pc: u64, places: &[(String, u32)]) -> Lies {
        let Some((_, offset)) = self.symbols.locate(pc).function else { return Lies::Within };
        if offset > FARTHEST {
            return Lies::Within;
        }
        let function = self.function(pc - offset, pc);
        let is_on_line = |at: u64| self.symbols.places(at) == places;
        let goes_round = |it: &Instruction| {
            let is_jump =
                matches!(it.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
            let (at, to) = (it.ip(), it.near_branch_target());
            is_jump && to <= pc && pc <= at && (is_on_line(at) || is_on_line(to))
        };
        if function.iter().any(|it| it.ip() < pc && accesses(it) && is_on_line(it.ip())) {
            Lies::Within
        } else if function.iter().any(goes_round) {
            Lies::InLoop
        } else {
            Lies::First
        }
    }

    /// The instructions from `start` to some way past `pc`.
    fn function(&mut self, start: u64, pc: u64) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        let (mut at, end) = (start, pc + FARTHEST);
        let is_of_it = |at: u64| self.symbols.locate(at).function.is_some_and(|(_, offset)| at - offset == start);
        while let Some(instruction) = self.surveyor.instruction(at).filter(|_| at < end && is_of_it(at)) {
            at = instruction.next_ip();
            instructions.push(instruction);
        }
        instructions
    }
}

impl Language {
    fn of(file: &str) -> Language {
        match file.rsplit('.').next().unwrap_or_default() {
            "rs" => Language::Rust,
            "c" | "h" | "cc" | "hh" | "cpp" | "hpp" | "cxx" | "hxx" | "C" | "H" | "inl" => Language::C,
            _ => Language::Assembler,
        }
    }

    fn full_fence(self) -> &'static str {
        match self {
            Language::Rust => "`fence(SeqCst)`",
            Language::C => "`atomic_thread_fence(memory_order_seq_cst)`",
            Language::Assembler => "`mfence`",
        }
    }

    fn store_fence(self) -> &'static str {
        match self {
            Language::Rust => "`core::arch::x86_64::_mm_sfence()`",
            Language::C => "`_mm_sfence()`",
            Language::Assembler => "`sfence`",
        }
    }
}

/// The call in another file through which the first of `places` was inlined, if it was.
fn called_from(places: &[(String, u32)]) -> String {
    match (places.first(), places.last()) {
        (Some((inner, _)), Some((outer, line))) if inner != outer => {
            format!(" (called from line {line} of {})", short(outer))
        }
        _ => String::new(),
    }
}

/// A file's name without its folders.
fn short(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Whether `instruction` accesses memory other than by what it pushes and pops.
fn accesses(instruction: &Instruction) -> bool {
    let has_operand = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
    let is_address_only = matches!(instruction.mnemonic(), iced_x86::Mnemonic::Lea | iced_x86::Mnemonic::Nop);
    let is_string = instruction.is_string_instruction();
    (has_operand && !is_address_only && instruction.memory_base() != Register::RSP) || is_string
}
