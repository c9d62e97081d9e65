//! One run of the precise engine: what instructions and accesses do to the core and the world.

mod looks;

use super::breakpoints;
use super::decoded::{Decoded, Known};
use super::halves::Halves;
use super::refusal::{Refused, TableLoad};
use super::task::Task;
use super::{GivesWay, World, note_drained};
use crate::core::cpu_state::{CpuState, Segment, gpr};
use crate::core::decode::{self, Class};
use crate::core::engine::precise::PreciseExit;
use crate::core::engine::{Flow, Hooked, Observer};
use crate::core::floats::{Floats, Loaded, Raised};
use crate::core::interruption::{Delivery, Exception, Openness, Source, vector};
use crate::core::memory_types::PageType;
use crate::core::paging::Mode;
use crate::core::partial::PartialAccess;
use crate::core::tlb::{Lost, Page, Side, Tlb};
use crate::core::{Core, CoreId, operands};
use crate::memory::{Memory, MemoryType, PAGE};
use crate::store_buffer::{Entry, StoreKind};
use crate::trace::Event;
use fencepost_devices::{PhysAddr, Width};
use iced_x86::{Instruction, Mnemonic};

/// RFLAGS.NT: the task is one within another, and IRET goes back to that.
const FLAGS_NT: u64 = 1 << 14;

/// Whether the core ended its turn early because it spins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spun {
    No,
    AtPause,
}

/// Up to 8 bytes of memory to put back.
struct Saved {
    address: PhysAddr,
    length: usize,
    bytes: [u8; 8],
}

impl Saved {
    fn put_back(&self, memory: &mut Memory) {
        memory.write(self.address, &self.bytes[..self.length]);
    }
}

/// The instruction that is executing.
struct Current {
    pc: u64,
    class: Class,
    /// Entries in the buffer before it.
    entries_before: usize,
    /// Accesses it has made while executing now, those presented again included.
    accesses: usize,
    /// Accesses it had already made in earlier turns.
    done: usize,
    /// INS: the engine writes a zero before it reads the port; the real store comes after.
    is_before_port: bool,
}

/// One run of the precise engine: what its instructions and accesses do.
pub(super) struct PreciseRun<'a, 'w> {
    id: CoreId,
    core: &'a mut Core,
    world: &'a mut World<'w>,
    decoded: &'a mut Decoded,
    left: u64,
    extent: Extent,
    /// Stores commit at once.
    pub(super) eager: bool,
    pub(super) gives_way: GivesWay,
    /// For each buffered entry, the bytes of memory under it while it is applied.
    under: Vec<[u8; 8]>,
    current: Option<Current>,
    /// Bytes put over memory so that a load gets them again; taken away before the next access.
    overlays: Vec<Saved>,
    /// Bytes that a store must not have changed; put back when the instruction is over.
    restores: Vec<Saved>,
    /// What the stores of the current instruction have overwritten in memory itself; put back if it faults.
    committed: Vec<Saved>,
    /// The instruction that is executing is the last of this run: it may change more than this run can know, or when
    /// something happens next.
    last_step: bool,
    /// It may change how addresses are translated.
    may_retranslate: bool,
    /// It may load flags or change the task.
    is_mode_change: bool,
    stored_to_code: bool,
    /// How addresses are translated: it changes when a task switch loads CR3.
    mode: Mode,
    /// The linear address that the instruction that is executing, INVLPG, is about.
    invalidates: Option<u64>,
    /// What the core's translation lookaside buffer has lost.
    lost: Lost,
    /// A page that is about to be accessed, and its memory type: another than the MTRRs alone would give it.
    approached: Option<(PhysAddr, MemoryType)>,
    /// The memory type of the access that is happening.
    memory_type: MemoryType,
    /// The instruction that is executing will be executed again: nothing it does from here on has an effect.
    is_abandoned: bool,
    emulate: Option<Instruction>,
    /// What the instruction that is executing must leave alone.
    halves: Option<Halves>,
    /// RFLAGS before the instruction that is executing, which changes flags before it stores.
    flags: Option<u64>,
    /// The instruction that is executing, or was the last, is a far transfer.
    is_far_transfer: bool,
    /// An instruction is complete.
    has_retired: bool,
    /// The selector of the task before the far transfer that is executing, outside of long mode.
    task: Option<u32>,
    /// The bases of FS and GS before the far transfer that is executing, in long mode.
    bases: Option<[u64; 2]>,
    /// The load of a table's base that is executing.
    table_load: Option<TableLoad>,
    /// What the instruction that is executing is refused with.
    refusal: Option<Refused>,
    /// The registers before it, where its accesses are looked at for breakpoints and alignment, or what it raises.
    before: Option<Box<CpuState>>,
    /// What it has loaded, if that is looked at.
    loaded: Loaded,
    /// It stores MXCSR, or loads it.
    loads_media_control: bool,
    /// The breakpoints on data and ports that it has met, as in DR6.
    breakpoints: u64,
    /// Of a rehearsal: the next access that has not been made yet is a load.
    is_load_next: bool,
    /// It holds breakpoints on the next one off.
    loads_ss: bool,
    /// A PAUSE executes in the shadow of STI or MOV SS.
    ends_shadow: bool,
    spun: Spun,
}

impl Observer for PreciseRun<'_, '_> {
    fn instruction(&mut self, engine: Hooked, pc: u64) -> Flow {
        if self.is_abandoned {
            return Flow::Stop;
        }
        self.put_halves_back(engine);
        let is_first = self.current.is_none();
        if self.looks_at_floats() && !is_first {
            engine.set_floats(self.judge_floats(&engine.take_floats()));
            if self.refusal.is_some() {
                return Flow::Stop;
            }
        }
        self.retire();
        self.approached = None;
        if self.left == 0 || self.last_step || self.world.stop.is_some() || self.world.log.is_broken() {
            return Flow::Stop;
        }
        if self.gives_way.to_interrupts && self.may_be_interrupted(engine) {
            return Flow::Stop;
        }
        let Known { class, is_cmpxchg_of_halves, loses_flags } = self.classify(pc);
        self.flags = loses_flags.then(|| engine.registers().rflags);
        if self.extent == Extent::Rehearsal {
            if class.is_emulated() || class.drains() {
                return Flow::Stop;
            }
            self.is_abandoned = true;
        } else if class.is_emulated() || class == Class::SoftwareInterrupt && self.is_int1(pc) {
            self.emulate = self.instruction_at(pc);
            return Flow::Stop;
        }
        let changes_mode = matches!(class, Class::Serialising | Class::ModeChange);
        let instruction = if changes_mode { self.instruction_at(pc) } else { None };
        let retranslates =
            changes_mode && !instruction.is_some_and(|it| keeps_translations(&it, || engine.registers()));
        let is_far_transfer = instruction.is_some_and(|it| decode::is_far_transfer(&it));
        if is_far_transfer && retranslates && !is_first {
            // The engine's block may hold flags back, and store them after a task switch that has loaded others: a new one.
            return Flow::Stop;
        }
        if class.drains() {
            self.drain_all();
        }
        self.is_far_transfer = is_far_transfer;
        self.before = (self.mode.breaks || self.mode.aligns || self.mode.floats).then(|| Box::new(engine.registers()));
        self.loads_ss = self.mode.breaks && self.instruction_at(pc).is_some_and(|it| breakpoints::are_held_off_by(&it));
        // The resume flag is that of one instruction.
        self.last_step |= self.mode.breaks;
        match class {
            Class::StoreFence if !self.is_abandoned => self.core.buffer.fence(),
            // The way addresses are translated may be another afterwards, and what was decoded void.
            Class::Serialising | Class::ModeChange => {
                self.last_step = true;
                self.is_mode_change = true;
                self.may_retranslate = retranslates;
                self.task = (is_far_transfer && !self.mode.is_long()).then(|| engine.task());
                self.bases = (is_far_transfer && self.mode.is_long()).then(|| engine.bases());
                self.invalidates = instruction.and_then(|it| invalidated(&it, || engine.registers()));
            }
            Class::MediaControl => {
                self.last_step = true;
                self.loads_media_control = true;
                engine.set_floats(engine.take_floats().raised);
                self.before = Some(Box::new(engine.registers()));
            }
            Class::Mark if !self.is_abandoned => self.note_mark(pc),
            Class::Pause => self.pause(engine),
            _ => (),
        }
        self.loaded = Loaded::default();
        self.current = Some(Current {
            pc,
            class,
            entries_before: self.core.buffer.entries().len(),
            accesses: 0,
            done: self.core.partial.len(),
            is_before_port: class == Class::StringPortIo,
        });
        if (class == Class::Serialising || self.mode.breaks) && self.is_refused_at_once(engine, pc) {
            return Flow::Stop;
        }
        if is_cmpxchg_of_halves {
            let instruction = self.instruction_at(pc);
            self.halves = instruction.and_then(|it| Halves::before(&it, |register| engine.gpr(register)));
        }
        Flow::Continue
    }

    fn load(&mut self, engine: Hooked, address: PhysAddr, size: u64) -> Flow {
        self.take_overlays_away();
        self.memory_type = self.type_of_access(address);
        self.look_at(address, size, false);
        if self.is_abandoned {
            self.rehearse(engine, address, size, true);
            self.note_load(engine, address, size);
            return if self.refusal.is_some() { Flow::Stop } else { Flow::Continue };
        }
        for (address, size, _) in self.pieces(engine, address, size) {
            let Some(index) = self.next_access() else {
                self.is_abandoned = true;
                break;
            };
            match self.core.partial.get(index).filter(|_| self.is_done(index)).cloned() {
                Some(PartialAccess::Load { address, bytes }) => {
                    self.save(address, bytes.len() as u64, Until::NextAccess);
                    self.world.memory.write(address, &bytes);
                }
                // Not remembered as a load: the instruction has been rewritten since, and starts afresh.
                Some(PartialAccess::Store { .. }) | None => self.new_load(address, size),
            }
        }
        self.note_load(engine, address, size);
        if self.table_load.is_some() && !self.is_abandoned {
            self.refuse_base(engine, address, size);
        }
        self.flow()
    }

    fn store(&mut self, engine: Hooked, address: PhysAddr, size: u64, value: u64) -> Flow {
        self.take_overlays_away();
        self.memory_type = self.type_of_access(address);
        self.look_at(address, size, true);
        if self.is_abandoned {
            self.rehearse(engine, address, size, false);
            for (address, size, _) in self.pieces(engine, address, size) {
                self.save(address, size, Until::Retired);
            }
            return if self.refusal.is_some() { Flow::Stop } else { Flow::Continue };
        }
        if self.current().is_before_port {
            for (address, size, _) in self.pieces(engine, address, size) {
                if self.world.code.touches(address, size) {
                    // Else the engine, which has changed its own code, would begin the instruction again, for ever.
                    self.store_to_code(engine, address, size);
                }
                self.save(address, size, Until::NextAccess);
            }
            return Flow::Continue;
        }
        let bytes = value.to_le_bytes();
        for (address, size, from) in self.pieces(engine, address, size) {
            if self.is_abandoned {
                self.save(address, size, Until::Retired);
                continue;
            }
            let Some(index) = self.next_access() else {
                self.save(address, size, Until::Retired);
                self.is_abandoned = true;
                continue;
            };
            if self.is_done(index) {
                self.save(address, size, Until::Retired);
            } else {
                self.new_store(engine, address, &bytes[from as usize..(from + size) as usize]);
            }
        }
        self.flow()
    }

    fn device_load(&mut self, address: PhysAddr, size: u64) -> u64 {
        if self.is_abandoned {
            return 0;
        }
        self.drain_all();
        self.last_step = true;
        let (id, width) = (self.id, width(size));
        self.world.note_time(self.core.clock);
        let value = self.world.with_board(|board, around| board.load(id, address, width, around));
        self.note_loaded(&value.to_le_bytes()[..size as usize]);
        value
    }

    fn device_store(&mut self, address: PhysAddr, size: u64, value: u64) {
        if self.is_abandoned || self.current().is_before_port {
            return;
        }
        self.drain_all();
        self.last_step = true;
        let (id, width) = (self.id, width(size));
        self.world.note_time(self.core.clock);
        self.world.with_board(|board, around| board.post(id, address, width, value, around));
    }

    fn port_in(&mut self, port: u16, size: u64) -> u32 {
        if let Some(current) = &mut self.current {
            current.is_before_port = false;
        }
        self.last_step = true;
        self.look_at_port(port, size);
        let (id, width) = (self.id, width(size));
        self.world.note_time(self.core.clock);
        self.world.with_board(|board, around| board.port_in(id, port, width, around)) as u32
    }

    fn port_out(&mut self, port: u16, size: u64, value: u32) {
        self.last_step = true;
        self.look_at_port(port, size);
        let (id, width) = (self.id, width(size));
        self.world.note_time(self.core.clock);
        self.world.with_board(|board, around| board.port_out(id, port, width, u64::from(value), around));
    }

    fn translations(&mut self, mode: Mode) -> (&mut Tlb, &Memory) {
        self.follow(mode);
        (&mut self.core.tlb, self.world.memory)
    }

    fn lost(&mut self, lost: Lost) {
        self.lost = self.lost.and(lost);
        if lost.code {
            self.decoded.forget();
        }
    }

    fn only_looks(&self) -> bool {
        self.is_abandoned
    }

    fn fetches(&mut self, from: PhysAddr) {
        if self.world.memory.holds(from) {
            self.world.code.note(from);
        }
    }

    fn marks(&mut self, entry: PhysAddr) {
        if self.world.code.touches(entry, 1) {
            self.world.written.push((entry, 1));
            self.decoded.forget();
            self.last_step = true;
        }
    }

    fn approach(&mut self, page: Page) -> bool {
        let at = page.physical;
        let memory_type = self.core.memory_types.effective(at, page.kind);
        let is_special = self.world.memory.holds(at) && memory_type != self.type_by_ranges(at);
        self.approached = is_special.then_some((PhysAddr(at.0 & !(PAGE - 1)), memory_type));
        is_special
    }
}

/// How far a run goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Whole instructions.
    Steps,
    /// One access of an instruction, or all of it if it has no other.
    OneAccess,
    /// One load of an instruction that faults after it.
    OneLoad,
    /// One instruction without any effect, to see whether it faults.
    Rehearsal,
}

/// Where the arithmetic flags from before an instruction that has faulted are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FlagsOfFault {
    /// In the engine, which has computed them before the instruction, and then taken them for something else.
    InEngine,
    /// In this RFLAGS: the instruction has changed the engine's.
    Kept(u64),
}

/// What came of a run.
pub(super) struct Observed {
    pub(super) exit: PreciseExit,
    /// Linear address of the instruction that the exit is about.
    pub(super) pc: u64,
    /// The next instruction could not be fetched; the one before is complete.
    pub(super) is_fetch_fault: bool,
    /// Of a rehearsal: the next access is a load.
    pub(super) is_load_next: bool,
    /// The exit is a trap: the instruction before is complete.
    pub(super) is_trap: bool,
    /// The registers must be put back to what they were before the run.
    pub(super) is_abandoned: bool,
    /// Flags may have been loaded, or the task changed.
    pub(super) is_mode_change: bool,
    /// The breakpoints on data and ports that an instruction has met which is complete, as in DR6.
    pub(super) breakpoints: u64,
    /// Where a task begins, or would if it did not fault at once.
    pub(super) begins_task_at: Option<u64>,
    /// DR6 as it stays after an instruction that is complete and holds breakpoints on the next one off.
    pub(super) begins_resume: Option<u64>,
    /// The resume flag ends: an instruction is complete that has not loaded it.
    pub(super) ends_resume: bool,
    /// Translated code was stored to.
    pub(super) stored_to_code: bool,
    /// The machine must execute the next instruction itself.
    pub(super) emulate: Option<Instruction>,
    /// What the last instruction must have left alone.
    pub(super) halves: Option<Halves>,
    /// Of an instruction that has faulted.
    pub(super) flags: Option<FlagsOfFault>,
    /// The bases of FS and GS before a far transfer that is complete, in long mode.
    pub(super) bases: Option<[u64; 2]>,
    /// What the core's translation lookaside buffer has lost.
    pub(super) lost: Lost,
    /// The registers before the instruction that is refused.
    pub(super) before: Option<Box<CpuState>>,
    /// What the last instruction has raised, for MXCSR, which it may have loaded.
    pub(super) raised: Option<Raised>,
    /// Interrupts are no longer held off.
    pub(super) ends_shadow: bool,
    pub(super) spun: Spun,
}

/// What the engine knows when it has stopped.
pub(super) struct After {
    pub(super) pc: u64,
    /// How addresses are translated.
    pub(super) mode: Mode,
    /// What SSE instructions have raised, if it is [looked at](PreciseRun::looks_at_floats).
    pub(super) floats: Option<Floats>,
    /// The segment of the task, if it is another than [before](PreciseRun::task_before).
    pub(super) task: Option<Segment>,
}

/// How long saved bytes stay away from memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    NextAccess,
    Retired,
    Faulted,
}

impl<'a, 'w> PreciseRun<'a, 'w> {
    /// A run of `core` of up to `steps` steps.
    pub(super) fn new(
        id: CoreId,
        core: &'a mut Core,
        world: &'a mut World<'w>,
        decoded: &'a mut Decoded,
        steps: u64,
        extent: Extent,
    ) -> PreciseRun<'a, 'w> {
        let mode = decoded.mode();
        PreciseRun {
            id,
            core,
            world,
            decoded,
            left: steps,
            extent,
            eager: false,
            gives_way: GivesWay::default(),
            under: Vec::new(),
            current: None,
            overlays: Vec::new(),
            restores: Vec::new(),
            committed: Vec::new(),
            last_step: false,
            may_retranslate: false,
            is_mode_change: false,
            stored_to_code: false,
            mode,
            invalidates: None,
            lost: Lost::default(),
            approached: None,
            memory_type: MemoryType::WriteBack,
            is_abandoned: false,
            emulate: None,
            halves: None,
            flags: None,
            is_far_transfer: false,
            has_retired: false,
            task: None,
            bases: None,
            table_load: None,
            refusal: None,
            before: None,
            loaded: Loaded::default(),
            loads_media_control: false,
            breakpoints: 0,
            is_load_next: false,
            loads_ss: false,
            ends_shadow: false,
            spun: Spun::No,
        }
    }
}

impl PreciseRun<'_, '_> {
    /// Puts the buffered entries over memory, oldest first.
    pub(super) fn apply(&mut self) {
        for index in 0..self.core.buffer.entries().len() {
            let entry = self.core.buffer.entries()[index];
            self.push_under(entry.address, usize::from(entry.length));
            self.world.memory.write(entry.address, entry.bytes());
        }
    }

    /// Whether addresses may be translated otherwise now than when the run began.
    pub(super) fn may_retranslate(&self) -> bool {
        self.may_retranslate
    }

    /// Whether what the engine knows of SSE matters to how the run [ends](PreciseRun::end).
    pub(super) fn looks_at_floats(&self) -> bool {
        self.mode.floats || self.loads_media_control
    }

    /// The selector of the task before the last instruction, if that may have switched tasks.
    pub(super) fn task_before(&self) -> Option<u32> {
        self.task
    }

    /// The engine has stopped: settles the instruction that was executing and hides the pending stores again.
    pub(super) fn end(mut self, exit: PreciseExit, after: After) -> Observed {
        let After { pc, mode, floats, task } = after;
        let has_executed =
            exit == PreciseExit::Stopped || self.current.as_ref().is_some_and(|current| current.pc != pc);
        let raised = floats.filter(|_| has_executed).map(|floats| self.judge_floats(&floats));
        let (exit, before) = match self.refusal.take() {
            Some((exception, _)) if self.extent == Extent::Rehearsal => (PreciseExit::Exception(exception), None),
            Some((exception, before)) => {
                self.is_abandoned = false;
                (PreciseExit::Exception(exception), Some(before))
            }
            None => (exit, None),
        };
        let fault_pc = self.current.as_ref().map_or(pc, |current| current.pc);
        let is_fetch_fault = self.is_fetch_fault(exit, pc);
        // What holds breakpoints on the next instruction off has met one.
        let is_held_off = self.loads_ss && self.is_trap(exit, pc);
        let exit = if is_held_off { PreciseExit::Stopped } else { exit };
        let is_trap = self.is_trap(exit, pc);
        // The fault of what a task has begun with: it has left the other one behind (SDM 3A 8.3).
        let is_of_task = task.is_some() && self.is_fault(exit) && !is_fetch_fault && !is_trap;
        let is_complete =
            !self.is_abandoned && (exit == PreciseExit::Stopped || is_fetch_fault || is_trap || is_of_task);
        let flags = self.flags_of_fault(is_complete);
        if self.is_abandoned {
            self.take_overlays_away();
            self.put_back();
        } else if is_complete {
            self.retire();
        } else {
            self.undo_current();
        }
        if !self.is_abandoned {
            self.follow(mode);
        }
        let task = task.filter(|_| is_complete).map(|segment| Task::read(segment, |at, bytes| self.read(at, bytes)));
        if let Some(linear) = self.invalidates.filter(|_| is_complete) {
            self.core.tlb.forget_page(linear, &mut self.lost);
        }
        self.hide();
        Observed {
            // A rehearsal is after the exception; an instruction that stops after one access meets it when it goes on.
            exit: if self.is_abandoned && self.stops_early() { PreciseExit::Stopped } else { exit },
            pc: if is_fetch_fault || is_trap { pc } else { fault_pc },
            is_fetch_fault,
            is_load_next: self.is_load_next,
            is_trap,
            is_abandoned: self.is_abandoned,
            is_mode_change: self.is_mode_change,
            breakpoints: if is_complete { self.breakpoints | task.map_or(0, |task| task.trap) } else { 0 },
            begins_task_at: task.filter(|_| is_of_task).map(|task| task.instruction_pointer),
            begins_resume: self.before.filter(|_| self.loads_ss && self.has_retired).map(|before| before.dr[6]),
            ends_resume: self.mode.breaks && self.has_retired && !self.is_far_transfer,
            stored_to_code: self.stored_to_code,
            emulate: self.emulate,
            halves: self.halves,
            bases: self.bases.filter(|_| is_complete),
            flags,
            lost: self.lost,
            before,
            raised: raised.filter(|_| self.extent != Extent::Rehearsal),
            ends_shadow: self.ends_shadow,
            spun: self.spun,
        }
    }

    /// Addresses are translated in `mode` now: a task switch forgets what belonged to the address space before.
    fn follow(&mut self, mode: Mode) {
        if mode.cr3 != self.mode.cr3 {
            self.core.tlb.forget_for(&self.mode, &mode, true);
            self.lost = Lost::ALL;
            self.mode.cr3 = mode.cr3;
        }
    }

    /// The instruction at `pc`.
    fn instruction_at(&self, pc: u64) -> Option<Instruction> {
        self.decoded.instruction(pc, &self.core.tlb, self.world.memory)
    }

    /// The core, interrupted at `pc`, is about to enter a handler: what follows are the accesses that this takes.
    pub(super) fn begin_delivery(&mut self, pc: u64) {
        self.world.log.begin_entry();
        self.apply();
        self.current = Some(Current {
            pc,
            class: Class::Plain,
            entries_before: self.core.buffer.entries().len(),
            accesses: 0,
            done: 0,
            is_before_port: false,
        });
    }

    /// The handler has been entered, or not: then what was pushed on the way is taken back.
    ///
    /// Addresses are translated in `mode` now, and `task` is that of the handler if it is another. Returns what the core's
    /// translation lookaside buffer has lost, and what the task traps with, as in DR6.
    pub(super) fn end_delivery(mut self, delivery: Delivery, mode: Mode, task: Option<Segment>) -> (Lost, u64) {
        if matches!(delivery, Delivery::Entered { .. }) {
            self.take_overlays_away();
            self.put_back();
        } else {
            self.undo_current();
        }
        self.core.partial.clear();
        self.follow(mode);
        let task = task.map(|segment| Task::read(segment, |at, bytes| self.read(at, bytes)));
        self.hide();
        (self.lost, task.map_or(0, |task| task.trap))
    }

    /// Whether the exit is a fault, or a trap.
    fn is_fault(&self, exit: PreciseExit) -> bool {
        matches!(exit, PreciseExit::Exception(Exception { source: Source::Exception, .. }))
    }

    /// Whether the exit is the debug exception after an instruction that is complete (SDM 3A 18.3.1.4).
    fn is_trap(&self, exit: PreciseExit, pc: u64) -> bool {
        let is_complete = self.current.as_ref().is_some_and(|c| c.pc != pc && c.class != Class::SoftwareInterrupt);
        is_complete && matches!(exit, PreciseExit::Exception(Exception { vector: vector::DEBUG, .. }))
    }

    /// Where the flags are if the exit is a fault of the current instruction.
    fn flags_of_fault(&self, is_complete: bool) -> Option<FlagsOfFault> {
        let current = self.current.as_ref()?;
        let is_fault = !is_complete && !self.is_abandoned && current.class != Class::SoftwareInterrupt;
        is_fault.then(|| self.flags.map_or(FlagsOfFault::InEngine, FlagsOfFault::Kept))
    }

    /// Whether the engine could not fetch the next instruction, rather than execute the current one.
    fn is_fetch_fault(&self, exit: PreciseExit, pc: u64) -> bool {
        let has_moved_on = self.current.as_ref().is_none_or(|current| current.pc != pc);
        let is_software = self.current.as_ref().is_some_and(|current| current.class == Class::SoftwareInterrupt);
        match exit {
            PreciseExit::Stopped => false,
            PreciseExit::NothingToFetch => true,
            PreciseExit::Exception(exception) => exception.vector == vector::PAGE_FAULT && has_moved_on && !is_software,
        }
    }

    /// Takes the applied entries off memory, youngest first.
    fn hide(&mut self) {
        for index in (0..self.under.len()).rev() {
            let Entry { address, length, .. } = self.core.buffer.entries()[index];
            let length = usize::from(length);
            // The page walker sets accessed and dirty bits in memory itself, and so in an applied entry: keep them.
            let mut now = [0; 8];
            self.world.memory.read(address, &mut now[..length]);
            self.core.buffer.rewrite(index, &now[..length]);
            self.world.memory.write(address, &self.under[index][..length]);
        }
    }

    /// The instruction that was executing is complete.
    fn retire(&mut self) {
        self.take_overlays_away();
        self.put_back();
        self.committed.clear();
        if self.current.take().is_some() {
            self.core.partial.clear();
            self.core.clock += 1;
            self.left -= 1;
            self.has_retired = true;
        }
    }

    /// The instruction that was executing has faulted: what it stored is taken back (SDM 3A 6.5, faults).
    fn undo_current(&mut self) {
        self.take_overlays_away();
        self.put_back();
        let Some(current) = self.current.take() else { return };
        for index in (current.entries_before.min(self.under.len())..self.under.len()).rev() {
            let Entry { address, length, .. } = self.core.buffer.entries()[index];
            self.world.memory.write(address, &self.under[index][..usize::from(length)]);
            self.world.written.push((address, u64::from(length)));
        }
        self.under.truncate(current.entries_before);
        self.core.buffer.truncate(current.entries_before);
        for saved in self.committed.drain(..).rev() {
            saved.put_back(self.world.memory);
            self.world.written.push((saved.address, saved.length as u64));
        }
        self.core.partial.clear();
    }

    /// Whether an interrupt that waits could be taken before the instruction that comes next, as
    /// [`super::interrupt_request`] will say, too: a turn that ended for anything else would begin again, for ever.
    fn may_be_interrupted(&self, engine: Hooked) -> bool {
        let openness = || engine.openness();
        self.core.partial.is_empty() && self.world.board.interrupts().request(self.id, openness).is_some()
    }

    /// Reads memory at linear address `start`, as far as there is any.
    fn read(&self, start: u64, bytes: &mut [u8]) {
        for (offset, byte) in (0..).zip(bytes) {
            let linear = start.wrapping_add(offset);
            let at = self.core.tlb.translate(Side::Data, linear, &self.mode, self.world.memory);
            if let Some(at) = at {
                self.world.memory.read(at, std::slice::from_mut(byte));
            }
        }
    }

    fn put_halves_back(&mut self, engine: Hooked) {
        let Some(halves) = self.halves.take() else { return };
        if let Some((register, value)) = halves.to_put_back(engine.gpr(gpr::RAX)) {
            engine.set_gpr(register, value);
        }
    }

    /// What is known about the instruction at `pc`.
    fn classify(&mut self, pc: u64) -> Known {
        let known = self.decoded.classify(pc, &mut self.core.tlb, self.world.memory, &mut self.lost);
        if known.class.is_emulated() {
            // The bytes may be others than when they were looked at last, or their page gone: then the engine has its say.
            let instruction = self.instruction_at(pc);
            if instruction.is_none_or(|instruction| decode::classify(&instruction) != known.class) {
                self.decoded.forget();
                return Known::PLAIN;
            }
        }
        known
    }

    fn pause(&mut self, engine: Hooked) {
        // The engine forgets to end the shadow of STI here, and does it one instruction late.
        self.ends_shadow = engine.openness().contains(Openness::SHADOW);
        self.last_step |= self.ends_shadow;
        if self.gives_way.at_pause {
            self.last_step = true;
            self.spun = Spun::AtPause;
        }
    }

    /// Whether the instruction at `pc` is one that the engine takes for an invalid opcode.
    fn is_int1(&self, pc: u64) -> bool {
        self.instruction_at(pc).is_some_and(|instruction| instruction.mnemonic() == Mnemonic::Int1)
    }

    fn note_mark(&mut self, pc: u64) {
        let mark = self.instruction_at(pc).and_then(|instruction| decode::mark_of(&instruction));
        if let Some(mark) = mark {
            self.world.log.push(Event::Marked { core: self.id, mark });
        }
    }

    fn current(&self) -> &Current {
        self.current.as_ref().expect("accesses belong to an instruction")
    }

    /// The number of the access that is about to happen; `None` when the instruction must stop before it.
    fn next_access(&mut self) -> Option<usize> {
        let one_access = self.stops_early();
        let current = self.current.as_mut().expect("accesses belong to an instruction");
        let index = current.accesses;
        // What INS has read from its port cannot be read again.
        let is_one = matches!(current.class, Class::Locked | Class::StringPortIo);
        if one_access && !is_one && index > current.done {
            return None;
        }
        current.accesses += 1;
        Some(index)
    }

    /// Whether the instruction may stop after an access.
    fn stops_early(&self) -> bool {
        matches!(self.extent, Extent::OneAccess | Extent::OneLoad)
    }

    /// Counts an access of an instruction that is rehearsed.
    fn rehearse(&mut self, engine: Hooked, address: PhysAddr, size: u64, is_load: bool) {
        if self.extent != Extent::Rehearsal {
            return;
        }
        let pieces = self.pieces(engine, address, size).count();
        let Some(current) = self.current.as_mut() else { return };
        let accesses = current.accesses..current.accesses + pieces;
        self.is_load_next |= is_load && accesses.contains(&current.done);
        current.accesses = accesses.end;
    }

    /// Whether the current instruction made access `index` in an earlier turn.
    fn is_done(&self, index: usize) -> bool {
        index < self.current().done
    }

    fn flow(&self) -> Flow {
        if self.is_abandoned { Flow::Stop } else { Flow::Continue }
    }

    /// A load that happens now: waits for the buffer where it must, and is remembered if the instruction may stop after it.
    fn new_load(&mut self, address: PhysAddr, size: u64) {
        let (model, processor) = (self.world.settings.model, self.world.settings.processor);
        if self.memory_type == MemoryType::Uncached {
            self.drain_all();
        }
        while let Some(index) = self.core.buffer.load_waits_for(address, size, model, processor) {
            self.drain(index);
        }
        let is_remembered = self.stops_early();
        if !is_remembered && !self.world.log.details() {
            return;
        }
        let mut bytes = vec![0; size as usize];
        self.world.memory.read(address, &mut bytes);
        let event = Event::Loaded {
            core: self.id,
            pc: self.current().pc,
            address: address.0,
            length: size as u8,
            value: number(&bytes),
            memory: self.memory_type,
        };
        self.world.log.push(event);
        if is_remembered {
            self.core.partial.push(PartialAccess::Load { address, bytes });
        }
        // The instruction meets its fault when it goes on.
        self.is_abandoned |= self.extent == Extent::OneLoad;
    }

    /// A store that happens now: into the buffer, or to memory at once.
    fn new_store(&mut self, engine: Hooked, address: PhysAddr, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let kind = self.kind_of_store();
        let is_uncached = self.memory_type == MemoryType::Uncached;
        if is_uncached {
            self.drain_all();
        }
        let is_direct = self.eager
            || is_uncached
            || self.current().class == Class::Locked
            || !self.world.settings.model.buffers(kind);
        if self.world.code.touches(address, length) {
            self.store_to_code(engine, address, length);
        }
        if is_direct {
            self.save(address, length, Until::Faulted);
        } else {
            self.make_room(kind);
            self.push_under(address, bytes.len());
            self.core.buffer.push(Entry::new(address, bytes, kind));
        }
        let (core, pc, length) = (self.id, self.current().pc, bytes.len() as u8);
        self.world.log.push(Event::Stored {
            core,
            pc,
            address: address.0,
            length,
            value: number(bytes),
            buffered: !is_direct,
            memory: self.memory_type,
        });
        if self.extent == Extent::OneAccess {
            self.core.partial.push(PartialAccess::Store { address, length });
        }
    }

    /// A store to translated code: this engine forgets the translation now, all others after the turn.
    fn store_to_code(&mut self, engine: Hooked, address: PhysAddr, length: u64) {
        if let Some(host) = self.world.memory.host_pointer(address) {
            engine.drop_code(host, length);
        }
        self.decoded.forget();
        self.world.written.push((address, length));
        // What follows in the current block was translated before the store.
        self.last_step = true;
        self.stored_to_code = true;
    }

    /// The memory type of `address` where pages leave it to the MTRRs.
    fn type_by_ranges(&self, address: PhysAddr) -> MemoryType {
        self.core.memory_types.effective(address, PageType::WRITE_BACK)
    }

    /// The memory type of the access at `address` that is about to happen.
    fn type_of_access(&mut self, address: PhysAddr) -> MemoryType {
        let page = PhysAddr(address.0 & !(PAGE - 1));
        let approached = self.approached.take().filter(|(at, _)| *at == page);
        approached.map_or_else(|| self.type_by_ranges(address), |(_, memory_type)| memory_type)
    }

    fn kind_of_store(&self) -> StoreKind {
        let is_combining = self.memory_type == MemoryType::WriteCombining;
        if is_combining || self.current().class == Class::NonTemporal {
            StoreKind::WriteCombining
        } else {
            StoreKind::Ordinary
        }
    }

    /// A store into a full buffer waits for a drain.
    fn make_room(&mut self, kind: StoreKind) {
        let settings = self.world.settings;
        let capacity = match kind {
            StoreKind::Ordinary => settings.depth,
            StoreKind::WriteCombining => settings.wc_depth,
        };
        while self.core.buffer.count(kind) >= capacity {
            let index = self.core.buffer.first_to_make_room(kind, settings.model).expect("a full buffer has an entry");
            self.drain(index);
        }
    }

    /// Drains an entry while all are applied: memory already has its bytes.
    fn drain(&mut self, index: usize) {
        let entry = self.core.buffer.remove(index);
        let under = self.under.remove(index);
        if let Some(current) = &mut self.current {
            if index < current.entries_before {
                current.entries_before -= 1;
            } else {
                // A store of the very instruction that executes: if that faults, memory is as before.
                self.committed.push(Saved { address: entry.address, length: entry.length.into(), bytes: under });
            }
        }
        note_drained(self.id, &entry, self.world);
    }

    fn drain_all(&mut self) {
        while !self.core.buffer.is_empty() {
            self.drain(0);
        }
    }

    fn push_under(&mut self, address: PhysAddr, length: usize) {
        let mut under = [0; 8];
        self.world.memory.read(address, &mut under[..length]);
        self.under.push(under);
    }

    fn save(&mut self, address: PhysAddr, length: u64, until: Until) {
        let mut saved = Saved { address, length: length as usize, bytes: [0; 8] };
        if self.world.memory.read(address, &mut saved.bytes[..saved.length]) {
            match until {
                Until::NextAccess => self.overlays.push(saved),
                Until::Retired => {
                    self.restores.push(saved);
                    if self.world.code.touches(address, length) {
                        // Nothing may be translated from the bytes that are about to be put back.
                        self.world.written.push((address, length));
                        self.last_step = true;
                    }
                }
                Until::Faulted => self.committed.push(saved),
            }
        }
    }

    fn take_overlays_away(&mut self) {
        for saved in self.overlays.drain(..).rev() {
            saved.put_back(self.world.memory);
        }
    }

    fn put_back(&mut self) {
        for saved in self.restores.drain(..).rev() {
            saved.put_back(self.world.memory);
        }
    }

    /// Cuts an access where the [processor](crate::processor)'s atomicity ends, and so at pages.
    ///
    /// Gives address, length and offset of each piece. The engine reports only the first physical address of an access
    /// that crosses pages; the other page is found by translating the instruction's own operand.
    fn pieces(
        &self,
        engine: Hooked,
        address: PhysAddr,
        size: u64,
    ) -> impl Iterator<Item = (PhysAddr, u64, u64)> + use<> {
        let whole = self.world.settings.processor.whole_within();
        let first = size.min(whole - address.0 % whole);
        let next_page = (address.0 + first).is_multiple_of(PAGE) && first < size;
        let second = if next_page { self.other_page(engine, address, size) } else { Some(PhysAddr(address.0 + first)) };
        let second = second.filter(|&at| first < size && self.world.memory.holds(at));
        std::iter::once((address, first, 0)).chain(second.map(|at| (at, size - first, first)))
    }

    /// Where an access of `size` bytes that begins at the end of a page goes on.
    fn other_page(&self, engine: Hooked, address: PhysAddr, size: u64) -> Option<PhysAddr> {
        let mode = self.decoded.mode();
        let instruction = self.instruction_at(self.current().pc)?;
        let translate = |linear: u64| self.core.tlb.translate(Side::Data, linear, &mode, self.world.memory);
        let starts = operands::linear_ranges(&instruction, &engine.registers());
        let linear = starts.into_iter().flat_map(|range| {
            // The first byte of the range that has the access's place in its page.
            let skip = address.0.wrapping_sub(range.start) % PAGE;
            let start = range.start.wrapping_add(skip);
            (start..range.end.max(start + 1)).step_by(PAGE as usize)
        });
        let found = linear.into_iter().find(|&at| translate(at) == Some(address))?;
        translate((found + size - 1) & !(PAGE - 1))
    }
}

/// Whether `instruction`, which comes next with the registers that `read` gives, translates no address anew although it may
/// change the mode. A return to another task would (SDM 3A 8.3).
fn keeps_translations(instruction: &Instruction, read: impl Fn() -> CpuState) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq | Mnemonic::Iretq => true,
        Mnemonic::Iret | Mnemonic::Iretd => read().rflags & FLAGS_NT == 0,
        _ => false,
    }
}

/// The linear address whose page `instruction` invalidates, if it is INVLPG, with the registers that `read` gives.
fn invalidated(instruction: &Instruction, read: impl Fn() -> CpuState) -> Option<u64> {
    let is_invlpg = instruction.mnemonic() == Mnemonic::Invlpg;
    is_invlpg.then(|| operands::linear_address(instruction, &read())).flatten()
}

/// Up to 8 bytes as a little-endian number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn width(size: u64) -> Width {
    Width::from_bytes(size).expect("the engine cuts device accesses into 1, 2, 4 or 8 bytes")
}
