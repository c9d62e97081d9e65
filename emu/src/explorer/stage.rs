//! Trying out operations on a real machine.

use super::delta::{Delta, granules};
use super::local::{Input, LocalId, Locals, input_of};
use super::op::{Beyond, Edge, Op, Place, Taken};
use super::patches::Patches;
use crate::board::Board;
use crate::choice::Choice;
use crate::core::cpu_state::{CpuState, SegmentName, gpr};
use crate::core::decode::{self, Class, Mark};
use crate::core::interruption::Source;
use crate::core::tlb::Side;
use crate::core::{Activity, CoreId, paging};
use crate::machine::staging::Local;
use crate::machine::{Machine, Stop};
use crate::memory::{Memory, MemoryType};
use crate::store_buffer::{Entry, StoreBuffer, StoreKind};
use crate::trace::Event;
use fencepost_devices::{PhysAddr, Space, Ticks, Width};
use iced_x86::{Formatter, Instruction, InstructionInfoFactory, Mnemonic, NasmFormatter, OpAccess};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::ops::Range;

/// Instructions in a row without an operation that others could observe, after which a core is given up.
const LONGEST_LOCAL_RUN: u64 = 1 << 20;

/// The longest instruction, in bytes (SDM 2A 2.3.11): bytes up to there decide why one cannot be decoded.
const LONGEST_INSTRUCTION: u64 = 15;

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

/// A machine on which operations are tried, and the memory that exploration began with.
pub(super) struct Stage {
    machine: Machine,
    base: Memory,
    /// Classified instructions, by linear address.
    kinds: FxHashMap<u64, (Kind, u64)>,
    /// What has been executed and stored to.
    patches: Patches,
    /// Physical pages that hold page tables.
    tables: Vec<u64>,
    board: Board,
    /// What time it is, for good: devices in one state do the same whenever they are tried. Nothing is followed that would
    /// make a difference by the time.
    time: Ticks,
    /// One engine executes all cores' instructions.
    is_shared: bool,
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
        Stage {
            machine,
            base,
            kinds: FxHashMap::default(),
            patches: Patches::default(),
            tables,
            board,
            time,
            is_shared,
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
            patches: Patches::refusing(self.patches.refused().clone()),
            tables: self.tables.clone(),
            board: self.board.clone(),
            time: self.time,
            is_shared: self.is_shared,
        }
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

    /// Tries the next operation of `core` in local state `id`, with `around` being as it is.
    pub(super) fn try_out(&mut self, core: CoreId, id: LocalId, around: &Around, locals: &mut Locals) -> Tried {
        let seat = self.seat(core);
        self.machine.stage(seat, locals.local(id));
        let pc = self.machine.linear_pc(seat);
        let (kind, _) = self.kind(seat, pc);
        let still = |op: Op| Tried {
            op,
            input: 0,
            edge: Edge { to: id, taken: Taken::Nothing, then: 0, writes: Vec::new() },
            board: None,
            stop: None,
        };
        if let Some(reason) = beyond_of(around.board) {
            return still(Op::Beyond { pc, reason });
        }
        if locals.local(id).activity != Activity::Running {
            return still(Op::Finished);
        }
        match kind {
            Kind::End => return still(Op::Finished),
            Kind::Operation(Class::TimeStamp | Class::ReadMsr) => {
                return still(Op::Beyond { pc, reason: Beyond::ReadsTime });
            }
            Kind::Operation(Class::Serialising | Class::ControlRegister | Class::WriteMsr | Class::ModeChange) => {
                return still(Op::Beyond { pc, reason: Beyond::ChangesTranslation });
            }
            _ => (),
        }
        let mut touched = self.put(around);
        let is_access = self.machine.makes_several_accesses(seat);
        let choice = if is_access {
            Choice::Access { core: seat }
        } else {
            Choice::Run { core: seat, steps: 1, drained: false }
        };
        self.machine.apply(choice).expect("a staged core can run");
        let happened = Happened::of(self.machine.take_events().into_iter().map(|line| line.event));
        touched.extend(happened.stores.iter().map(|(place, _)| (place.address.0, place.length)));
        let stop = self.machine.staged_stop().filter(|stop| *stop != Stop::AllHalted);
        let board = happened.reached_device.then(|| self.machine.outer_state().board.clone());
        self.machine.staged_stop().take();
        let beyond_time = happened.accesses.iter().find_map(|access| access.beyond(around.board));
        let beyond_time = beyond_time.map(|reason| Op::Beyond { pc, reason });
        let tried = match beyond_time.or_else(|| self.refusal(pc, &happened)) {
            Some(beyond) => still(beyond),
            None => {
                happened.stores.iter().for_each(|(place, _)| self.patches.store(*place));
                let op = self.operation(pc, kind, &happened, stop);
                let writes = match op {
                    Op::Locked { .. } => happened.entries(|_| StoreKind::Ordinary),
                    _ => Vec::new(),
                };
                let taken = if is_access { Taken::Access } else { Taken::Step };
                let (to, then, end) = match stop {
                    None => self.advance(seat, locals),
                    Some(_) => (id, 0, None),
                };
                if let Some(end) = end {
                    locals.learn_op(to, end);
                }
                Tried { op, input: happened.input(), edge: Edge { to, taken, then, writes }, board, stop }
            }
        };
        self.take_back(&touched);
        tried
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
        let seat = self.seat(core);
        self.machine.stage(seat, locals.local(id));
        let mut touched = self.put(around);
        let choice = Choice::Interrupt { core: seat };
        let is_taken = self.machine.apply(choice).is_ok();
        let happened = Happened::of(self.machine.take_events().into_iter().map(|line| line.event));
        touched.extend(happened.stores.iter().map(|(place, _)| (place.address.0, place.length)));
        let board = self.machine.outer_state().board.clone();
        let stop = self.machine.staged_stop().take().filter(|stop| *stop != Stop::AllHalted);
        let interrupted = is_taken.then(|| {
            happened.stores.iter().for_each(|(place, _)| self.patches.store(*place));
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
                loads: happened.loads.iter().map(|(place, _)| *place).collect(),
                stores: happened.entries(|_| StoreKind::Ordinary),
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

    /// The instruction at linear address `pc` as `core` fetches it, in nasm's syntax.
    pub(super) fn instruction_text(&mut self, core: CoreId, pc: u64) -> Option<String> {
        let seat = self.seat(core);
        self.machine.instruction_at(seat, pc).map(|instruction| nasm(&instruction))
    }

    /// Whether the instruction at linear address `pc` is IRET.
    pub(super) fn is_return(&mut self, core: CoreId, pc: u64) -> bool {
        let seat = self.seat(core);
        self.machine.instruction_at(seat, pc).is_some_and(|instruction| kind_of(&instruction) == Kind::Return)
    }

    /// The physical address of the top of the stack of `core`, whose registers are `cpu`; `None` where none is mapped.
    pub(super) fn stack_pointer(&mut self, core: CoreId, cpu: &CpuState) -> Option<PhysAddr> {
        let seat = self.seat(core);
        let linear = cpu.segment(SegmentName::Ss).base.wrapping_add(cpu.gpr[gpr::RSP]);
        let tlb = &self.machine.state().cores[seat.index()].tlb;
        tlb.translate(Side::Data, linear, &paging::Mode::of(cpu), &self.base)
    }

    fn seat(&self, core: CoreId) -> CoreId {
        if self.is_shared { CoreId(0) } else { core }
    }

    /// Executes instructions that others cannot observe. Returns where the core is then, after how many steps, and what
    /// it does there if that is known already.
    fn advance(&mut self, seat: CoreId, locals: &mut Locals) -> (LocalId, u64, Option<Op>) {
        let mut steps = 0;
        let mut check_at = 64;
        let mut seen: Option<Local> = None;
        let end = loop {
            let pc = self.machine.linear_pc(seat);
            let is_halted = self.machine.outer_state().cores[seat.index()].is_halted();
            // Where interrupts are let in, each instruction is a scheduling point.
            if is_halted || self.machine.is_open(seat) || !matches!(self.kind(seat, pc).0, Kind::Local | Kind::Begin) {
                break None;
            }
            if steps == check_at {
                let now = self.machine.local(seat);
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
            let taken = self.machine.apply(Choice::Run { core: seat, steps: 1, drained: false });
            let happened = Happened::of(self.machine.take_events().into_iter().map(|line| line.event));
            if happened.entered_handler || !happened.loads.is_empty() || !happened.stores.is_empty() {
                // Without a handler it was an instruction without operands in memory, and code has changed under it: what
                // is found will be thrown away.
                let stored: Vec<_> = happened.stores.iter().map(|(at, _)| (at.address.0, at.length)).collect();
                self.take_back(&stored);
                let reason = if happened.entered_handler { Beyond::EntersHandler } else { Beyond::StoresToCode };
                break Some(Op::Beyond { pc, reason });
            }
            if let Some(Stop::Faulted { pc, fault, .. }) = self.machine.staged_stop().take() {
                break Some(Op::Fault { pc, fault });
            }
            steps += taken.expect("a staged core can run");
        };
        (locals.number(self.machine.local(seat)), steps, end)
    }

    /// Whether the core is in the local state `seen` again.
    fn is_seen(&mut self, seat: CoreId, seen: &mut Option<Local>) -> bool {
        let Some(seen) = seen else { return false };
        // Only the registers' address is compared at every step; the whole state only where that is equal.
        self.machine.linear_pc(seat) == seen.cpu.linear_pc() && self.machine.local(seat) == *seen
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

    /// Why what `happened` cannot be followed, if so.
    fn refusal(&self, pc: u64, happened: &Happened) -> Option<Op> {
        if happened.entered_handler {
            return Some(Op::Beyond { pc, reason: Beyond::EntersHandler });
        }
        if happened.started_cores {
            return Some(Op::Beyond { pc, reason: Beyond::StartsCores });
        }
        if let Some(reason) = self.beyond_of_board() {
            return Some(Op::Beyond { pc, reason });
        }
        let bytes = || happened.stores.iter().flat_map(|(place, _)| place.address.0..place.address.0 + place.length);
        if happened.stores.iter().any(|(place, _)| self.patches.refuses(*place)) {
            return Some(Op::Beyond { pc, reason: Beyond::StoresToCode });
        }
        let is_table = |byte: u64| self.tables.binary_search(&(byte / crate::memory::PAGE)).is_ok();
        bytes().any(is_table).then_some(Op::Beyond { pc, reason: Beyond::ChangesTranslation })
    }

    /// What the core has done.
    fn operation(&self, pc: u64, kind: Kind, happened: &Happened, stop: Option<Stop>) -> Op {
        if let Some(Stop::Faulted { pc, fault, .. }) = stop {
            return Op::Fault { pc, fault };
        }
        if happened.reached_device {
            return Op::Device;
        }
        let class = match kind {
            // Waits for an empty buffer and goes straight to memory, as a locked instruction does.
            _ if happened.memory == MemoryType::Uncached => Class::Locked,
            Kind::Operation(class) => class,
            Kind::Return => Class::Locked,
            Kind::Local | Kind::Begin | Kind::End | Kind::Unknown => Class::Plain,
        };
        let places = || happened.loads.iter().map(|(place, _)| *place);
        match class {
            Class::Locked => Op::Locked {
                loads: places().collect(),
                stores: happened.stores.iter().map(|(place, _)| *place).collect(),
            },
            Class::FullFence | Class::CpuId => Op::FullFence,
            Class::StoreFence => Op::StoreFence,
            _ => {
                let entries = happened.entries(|_| kind_of_store(class, happened.memory));
                match (places().next(), entries.first()) {
                    (Some(place), None) => Op::Load(place),
                    (None, Some(&entry)) => Op::Store(entry),
                    (None, None) => Op::Nothing,
                    // An access is a load or a store, unless the instruction is another than memory has there now.
                    (Some(_), Some(_)) => Op::Beyond { pc, reason: Beyond::StoresToCode },
                }
            }
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
    let is_quiet = matches!(
        class,
        Class::Plain | Class::LoadFence | Class::Pause | Class::Random | Class::NonTemporal | Class::SetInterruptFlag
    );
    let mut factory = InstructionInfoFactory::new();
    let operands = factory.info(instruction).used_memory();
    let touches = operands.iter().any(|operand| !matches!(operand.access(), OpAccess::None | OpAccess::NoMemAccess));
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

/// What an operation did, from the machine's events.
#[derive(Default)]
struct Happened {
    loads: Vec<(Place, u64)>,
    stores: Vec<(Place, u64)>,
    /// The type of the memory that was accessed last.
    memory: MemoryType,
    reached_device: bool,
    /// Devices that it has reached.
    accesses: Vec<DeviceAccess>,
    entered_handler: bool,
    started_cores: bool,
}

impl Happened {
    fn of(events: impl Iterator<Item = Event>) -> Happened {
        let mut happened = Happened::default();
        for event in events {
            let place = |address: u64, length: u8| Place { address: PhysAddr(address), length: u64::from(length) };
            match event {
                Event::Loaded { address, length, value, memory, .. } => {
                    happened.loads.push((place(address, length), value));
                    happened.memory = memory;
                }
                Event::Stored { address, length, value, memory, .. } => {
                    happened.stores.push((place(address, length), value));
                    happened.memory = memory;
                }
                Event::PortRead { core, port, width, .. } => {
                    happened.access(DeviceAccess {
                        core,
                        space: Space::Ports,
                        address: port.into(),
                        width,
                        is_write: false,
                    });
                }
                Event::PortWritten { core, port, width, .. } => {
                    happened.access(DeviceAccess {
                        core,
                        space: Space::Ports,
                        address: port.into(),
                        width,
                        is_write: true,
                    });
                }
                Event::DeviceRead { core, address, width, .. } => {
                    happened.access(DeviceAccess { core, space: Space::Memory, address, width, is_write: false });
                }
                Event::DeviceWritten { core, address, width, .. } => {
                    happened.access(DeviceAccess { core, space: Space::Memory, address, width, is_write: true });
                }
                Event::Posted { .. } | Event::Unanswered { .. } => happened.reached_device = true,
                Event::Interrupted { source: Source::Hardware, .. } => (),
                Event::Interrupted { .. } => happened.entered_handler = true,
                Event::CoreReset { .. } | Event::Started { .. } => happened.started_cores = true,
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
        happened
    }

    fn access(&mut self, access: DeviceAccess) {
        self.reached_device = true;
        self.accesses.push(access);
    }

    /// What it read, one load after the other.
    fn input(&self) -> Input {
        let values: Vec<_> = self.loads.iter().map(|&(place, value)| (place.length, value)).collect();
        input_of(&values)
    }

    /// What it wrote.
    fn entries(&self, kind: impl Fn(PhysAddr) -> StoreKind) -> Vec<Entry> {
        let entry = |&(place, value): &(Place, u64)| {
            Entry::new(place.address, &value.to_le_bytes()[..place.length as usize], kind(place.address))
        };
        self.stores.iter().map(entry).collect()
    }
}

/// The granules that `places` touch.
pub(super) fn granules_of(places: &[Place]) -> impl Iterator<Item = u64> + '_ {
    places.iter().flat_map(|place| granules(place.address, place.length))
}
