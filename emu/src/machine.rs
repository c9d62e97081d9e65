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

use crate::board::{Board, Surroundings};
use crate::boot::{self, BootError};
use crate::choice::Choice;
use crate::core::code_map::CodeMap;
use crate::core::run::{Cache, Turn, World, settle_code};
use crate::core::{Core, CoreId, operands};
use crate::loader::Image;
use crate::memory::{Memory, PAGE};
use crate::trace::{Event, EventLog, Line};
use fencepost_devices::PhysAddr;
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
        let state = State { cores, memory, board: Board::new(), stop: None };
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
            let drainable = self.state.cores[core.index()].buffer.drainable(self.settings.model);
            choices.extend(drainable.map(|entry| Choice::Drain { core, entry: entry as u8 }));
        }
        if !self.state.board.posted().is_empty() {
            choices.push(Choice::Arrive);
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
            Choice::Run { core, steps, drained } => self.run(core, steps, drained, false),
            Choice::Access { core } => self.access(core),
            Choice::Drain { core, entry } => {
                self.turn(core).drain(usize::from(entry));
                0
            }
            Choice::Arrive => {
                self.arrive();
                0
            }
        };
        self.end_if_over();
        Ok(steps)
    }

    /// Like [`Choice::Run`], but ends after the first PAUSE: a spinning core gives way. Returns how many steps were taken.
    ///
    /// The choice to record is a run of that many steps.
    pub fn run_to_pause(&mut self, core: CoreId, steps: u64, drained: bool) -> u64 {
        if !self.is_possible(Choice::Run { core, steps, drained }) {
            return 0;
        }
        let taken = self.run(core, steps, drained, true);
        self.end_if_over();
        taken
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
        for &page in self.code.pages() {
            if self.state.memory.slice(page, PAGE) != snapshot.state.memory.slice(page, PAGE) {
                self.written.push((page, PAGE));
            }
        }
        self.state.memory.copy_from(&snapshot.state.memory);
        settle_code(&mut self.caches, &self.code, &self.state.memory, &mut self.written);
        self.state.cores.clone_from(&snapshot.state.cores);
        self.state.board.clone_from(&snapshot.state.board);
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
            }
    }

    fn run(&mut self, core: CoreId, steps: u64, drained: bool, stop_at_pause: bool) -> u64 {
        self.log.mend();
        let taken = self.turn(core).steps(steps, drained, stop_at_pause);
        let pc = self.linear_pc(core);
        let clock = self.state.cores[core.index()].clock;
        self.log.push(Event::Ran { core, steps: taken, clock, pc });
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
        let State { memory, board, stop, .. } = &mut self.state;
        board.arrive(&mut Surroundings { memory, log: &mut self.log, stop, written: &mut self.written });
        settle_code(&mut self.caches, &self.code, memory, &mut self.written);
    }

    fn turn(&mut self, core: CoreId) -> Turn<'_> {
        let State { cores, memory, board, stop } = &mut self.state;
        let world = World {
            settings: &self.settings,
            memory,
            board,
            log: &mut self.log,
            stop,
            code: &mut self.code,
            written: &mut self.written,
        };
        Turn { id: core, core: &mut cores[core.index()], caches: &mut self.caches, world }
    }

    /// The address of a core's next instruction, for people and traces.
    pub fn linear_pc(&self, core: CoreId) -> u64 {
        let cpu = &self.state.cores[core.index()].cpu;
        let base = cpu.segment(crate::core::cpu_state::SegmentName::Cs).base;
        base.wrapping_add(self.caches[core.index()].engines.program_counter(cpu))
    }

    /// The instruction at linear address `pc` as `core` would fetch it, for people; `None` when there is none.
    pub fn instruction_at(&mut self, core: CoreId, pc: u64) -> Option<iced_x86::Instruction> {
        let index = core.index();
        self.caches[index].engines.save(&mut self.state.cores[index].cpu);
        operands::instruction_at(pc, &self.state.cores[index].cpu, &self.state.memory)
    }

    fn has_several_accesses(&mut self, core: CoreId) -> bool {
        let index = core.index();
        self.caches[index].engines.save(&mut self.state.cores[index].cpu);
        operands::has_several_accesses(&self.state.cores[index].cpu, &self.state.memory)
    }

    /// Once nothing more can happen, what is pending becomes visible, and the reason is noted.
    fn end_if_over(&mut self) {
        let is_idle = || self.state.cores.iter().all(|core| core.is_halted() && core.buffer.is_empty());
        if self.state.stop.is_none() && is_idle() && self.state.board.posted().is_empty() {
            self.state.stop = Some(Stop::AllHalted);
        }
        if self.state.stop.is_some() {
            for index in 0..self.settings.cores {
                self.turn(CoreId(index)).drain_all();
            }
        }
    }
}
