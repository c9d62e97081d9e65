//! The machine: a value, and choices applied to it.
//!
//! ```text
//! State --apply(Choice)--> State + Events
//! ```
//!
//! All nondeterminism is in the choices: which core takes the next steps, which buffered store drains, when a posted write
//! arrives. [`Machine::choices`] lists what can happen next, [`Machine::apply`] makes one of it happen.
//! Nothing in here reads the host's clock, its random numbers, or the order of a hash map.
//!
//! The engines that execute guest code are caches: [`Machine::snapshot`] is the whole state without them.

mod settings;
pub(crate) mod staging;
mod stop;

pub use settings::{DEEPEST, LEAST_RAM, MOST_CORES, MOST_RAM, Settings, SettingsError};
pub use stop::Stop;

use crate::board::{Board, Request, Surroundings};
use crate::boot::{self, BootError};
use crate::choice::Choice;
use crate::core::code_map::CodeMap;
use crate::core::cpu_state::CpuState;
use crate::core::run::{self, Cache, GivesWay, Turn, World, settle_code};
use crate::core::{Activity, Core, CoreId, operands};
use crate::loader::{Image, Protocol};
use crate::memory::{Memory, PAGE};
use crate::trace::{Event, EventLog, Line};
use fencepost_devices::{I8042, PhysAddr, Ticks};
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};

/// Everything that decides what a machine does next.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The cores.
    pub cores: Vec<Core>,
    /// RAM and pixels.
    pub memory: Memory,
    /// The devices and the writes on their way to them.
    pub board: Board,
    /// The machine's time: that of the core whose clock is farthest, or later if all have waited.
    pub time: Ticks,
    /// Why nothing more happens, once nothing more happens.
    pub stop: Option<Stop>,
}

/// A running machine.
pub struct Machine {
    /// Dropped before the memory that they point into.
    caches: Vec<Cache>,
    /// Registers of cores may be newer in their engines; everything else is here.
    state: State,
    settings: Settings,
    image_hash: u64,
    code: CodeMap,
    log: EventLog,
    written: Vec<(PhysAddr, u64)>,
}

/// A machine at one moment, without its engines: enough to go on from there any number of times.
#[derive(Clone, Debug)]
pub struct Snapshot {
    state: State,
    log: EventLog,
}

impl Snapshot {
    /// The state at that moment.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A hash of the state; equal states have equal hashes.
    pub fn hash(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        self.state.hash(&mut hasher);
        hasher.finish()
    }
}

/// A choice that the machine does not have at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotPossible(pub Choice);

impl std::fmt::Display for NotPossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is not possible at this point", crate::schedule::text_of(self.0))
    }
}

impl std::error::Error for NotPossible {}

impl Machine {
    /// A machine about to execute the first instruction of `image`.
    ///
    /// # Errors
    /// The image does not fit the settings.
    pub fn new(image: &Image, settings: Settings) -> Result<Machine, BootError> {
        let (memory, cores) = boot::boot(image, &settings)?;
        let mut board = Board::new(&settings, image);
        match image.protocol() {
            // Its own kernel programs what it needs, or its BIOS does.
            Protocol::Native | Protocol::BootSector => (),
            Protocol::Multiboot | Protocol::Multiboot2 | Protocol::Pvh => board.program(&boot::PROGRAMMING),
        }
        let state = State { cores, memory, board, time: Ticks(0), stop: None };
        Ok(Machine {
            caches: state.cores.iter().map(|_| Cache::new()).collect(),
            state,
            settings,
            image_hash: image.hash(),
            code: CodeMap::default(),
            log: EventLog::new(),
            written: Vec::new(),
        })
    }

    /// Everything that can happen next, one step at a time; empty when nothing can.
    ///
    /// What comes from outside ([`Choice::Type`], [`Choice::Receive`], [`Choice::Mouse`]) can always happen and is not listed.
    pub fn choices(&mut self) -> Vec<Choice> {
        let mut choices = Vec::new();
        if self.state.stop.is_some() {
            return choices;
        }
        for index in 0..self.settings.cores {
            let core = CoreId(index);
            if !self.state.cores[core.index()].is_halted() {
                choices.push(Choice::Run { core, steps: 1, drained: false });
                if self.has_several_accesses(core) {
                    choices.push(Choice::Access { core });
                }
            }
            if self.interrupt_request(core).is_some() {
                choices.push(Choice::Interrupt { core });
            }
            let drainable = self.state.cores[core.index()].buffer.drainable(self.settings.model);
            choices.extend(drainable.map(|entry| Choice::Drain { core, entry: entry as u8 }));
        }
        if !self.state.board.posted().is_empty() {
            choices.push(Choice::Arrive);
        }
        if self.may_pass() {
            choices.push(Choice::Pass);
        }
        choices
    }

    /// Makes `choice` happen. Returns how many steps were taken.
    ///
    /// # Errors
    /// The choice is not possible now; the machine is unchanged.
    pub fn apply(&mut self, choice: Choice) -> Result<u64, NotPossible> {
        if !self.is_possible(choice) {
            return Err(NotPossible(choice));
        }
        let steps = match choice {
            Choice::Run { core, steps, drained } => self.run(core, steps, drained, GivesWay::default()),
            Choice::Access { core } => self.access(core),
            Choice::Drain { core, entry } => {
                self.turn(core).drain(usize::from(entry));
                0
            }
            Choice::Arrive => {
                self.arrive();
                0
            }
            Choice::Interrupt { core } => self.interrupt(core),
            Choice::Type { byte } => {
                self.disturb(|board, around| board.type_key(byte, around));
                0
            }
            Choice::Receive { byte } => {
                self.disturb(|board, around| board.receive(byte, around));
                0
            }
            Choice::Mouse { dx, dy, buttons } => {
                self.disturb(|board, around| board.move_mouse(dx, dy, buttons, around));
                0
            }
            Choice::Pass => {
                self.pass();
                0
            }
        };
        self.follow_orders();
        self.end_if_over();
        Ok(steps)
    }

    /// Like [`Choice::Run`], but ends after the first PAUSE: a spinning core gives way; and where an interrupt can be taken.
    /// Returns how many steps were taken.
    ///
    /// The choice to record is a run of that many steps.
    pub fn run_to_pause(&mut self, core: CoreId, steps: u64, drained: bool) -> u64 {
        self.run_giving_way(core, steps, drained, GivesWay { at_pause: true, to_interrupts: true, to_posted: false })
    }

    /// Like [`Choice::Run`], but ends where the core `gives_way`. Returns how many steps were taken.
    pub(crate) fn run_giving_way(&mut self, core: CoreId, steps: u64, drained: bool, gives_way: GivesWay) -> u64 {
        if !self.is_possible(Choice::Run { core, steps, drained }) {
            return 0;
        }
        let taken = self.run(core, steps, drained, gives_way);
        self.follow_orders();
        self.end_if_over();
        taken
    }

    /// The word that `core` has exchanged again and again in its last run, which gave way there: its place and length.
    pub(crate) fn spun_on(&mut self, core: CoreId) -> Option<(PhysAddr, u64)> {
        let index = core.index();
        if !self.caches[index].has_spun {
            return None;
        }
        self.caches[index].engines.save(&mut self.state.cores[index].cpu);
        operands::next_exchange(&self.state.cores[index], &self.state.memory)
    }

    /// Why nothing more happens; `None` while something can.
    pub fn stop(&self) -> Option<&Stop> {
        self.state.stop.as_ref()
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The hash of the image it was made from.
    pub fn image_hash(&self) -> u64 {
        self.image_hash
    }

    /// The current state, complete.
    pub fn state(&mut self) -> &State {
        for (core, cache) in self.state.cores.iter_mut().zip(&self.caches) {
            cache.engines.save(&mut core.cpu);
        }
        &self.state
    }

    /// The state apart from the cores' registers, which may be newer in an engine.
    pub fn outer_state(&self) -> &State {
        &self.state
    }

    /// Keeps this moment.
    pub fn snapshot(&mut self) -> Snapshot {
        let state = self.state().clone();
        Snapshot { state, log: self.log.clone() }
    }

    /// Goes back (or forth) to the moment of `snapshot`, which must be of a machine with the same settings.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        // Code may have been translated from stores that are pending then or now, and laid over memory.
        for core in self.state.cores.iter().chain(&snapshot.state.cores) {
            self.written.extend(core.buffer.entries().iter().map(|entry| (entry.address, u64::from(entry.length))));
        }
        for page in self.code.pages() {
            if self.state.memory.slice(page, PAGE) != snapshot.state.memory.slice(page, PAGE) {
                self.written.push((page, PAGE));
            }
        }
        self.state.memory.copy_from(&snapshot.state.memory);
        settle_code(&mut self.caches, &self.code, &self.state.memory, &mut self.written);
        self.state.cores.clone_from(&snapshot.state.cores);
        self.state.board.clone_from(&snapshot.state.board);
        self.state.time = snapshot.state.time;
        self.state.stop = snapshot.state.stop;
        self.log.resume_from(&snapshot.log);
        for cache in &mut self.caches {
            cache.engines.invalidate();
        }
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Line> {
        self.log.take()
    }

    /// The events that [`take_events`](Machine::take_events) would take.
    pub fn pending_events(&self) -> &[Line] {
        self.log.lines()
    }

    /// Asks for loads, stores and register names in the events. Slower; changes nothing else.
    pub fn set_details(&mut self, details: bool) {
        self.log.set_details(details);
    }

    /// Ends a core's turn right after an event that satisfies `condition`, so that the machine can be looked at then.
    ///
    /// A run of steps then takes fewer steps than asked; what it took is what a schedule must record.
    pub fn set_break(&mut self, condition: Option<fn(&Event) -> bool>) {
        self.log.set_break(condition);
    }

    /// Whether the last run of steps was ended by such an event.
    pub(crate) fn is_broken(&self) -> bool {
        self.log.is_broken()
    }

    /// The hash of every event so far: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.log.hash()
    }

    fn is_possible(&self, choice: Choice) -> bool {
        let core_of = |core: CoreId| self.state.cores.get(core.index());
        let is_running = |core: CoreId| core_of(core).is_some_and(|core| !core.is_halted());
        self.state.stop.is_none()
            && match choice {
                Choice::Run { core, steps, .. } => steps > 0 && is_running(core),
                Choice::Access { core } => is_running(core),
                Choice::Drain { core, entry } => {
                    core_of(core).is_some_and(|core| core.buffer.may_drain(usize::from(entry), self.settings.model))
                }
                Choice::Arrive => !self.state.board.posted().is_empty(),
                Choice::Interrupt { core } => core_of(core).is_some() && self.interrupt_request(core).is_some(),
                Choice::Type { byte } => I8042::can_type(byte.into()),
                Choice::Receive { .. } | Choice::Mouse { .. } => true,
                Choice::Pass => self.may_pass(),
            }
    }

    fn run(&mut self, core: CoreId, steps: u64, drained: bool, gives_way: GivesWay) -> u64 {
        self.log.mend();
        let taken = self.turn(core).steps(steps, drained, gives_way);
        // A turn that gave way before its first step is not recorded, and so no event: a replay has none there.
        if taken > 0 || self.state.stop.is_some() {
            let pc = self.linear_pc(core);
            let clock = self.state.cores[core.index()].clock;
            self.log.push(Event::Ran { core, steps: taken, clock, pc });
        }
        taken
    }

    fn access(&mut self, core: CoreId) -> u64 {
        self.log.mend();
        let before = self.state.cores[core.index()].clock;
        self.turn(core).access();
        let pc = self.linear_pc(core);
        self.log.push(Event::Accessed { core, pc });
        self.state.cores[core.index()].clock - before
    }

    fn arrive(&mut self) {
        self.disturb(|board, around| _ = board.arrive(around));
    }

    /// Something happens to the board that no core does.
    fn disturb(&mut self, act: impl FnOnce(&mut Board, &mut Surroundings)) {
        let State { memory, board, time, stop, .. } = &mut self.state;
        let now = *time;
        act(board, &mut Surroundings { memory, log: &mut self.log, stop, written: &mut self.written, now });
        settle_code(&mut self.caches, &self.code, memory, &mut self.written);
    }

    fn interrupt(&mut self, core: CoreId) -> u64 {
        self.log.mend();
        self.turn(core).take_interrupt();
        u64::from(self.state.stop.is_none())
    }

    /// Whether a core has halted with interrupts on, to wait for one.
    pub fn waits_for_interrupt(&self) -> bool {
        self.state.cores.iter().zip(&self.caches).any(|(core, cache)| {
            core.activity == Activity::Halted && cache.engines.openness(&core.cpu).admits_maskable()
        })
    }

    /// Whether `core` could take an interrupt now.
    pub fn may_interrupt(&self, core: CoreId) -> bool {
        self.state.stop.is_none() && self.interrupt_request(core).is_some()
    }

    /// The interrupt that `core` could take now.
    fn interrupt_request(&self, core: CoreId) -> Option<Request> {
        let index = core.index();
        run::interrupt_request(core, &self.state.cores[index], &self.caches[index], &self.state.board)
    }

    /// Whether time can pass without a core that makes it pass.
    fn may_pass(&self) -> bool {
        self.state.board.next_event().is_some() && self.state.cores.iter().all(Core::is_halted)
    }

    /// Time goes on to the next event.
    fn pass(&mut self) {
        let next = self.state.board.next_event().expect("time passes to an event");
        self.state.time = next;
        self.log.push(Event::Passed { time: next.0 });
        self.disturb(Board::advance);
    }

    /// Resets and starts the cores that messages have asked for it.
    fn follow_orders(&mut self) {
        if !self.state.board.interrupts().has_orders() {
            return;
        }
        for index in 0..self.settings.cores {
            let core = CoreId(index);
            let asked = std::mem::take(self.state.board.interrupts_mut().asked(core));
            if asked.init {
                self.reset_core(core);
            }
            match asked.start_up {
                Some(page) if self.state.cores[core.index()].activity == Activity::AwaitsStartUp => {
                    self.start_core(core, page);
                }
                _ => (),
            }
            let left = self.state.board.interrupts_mut().asked(core);
            (left.nmi, left.ext_int) = (asked.nmi, asked.ext_int);
        }
    }

    /// What INIT does to a core (SDM 3A 9.1, 9.4): all but memory, caches and clock begins anew.
    fn reset_core(&mut self, core: CoreId) {
        self.turn(core).drain_all();
        let cpu = boot::init_state(self.registers(core));
        self.put_state(core, cpu, Activity::AwaitsStartUp);
        self.log.push(Event::CoreReset { core });
    }

    /// What a start-up message does to a core that waits for one (SDM 3A 9.4.4).
    fn start_core(&mut self, core: CoreId, page: u8) {
        let cpu = boot::start_up_state(self.registers(core), page);
        self.put_state(core, cpu, Activity::Running);
        self.log.push(Event::Started { core, pc: u64::from(page) << 12 });
    }

    /// The registers of `core`, up to date.
    fn registers(&mut self, core: CoreId) -> &CpuState {
        let cpu = &mut self.state.cores[core.index()].cpu;
        self.caches[core.index()].engines.save(cpu);
        cpu
    }

    fn put_state(&mut self, core: CoreId, cpu: CpuState, activity: Activity) {
        let time = self.state.time;
        let put = &mut self.state.cores[core.index()];
        put.cpu = cpu;
        put.tlb.forget_all();
        put.partial.clear();
        put.held_breakpoints = 0;
        put.activity = activity;
        put.clock = put.clock.max(time.0);
        self.caches[core.index()].engines.invalidate();
    }

    fn turn(&mut self, core: CoreId) -> Turn<'_> {
        let State { cores, memory, board, time, stop } = &mut self.state;
        let world = World {
            settings: &self.settings,
            memory,
            board,
            log: &mut self.log,
            stop,
            time,
            code: &mut self.code,
            written: &mut self.written,
        };
        Turn { id: core, core: &mut cores[core.index()], caches: &mut self.caches, world }
    }

    /// The address of a core's next instruction, for people and traces.
    pub fn linear_pc(&self, core: CoreId) -> u64 {
        let cpu = &self.state.cores[core.index()].cpu;
        self.caches[core.index()].engines.linear_program_counter(cpu)
    }

    /// The instruction at linear address `pc` as `core` would fetch it, for people; `None` when there is none.
    pub fn instruction_at(&mut self, core: CoreId, pc: u64) -> Option<iced_x86::Instruction> {
        let index = core.index();
        self.caches[index].engines.save(&mut self.state.cores[index].cpu);
        operands::instruction_at(pc, &self.state.cores[index], &self.state.memory)
    }

    fn has_several_accesses(&mut self, core: CoreId) -> bool {
        let index = core.index();
        self.caches[index].engines.save(&mut self.state.cores[index].cpu);
        operands::has_several_accesses(&self.state.cores[index], &self.state.memory, self.settings.processor)
    }

    /// Whether no core runs and nothing is on its way.
    fn is_idle(&self) -> bool {
        self.state.cores.iter().all(|core| core.is_halted() && core.buffer.is_empty())
            && self.state.board.posted().is_empty()
    }

    /// Whether an interrupt can wake a core now, or may when time passes.
    fn can_wake(&self) -> bool {
        let is_open = |core: &Core, index: usize| {
            let openness = self.caches[index].engines.openness(&core.cpu);
            core.activity == Activity::Halted && openness.admits_maskable()
        };
        let may_be_asked = self.state.board.next_waking_event().is_some() || self.state.board.listens();
        self.state.cores.iter().enumerate().any(|(index, core)| {
            self.interrupt_request(CoreId(index as u8)).is_some() || may_be_asked && is_open(core, index)
        })
    }

    /// Once nothing more can happen, what is pending becomes visible, and the reason is noted.
    fn end_if_over(&mut self) {
        if self.state.stop.is_none() && self.is_idle() && !self.can_wake() {
            self.state.stop = Some(Stop::AllHalted);
        }
        if self.state.stop.is_some() {
            for index in 0..self.settings.cores {
                self.turn(CoreId(index)).drain_all();
            }
        }
    }
}
