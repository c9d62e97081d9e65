//! The fast engine: whole blocks at nearly Unicorn's own speed, with no hook on memory.
//!
//! A hook at each block's start counts instructions from a table of decoded blocks and stops *before* a block that holds an
//! instruction needing care, or more instructions than are left. It caches no translation for stores to pages with code, and
//! is stopped where it asks for one; device space is not mapped, so an access there stops it likewise.
//! Whatever stops it is then executed by the precise engine, which knows what to do.

use super::super::code_map::CodeMap;
use super::super::cpu_state::gpr;
use super::super::decode;
use super::super::interruption::Openness;
use super::super::paging::Mode;
use super::super::tlb::{Lost, Side, Tlb};
use super::unicorn::{Hooked, PageFill, Question, Unicorn, stop_from_hook};
use crate::memory::{Memory, PAGE};
use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind, Register,
};
use std::ffi::{c_int, c_void};
use unicorn_engine_sys as sys;

/// As many rounds of one exchange are a spin; a lock that is free is taken in the first.
const SPIN_ROUNDS: u32 = 32;

/// A round of a spin has at most so many blocks.
const SPIN_BLOCKS: u32 = 4;

/// Slots in the table of decoded blocks; a power of two. 4096 blocks of 24 bytes fit a processor's second-level cache.
const BLOCKS: usize = 4096;

/// The most instructions in the block a run begins with, or that follows one met for the first time.
///
/// A run may begin anywhere, so each costs a translation, and that of 512 instructions takes milliseconds.
const LONGEST_NEW_BLOCK: u32 = 64;

/// Why a run ended. The program counter is at an instruction that has not executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FastExit {
    /// The next block has more instructions than are left.
    Budget,
    /// A PAUSE has executed, and the caller asked to stop there.
    Pause,
    /// The core goes round an exchange again and again, and the caller asked to stop where it spins.
    Spins,
    /// The next block begins on a page that is not noted as one that code was fetched from.
    NewPage {
        /// The block's linear address.
        linear: u64,
    },
    /// The next instruction (or one in the next block) needs the precise engine.
    NeedsPrecise,
}

/// What else ends a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FastStops {
    /// A PAUSE that has executed, or a spin without one.
    pub(crate) at_pause: bool,
    /// An STI that comes next: an interrupt waits for it.
    pub(crate) before_sti: bool,
}

/// What is known about one block.
#[derive(Clone, Copy, Default)]
struct Block {
    pc: u64,
    /// Bytes; 0 in an empty slot.
    size: u32,
    /// Instructions.
    count: u32,
    flags: Flags,
    /// Holds XCHG or CMPXCHG with memory, as a lock's spin does.
    exchanges: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Flags {
    #[default]
    Plain,
    /// Ends with PAUSE.
    Pause,
    /// Holds a CMPXCHG of 4 bytes, and is for the precise engine where the accumulator has an upper half.
    Cmpxchg,
    /// Ends with STI.
    SetsInterruptFlag,
    /// Holds an instruction for the precise engine.
    Precise,
}

/// A fast engine.
pub(crate) struct Fast {
    unicorn: Unicorn,
    link: Box<Link>,
    /// How many pages the code map had after the last run.
    code_pages: usize,
}

/// What the block hook reaches through its user-data pointer.
struct Link {
    blocks: Box<[Block; BLOCKS]>,
    /// What `blocks` was decoded under; another mode empties the table.
    mode: Mode,
    memory: *const Memory,
    code: *mut CodeMap,
    tlb: *mut Tlb,
    /// What the core's translation lookaside buffer no longer has since the run began.
    lost: Lost,
    left: u64,
    /// The block that was entered last.
    last: Block,
    stops: FastStops,
    spin: Spin,
    exit: Option<FastExit>,
    exception: bool,
    /// The block entered last was met for the first time, and so the next one may be.
    is_new_code: bool,
}

impl Fast {
    /// An engine over `memory`.
    pub(crate) fn new(memory: &Memory) -> Fast {
        let link = Link {
            blocks: Box::new([Block::default(); BLOCKS]),
            mode: Mode::default(),
            memory: std::ptr::null(),
            code: std::ptr::null_mut(),
            tlb: std::ptr::null_mut(),
            lost: Lost::default(),
            left: 0,
            last: Block::default(),
            stops: FastStops::default(),
            spin: Spin::default(),
            exit: None,
            exception: false,
            is_new_code: false,
        };
        let mut fast = Fast { unicorn: Unicorn::open(), link: Box::new(link), code_pages: 0 };
        for stretch in memory.stretches() {
            fast.unicorn.map(&stretch);
        }
        let data = std::ptr::from_ref::<Link>(&fast.link).cast_mut().cast();
        // SAFETY: the callbacks have the signatures of their hooks; the boxed link lives as long as the engine.
        unsafe {
            fast.unicorn.hook(sys::HookType::BLOCK, on_block as *mut c_void, data, 1, 0);
            fast.unicorn.hook(sys::HookType::INTR, on_exception as *mut c_void, data, 1, 0);
            fast.unicorn.fill_with(on_fill, data);
        }
        fast
    }

    /// Runs at most `budget` instructions from `pc` (an offset into CS).
    ///
    /// Returns how many have retired, and why the engine stopped.
    pub(crate) fn run(
        &mut self,
        pc: u64,
        budget: u64,
        stops: FastStops,
        memory: &Memory,
        code: &mut CodeMap,
        tlb: &mut Tlb,
    ) -> (u64, FastExit) {
        let mode = self.unicorn.mode();
        if mode.traps || mode.breaks || mode.aligns || mode.floats {
            return (0, FastExit::NeedsPrecise);
        }
        if mode != self.link.mode {
            self.link.mode = mode;
            self.link.blocks.fill(Block::default());
        }
        if self.code_pages != code.count() {
            // Translations for stores to what holds code by now may be cached.
            self.unicorn.flush_tlb();
        }
        self.link.memory = memory;
        self.link.code = code;
        self.link.tlb = tlb;
        self.link.lost = Lost::default();
        self.link.left = budget;
        self.link.last = Block::default();
        self.link.stops = stops;
        self.link.spin = Spin::default();
        self.link.exit = None;
        self.link.exception = false;
        self.unicorn.limit_block(LONGEST_NEW_BLOCK);
        let cr2 = self.unicorn.cr2();
        let error = self.unicorn.run(pc);
        let result = match self.link.exit.take() {
            Some(exit) => (budget - self.link.left, exit),
            None => {
                let is_explained = self.link.exception || error != sys::uc_error::OK;
                assert!(is_explained, "the fast engine stops only for its hooks or an error");
                self.unicorn.take_exception();
                self.unicorn.set_cr2(cr2);
                (budget - self.link.left - self.unfinished(), FastExit::NeedsPrecise)
            }
        };
        self.link.tlb = std::ptr::null_mut();
        self.code_pages = code.count();
        result
    }

    /// What the core's translation lookaside buffer has lost in the last run.
    pub(super) fn lost(&self) -> Lost {
        self.link.lost
    }

    pub(super) fn unicorn(&self) -> &Unicorn {
        &self.unicorn
    }

    /// Forgets every decoded block before the next run, because code has changed or may be somewhere else.
    pub(super) fn forget_blocks(&mut self) {
        self.link.mode = Mode::default();
    }

    /// How many instructions of the block entered last have not retired: those from the program counter on.
    fn unfinished(&self) -> u64 {
        let mut state = super::super::cpu_state::CpuState::default();
        self.unicorn.state(&mut state);
        let pc = state.linear_pc();
        let last = self.link.last;
        if !(last.pc..last.pc + u64::from(last.size)).contains(&pc) {
            return 0;
        }
        let before = self.link.decode(last.pc, (pc - last.pc) as u32).map_or(0, |block| block.count);
        u64::from(last.count - before)
    }
}

/// How often the core has gone round the same exchange.
#[derive(Clone, Copy, Default)]
struct Spin {
    pc: u64,
    rounds: u32,
    /// Blocks since it was there last.
    blocks: u32,
}

impl Spin {
    /// The core enters `block`: whether it has gone round too often.
    fn goes_on(&mut self, block: &Block) -> bool {
        self.blocks += 1;
        if !block.exchanges {
            return false;
        }
        let is_round = self.pc == block.pc && self.blocks <= SPIN_BLOCKS;
        let rounds = if is_round { self.rounds + 1 } else { 0 };
        *self = Spin { pc: block.pc, rounds, blocks: 0 };
        rounds >= SPIN_ROUNDS
    }
}

impl Link {
    /// Decides about the block at `pc`: `None` to enter it.
    fn enter(&mut self, engine: Hooked, pc: u64, size: u32) -> Option<FastExit> {
        if self.stops.at_pause && self.last.flags == Flags::Pause {
            return Some(FastExit::Pause);
        }
        let slot = (pc ^ pc >> 12) as usize % BLOCKS;
        if self.blocks[slot].pc != pc || self.blocks[slot].size != size {
            match self.learn(pc, size) {
                Ok(block) => {
                    self.blocks[slot] = block;
                    self.is_new_code = true;
                }
                Err(exit) => return Some(exit),
            }
        }
        let block = self.blocks[slot];
        let is_precise = match block.flags {
            Flags::Plain => false,
            // There the engine forgets to end the shadow of STI.
            Flags::Pause => engine.openness().contains(Openness::SHADOW),
            Flags::Cmpxchg => engine.gpr(gpr::RAX) >> 32 != 0,
            Flags::SetsInterruptFlag => self.stops.before_sti,
            Flags::Precise => true,
        };
        if is_precise {
            return Some(FastExit::NeedsPrecise);
        }
        let Some(left) = self.left.checked_sub(u64::from(block.count)) else { return Some(FastExit::Budget) };
        if self.stops.at_pause && self.spin.goes_on(&block) {
            return Some(FastExit::Spins);
        }
        self.left = left;
        self.last = block;
        None
    }

    /// Decodes a block met for the first time; an error when its page must first be noted as one that code was fetched from.
    fn learn(&self, pc: u64, size: u32) -> Result<Block, FastExit> {
        // SAFETY: `Fast::run` sets the pointers for the time of the run and holds the references meanwhile. The engine
        // is inside a hook, so nothing writes memory.
        let (memory, tlb) = unsafe { (&*self.memory, &*self.tlb) };
        let end = pc.wrapping_add(u64::from(size.max(1)) - 1);
        if !tlb.has_code(pc, &self.mode) {
            return Err(FastExit::NewPage { linear: pc });
        }
        if !tlb.has_code(end, &self.mode) {
            // It is noted when an instruction of it is executed, and not before.
            return Err(FastExit::NeedsPrecise);
        }
        let ends = [pc, end].map(|at| tlb.translate(Side::Code, at, &self.mode, memory));
        let [Some(first), Some(last)] = ends else { return Err(FastExit::NeedsPrecise) };
        if !memory.holds(first) || !memory.holds(last) {
            return Err(FastExit::NeedsPrecise);
        }
        self.decode(pc, size).ok_or(FastExit::NeedsPrecise)
    }

    /// Decodes `size` bytes of code at linear address `pc`.
    fn decode(&self, pc: u64, size: u32) -> Option<Block> {
        let mut bytes = vec![0; size as usize];
        // SAFETY: as in `learn`; also called right after a run, when the references are still held.
        let (memory, tlb) = unsafe { (&*self.memory, &*self.tlb) };
        if tlb.fetch(pc, &self.mode, memory, &mut bytes) < bytes.len() {
            return None;
        }
        let mut block = Block { pc, size, count: 0, flags: Flags::Plain, exchanges: false };
        let mut has_cmpxchg = false;
        let mut decoder = Decoder::with_ip(self.mode.bits, &bytes, pc, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            let class = decode::classify(&instruction);
            block.count += 1;
            if instruction.is_invalid()
                || !class.is_fast()
                || decode::loses_flags(&instruction)
                || stores_in_a_helper(&instruction)
            {
                block.flags = Flags::Precise;
            } else if class == decode::Class::Pause && block.flags == Flags::Plain {
                block.flags = Flags::Pause;
            } else if class == decode::Class::SetInterruptFlag && block.flags == Flags::Plain {
                block.flags = Flags::SetsInterruptFlag;
            }
            block.exchanges |=
                class == decode::Class::Locked && matches!(instruction.mnemonic(), Mnemonic::Xchg | Mnemonic::Cmpxchg);
            has_cmpxchg |= decode::is_cmpxchg_of_halves(&instruction);
        }
        if has_cmpxchg {
            let code = Decoder::with_ip(self.mode.bits, &bytes, pc, DecoderOptions::NONE);
            let may_be_fast = block.flags == Flags::Plain && keeps_accumulator_narrow(code);
            block.flags = if may_be_fast { Flags::Cmpxchg } else { Flags::Precise };
        }
        Some(block)
    }
}

/// Whether every CMPXCHG of 4 bytes in the block `code` has its destination in memory and meets an accumulator without
/// upper half, if the block begins with such a one.
fn keeps_accumulator_narrow(code: Decoder) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let mut is_narrow = true;
    for instruction in code {
        if decode::is_cmpxchg_of_halves(&instruction) && !(is_narrow && instruction.op0_kind() == OpKind::Memory) {
            return false;
        }
        let used = factory.info(&instruction).used_registers();
        for used in used.iter().filter(|used| used.register().full_register() == Register::RAX) {
            let size = used.register().size();
            match used.access() {
                OpAccess::Write | OpAccess::ReadWrite if size >= 4 => is_narrow = size == 4,
                OpAccess::CondWrite | OpAccess::ReadCondWrite => is_narrow &= size <= 4,
                _ => (),
            }
        }
    }
    true
}

/// Whether the engine makes the instruction's stores inside a C function.
///
/// A store to device space, made there, would be lost without a stop.
fn stores_in_a_helper(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    match instruction.mnemonic() {
        Fstp => instruction.memory_size() == MemorySize::Float80,
        Fbstp | Fnstenv | Fstenv | Fnsave | Fsave | Fxsave | Fxsave64 | Xsave | Xsave64 | Xsavec | Xsavec64
        | Xsaveopt | Xsaveopt64 | Cmpxchg8b | Cmpxchg16b | Maskmovq | Maskmovdqu => true,
        _ => false,
    }
}

/// Blocks are at most 512 instructions and two pages long.
const _: () = assert!(PAGE == 4096, "a block's first and last byte cover all its pages");

extern "C" fn on_block(uc: *mut sys::uc_engine, pc: u64, size: u32, data: *mut c_void) {
    // SAFETY: `data` is the link of this engine, and nothing else refers to it while the engine runs.
    let link = unsafe { &mut *data.cast::<Link>() };
    if link.exit.is_none() {
        link.exit = link.enter(Hooked::of(uc), pc, size);
    }
    if link.exit.is_some() {
        stop_from_hook(uc);
    } else if std::mem::take(&mut link.is_new_code) {
        Hooked::of(uc).limit_block(LONGEST_NEW_BLOCK);
    }
}

extern "C" fn on_fill(data: *mut c_void, what: c_int, fill: *mut PageFill) -> bool {
    // SAFETY: as in `on_block`; the shim passes a fill of its own.
    let (link, fill) = unsafe { (&mut *data.cast::<Link>(), &mut *fill) };
    assert!(!link.tlb.is_null(), "engines translate addresses only in a run");
    // SAFETY: `Fast::run` sets the pointers for the time of the run and holds the references meanwhile.
    let (tlb, memory, code) = unsafe { (&mut *link.tlb, &*link.memory, &mut *link.code) };
    let what = Question::of(what);
    if what == Question::Walks {
        if fill.leaves_memory(memory) || fill.marks(memory).any(|entry| code.touches(entry, 1)) {
            fill.refuse();
            return false;
        }
        return true;
    }
    if what == Question::Unpaged {
        guard_code(fill, memory, code);
        return true;
    }
    let had_lost_code = std::mem::take(&mut link.lost.code);
    let answer = fill.answer(what, tlb, memory, &mut link.lost).is_some();
    if link.lost.code {
        link.blocks.fill(Block::default());
    }
    link.lost.code |= had_lost_code;
    if answer {
        guard_code(fill, memory, code);
    }
    answer
}

/// Notes a page that code is about to be fetched from, and keeps the engine from writing to it.
fn guard_code(fill: &mut PageFill, memory: &Memory, code: &mut CodeMap) {
    let fetched = fill.fetched().filter(|&from| memory.holds(from));
    if fetched.is_some_and(|from| code.note(from)) {
        fill.forget_others();
    }
    if code.touches(fill.physical(), 1) {
        fill.protect();
    }
}

extern "C" fn on_exception(uc: *mut sys::uc_engine, _vector: u32, data: *mut c_void) {
    // SAFETY: as in `on_block`.
    let link = unsafe { &mut *data.cast::<Link>() };
    link.exception = true;
    stop_from_hook(uc);
}
