//! One core's turn: it takes steps, and nobody else does meanwhile.
//!
//! Because nobody else runs, the core's buffered stores can be *applied* to shared memory before its engine runs and taken
//! back afterwards: its loads then see its own youngest bytes at full speed (store forwarding), and only the entries that
//! are still pending at the end of the turn have to be hidden again.
//!
//! A turn at whose end the buffer is empty anyway (*drained*) needs even less: when in the turn each store commits cannot be
//! observed, so all commit at once and the fast engine may run.

mod breakpoints;
mod decoded;
mod halves;
mod observed;
mod refusal;
mod task;

use super::code_map::CodeMap;
use super::cpu_state::gpr;
use super::decode::{self, Class};
use super::engine::Engines;
use super::engine::fast::{FastExit, FastStops};
use super::engine::precise::{Precise, PreciseExit};
use super::interruption::{Delivery, Exception, Openness, Source, vector};
use super::paging::Mode;
use super::tlb::Lost;
use super::{Activity, Core, CoreId, operands};
use crate::board::{Board, Request, Surroundings};
use crate::machine::{Settings, Stop};
use crate::memory::Memory;
use crate::memory_model::MemoryModel;
use crate::store_buffer::Entry;
use crate::trace::{Event, EventLog, Fault};
use decoded::Decoded;
use fencepost_devices::{PhysAddr, Ticks};
use iced_x86::{Instruction, Mnemonic};
use observed::{After, Extent, FlagsOfFault, Observed, PreciseRun, Spun};

/// Below this many steps, changing to the fast engine and back costs more than it saves.
const FAST_MINIMUM: u64 = 24;

/// How many steps the precise engine takes where the fast one is no use: it was stopped at once, or code has just changed.
const WARY_STEPS: u64 = 64;

/// How many steps it takes after an interruption: handlers begin and end with what the fast engine leaves to it.
const HANDLER_STEPS: u64 = 16;

/// RFLAGS.RF: no breakpoint on the next instruction.
const RESUME_FLAG: u64 = 1 << 16;

/// DR7.GD: debug registers are not to be accessed.
const GUARD: u64 = 1 << 13;

/// DR6: the exception comes from the trap flag.
const SINGLE_STEP: u64 = 1 << 14;

/// What is not the core itself, but what it acts on.
pub(crate) struct World<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) memory: &'a mut Memory,
    pub(crate) board: &'a mut Board,
    pub(crate) log: &'a mut EventLog,
    pub(crate) stop: &'a mut Option<Stop>,
    /// What time it is for the machine: never before the core's clock.
    pub(crate) time: &'a mut Ticks,
    pub(crate) code: &'a mut CodeMap,
    /// Memory with translated code that has been written: every engine must forget it.
    pub(crate) written: &'a mut Vec<(PhysAddr, u64)>,
}

impl World<'_> {
    /// Time has come to `clock` of the core that runs, which is about to reach for a device: however its turn is cut, the device
    /// hears the same.
    pub(crate) fn note_time(&mut self, clock: u64) {
        *self.time = (*self.time).max(Ticks(clock));
    }

    pub(crate) fn with_board<T>(&mut self, act: impl FnOnce(&mut Board, &mut Surroundings) -> T) -> T {
        let World { memory, board, log, stop, written, time, .. } = self;
        act(board, &mut Surroundings { memory, log, stop, written, now: **time })
    }
}

/// Everything cached about one core.
pub(crate) struct Cache {
    pub(crate) engines: Engines,
    decoded: Decoded,
    /// The core has just stored to code, and may do so again at once.
    patches_code: bool,
    /// So many steps are still for the precise engine, since the fast one would not get far.
    wary: u64,
    /// The core has gone round an exchange again and again in its last turn.
    pub(crate) has_spun: bool,
}

impl Cache {
    pub(crate) fn new() -> Cache {
        Cache { engines: Engines::new(), decoded: Decoded::default(), patches_code: false, wary: 0, has_spun: false }
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

/// What ends a turn early, beside what must.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct GivesWay {
    /// The core spins.
    pub(crate) at_pause: bool,
    /// An interrupt can be taken.
    pub(crate) to_interrupts: bool,
    /// A write is on its way to a device.
    pub(crate) to_posted: bool,
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
    /// Fewer are taken only when the core halts, the machine stops, an event [breaks](EventLog::set_break) the turn, the core
    /// itself is to be reset, or it `gives_way`.
    pub(crate) fn steps(&mut self, steps: u64, drained: bool, gives_way: GivesWay) -> u64 {
        let eager = drained || self.world.settings.model == MemoryModel::SC;
        if drained {
            self.drain_all();
        }
        let start = self.core.clock;
        self.caches[self.id.index()].has_spun = false;
        self.pass_time();
        while self.core.clock - start < steps && self.may_step() {
            if gives_way.to_interrupts && self.interrupt_request().is_some() {
                break;
            }
            if gives_way.to_posted && !self.world.board.posted().is_empty() {
                break;
            }
            let left = self.until_next_event(steps - (self.core.clock - start));
            let spun = self.stretch(left, eager, gives_way);
            self.pass_time();
            if spun == Spun::AtPause {
                break;
            }
        }
        self.core.clock - start
    }

    /// Up to `steps` steps, of one engine as far as it gets.
    fn stretch(&mut self, steps: u64, eager: bool, gives_way: GivesWay) -> Spun {
        let Cache { patches_code, wary, .. } = self.caches[self.id.index()];
        let is_fast = eager
            && !patches_code
            && wary == 0
            && steps >= FAST_MINIMUM
            && self.core.partial.is_empty()
            && !self.world.log.details();
        let precise_steps = if is_fast {
            let before = self.core.clock;
            let exit = self.fast(steps, gives_way);
            let taken = self.core.clock - before;
            let left = steps - taken;
            match exit {
                FastExit::Pause => return Spun::AtPause,
                FastExit::Spins => {
                    self.caches[self.id.index()].has_spun = true;
                    return Spun::AtPause;
                }
                // The precise engine can execute it whatever comes of the page, so that this comes to an end.
                FastExit::NewPage { .. } => left.min(1),
                FastExit::Budget => left,
                FastExit::NeedsPrecise => {
                    let wary = if taken >= FAST_MINIMUM { 1 } else { WARY_STEPS };
                    self.caches[self.id.index()].wary = wary;
                    left.min(wary)
                }
            }
        } else if patches_code {
            steps.min(WARY_STEPS)
        } else if wary > 0 && eager {
            steps.min(wary)
        } else {
            steps
        };
        if precise_steps == 0 {
            return Spun::No;
        }
        let before = self.core.clock;
        let spun = self.precise(precise_steps, eager, gives_way, Extent::Steps);
        let wary = &mut self.caches[self.id.index()].wary;
        *wary = wary.saturating_sub((self.core.clock - before).max(1));
        spun
    }

    /// Lets time come to the core's clock; what devices do by then happens.
    fn pass_time(&mut self) {
        self.world.note_time(self.core.clock);
        self.world.with_board(|board, around| board.advance(around));
        self.settle();
    }

    /// At most `steps` steps, but none beyond the moment when something happens by itself.
    fn until_next_event(&self, steps: u64) -> u64 {
        let next = self.world.board.next_event();
        next.map_or(steps, |next| steps.min(next.0.saturating_sub(self.core.clock).max(1)))
    }

    /// The interrupt that the core could take now.
    pub(crate) fn interrupt_request(&self) -> Option<Request> {
        interrupt_request(self.id, self.core, &self.caches[self.id.index()], self.world.board)
    }

    /// Takes the interrupt that the core can take now: it wakes, and enters the guest's handler.
    pub(crate) fn take_interrupt(&mut self) {
        let Some(request) = self.interrupt_request() else { return };
        self.wake();
        let eager = self.world.settings.model == MemoryModel::SC;
        let vector = self.world.board.acknowledge(self.id, request);
        self.precise_engine();
        let pc = self.caches[self.id.index()].engines.linear_pc();
        self.interrupt(Exception::interrupt(vector), pc, eager);
        self.pass_time();
    }

    /// The core goes on after HLT; its clock has gone on meanwhile.
    fn wake(&mut self) {
        if self.core.activity == Activity::Halted {
            self.core.activity = Activity::Running;
            self.core.clock = self.core.clock.max(self.world.time.0);
        }
    }

    /// Makes the next access of the current instruction, and retires it if that was its last.
    ///
    /// An instruction that would fault makes no store early: it faults as a whole, after the loads before that.
    pub(crate) fn access(&mut self) {
        if !self.may_step() {
            return;
        }
        let eager = self.world.settings.model == MemoryModel::SC;
        let ways = GivesWay::default();
        let rehearsed = self.observe(1, eager, ways, Extent::Rehearsal, false);
        self.precise_engine().forget_fault();
        let extent = match rehearsed.exit {
            PreciseExit::Stopped => Extent::OneAccess,
            _ if rehearsed.is_load_next => Extent::OneLoad,
            _ => Extent::Steps,
        };
        self.precise(1, eager, ways, extent);
        self.pass_time();
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
        self.world.stop.is_none()
            && self.core.is_running()
            && !self.world.log.is_broken()
            && !self.world.board.interrupts().is_ordered(self.id)
    }

    fn settle(&mut self) {
        settle_code(self.caches, self.world.code, self.world.memory, self.world.written);
    }

    /// Lets the fast engine run at most `budget` steps.
    fn fast(&mut self, budget: u64, gives_way: GivesWay) -> FastExit {
        let before_sti = gives_way.to_interrupts && self.world.board.interrupts().asks(self.id);
        let stops = FastStops { at_pause: gives_way.at_pause, before_sti };
        let engines = &mut self.caches[self.id.index()].engines;
        let Core { cpu, tlb, .. } = &mut *self.core;
        let (retired, exit) = engines.run_fast(cpu, tlb, budget, stops, self.world.memory, self.world.code);
        self.core.clock += retired;
        match exit {
            FastExit::NewPage { linear } if !self.note_fetch(linear) => return FastExit::NeedsPrecise,
            FastExit::NewPage { .. }
            | FastExit::Budget
            | FastExit::Pause
            | FastExit::Spins
            | FastExit::NeedsPrecise => (),
        }
        exit
    }

    /// Notes where the code at `linear`, which is executed next, is fetched from. `false` when that cannot be noted.
    fn note_fetch(&mut self, linear: u64) -> bool {
        let engines = &mut self.caches[self.id.index()].engines;
        engines.save(&mut self.core.cpu);
        let (mode, mut lost) = (Mode::of(&self.core.cpu), Lost::default());
        let is_noted = self.core.tlb.note_fetch(linear, &mode, self.world.memory, &mut lost);
        engines.forget(lost);
        is_noted
    }

    /// Lets the precise engine take up to `steps` steps, or make one access, and deals with what stopped it.
    fn precise(&mut self, steps: u64, eager: bool, gives_way: GivesWay, extent: Extent) -> Spun {
        let before = self.core.clock;
        let held = std::mem::take(&mut self.core.held_breakpoints);
        let patches_code = self.caches[self.id.index()].patches_code;
        let mut observed = self.observe(steps, eager, gives_way, extent, patches_code);
        if observed.is_fetch_fault && self.core.clock == before {
            // A block that runs on into a page without code faults before its first instruction: try that one alone.
            observed = self.observe(steps, eager, gives_way, extent, true);
        }
        let has_retired = self.core.clock > before;
        if observed.is_fetch_fault && has_retired {
            self.precise_engine().forget_fault();
            (observed.exit, observed.spun) = (PreciseExit::Stopped, Spun::No);
        }
        // Of two such loads in a row only the first one holds off.
        if observed.begins_resume.is_some() && held == 0 {
            self.core.held_breakpoints = std::mem::take(&mut observed.breakpoints);
        }
        let is_software = matches!(observed.exit, PreciseExit::Exception(e) if e.source == Source::Software);
        if has_retired || is_software || observed.emulate.is_some() {
            observed.breakpoints |= held;
        } else if observed.exit == PreciseExit::Stopped {
            // Nothing has happened.
            self.core.held_breakpoints = held;
        }
        if observed.breakpoints != 0 && observed.emulate.is_none() {
            self.precise_engine().change(|cpu| cpu.dr[6] |= observed.breakpoints);
        }
        match observed.emulate {
            Some(instruction) if instruction.mnemonic() == Mnemonic::Int1 => {
                self.int1(&instruction, observed.breakpoints, eager);
            }
            Some(instruction) => self.emulate(&instruction, observed.breakpoints, eager),
            None => {
                self.report(&observed, eager);
                if observed.breakpoints != 0 && !observed.is_trap {
                    // Behind INT n that is before the first instruction of its handler.
                    self.debug_trap(eager);
                }
            }
        }
        observed.spun
    }

    /// One run of the precise engine.
    fn observe(
        &mut self,
        steps: u64,
        eager: bool,
        gives_way: GivesWay,
        extent: Extent,
        one_at_a_time: bool,
    ) -> Observed {
        let Cache { engines, decoded, patches_code, wary, .. } = &mut self.caches[self.id.index()];
        let mode = engines.precise(&mut self.core.cpu, self.world.memory).mode();
        decoded.enter(mode);
        if engines.take_lost_code() {
            decoded.forget();
        }
        if extent != Extent::Steps {
            engines.save(&mut self.core.cpu);
        }
        let mut run = PreciseRun::new(self.id, self.core, &mut self.world, decoded, steps, extent);
        run.eager = eager;
        run.gives_way = gives_way;
        run.apply();
        let exit = engines.run_precise(one_at_a_time, &mut run);
        let mode_now = if run.may_retranslate() { engines.mode() } else { mode };
        let floats = run.looks_at_floats().then(|| engines.take_floats());
        let task = run.task_before().and_then(|before| engines.task_after(before));
        let mut observed = run.end(exit, After { pc: engines.linear_pc(), mode: mode_now, floats, task });
        engines.forget(observed.lost);
        if observed.is_abandoned {
            engines.change(|cpu| cpu.clone_from(&self.core.cpu));
        } else if let Some(halves) = observed.halves {
            engines.change(|cpu| {
                if let Some((register, value)) = halves.to_put_back(cpu.gpr[gpr::RAX]) {
                    cpu.gpr[register] = value;
                }
            });
        }
        if let Some(raised) = observed.raised {
            engines.set_floats(raised);
            // The engine may have loaded MXCSR in its own way.
            engines.change(|_| ());
        }
        if let Some(before) = &observed.before {
            engines.change(|cpu| cpu.clone_from(before));
        }
        *patches_code = observed.stored_to_code;
        if observed.ends_shadow {
            engines.change(|cpu| cpu.interrupt_shadow = 0);
        }
        match observed.flags {
            Some(FlagsOfFault::InEngine) => engines.take_flags_of_fault(),
            Some(FlagsOfFault::Kept(flags)) => engines.change(|cpu| cpu.rflags = flags),
            None => (),
        }
        if mode.bits == 64 && observed.exit == PreciseExit::Exception(Exception::new(vector::GENERAL_PROTECTION, 0)) {
            let instruction = decoded.instruction(observed.pc, &self.core.tlb, self.world.memory);
            if instruction.is_some_and(|instruction| operands::leaves_stack(&instruction, &engines.registers())) {
                // QEMU takes them all for the data segment's (SDM 3A 6.15, interrupt 12).
                observed.exit = PreciseExit::Exception(Exception::new(vector::STACK_FAULT, 0));
            }
        }
        if let Some(begin) = observed.begins_task_at {
            engines.change(|cpu| cpu.rip = begin);
            observed.pc = engines.linear_pc();
        }
        if let Some(bases) = observed.bases {
            engines.keep_bases(bases);
        }
        if observed.is_mode_change || observed.ends_resume {
            engines.settle(observed.ends_resume);
        }
        if let Some(dr6) = observed.begins_resume {
            engines.change(|cpu| (cpu.rflags, cpu.dr[6]) = (cpu.rflags | RESUME_FLAG, dr6));
        }
        if observed.is_mode_change {
            *wary = 0;
            if !engines.openness(&self.core.cpu).contains(Openness::NMI_BLOCKED) {
                self.world.board.interrupts_mut().asked(self.id).nmi.is_done();
            }
        }
        self.settle();
        observed
    }

    fn precise_engine(&mut self) -> &mut Precise {
        self.caches[self.id.index()].engines.precise(&mut self.core.cpu, self.world.memory)
    }

    /// Executes an instruction that the engine is not trusted with, after which debug exceptions of `held` breakpoints come.
    fn emulate(&mut self, instruction: &Instruction, held: u64, eager: bool) {
        let class = decode::classify(instruction);
        if class.drains() {
            self.drain_all();
        }
        self.world.note_time(self.core.clock);
        let before = self.precise_engine().mode();
        let breakpoints = held | if before.breaks { self.breakpoints_on_port(class, instruction) } else { 0 };
        let cache = &mut self.caches[self.id.index()];
        let emulation = super::emulate::Emulation { id: self.id, core: self.core, engines: &mut cache.engines };
        let executed = emulation.execute(class, instruction, &mut self.world);
        let pc = self.caches[self.id.index()].engines.linear_pc();
        match executed {
            Ok(()) => {
                self.core.clock += 1;
                // The trap of a system call is decided by the flags that it has loaded (SDM 3A 18.3.1.4; APM 2, 13.1.4).
                let mode = self.precise_engine().mode();
                let traps = if class == Class::SystemCall { mode.traps } else { before.traps };
                if before.breaks {
                    self.caches[self.id.index()].engines.settle(true);
                }
                let causes = if traps { SINGLE_STEP | breakpoints } else { breakpoints };
                if causes != 0 {
                    self.core.activity = Activity::Running;
                    self.precise_engine().change(|cpu| cpu.dr[6] |= causes);
                    self.debug_trap(eager);
                }
            }
            Err(exception) => self.interrupt(exception, pc, eager),
        }
        self.settle();
    }

    /// INT1: a debug exception after it, of which DR6 tells nothing but `held` breakpoints (SDM 2A, INT n/INTO/INT3/INT1).
    fn int1(&mut self, instruction: &Instruction, held: u64, eager: bool) {
        let engines = &mut self.caches[self.id.index()].engines;
        let (pc, is_wide) = (engines.linear_pc(), engines.mode().bits == 64);
        let mask = if is_wide { u64::MAX } else { 0xffff_ffff };
        engines.change(|cpu| {
            cpu.rip = cpu.rip.wrapping_add(instruction.len() as u64) & mask;
            cpu.dr[6] |= held;
        });
        self.interrupt(Exception::new(vector::DEBUG, 0), pc, eager);
    }

    /// The breakpoints that `instruction`, which the machine is about to execute, meets at a port, as in DR6.
    fn breakpoints_on_port(&mut self, class: Class, instruction: &Instruction) -> u64 {
        if class != Class::PortIo {
            return 0;
        }
        let cpu = self.precise_engine().registers();
        let (port, width) = super::emulate::port_of(instruction, &cpu);
        breakpoints::on_ports(&cpu, port, width.bytes())
    }

    /// A debug exception after an instruction, of which DR6 tells already.
    fn debug_trap(&mut self, eager: bool) {
        let (pc, clock) = (self.caches[self.id.index()].engines.linear_pc(), self.core.clock);
        self.interrupt(Exception::new(vector::DEBUG, 0), pc, eager);
        // The trap belongs to its instruction's step.
        self.core.clock = clock;
    }

    /// Turns what stopped the engine into what it means to the machine.
    fn report(&mut self, observed: &Observed, eager: bool) {
        match observed.exit {
            PreciseExit::Stopped => (),
            PreciseExit::NothingToFetch => self.fault(Fault::NothingToFetch, observed.pc),
            PreciseExit::Exception(exception) => {
                let clock = self.core.clock;
                self.interrupt(exception, observed.pc, eager);
                if observed.is_trap {
                    // The instruction before was a step, and its trap belongs to it.
                    self.core.clock = clock;
                }
            }
        }
    }

    /// Interrupts the core, whose instruction at `pc` has caused `exception`: as for any interruption the buffer drains
    /// first (SDM 3A 12.10), and then the guest's handler is entered, which takes a step.
    fn interrupt(&mut self, exception: Exception, pc: u64, eager: bool) {
        self.drain_all();
        let Exception { vector, source, error_code } = exception;
        let precise = self.precise_engine();
        let cr2 = precise.cr2();
        let address = if vector == vector::PAGE_FAULT { cr2 } else { 0 };
        if vector == vector::DEBUG && source == Source::Exception && precise.mode().breaks {
            // The handler may access debug registers (SDM 3B 18.2.4).
            precise.change(|cpu| cpu.dr[7] &= !GUARD);
        }
        let (delivery, trap) = self.deliver(exception, pc, eager);
        let Delivery::Entered { vector: entered } = delivery else {
            self.precise_engine().set_cr2(cr2);
            return self.fault(Fault::of(vector, source, error_code, address), pc);
        };
        self.core.clock += 1;
        self.caches[self.id.index()].wary = HANDLER_STEPS;
        self.world.log.push(Event::Interrupted { core: self.id, pc, vector, source, error_code, address, entered });
        // The handler of debug exceptions itself would trap for ever (SDM 3B 18.3.1.5).
        if trap != 0 && entered != vector::DEBUG {
            self.precise_engine().change(|cpu| cpu.dr[6] |= trap);
            self.debug_trap(eager);
        }
    }

    /// Enters the guest's handler of `exception`; tells what that traps with at once, as in DR6.
    fn deliver(&mut self, exception: Exception, pc: u64, eager: bool) -> (Delivery, u64) {
        let Cache { engines, decoded, .. } = &mut self.caches[self.id.index()];
        decoded.enter(engines.mode());
        let mut run = PreciseRun::new(self.id, self.core, &mut self.world, decoded, 1, Extent::Steps);
        run.eager = eager;
        run.begin_delivery(pc);
        let task = engines.task();
        let delivery = engines.deliver(exception, pc, &mut run);
        let (lost, trap) = run.end_delivery(delivery, engines.mode(), engines.task_after(task));
        engines.forget(lost);
        self.settle();
        (delivery, trap)
    }

    /// The instruction at `pc` has done what nothing in the guest can handle, and that ends the run.
    fn fault(&mut self, fault: Fault, pc: u64) {
        self.drain_all();
        self.caches[self.id.index()].engines.save(&mut self.core.cpu);
        let core = self.id;
        self.world.log.push(Event::Faulted { core, pc, fault });
        *self.world.stop = Some(Stop::Faulted { core, pc, fault });
    }
}

/// The interrupt that `core` could take now.
pub(crate) fn interrupt_request(id: CoreId, core: &Core, cache: &Cache, board: &Board) -> Option<Request> {
    let may_wake = match core.activity {
        Activity::Running | Activity::Halted => true,
        Activity::AwaitsStartUp => false,
    };
    if !may_wake || !core.partial.is_empty() {
        return None;
    }
    board.interrupts().request(id, || cache.engines.openness(&core.cpu))
}

fn note_drained(core: CoreId, entry: &Entry, world: &mut World) {
    let Entry { address, length, kind, .. } = *entry;
    world.log.push(Event::Drained { core, address: address.0, length, value: entry.value(), kind });
    world.written.push((address, u64::from(length)));
}
