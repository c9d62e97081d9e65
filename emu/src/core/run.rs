//! One core's turn: it takes steps, and nobody else does meanwhile.
//!
//! Because nobody else runs, the core's buffered stores can be *applied* to shared memory before its engine runs and taken
//! back afterwards: its loads then see its own youngest bytes at full speed (store forwarding), and only the entries that
//! are still pending at the end of the turn have to be hidden again.
//!
//! A turn at whose end the buffer is empty anyway (*drained*) needs even less: when in the turn each store commits cannot be
//! observed, so all commit at once and the fast engine may run.

use super::code_map::CodeMap;
use super::decode::{self, Class};
use super::engine::precise::PreciseExit;
use super::engine::{Engines, Flow, Observer, Registers, fast::FastExit};
use super::paging::Mode;
use super::partial::PartialAccess;
use super::{Core, CoreId};
use crate::board::{Board, Surroundings};
use crate::machine::{Settings, Stop};
use crate::memory::{LINE, Memory, MemoryType, PAGE};
use crate::store_buffer::{Entry, StoreKind};
use crate::trace::{Event, EventLog, Fault};
use fencepost_devices::{PhysAddr, Width};

/// Below this many steps, changing to the fast engine and back costs more than it saves.
const FAST_MINIMUM: u64 = 24;

/// The vector of page faults, which leave their address in CR2.
const PAGE_FAULT: u32 = 14;

/// What is not the core itself, but what it acts on.
pub(crate) struct World<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) memory: &'a mut Memory,
    pub(crate) board: &'a mut Board,
    pub(crate) log: &'a mut EventLog,
    pub(crate) stop: &'a mut Option<Stop>,
    pub(crate) code: &'a mut CodeMap,
    /// Memory with translated code that has been written: every engine must forget it.
    pub(crate) written: &'a mut Vec<(PhysAddr, u64)>,
}

impl World<'_> {
    pub(crate) fn with_board<T>(&mut self, act: impl FnOnce(&mut Board, &mut Surroundings) -> T) -> T {
        let World { memory, board, log, stop, written, .. } = self;
        act(board, &mut Surroundings { memory, log, stop, written })
    }
}

/// Everything cached about one core.
pub(crate) struct Cache {
    pub(crate) engines: Engines,
    decoded: Decoded,
}

impl Cache {
    pub(crate) fn new() -> Cache {
        Cache { engines: Engines::new(), decoded: Decoded::default() }
    }

    /// Forgets code made from `length` bytes at `address`.
    fn drop_code(&mut self, memory: &Memory, address: PhysAddr, length: u64) {
        if let Some(host) = memory.host_pointer(address) {
            self.engines.drop_code(host, length);
        }
        self.decoded = Decoded::default();
    }
}

/// Forgets, in every core's engines, the translations of what has been written.
pub(crate) fn settle_code(caches: &mut [Cache], code: &CodeMap, memory: &Memory, written: &mut Vec<(PhysAddr, u64)>) {
    for (address, length) in written.drain(..) {
        if code.touches(address, length) {
            for cache in &mut *caches {
                cache.drop_code(memory, address, length);
            }
        }
    }
}

/// A core that is running.
pub(crate) struct Turn<'a> {
    pub(crate) id: CoreId,
    pub(crate) core: &'a mut Core,
    /// The caches of all cores, because a store to code concerns them all.
    pub(crate) caches: &'a mut [Cache],
    pub(crate) world: World<'a>,
}

impl Turn<'_> {
    /// Takes up to `steps` steps; with `drained`, the buffer is empty at the end. Returns how many were taken.
    ///
    /// Fewer are taken only when the core halts, the machine stops, an event [breaks](EventLog::set_break) the turn, or
    /// `stop_at_pause` is set and the core spins.
    pub(crate) fn steps(&mut self, steps: u64, drained: bool, stop_at_pause: bool) -> u64 {
        let eager = drained || self.world.settings.model == crate::memory_model::MemoryModel::SC;
        if drained {
            self.drain_all();
        }
        let start = self.core.clock;
        while self.core.clock - start < steps && self.may_step() {
            let left = steps - (self.core.clock - start);
            let is_fast = eager && left >= FAST_MINIMUM && self.core.partial.is_empty() && !self.world.log.details();
            let precise_steps = if is_fast {
                match self.fast(left, stop_at_pause) {
                    FastExit::Pause => break,
                    FastExit::NewCode { .. } => continue,
                    FastExit::Budget => left.min(steps - (self.core.clock - start)),
                    FastExit::NeedsPrecise => 1,
                }
            } else {
                left
            };
            if precise_steps > 0 && self.precise(precise_steps, eager, stop_at_pause, false) == Spun::AtPause {
                break;
            }
        }
        self.core.clock - start
    }

    /// Makes the next access of the current instruction, and retires it if that was its last.
    pub(crate) fn access(&mut self) {
        if self.may_step() {
            let eager = self.world.settings.model == crate::memory_model::MemoryModel::SC;
            self.precise(1, eager, false, true);
        }
    }

    /// Drains entry `index` of the core's buffer.
    pub(crate) fn drain(&mut self, index: usize) {
        let entry = self.core.buffer.remove(index);
        self.world.memory.write(entry.address, entry.bytes());
        note_drained(self.id, &entry, &mut self.world);
        self.settle();
    }

    /// Drains everything, oldest first.
    pub(crate) fn drain_all(&mut self) {
        while !self.core.buffer.is_empty() {
            self.drain(0);
        }
    }

    fn may_step(&self) -> bool {
        self.world.stop.is_none() && !self.core.halted && !self.world.log.is_broken()
    }

    fn settle(&mut self) {
        settle_code(self.caches, self.world.code, self.world.memory, self.world.written);
    }

    /// Lets the fast engine run at most `budget` steps.
    fn fast(&mut self, budget: u64, stop_at_pause: bool) -> FastExit {
        let engines = &mut self.caches[self.id.index()].engines;
        let (retired, exit) =
            engines.run_fast(&mut self.core.cpu, budget, stop_at_pause, self.world.memory, self.world.code);
        self.core.clock += retired;
        if let FastExit::NewCode { first, last } = exit {
            self.world.code.note(first);
            self.world.code.note(last);
        }
        exit
    }

    /// Lets the precise engine take up to `steps` steps, or, with `one_access`, make one access.
    fn precise(&mut self, steps: u64, eager: bool, stop_at_pause: bool, one_access: bool) -> Spun {
        let Cache { engines, decoded } = &mut self.caches[self.id.index()];
        let mode = engines.precise(&mut self.core.cpu, self.world.memory).mode();
        decoded.enter(mode);
        let mut run = PreciseRun {
            id: self.id,
            core: self.core,
            world: &mut self.world,
            decoded,
            left: steps,
            eager,
            stop_at_pause,
            one_access,
            under: Vec::new(),
            current: None,
            overlays: Vec::new(),
            restores: Vec::new(),
            committed: Vec::new(),
            last_step: false,
            may_retranslate: false,
            is_abandoned: false,
            emulate: None,
            spun: Spun::No,
        };
        run.apply();
        let exit = engines.run_precise(&mut run);
        run.end(exit);
        let (emulate, spun) = (run.emulate, run.spun);
        if run.may_retranslate {
            engines.translation_changed();
        }
        self.settle();
        match emulate {
            Some(class) => self.emulate(class),
            None => self.report(exit),
        }
        spun
    }

    /// Executes an instruction that the engine is not trusted with.
    fn emulate(&mut self, class: Class) {
        if class.drains() {
            self.drain_all();
        }
        let cache = &mut self.caches[self.id.index()];
        let emulation = super::emulate::Emulation { id: self.id, core: self.core, engines: &mut cache.engines };
        if let Err(fault) = emulation.execute(class, &mut self.world) {
            self.fault(fault);
        } else {
            self.core.clock += 1;
        }
        self.settle();
    }

    /// Turns what stopped the engine into what it means to the machine.
    fn report(&mut self, exit: PreciseExit) {
        match exit {
            PreciseExit::Stopped => (),
            PreciseExit::NothingToFetch => self.fault(Fault::NothingToFetch),
            PreciseExit::Exception { vector, error_code } => {
                self.fault(Fault::Exception { vector, error_code, address: 0 });
            }
        }
    }

    /// The core has faulted: as for any exception its buffer drains first (SDM 3A 12.10), and then nothing handles it.
    fn fault(&mut self, mut fault: Fault) {
        self.drain_all();
        self.caches[self.id.index()].engines.save(&mut self.core.cpu);
        if let Fault::Exception { vector: PAGE_FAULT, address, .. } = &mut fault {
            *address = self.core.cpu.cr2;
        }
        let (core, pc) = (self.id, self.core.cpu.linear_pc());
        self.world.log.push(Event::Faulted { core, pc, fault });
        *self.world.stop = Some(Stop::Faulted { core, pc, fault });
    }
}

fn note_drained(core: CoreId, entry: &Entry, world: &mut World) {
    let Entry { address, length, kind, .. } = *entry;
    world.log.push(Event::Drained { core, address: address.0, length, value: entry.value(), kind });
    world.written.push((address, u64::from(length)));
}

/// Whether the core ended its turn early because it spins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spun {
    No,
    AtPause,
}

/// Classes of recently executed instructions, by address.
#[derive(Default)]
struct Decoded {
    mode: Mode,
    slots: Vec<Option<(u64, Class)>>,
}

/// Slots in the table of decoded instructions; a power of two.
const SLOTS: usize = 2048;

impl Decoded {
    /// What is remembered holds for one way of translating addresses only.
    fn enter(&mut self, mode: Mode) {
        if self.mode != mode || self.slots.is_empty() {
            *self = Decoded { mode, slots: vec![None; SLOTS] };
        }
    }
}

/// Memory to put back: where, and what was there.
type Saved = (PhysAddr, Vec<u8>);

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
struct PreciseRun<'a, 'w> {
    id: CoreId,
    core: &'a mut Core,
    world: &'a mut World<'w>,
    decoded: &'a mut Decoded,
    left: u64,
    /// Stores commit at once.
    eager: bool,
    stop_at_pause: bool,
    one_access: bool,
    /// For each buffered entry, the bytes of memory under it while it is applied.
    under: Vec<[u8; 8]>,
    current: Option<Current>,
    /// Bytes put over memory so that a load gets them again; taken away before the next access.
    overlays: Vec<Saved>,
    /// Bytes that a store must not have changed; put back when the instruction is over.
    restores: Vec<Saved>,
    /// What the stores of the current instruction have overwritten in memory itself; put back if it faults.
    committed: Vec<Saved>,
    /// The instruction that is executing is the last of this run.
    last_step: bool,
    /// It may change how addresses are translated.
    may_retranslate: bool,
    /// The instruction that is executing was stopped at an access and will be executed again.
    is_abandoned: bool,
    emulate: Option<Class>,
    spun: Spun,
}

impl Observer for PreciseRun<'_, '_> {
    fn instruction(&mut self, pc: u64) -> Flow {
        self.retire();
        if self.left == 0 || self.last_step || self.world.stop.is_some() || self.world.log.is_broken() {
            return Flow::Stop;
        }
        let class = self.classify(pc);
        if class.is_emulated() {
            self.emulate = Some(class);
            return Flow::Stop;
        }
        if class.drains() {
            self.drain_all();
        }
        match class {
            Class::StoreFence => self.core.buffer.fence(),
            // The way addresses are translated may be another afterwards, and what was decoded void.
            Class::Serialising => {
                self.last_step = true;
                self.may_retranslate = true;
            }
            Class::Pause if self.stop_at_pause => {
                self.last_step = true;
                self.spun = Spun::AtPause;
            }
            _ => (),
        }
        self.current = Some(Current {
            pc,
            class,
            entries_before: self.core.buffer.entries().len(),
            accesses: 0,
            done: self.core.partial.len(),
            is_before_port: class == Class::StringPortIo,
        });
        Flow::Continue
    }

    fn load(&mut self, registers: Registers, address: PhysAddr, size: u64) -> Flow {
        self.take_overlays_away();
        for (address, size, _) in self.pieces(registers, address, size) {
            let Some(index) = self.next_access() else { return self.abandon() };
            match self.core.partial.get(index).filter(|_| self.is_done(index)).cloned() {
                Some(PartialAccess::Load { address, bytes }) => {
                    self.save(address, bytes.len() as u64, Until::NextAccess);
                    self.world.memory.write(address, &bytes);
                }
                // Not remembered as a load: the instruction has been rewritten since, and starts afresh.
                Some(PartialAccess::Store { .. }) | None => self.new_load(address, size),
            }
        }
        Flow::Continue
    }

    fn store(&mut self, registers: Registers, address: PhysAddr, size: u64, value: u64) -> Flow {
        self.take_overlays_away();
        if self.current().is_before_port {
            self.save(address, size, Until::NextAccess);
            return Flow::Continue;
        }
        let bytes = value.to_le_bytes();
        for (address, size, from) in self.pieces(registers, address, size) {
            let Some(index) = self.next_access() else {
                self.save(address, size, Until::Retired);
                return self.abandon();
            };
            if self.is_done(index) {
                self.save(address, size, Until::Retired);
            } else {
                self.new_store(address, &bytes[from as usize..(from + size) as usize]);
            }
        }
        Flow::Continue
    }

    fn device_load(&mut self, address: PhysAddr, size: u64) -> u64 {
        self.drain_all();
        let (id, width) = (self.id, width(size));
        self.world.with_board(|board, around| board.load(id, address, width, around))
    }

    fn device_store(&mut self, address: PhysAddr, size: u64, value: u64) {
        self.drain_all();
        let (id, width) = (self.id, width(size));
        self.world.with_board(|board, around| board.post(id, address, width, value, around));
    }

    fn port_in(&mut self, port: u16, size: u64) -> u32 {
        if let Some(current) = &mut self.current {
            current.is_before_port = false;
        }
        let (id, width) = (self.id, width(size));
        self.world.with_board(|board, around| board.port_in(id, port, width, around)) as u32
    }

    fn port_out(&mut self, port: u16, size: u64, value: u32) {
        let (id, width) = (self.id, width(size));
        self.world.with_board(|board, around| board.port_out(id, port, width, u64::from(value), around));
    }
}

/// How long saved bytes stay away from memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    NextAccess,
    Retired,
    Faulted,
}

impl PreciseRun<'_, '_> {
    /// Puts the buffered entries over memory, oldest first.
    fn apply(&mut self) {
        for index in 0..self.core.buffer.entries().len() {
            let entry = self.core.buffer.entries()[index];
            self.push_under(entry.address, usize::from(entry.length));
            self.world.memory.write(entry.address, entry.bytes());
        }
    }

    /// The engine has stopped: settles the instruction that was executing and hides the pending stores again.
    fn end(&mut self, exit: PreciseExit) {
        match exit {
            // The page walker of the engine is part of the core: an abandoned instruction has no effect but its accesses.
            PreciseExit::Stopped if self.is_abandoned => {
                self.take_overlays_away();
                self.put_back();
                self.spun = Spun::No;
            }
            PreciseExit::Stopped => self.retire(),
            PreciseExit::Exception { .. } | PreciseExit::NothingToFetch => self.undo_current(),
        }
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
        }
    }

    /// The instruction that was executing has faulted: what it stored is taken back (SDM 3A 6.5, faults).
    fn undo_current(&mut self) {
        self.take_overlays_away();
        self.put_back();
        let Some(current) = self.current.take() else { return };
        for (address, bytes) in self.committed.drain(..).rev() {
            self.world.memory.write(address, &bytes);
            self.world.written.push((address, bytes.len() as u64));
        }
        for index in (current.entries_before.min(self.under.len())..self.under.len()).rev() {
            let Entry { address, length, .. } = self.core.buffer.entries()[index];
            self.world.memory.write(address, &self.under[index][..usize::from(length)]);
            self.world.written.push((address, u64::from(length)));
        }
        self.under.truncate(current.entries_before);
        self.core.buffer.truncate(current.entries_before);
        self.core.partial.clear();
    }

    fn current(&self) -> &Current {
        self.current.as_ref().expect("accesses belong to an instruction")
    }

    /// The number of the access that is about to happen; `None` when the instruction must stop before it.
    fn next_access(&mut self) -> Option<usize> {
        let one_access = self.one_access;
        let current = self.current.as_mut().expect("accesses belong to an instruction");
        let index = current.accesses;
        if one_access && current.class != Class::Locked && index > current.done {
            return None;
        }
        current.accesses += 1;
        Some(index)
    }

    /// Whether the current instruction made access `index` in an earlier turn.
    fn is_done(&self, index: usize) -> bool {
        index < self.current().done
    }

    fn abandon(&mut self) -> Flow {
        self.is_abandoned = true;
        Flow::Stop
    }

    /// A load that happens now: waits for the buffer where it must, and is remembered if the instruction may stop after it.
    fn new_load(&mut self, address: PhysAddr, size: u64) {
        let model = self.world.settings.model;
        while let Some(index) = self.core.buffer.load_waits_for(address, size, model) {
            self.drain(index);
        }
        if !self.one_access && !self.world.log.details() {
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
        };
        self.world.log.push(event);
        if self.one_access {
            self.core.partial.push(PartialAccess::Load { address, bytes });
        }
    }

    /// A store that happens now: into the buffer, or to memory at once.
    fn new_store(&mut self, address: PhysAddr, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let kind = self.kind_of_store(address);
        let is_direct = self.eager || self.current().class == Class::Locked || !self.world.settings.model.buffers(kind);
        if self.world.code.touches(address, length) {
            self.decoded.slots.fill(None);
            self.world.written.push((address, length));
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
        });
        if self.one_access {
            self.core.partial.push(PartialAccess::Store { address, length });
        }
    }

    fn kind_of_store(&self, address: PhysAddr) -> StoreKind {
        let is_combining = self.world.memory.kind(address) == MemoryType::WriteCombining;
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
        self.under.remove(index);
        if let Some(current) = &mut self.current {
            current.entries_before -= usize::from(index < current.entries_before);
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
        let mut bytes = vec![0; length as usize];
        if self.world.memory.read(address, &mut bytes) {
            match until {
                Until::NextAccess => self.overlays.push((address, bytes)),
                Until::Retired => self.restores.push((address, bytes)),
                Until::Faulted => self.committed.push((address, bytes)),
            }
        }
    }

    fn take_overlays_away(&mut self) {
        for (address, bytes) in self.overlays.drain(..).rev() {
            self.world.memory.write(address, &bytes);
        }
    }

    fn put_back(&mut self) {
        for (address, bytes) in self.restores.drain(..).rev() {
            self.world.memory.write(address, &bytes);
        }
    }

    /// The class of the instruction at `pc`; plain when its bytes cannot be read, for the engine will fault on it.
    fn classify(&mut self, pc: u64) -> Class {
        let slot = (pc ^ pc >> 11) as usize % SLOTS;
        if let Some((known, class)) = self.decoded.slots[slot]
            && known == pc
        {
            return class;
        }
        let mut bytes = [0; 15];
        let mode = self.decoded.mode;
        let length = mode.fetch(self.world.memory, pc, &mut bytes);
        let Some(instruction) = decode::decode(&bytes[..length], pc, mode.bits) else { return Class::Plain };
        for at in [pc, pc + instruction.len() as u64 - 1] {
            if let Some(physical) = mode.translate(self.world.memory, at) {
                self.world.code.note(physical);
            }
        }
        let class = decode::classify(&instruction);
        self.decoded.slots[slot] = Some((pc, class));
        class
    }

    /// Cuts an access where atomicity ends: at cache lines, and so at pages (SDM 3A 9.1.1).
    ///
    /// Gives address, length and offset of each piece. The engine reports only the first physical address of an access
    /// that crosses pages; the other page is found by translating the instruction's own operand.
    fn pieces(
        &self,
        registers: Registers,
        address: PhysAddr,
        size: u64,
    ) -> impl Iterator<Item = (PhysAddr, u64, u64)> + use<> {
        let first = size.min(LINE - address.0 % LINE);
        let next_page = (address.0 + first).is_multiple_of(PAGE) && first < size;
        let second =
            if next_page { self.other_page(registers, address, size) } else { Some(PhysAddr(address.0 + first)) };
        let second = second.filter(|&at| first < size && self.world.memory.kind(at) != MemoryType::Uncached);
        std::iter::once((address, first, 0)).chain(second.map(|at| (at, size - first, first)))
    }

    /// Where an access of `size` bytes that begins at the end of a page goes on.
    fn other_page(&self, registers: Registers, address: PhysAddr, size: u64) -> Option<PhysAddr> {
        let mut bytes = [0; 15];
        let (pc, mode) = (self.current().pc, self.decoded.mode);
        let length = mode.fetch(self.world.memory, pc, &mut bytes);
        let instruction = decode::decode(&bytes[..length], pc, mode.bits)?;
        let starts = super::operands::linear_ranges(&instruction, &registers.read());
        let linear = starts.into_iter().flat_map(|range| {
            // The first byte of the range that has the access's place in its page.
            let skip = address.0.wrapping_sub(range.start) % PAGE;
            let start = range.start.wrapping_add(skip);
            (start..range.end.max(start + 1)).step_by(PAGE as usize)
        });
        let found = linear.into_iter().find(|&at| mode.translate(self.world.memory, at) == Some(address))?;
        mode.translate(self.world.memory, (found + size - 1) & !(PAGE - 1))
    }
}

/// Up to 8 bytes as a little-endian number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn width(size: u64) -> Width {
    Width::from_bytes(size).expect("the engine cuts device accesses into 1, 2, 4 or 8 bytes")
}
