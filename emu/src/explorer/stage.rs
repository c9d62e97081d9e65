//! Trying out operations on a real machine.

use super::delta::{Delta, granules};
use super::limits::CutPlace;
use super::local::{Input, LocalId, Locals, input_of};
use super::op::{Beyond, Edge, Entered, Op, Place, Taken};
use super::own_fence::OwnFence;
use super::patches::Patches;
use crate::board::Board;
use crate::choice::Choice;
use crate::core::cpu_state::{CpuState, SegmentName, gpr};
use crate::core::decode::{self, Class, Mark};
use crate::core::emulate::msr;
use crate::core::interruption::{Openness, Source, vector};
use crate::core::memory_types::MemoryTypes;
use crate::core::tlb::{Side, Tlb};
use crate::core::{Activity, CoreId, paging};
use crate::machine::staging::{Local, Standing};
use crate::machine::{Machine, Stop};
use crate::memory::{Memory, MemoryType};
use crate::processor::Processor;
use crate::store_buffer::{Entry, StoreBuffer, StoreKind};
use crate::trace::{Event, Fault};
use fencepost_devices::{PhysAddr, Space, Ticks, Width};
use iced_x86::{Formatter, Instruction, InstructionInfoFactory, Mnemonic, NasmFormatter, OpAccess, OpKind};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Instructions in a row without an operation that others could observe, after which a core is given up.
const LONGEST_LOCAL_RUN: u64 = 1 << 20;

/// The longest instruction, in bytes (SDM 2A 2.3.11): bytes up to there decide why one cannot be decoded.
const LONGEST_INSTRUCTION: u64 = 15;

/// CR0: PE, WP, NW, CD, PG. The others are about tasks, floating point and alignment.
const TRANSLATES_IN_CR0: u64 = 1 | 1 << 16 | 1 << 29 | 1 << 30 | 1 << 31;

/// CR4: VME, PVI, PSE, PAE, PGE.
const TRANSLATES_IN_CR4: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7;

/// EFER.SCE, the only bit of it that is about something else.
const EFER_SYSTEM_CALLS: u64 = 1;

/// What an instruction is to the explorer, whatever the registers hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Others cannot observe it: it has no memory operand, drains nothing and reaches no device.
    Local,
    /// May read or write memory, or drains, or reaches a device.
    Operation(Class),
    /// IRET: like a locked instruction it reads all that it reads at once, with an empty buffer.
    Return,
    /// The mark at which the explored region begins: nothing, once exploration is under way.
    Begin,
    /// The mark at which it ends.
    End,
    /// Cannot be fetched or decoded: executing it tells why.
    Unknown,
}

/// What came of an interrupt.
pub(super) struct Interrupted {
    /// The core's next local state.
    pub(super) to: LocalId,
    /// Steps of instructions after the entry that are no scheduling points.
    pub(super) then: u64,
    /// What the processor has read on the way into the handler.
    pub(super) loads: Vec<Place>,
    /// The frame it has pushed, oldest first.
    pub(super) stores: Vec<Entry>,
    pub(super) board: Board,
    /// The run has ended: there was no way into a handler.
    pub(super) stop: Option<Stop>,
}

/// Why devices in such a state cannot be followed, if so.
pub(super) fn beyond_of(board: &Board) -> Option<Beyond> {
    if board.next_event().is_some() {
        Some(Beyond::RunsTimer)
    } else {
        board.interrupts().has_any_nmi().then_some(Beyond::NonMaskable)
    }
}

/// Which device makes that so.
pub(super) fn place_of(board: &Board) -> Option<CutPlace> {
    let reason = beyond_of(board)?;
    let (core, device) = match reason {
        Beyond::NonMaskable => (board.interrupts().first_with_nmi(), None),
        _ => board.next_by_itself().map_or((None, None), |(core, device)| (core, Some(device))),
    };
    Some(CutPlace { reason, pc: None, core, device })
}

/// A machine on which operations are tried, and the memory that exploration began with.
pub(super) struct Stage {
    machine: Machine,
    base: Memory,
    /// Classified instructions, by linear address.
    kinds: FxHashMap<u64, (Kind, u64)>,
    /// What instructions that drain and were executed are as fences, by linear address.
    fences: FxHashMap<u64, Option<OwnFence>>,
    /// What has been executed and stored to.
    patches: Patches,
    /// Physical pages that hold page tables.
    tables: Vec<u64>,
    /// How each core finds memory.
    addressing: Vec<Addressing>,
    board: Board,
    /// What time it is, for good: devices in one state do the same whenever they are tried. Nothing is followed that would
    /// make a difference by the time.
    time: Ticks,
    /// One engine executes all cores' instructions.
    is_shared: bool,
    /// What the mark that ends the region is to the core whose operation is tried.
    standing: Standing,
}

/// How a core finds memory when exploration begins, and ever after.
#[derive(Clone)]
struct Addressing {
    noted: Tlb,
    /// Page tables say otherwise than some of what is noted, so that it matters when that is lost.
    is_stale: bool,
    types: MemoryTypes,
}

/// What the rest of the machine is while an operation is tried.
pub(super) struct Around<'a> {
    pub(super) memory: &'a Delta,
    pub(super) buffer: &'a StoreBuffer,
    pub(super) board: &'a Board,
}

/// What came of an operation.
pub(super) struct Tried {
    pub(super) op: Op,
    pub(super) input: Input,
    pub(super) edge: Edge,
    /// The devices afterwards, when the operation reached one.
    pub(super) board: Option<Board>,
    /// It ended the run.
    pub(super) stop: Option<Stop>,
    /// What it has accessed that the core's local state does not tell.
    pub(super) entered: Option<Entered>,
}

/// What came of one choice.
struct Attempt {
    taken: Taken,
    happened: Happened,
    /// The devices afterwards, when one was reached.
    board: Option<Board>,
    stop: Option<Stop>,
    /// Where memory is another than when exploration began.
    touched: Vec<(u64, u64)>,
}

impl Stage {
    /// A stage on `machine`, as it is now.
    pub(super) fn new(mut machine: Machine, is_shared: bool) -> Stage {
        machine.set_details(true);
        machine.set_break(None);
        machine.take_events();
        let state = machine.state();
        let (base, board, time) = (state.memory.clone(), state.board.clone(), state.time);
        let modes = state.cores.iter().map(|core| paging::Mode::of(&core.cpu));
        let mut tables: Vec<u64> = modes.flat_map(|mode| mode.table_pages(&base)).collect();
        tables.sort_unstable();
        tables.dedup();
        let addressing = state.cores.iter().map(|core| {
            let mode = paging::Mode::of(&core.cpu);
            let is_stale = mode.is_paging() && core.tlb.is_stale(&mode, core.cpu.pat, &base);
            Addressing { noted: core.tlb.clone(), is_stale, types: core.memory_types.clone() }
        });
        let addressing = addressing.collect();
        Stage {
            machine,
            base,
            kinds: FxHashMap::default(),
            fences: FxHashMap::default(),
            patches: Patches::default(),
            tables,
            addressing,
            board,
            time,
            is_shared,
            standing: Standing::default(),
        }
    }

    /// Another stage like this one, for another thread.
    pub(super) fn fork(&mut self) -> Stage {
        let mut machine = self.machine.fork();
        machine.set_details(true);
        Stage {
            machine,
            base: self.base.clone(),
            kinds: self.kinds.clone(),
            fences: self.fences.clone(),
            patches: Patches::refusing(self.patches.refused().clone()),
            tables: self.tables.clone(),
            addressing: self.addressing.clone(),
            board: self.board.clone(),
            time: self.time,
            is_shared: self.is_shared,
            standing: Standing::default(),
        }
    }

    /// Whose processors the cores are like.
    pub(super) fn processor(&self) -> Processor {
        self.machine.settings().processor
    }

    /// Memory as it was when exploration began.
    pub(super) fn base(&self) -> &Memory {
        &self.base
    }

    /// Devices as they were when exploration began.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// The local state of `core` when exploration began.
    pub(super) fn first(&mut self, core: CoreId) -> Local {
        self.machine.local(core)
    }

    /// Puts code in place, for good.
    pub(super) fn put_code(&mut self, address: PhysAddr, bytes: &[u8]) {
        self.machine.stage_code(address, bytes);
        let is_memory = self.base.write(address, bytes);
        assert!(is_memory, "code is put into memory");
        self.kinds.retain(|pc, _| !(address.0..address.0 + bytes.len() as u64).contains(pc));
    }

    /// What has been executed and stored to.
    pub(super) fn patches(&mut self) -> &mut Patches {
        &mut self.patches
    }

    /// Begins anew, with stores to `refused` bytes not allowed: code is again what it was when exploration began, also where
    /// it has `changed`.
    pub(super) fn begin_anew(&mut self, refused: BTreeSet<u64>, changed: &BTreeSet<u64>) {
        self.kinds.clear();
        for &byte in refused.iter().chain(self.patches.refused()).chain(changed) {
            let original = self.base.slice(PhysAddr(byte), 1).expect("code is in memory");
            self.machine.stage_code(PhysAddr(byte), original);
        }
        self.patches = Patches::refusing(refused);
    }

    /// The fences of the program's own that were executed, by linear address.
    pub(super) fn fences(&self) -> BTreeMap<u64, OwnFence> {
        self.fences.iter().filter_map(|(&pc, fence)| Some((pc, (*fence)?))).collect()
    }

    /// Learns what another thread knows of fences.
    pub(super) fn learn_fences(&mut self, other: &Stage) {
        self.fences.extend(&other.fences);
    }

    /// Tries the next operation of `core` in local state `id`, with `around` being as it is; if that is a fence of the
    /// program's own and `is_left_out`, what the program does without it.
    pub(super) fn try_out(
        &mut self,
        core: CoreId,
        id: LocalId,
        around: &Around,
        locals: &mut Locals,
        is_left_out: bool,
    ) -> Tried {
        let seat = self.put_core(core, locals.local(id));
        let pc = self.machine.linear_pc(seat);
        let (kind, _) = self.kind(seat, pc);
        let still = |op: Op| Tried {
            op,
            input: 0,
            edge: Edge { to: id, taken: Taken::Nothing, then: 0, writes: Vec::new(), pushes: Vec::new() },
            board: None,
            stop: None,
            entered: None,
        };
        if let Some(reason) = beyond_of(around.board) {
            return still(Op::Beyond { pc, reason });
        }
        if locals.local(id).activity != Activity::Running {
            return still(Op::Finished);
        }
        if self.standing == (Standing::Behind { pc }) {
            return still(Op::Finished);
        }
        if kind == Kind::End && self.standing == Standing::InRegion {
            // The shadow ends with the mark, and interrupts can come: the core rests right behind it.
            let is_passed = is_in_shadow(locals.local(id));
            return if is_passed { self.pass_mark(seat, around, locals) } else { still(Op::Finished) };
        }
        if let Some(reason) = kind.beyond(&locals.local(id).cpu) {
            return still(Op::Beyond { pc, reason });
        }
        let replaced = if is_left_out { self.leave_out(seat, pc) } else { Vec::new() };
        let instead = if is_left_out { self.machine.instruction_at(seat, pc) } else { None };
        let kind = instead.map_or(kind, |instruction| kind_of(&instruction));
        let mut attempt = self.attempt(seat, kind, around, None);
        if attempt.may_fault_by_what_it_loads(kind) {
            // That load is an operation of its own, before the fault, which waits for the buffer.
            self.take_back(&attempt.touched);
            self.machine.stage(seat, locals.local(id));
            attempt = self.attempt(seat, kind, around, Some(Taken::Access));
        }
        let tried = match self.refusal(seat, kind, &attempt, &locals.local(id).cpu, around) {
            Some(reason) => {
                let Addressing { noted, types, .. } = &self.addressing[seat.index()];
                self.machine.stage_addressing(seat, noted, types);
                still(Op::Beyond { pc, reason })
            }
            None => self.follow(seat, (id, kind), &attempt, locals),
        };
        replaced.into_iter().for_each(|(address, byte)| self.machine.stage_code(address, &[byte]));
        self.take_back(&attempt.touched);
        if matches!(tried.op, Op::Locked { .. } | Op::FullFence | Op::StoreFence) && !is_left_out {
            self.note_fence(seat, pc);
        }
        tried
    }

    /// The core on `seat` goes on by one choice: `taken`, or an access where its instruction makes several, else all of it.
    fn attempt(&mut self, seat: CoreId, kind: Kind, around: &Around, taken: Option<Taken>) -> Attempt {
        let mut touched = self.put(around);
        let usual = if self.machine.makes_several_accesses(seat) { Taken::Access } else { Taken::Step };
        let taken = taken.unwrap_or(usual);
        let choice = match taken {
            Taken::Access => Choice::Access { core: seat },
            Taken::Step | Taken::Nothing => Choice::Run { core: seat, steps: 1, drained: false },
        };
        self.machine.apply(choice).expect("a staged core can run");
        let happened = self.happened();
        touched.extend(happened.stored());
        let stop = self.machine.staged_stop().take().filter(|stop| *stop != Stop::AllHalted);
        let reaches = happened.reached_device || kind == Kind::Operation(Class::TaskPriority);
        let board = reaches.then(|| self.machine.outer_state().board.clone());
        Attempt { taken, happened, board, stop, touched }
    }

    /// What has happened since this was asked last.
    fn happened(&mut self) -> Happened {
        let (own, on_the_way) = self.machine.take_both_events();
        Happened::of(own, on_the_way)
    }

    /// What the core in local state `id` has done in `attempt`, and where it is when it comes to its next operation.
    fn follow(&mut self, seat: CoreId, (id, kind): (LocalId, Kind), attempt: &Attempt, locals: &mut Locals) -> Tried {
        let Attempt { taken, happened, board, stop, .. } = attempt;
        let pc = locals.local(id).cpu.linear_pc();
        let op = self.operation(pc, kind, attempt);
        let (writes, pushes) = happened.entries(&op, attempt.is_exception(), class_of(kind, happened));
        happened.stored().for_each(|(address, length)| {
            self.patches.store(Place { address: PhysAddr(address), length });
        });
        let (to, then, end) = match stop {
            None => self.advance(seat, locals),
            Some(_) => (id, 0, None),
        };
        if let Some(end) = end {
            locals.learn_op(to, end);
        }
        let entered = happened.entered(&op);
        let edge = Edge { to, taken: *taken, then, writes, pushes };
        Tried { op, input: happened.input(), edge, board: board.clone(), stop: *stop, entered }
    }

    /// The core on `seat` executes the mark at which it is, and rests behind it.
    fn pass_mark(&mut self, seat: CoreId, around: &Around, locals: &mut Locals) -> Tried {
        let touched = self.put(around);
        self.machine.apply(Choice::Run { core: seat, steps: 1, drained: false }).expect("a staged core can run");
        self.machine.take_events();
        self.machine.staged_stop().take();
        self.take_back(&touched);
        self.standing = Standing::Behind { pc: self.machine.linear_pc(seat) };
        let to = locals.number(self.local(seat));
        let edge = Edge { to, taken: Taken::Step, then: 0, writes: Vec::new(), pushes: Vec::new() };
        Tried { op: Op::Nothing, input: 0, edge, board: None, stop: None, entered: None }
    }

    /// Notes what the instruction at `pc` is as a fence, which has just been executed.
    fn note_fence(&mut self, seat: CoreId, pc: u64) {
        if self.fences.contains_key(&pc) {
            return;
        }
        let bits = paging::Mode::of(&self.machine.state().cores[seat.index()].cpu).bits;
        let instruction = self.machine.instruction_at(seat, pc);
        let fence = instruction.and_then(|it| OwnFence::of(&it, bits, |at| self.machine.instruction_at(seat, at)));
        self.fences.insert(pc, fence);
    }

    /// Puts what the program is without its fence at `pc` into its place. Returns what was there, byte by byte.
    fn leave_out(&mut self, seat: CoreId, pc: u64) -> Vec<(PhysAddr, u8)> {
        let fence = self.fences.get(&pc).copied().flatten().expect("only a fence that is known is left out");
        let (_, length) = self.kind(seat, pc);
        let addresses = self.physical(seat, pc..pc + length);
        let memory = &self.machine.state().memory;
        let byte = |&at: &u64| memory.slice(PhysAddr(at), 1).expect("code is in memory")[0];
        let original: Vec<u8> = addresses.iter().map(byte).collect();
        let mut bytes = original.clone();
        fence.leave_out(&mut bytes);
        for (&at, byte) in addresses.iter().zip(bytes) {
            self.machine.stage_code(PhysAddr(at), &[byte]);
        }
        addresses.into_iter().map(PhysAddr).zip(original).collect()
    }

    /// The oldest posted write arrives: the devices afterwards, and whether that ends the run.
    pub(super) fn arrive(&mut self, around: &Around) -> (Board, Option<Stop>) {
        let touched = self.put(around);
        self.machine.staged_stop().take();
        self.machine.apply(Choice::Arrive).expect("a write is posted");
        self.machine.take_events();
        let stop = self.machine.staged_stop().take().filter(|stop| *stop != Stop::AllHalted);
        let board = self.machine.outer_state().board.clone();
        self.take_back(&touched);
        (board, stop)
    }

    /// `core` in local state `id` takes the interrupt that waits for it, with an empty buffer; `None` when there is none that
    /// it could take.
    pub(super) fn interrupt(
        &mut self,
        core: CoreId,
        id: LocalId,
        around: &Around,
        locals: &mut Locals,
    ) -> Option<Interrupted> {
        let seat = self.put_core(core, locals.local(id));
        let mut touched = self.put(around);
        let choice = Choice::Interrupt { core: seat };
        let is_taken = self.machine.apply(choice).is_ok();
        let happened = self.happened();
        touched.extend(happened.stored());
        let board = self.machine.outer_state().board.clone();
        let stop = self.machine.staged_stop().take().filter(|stop| *stop != Stop::AllHalted);
        let interrupted = is_taken.then(|| {
            happened.entry.stores.iter().for_each(|stored| self.patches.store(stored.place));
            let (to, then, end) = match stop {
                None => self.advance(seat, locals),
                Some(_) => (id, 0, None),
            };
            if let Some(end) = end {
                locals.learn_op(to, end);
            }
            Interrupted {
                to,
                then,
                loads: happened.entry.loads.iter().map(|(place, _)| *place).collect(),
                stores: happened.entry.stores.iter().map(|stored| stored.entry(StoreKind::Ordinary)).collect(),
                board,
                stop,
            }
        });
        self.take_back(&touched);
        interrupted
    }

    /// Why the devices as they are on the stage cannot be followed, if so.
    fn beyond_of_board(&self) -> Option<Beyond> {
        beyond_of(&self.machine.outer_state().board)
    }

    /// The instruction at linear address `pc` as `core` fetches it.
    pub(super) fn instruction(&mut self, core: CoreId, pc: u64) -> Option<Instruction> {
        let seat = self.seat(core);
        self.machine.instruction_at(seat, pc)
    }

    /// The instruction at linear address `pc` as `core` fetches it, in nasm's syntax.
    pub(super) fn instruction_text(&mut self, core: CoreId, pc: u64) -> Option<String> {
        self.instruction(core, pc).map(|instruction| nasm(&instruction))
    }

    /// Whether the instruction at linear address `pc` is IRET.
    pub(super) fn is_return(&mut self, core: CoreId, pc: u64) -> bool {
        let seat = self.seat(core);
        self.machine.instruction_at(seat, pc).is_some_and(|instruction| kind_of(&instruction) == Kind::Return)
    }

    /// Whether the instruction at linear address `pc` repeats itself.
    pub(super) fn is_repeated(&mut self, core: CoreId, pc: u64) -> bool {
        let seat = self.seat(core);
        let repeats = |it: Instruction| it.is_string_instruction() && (it.has_rep_prefix() || it.has_repne_prefix());
        self.machine.instruction_at(seat, pc).is_some_and(repeats)
    }

    /// The physical address of the top of the stack of `core`, whose registers are `cpu`; `None` where none is mapped.
    pub(super) fn stack_pointer(&mut self, core: CoreId, cpu: &CpuState) -> Option<PhysAddr> {
        let seat = self.seat(core);
        let linear = cpu.segment(SegmentName::Ss).base.wrapping_add(cpu.gpr[gpr::RSP]);
        let tlb = &self.machine.state().cores[seat.index()].tlb;
        tlb.translate(Side::Data, linear, &paging::Mode::of(cpu), &self.base)
    }

    /// Puts `core` into `local`; returns which of the machine's cores that is.
    fn put_core(&mut self, core: CoreId, local: &Local) -> CoreId {
        let seat = self.seat(core);
        self.machine.stage(seat, local);
        self.standing = local.standing;
        seat
    }

    /// The local state now of the core on `seat`.
    fn local(&mut self, seat: CoreId) -> Local {
        Local { standing: self.standing, ..self.machine.local(seat) }
    }

    /// Whether the core is where it stays until an interrupt comes, or does something that is more than local.
    fn is_at_operation(&mut self, seat: CoreId, pc: u64) -> bool {
        match self.kind(seat, pc).0 {
            _ if self.standing == (Standing::Behind { pc }) => true,
            Kind::Local | Kind::Begin => false,
            Kind::End => self.standing != Standing::Outside,
            Kind::Operation(_) | Kind::Return | Kind::Unknown => true,
        }
    }

    fn seat(&self, core: CoreId) -> CoreId {
        if self.is_shared { CoreId(0) } else { core }
    }

    /// Executes instructions that others cannot observe. Returns where the core is then, after how many steps, and what
    /// it does there if that is known already.
    fn advance(&mut self, seat: CoreId, locals: &mut Locals) -> (LocalId, u64, Option<Op>) {
        let mut steps = 0;
        let mut check_at = 64;
        let mut first: Option<Local> = None;
        let mut seen: Option<Local> = None;
        let end = loop {
            let pc = self.machine.linear_pc(seat);
            let is_halted = self.machine.outer_state().cores[seat.index()].is_halted();
            // Where interrupts are let in, each instruction is a scheduling point.
            if is_halted || self.machine.is_open(seat) || self.is_at_operation(seat, pc) {
                break None;
            }
            if steps == check_at {
                let now = self.local(seat);
                if seen.as_ref() == Some(&now) {
                    break Some(Op::Diverges);
                }
                if steps >= LONGEST_LOCAL_RUN {
                    break Some(Op::Beyond { pc, reason: Beyond::TooLong });
                }
                (seen, check_at) = (Some(now), check_at * 2);
            } else if seen.is_some() && steps < check_at && self.is_seen(seat, &mut seen) {
                break Some(Op::Diverges);
            }
            let first = first.get_or_insert_with(|| self.machine.local(seat));
            let taken = self.machine.apply(Choice::Run { core: seat, steps: 1, drained: false });
            let happened = self.happened();
            self.take_back(&happened.stored().collect::<Vec<_>>());
            if happened.handled.is_some() || !happened.entry.loads.is_empty() {
                // The way into a handler is an operation.
                self.go_back(seat, first, steps);
                break None;
            }
            if !happened.own.is_empty() {
                // It was an instruction without operands in memory, and code has changed under it: what is found will be
                // thrown away.
                break Some(Op::Beyond { pc, reason: Beyond::StoresToCode });
            }
            if let Some(Stop::Faulted { pc, fault, .. }) = self.machine.staged_stop().take() {
                break Some(Op::Fault { pc, fault });
            }
            steps += taken.expect("a staged core can run");
        };
        (locals.number(self.local(seat)), steps, end)
    }

    /// The lowest of the linear addresses in the loop that `core` goes round from `local` on, without an operation.
    pub(super) fn loop_of(&mut self, core: CoreId, local: &Local) -> u64 {
        let seat = self.put_core(core, local);
        let mut lowest = self.machine.linear_pc(seat);
        for _ in 0..LONGEST_LOCAL_RUN {
            if self.machine.apply(Choice::Run { core: seat, steps: 1, drained: false }).is_err() {
                break;
            }
            self.machine.take_events();
            lowest = lowest.min(self.machine.linear_pc(seat));
            if self.machine.linear_pc(seat) == local.cpu.linear_pc() && self.local(seat) == *local {
                break;
            }
        }
        lowest
    }

    /// The core on `seat` is where so many `steps` that others cannot observe lead to from `first`.
    fn go_back(&mut self, seat: CoreId, first: &Local, steps: u64) {
        self.machine.stage(seat, first);
        if steps > 0 {
            self.machine.apply(Choice::Run { core: seat, steps, drained: false }).expect("it could before");
            self.machine.take_events();
        }
    }

    /// Whether the core is in the local state `seen` again.
    fn is_seen(&mut self, seat: CoreId, seen: &mut Option<Local>) -> bool {
        let Some(seen) = seen else { return false };
        // Only the registers' address is compared at every step; the whole state only where that is equal.
        self.machine.linear_pc(seat) == seen.cpu.linear_pc() && self.local(seat) == *seen
    }

    /// Puts memory as `around`'s core sees it, and the devices, in place. Returns what it changed.
    fn put(&mut self, around: &Around) -> Vec<(u64, u64)> {
        let mut touched = Vec::new();
        self.machine.set_time(self.time);
        let memory = self.machine.staged_memory();
        for &(granule, content) in around.memory.granules() {
            memory.write(PhysAddr(granule), &content.to_le_bytes());
            touched.push((granule, 8));
        }
        for entry in around.buffer.entries() {
            memory.write(entry.address, entry.bytes());
            touched.push((entry.address.0, u64::from(entry.length)));
        }
        if self.machine.outer_state().board != *around.board {
            self.machine.staged_board().clone_from(around.board);
        }
        touched
    }

    /// Makes memory again what it was when exploration began.
    fn take_back(&mut self, touched: &[(u64, u64)]) {
        for &(address, length) in touched {
            let original = self.base.slice(PhysAddr(address), length).expect("only memory was touched");
            self.machine.staged_memory().write(PhysAddr(address), original);
        }
    }

    /// Why what came of `attempt` cannot be followed, if so; the core had the registers `before`.
    fn refusal(
        &mut self,
        seat: CoreId,
        kind: Kind,
        attempt: &Attempt,
        before: &CpuState,
        around: &Around,
    ) -> Option<Beyond> {
        let happened = &attempt.happened;
        let of_time = happened.accesses.iter().find_map(|access| access.beyond(around.board));
        if of_time.is_some() {
            return of_time;
        }
        if happened.has_debug_exception {
            return Some(Beyond::DebugException);
        }
        if attempt.may_fault_by_what_it_loads(kind) {
            return Some(Beyond::EntersHandler);
        }
        if happened.started_cores {
            return Some(Beyond::StartsCores);
        }
        if let Some(reason) = self.beyond_of_board() {
            return Some(reason);
        }
        let is_refused = |(address, length)| self.patches.refuses(Place { address: PhysAddr(address), length });
        if happened.stored().any(is_refused) {
            return Some(Beyond::StoresToCode);
        }
        let is_table = |byte: u64| self.tables.binary_search(&(byte / crate::memory::PAGE)).is_ok();
        if happened.stored().flat_map(|(address, length)| address..address + length).any(is_table) {
            return Some(Beyond::ChangesTranslation);
        }
        let may_address_otherwise = attempt.is_exception() || kind.may_address_otherwise();
        may_address_otherwise.then(|| self.addresses_otherwise(seat, before, around.board)).flatten()
    }

    /// Why the core on `seat`, which had the registers `before`, now finds memory or devices where it did not, if so.
    fn addresses_otherwise(&mut self, seat: CoreId, before: &CpuState, board: &Board) -> Option<Beyond> {
        let has_moved = self.machine.outer_state().board.interrupts().place(seat) != board.interrupts().place(seat);
        let core = &self.machine.state().cores[seat.index()];
        let Addressing { noted, is_stale, types } = &self.addressing[seat.index()];
        let loses = || {
            let mode = paging::Mode::of(before);
            !core.tlb.keeps_stale_of(noted, &mode, before.pat, &self.base)
        };
        if core.memory_types != *types || core.cpu.pat != before.pat {
            Some(Beyond::ChangesMemoryTypes)
        } else if translation_by(&core.cpu) != translation_by(before) || *is_stale && loses() {
            Some(Beyond::ChangesTranslation)
        } else {
            has_moved.then_some(Beyond::MovesApic)
        }
    }

    /// What the core has done in `attempt`.
    fn operation(&self, pc: u64, kind: Kind, attempt: &Attempt) -> Op {
        let Attempt { happened, stop, .. } = attempt;
        if let Some(Stop::Faulted { pc, fault, .. }) = *stop
            && happened.own.loads.is_empty()
            && happened.entry.loads.is_empty()
        {
            return Op::Fault { pc, fault };
        }
        if attempt.is_exception() {
            return Op::Enters;
        }
        if happened.reached_device {
            return Op::Device;
        }
        let Accesses { loads, stores, .. } = &happened.own;
        let class = class_of(kind, happened);
        match class {
            Class::FullFence | Class::CpuId => Op::FullFence,
            Class::StoreFence => Op::StoreFence,
            Class::TaskPriority => Op::Priority,
            _ if class.drains() => Op::Locked {
                loads: loads.iter().map(|(place, _)| *place).collect(),
                stores: stores.iter().map(|stored| stored.place).collect(),
            },
            _ => match (loads.first(), stores.first()) {
                (Some((place, _)), None) => Op::Load(*place),
                (None, Some(stored)) => Op::Store(stored.entry(kind_of_store(class, stored.memory))),
                (None, None) => Op::Nothing,
                // An access is a load or a store, unless the instruction is another than memory has there now.
                (Some(_), Some(_)) => Op::Beyond { pc, reason: Beyond::StoresToCode },
            },
        }
    }

    /// What the instruction at `pc` is, and its length.
    fn kind(&mut self, seat: CoreId, pc: u64) -> (Kind, u64) {
        if let Some(&known) = self.kinds.get(&pc) {
            return known;
        }
        let known = match self.machine.instruction_at(seat, pc) {
            Some(instruction) => (kind_of(&instruction), instruction.len() as u64),
            None => (Kind::Unknown, 1),
        };
        let length = if known.0 == Kind::Unknown { LONGEST_INSTRUCTION } else { known.1 };
        for byte in self.physical(seat, pc..pc.saturating_add(length)) {
            self.patches.execute(byte);
        }
        self.kinds.insert(pc, known);
        known
    }

    /// The physical addresses of linear `bytes`.
    fn physical(&mut self, seat: CoreId, bytes: Range<u64>) -> Vec<u64> {
        let core = &self.machine.state().cores[seat.index()];
        let mode = paging::Mode::of(&core.cpu);
        let translate = |byte| core.tlb.translate(Side::Code, byte, &mode, &self.base);
        bytes.filter_map(translate).map(|at| at.0).collect()
    }
}

/// Whether the next instruction is in the shadow of STI or MOV SS, after which interrupts are let in.
fn is_in_shadow(local: &Local) -> bool {
    let openness = Openness::of(&local.cpu);
    openness.contains(Openness::INTERRUPT_FLAG | Openness::SHADOW)
}

impl Kind {
    /// Why such an instruction is not even tried by a core with the registers `cpu`, if so.
    fn beyond(self, cpu: &CpuState) -> Option<Beyond> {
        let Kind::Operation(class) = self else { return None };
        let is_clock = cpu.gpr[gpr::RCX] as u32 == msr::TIME_STAMP_COUNTER;
        match class {
            Class::TimeStamp => Some(Beyond::ReadsTime),
            Class::Random => Some(Beyond::DrawsRandom),
            Class::ReadMsr => is_clock.then_some(Beyond::ReadsTime),
            Class::WriteMsr => is_clock.then_some(Beyond::SetsClock),
            Class::ModeChange => Some(Beyond::FarTransfer),
            _ => None,
        }
    }

    /// Whether it waits for an empty buffer before anything else.
    fn drains(self) -> bool {
        match self {
            Kind::Operation(class) => class.drains(),
            Kind::Return => true,
            Kind::Local | Kind::Begin | Kind::End | Kind::Unknown => false,
        }
    }

    /// Whether it may change how the core finds memory or devices.
    fn may_address_otherwise(self) -> bool {
        matches!(self, Kind::Return | Kind::Operation(Class::Serialising | Class::ControlRegister | Class::WriteMsr))
    }
}

impl Attempt {
    /// Whether the core has entered a handler, or would have if there were one.
    fn is_exception(&self) -> bool {
        self.happened.handled.is_some() || matches!(self.stop, Some(Stop::Faulted { .. }))
    }

    /// Whether an instruction that does not wait for the buffer faults after it has loaded something.
    fn may_fault_by_what_it_loads(&self, kind: Kind) -> bool {
        self.is_exception()
            && !self.happened.has_debug_exception
            && !self.happened.own.loads.is_empty()
            && !kind.drains()
    }
}

/// The class of an instruction as far as memory is concerned.
fn class_of(kind: Kind, happened: &Happened) -> Class {
    match kind {
        // Waits for an empty buffer and goes straight to memory, as a locked instruction does.
        _ if happened.own.last == MemoryType::Uncached => Class::Locked,
        Kind::Operation(class) => class,
        Kind::Return => Class::Serialising,
        Kind::Local | Kind::Begin | Kind::End | Kind::Unknown => Class::Plain,
    }
}

/// What of the registers `cpu` decides how addresses are translated.
fn translation_by(cpu: &CpuState) -> [u64; 4] {
    [cpu.cr0 & TRANSLATES_IN_CR0, cpu.cr3, cpu.cr4 & TRANSLATES_IN_CR4, cpu.efer & !EFER_SYSTEM_CALLS]
}

/// `instruction` in nasm's syntax.
pub(super) fn nasm(instruction: &Instruction) -> String {
    let mut text = String::new();
    let mut formatter = NasmFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.format(instruction, &mut text);
    text
}

pub(super) fn kind_of_store(class: Class, memory: MemoryType) -> StoreKind {
    if class == Class::NonTemporal || memory == MemoryType::WriteCombining {
        StoreKind::WriteCombining
    } else {
        StoreKind::Ordinary
    }
}

/// What an instruction is to the explorer.
fn kind_of(instruction: &Instruction) -> Kind {
    match decode::mark_of(instruction) {
        Some(Mark::Begin) => return Kind::Begin,
        Some(Mark::End) => return Kind::End,
        None => (),
    }
    let class = match instruction.mnemonic() {
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => return Kind::Return,
        // Of the flags it loads only IF makes a difference here, and that is looked at after every operation.
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => Class::Plain,
        _ => decode::classify(instruction),
    };
    let is_quiet =
        matches!(class, Class::Plain | Class::LoadFence | Class::Pause | Class::NonTemporal | Class::SetInterruptFlag);
    let mut factory = InstructionInfoFactory::new();
    let operands = factory.info(instruction).used_memory();
    // The load of a segment register reads its descriptor.
    let loads_segment = instruction.op0_kind() == OpKind::Register && instruction.op0_register().is_segment_register();
    let touches = loads_segment
        || operands.iter().any(|operand| !matches!(operand.access(), OpAccess::None | OpAccess::NoMemAccess));
    if is_quiet && !touches { Kind::Local } else { Kind::Operation(class) }
}

/// An access to a device.
struct DeviceAccess {
    core: CoreId,
    space: Space,
    address: u64,
    /// In bytes.
    width: u8,
    is_write: bool,
}

impl DeviceAccess {
    /// Why it cannot be followed, with the devices as they are on `board`, if what time it is makes a difference.
    fn beyond(&self, board: &Board) -> Option<Beyond> {
        let DeviceAccess { core, space, address, .. } = *self;
        let width = Width::from_bytes(self.width.into()).expect("devices are accessed in 1, 2, 4 or 8 bytes");
        if self.is_write {
            board.takes_time(core, space, address, width).then_some(Beyond::SetsClock)
        } else {
            board.tells_time(core, space, address, width).then_some(Beyond::ReadsTime)
        }
    }
}

/// A store, with the type of memory that it went to.
struct Stored {
    place: Place,
    value: u64,
    memory: MemoryType,
}

impl Stored {
    fn entry(&self, kind: StoreKind) -> Entry {
        let Stored { place, value, .. } = self;
        Entry::new(place.address, &value.to_le_bytes()[..place.length as usize], kind)
    }
}

/// Accesses to memory.
#[derive(Default)]
struct Accesses {
    loads: Vec<(Place, u64)>,
    stores: Vec<Stored>,
    /// The type of the memory that was accessed last.
    last: MemoryType,
}

impl Accesses {
    fn is_empty(&self) -> bool {
        self.loads.is_empty() && self.stores.is_empty()
    }
}

/// What an operation did, from the machine's events.
#[derive(Default)]
struct Happened {
    /// The instruction's own accesses.
    own: Accesses,
    /// What the processor has accessed on its way into a handler.
    entry: Accesses,
    reached_device: bool,
    /// Devices that it has reached.
    accesses: Vec<DeviceAccess>,
    /// What has led into a handler; not an interrupt from outside.
    handled: Option<Fault>,
    has_debug_exception: bool,
    started_cores: bool,
}

impl Happened {
    /// From what the instruction has done, and what has been done on the way into a handler.
    fn of(own: Vec<Event>, on_the_way: Vec<Event>) -> Happened {
        let mut happened = Happened::default();
        own.into_iter().for_each(|event| happened.take(event, false));
        on_the_way.into_iter().for_each(|event| happened.take(event, true));
        happened
    }

    fn take(&mut self, event: Event, is_on_the_way: bool) {
        let accesses = if is_on_the_way { &mut self.entry } else { &mut self.own };
        let place = |address: u64, length: u8| Place { address: PhysAddr(address), length: u64::from(length) };
        match event {
            Event::Loaded { address, length, value, memory, .. } => {
                accesses.loads.push((place(address, length), value));
                accesses.last = memory;
            }
            Event::Stored { address, length, value, memory, .. } => {
                accesses.stores.push(Stored { place: place(address, length), value, memory });
                accesses.last = memory;
            }
            Event::PortRead { core, port, width, .. } => {
                let address = port.into();
                self.access(DeviceAccess { core, space: Space::Ports, address, width, is_write: false });
            }
            Event::PortWritten { core, port, width, .. } => {
                let address = port.into();
                self.access(DeviceAccess { core, space: Space::Ports, address, width, is_write: true });
            }
            Event::DeviceRead { core, address, width, .. } => {
                self.access(DeviceAccess { core, space: Space::Memory, address, width, is_write: false });
            }
            Event::DeviceWritten { core, address, width, .. } => {
                self.access(DeviceAccess { core, space: Space::Memory, address, width, is_write: true });
            }
            Event::Posted { .. } | Event::Unanswered { .. } => self.reached_device = true,
            Event::Interrupted { source: Source::Hardware, .. } => (),
            Event::Interrupted { vector, source, error_code, address, entered, .. } => {
                self.handled = Some(Fault::of(vector, source, error_code, address));
                self.has_debug_exception |= [vector, entered].contains(&vector::DEBUG);
            }
            Event::CoreReset { .. } | Event::Started { .. } => self.started_cores = true,
            Event::Ran { .. }
            | Event::Accessed { .. }
            | Event::Drained { .. }
            | Event::Arrived { .. }
            | Event::Serial { .. }
            | Event::DebugConsole { .. }
            | Event::Irq { .. }
            | Event::FrameReady { .. }
            | Event::Marked { .. }
            | Event::Halted { .. }
            | Event::Faulted { .. }
            | Event::Exited { .. }
            | Event::Sent { .. }
            | Event::Typed { .. }
            | Event::Received { .. }
            | Event::MouseMoved { .. }
            | Event::Passed { .. } => (),
        }
    }

    fn access(&mut self, access: DeviceAccess) {
        self.reached_device = true;
        self.accesses.push(access);
    }

    /// What the instruction read, one load after the other.
    fn input(&self) -> Input {
        let values: Vec<_> = self.own.loads.iter().map(|&(place, value)| (place.length, value)).collect();
        input_of(&values)
    }

    /// Where it has stored, what was taken back because of a fault included: addresses, and how many bytes.
    fn stored(&self) -> impl Iterator<Item = (u64, u64)> {
        let stores = self.own.stores.iter().chain(&self.entry.stores);
        stores.map(|stored| (stored.place.address.0, stored.place.length))
    }

    /// What an operation other than a store to memory has written there, and what it has stored into its buffer; what an
    /// instruction has done that faults is taken back.
    fn entries(&self, op: &Op, is_exception: bool, class: Class) -> (Vec<Entry>, Vec<Entry>) {
        let stores = match op {
            Op::Locked { .. } | Op::Device if !is_exception => &self.own.stores,
            Op::Enters if self.handled.is_some() => &self.entry.stores,
            _ => return Default::default(),
        };
        let is_direct =
            |stored: &&Stored| stored.memory == MemoryType::Uncached || class == Class::Locked && !is_exception;
        let (direct, buffered): (Vec<&Stored>, Vec<&Stored>) = stores.iter().partition(is_direct);
        let entry = |stored: &&Stored| stored.entry(kind_of_store(class, stored.memory));
        (direct.iter().map(entry).collect(), buffered.iter().map(entry).collect())
    }

    /// What was accessed that the local state of a core which performs `op` does not tell.
    fn entered(&self, op: &Op) -> Option<Entered> {
        let is_told = match op {
            Op::Enters => false,
            Op::Device => self.own.is_empty(),
            _ => true,
        };
        let loads = self.own.loads.iter().chain(&self.entry.loads).map(|(place, _)| *place);
        let stores = self.own.stores.iter().chain(&self.entry.stores).map(|stored| stored.place);
        (!is_told).then(|| Entered {
            touched: Op::Locked { loads: loads.collect(), stores: stores.collect() },
            handled: self.handled,
        })
    }
}

/// The granules that `places` touch.
pub(super) fn granules_of(places: &[Place]) -> impl Iterator<Item = u64> + '_ {
    places.iter().flat_map(|place| granules(place.address, place.length))
}
