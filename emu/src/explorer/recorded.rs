//! A recorded run, told: what happened on the machine, as the rows of a story.
//!
//! A recorded run is cut otherwise than exploration cuts: a core takes thousands of instructions in a row and stores drain on
//! the way, and one is far into its region while another has not come to it. And it does what exploration does not follow: it
//! reads the time, takes page faults, changes page tables. So it is not put into exploration's steps: the machine goes through
//! the choices that were recorded, one instruction at a time where they are told, and a row is what the machine says of it.
//!
//! It goes through them twice: first as they are, to find the part that is told, and then telling. Both must come to the same
//! state, registers and clocks included; otherwise nothing is told.
//!
//! What is told begins when a core passes its mark, and ends when all have passed those at their ends, or with the run. Cores
//! outside of their regions take part with the memory that they touch. Where a guest has such regions again and again, the last
//! one is the round that led to the end. A run without marks is told as a whole.
//! Left out: what the processor accesses to enter a handler; what an instruction has accessed that is interrupted after it;
//! in the middle of a part that is very long, all.

use super::Misfit;
use super::explain::{Effect, Explanation, Row, Stored, mark_delayed_drains};
use super::handlers::{Handlers, Level};
use super::op::Place;
use super::shared::Shared;
use super::stage::{kind_of_store, nasm};
use super::survey::cores;
use crate::choice::Choice;
use crate::core::cpu_state::{SegmentName, gpr};
use crate::core::decode::{self, Class, Mark};
use crate::core::interruption::Source;
use crate::core::tlb::Side;
use crate::core::{CoreId, paging};
use crate::machine::{Machine, Snapshot, Stop};
use crate::testbench::Output;
use crate::trace::Event;
use fencepost_devices::PhysAddr;
use iced_x86::{Instruction, Mnemonic};
use std::collections::BTreeSet;
use std::ops::Range;

/// Which part of a recorded run is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Telling {
    /// Where it begins.
    pub since: Since,
    /// At most so many steps, half of them at the beginning and half at the end; `None` for all.
    pub most_steps: Option<u64>,
}

/// Where telling begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// When the last of several rounds began.
    LastRound,
    /// When the first core passed its mark.
    FirstMark,
    /// At the first instruction, marks or not.
    Start,
}

/// What a recorded run came to.
pub(super) struct Overview {
    /// What it said.
    pub(super) output: Output,
    /// Why it ended; `None` where the schedule ends first.
    pub(super) stop: Option<Stop>,
    /// Steps of all cores.
    pub(super) steps: u64,
    marks: Marks,
    end: Snapshot,
}

impl Overview {
    /// Lets `machine`, which is about to start, go through `choices`.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn of(machine: &mut Machine, choices: &[Choice]) -> Result<Overview, Misfit> {
        machine.set_break(Some(|event| matches!(event, Event::Marked { .. })));
        let mut output = Output::default();
        let mut marks = Marks::default();
        let mut steps = 0;
        go_through(machine, choices, |machine, part| {
            let taken = part.take(machine, part.steps());
            steps += taken;
            for line in machine.take_events() {
                output.take(&line.event);
                if let Event::Marked { core, mark } = line.event {
                    marks.0.push((steps, core, mark));
                }
            }
            taken
        })?;
        machine.set_break(None);
        Ok(Overview { output, stop: machine.stop().copied(), steps, marks, end: machine.snapshot() })
    }

    /// The steps between which it is told.
    fn told(&self, machine: &Machine, since: Since) -> Range<u64> {
        let rounds = self.marks.rounds();
        let begin = match since {
            Since::LastRound => rounds.last(),
            Since::FirstMark => rounds.first(),
            Since::Start => None,
        };
        let ends_well = match self.stop {
            Some(Stop::Exited { .. } | Stop::Reset) => true,
            Some(Stop::AllHalted) => !machine.waits_for_interrupt(),
            Some(Stop::Faulted { .. }) | None => false,
        };
        let end = self.marks.ended().filter(|_| ends_well && since != Since::Start);
        begin.copied().unwrap_or(0)..end.unwrap_or(u64::MAX)
    }

    /// How many rounds there are before those that are told.
    fn untold_rounds(&self, since: Since) -> u64 {
        match since {
            Since::LastRound => self.marks.rounds().len().saturating_sub(1) as u64,
            Since::FirstMark | Since::Start => 0,
        }
    }
}

/// The marks that cores have passed, and after how many steps of the run.
#[derive(Default)]
struct Marks(Vec<(u64, CoreId, Mark)>);

impl Marks {
    /// When the rounds began: each core that comes to a region at all comes to one in each of them, and to the next when all
    /// have left theirs, as behind a barrier. Where that is not so, all that happens is one round.
    fn rounds(&self) -> Vec<u64> {
        let begins = self.0.iter().filter(|(_, _, mark)| *mark == Mark::Begin);
        let everybody: BTreeSet<CoreId> = begins.map(|(_, core, _)| *core).collect();
        let (mut begun, mut inside) = (BTreeSet::new(), BTreeSet::new());
        let mut rounds = Vec::new();
        for &(steps, core, mark) in &self.0 {
            match mark {
                Mark::Begin => {
                    if begun.contains(&core) {
                        if !inside.is_empty() || begun != everybody {
                            return rounds.into_iter().take(1).collect();
                        }
                        begun.clear();
                    }
                    if begun.is_empty() {
                        rounds.push(steps);
                    }
                    begun.insert(core);
                    inside.insert(core);
                }
                Mark::End => _ = inside.remove(&core),
            }
        }
        rounds
    }

    /// When the last core left its region; `None` while one is in it.
    fn ended(&self) -> Option<u64> {
        let mut inside = BTreeSet::new();
        for &(_, core, mark) in &self.0 {
            match mark {
                Mark::Begin => _ = inside.insert(core),
                Mark::End => _ = inside.remove(&core),
            }
        }
        let last = self.0.iter().rfind(|(_, _, mark)| *mark == Mark::End);
        last.filter(|_| inside.is_empty()).map(|(steps, _, _)| *steps)
    }
}

/// A recorded choice, or what is left of one.
#[derive(Clone, Copy)]
enum Part {
    /// So many steps of a run.
    Run { core: CoreId, left: u64, drained: bool },
    /// What is not divided.
    Whole(Choice),
}

impl Part {
    fn of(choice: Choice) -> Part {
        match choice {
            Choice::Run { core, steps, drained } => Part::Run { core, left: steps, drained },
            Choice::Access { .. }
            | Choice::Drain { .. }
            | Choice::Arrive
            | Choice::Interrupt { .. }
            | Choice::Type { .. }
            | Choice::Receive { .. }
            | Choice::Mouse { .. }
            | Choice::Pass => Part::Whole(choice),
        }
    }

    /// The steps of it that are left.
    fn steps(self) -> u64 {
        match self {
            Part::Run { left, .. } => left,
            Part::Whole(_) => 0,
        }
    }

    /// Whose turn it is, if a core's.
    fn core(self) -> Option<CoreId> {
        match self {
            Part::Run { core, .. } | Part::Whole(Choice::Access { core } | Choice::Interrupt { core }) => Some(core),
            Part::Whole(_) => None,
        }
    }

    /// Takes at most `most` steps of it, or all that is not divided. Returns how many were taken.
    fn take(self, machine: &mut Machine, most: u64) -> u64 {
        match self {
            Part::Run { core, left, drained } => machine.run_on(core, left.min(most), drained),
            Part::Whole(choice) => machine.apply(choice).expect("what is possible is done"),
        }
    }
}

/// Lets `machine` go through `choices`, of which `take` takes one part after the other and says how many steps of it.
///
/// # Errors
/// They are not possible.
fn go_through(
    machine: &mut Machine,
    choices: &[Choice],
    mut take: impl FnMut(&mut Machine, Part) -> u64,
) -> Result<(), Misfit> {
    for (at, &choice) in choices.iter().enumerate() {
        let misfit = |problem: &str| Misfit { at, choice: Some(choice), problem: problem.to_owned() };
        if machine.stop().is_some() {
            return Err(misfit("the run is over before it"));
        }
        if !machine.can(choice) {
            return Err(misfit("it is not possible at this point"));
        }
        let mut part = Part::of(choice);
        loop {
            let taken = take(machine, part);
            let Part::Run { left, .. } = &mut part else { break };
            *left -= taken;
            if *left == 0 || taken == 0 || machine.stop().is_some() {
                break;
            }
        }
        if let Part::Run { left, .. } = part {
            machine.end_run();
            if left > 0 && machine.stop().is_none() {
                return Err(misfit("the core cannot take so many steps there"));
            }
        }
    }
    Ok(())
}

/// Tells `choices`, which have led `machine` from the `first` moment to what `overview` says.
///
/// # Errors
/// Gone through step by step, they lead elsewhere.
pub(super) fn tell(
    machine: &mut Machine,
    first: &Snapshot,
    choices: &[Choice],
    overview: &Overview,
    telling: Telling,
) -> Result<Explanation, Misfit> {
    let told = overview.told(machine, telling.since);
    machine.restore(first);
    machine.take_events();
    let count = usize::from(machine.settings().cores);
    let is_marked = !overview.marks.0.is_empty() && telling.since != Since::Start;
    let mut teller = Teller {
        gap: gap(told.start..told.end.min(overview.steps), telling.most_steps),
        told,
        steps: 0,
        inside: vec![!is_marked; count],
        is_marked,
        is_telling: false,
        rows: Vec::new(),
        buffers: vec![Vec::new(); count],
        handlers: Handlers::of(count),
        last: None,
        switches: 0,
    };
    go_through(machine, choices, |machine, part| teller.take(machine, part))?;
    if machine.state() != overview.end.state() {
        let problem = "told step by step, the run comes to another end".to_owned();
        return Err(Misfit { at: choices.len(), choice: None, problem });
    }
    Ok(with_delayed_drains(Explanation {
        rows: teller.rows,
        violates: false,
        decisive: None,
        instead: None,
        stuck: Vec::new(),
        switches: teller.switches,
        delayed_drains: 0,
        left_behind: 0,
        is_minimal: false,
        untold_rounds: Some(overview.untold_rounds(telling.since)),
        choices: Vec::new(),
        pixels_from: None,
    }))
}

/// Counts the delayed drains of `told`: of stores that others could see, which is known only once all is told.
fn with_delayed_drains(mut told: Explanation) -> Explanation {
    let shared = Shared::of(&told);
    told.delayed_drains = mark_delayed_drains(&mut told.rows, |at| !shared.touches(at));
    told
}

/// What is left out in the middle of `told` so that at most so many steps are told.
fn gap(told: Range<u64>, most: Option<u64>) -> Range<u64> {
    match most {
        Some(most) if told.end - told.start > most => told.start + most / 2..told.end - most / 2,
        Some(_) | None => 0..0,
    }
}

/// Tells what a machine does.
struct Teller {
    /// Between which steps of the run.
    told: Range<u64>,
    /// And what is left out in their midst.
    gap: Range<u64>,
    /// Steps so far.
    steps: u64,
    /// Who is in its region.
    inside: Vec<bool>,
    /// Whether there are regions.
    is_marked: bool,
    /// The last step was told: what is pending is known.
    is_telling: bool,
    rows: Vec<Row>,
    /// What is pending, core by core.
    buffers: Vec<Vec<Stored>>,
    handlers: Handlers,
    /// Who went on last.
    last: Option<CoreId>,
    switches: usize,
}

/// Where a core is.
#[derive(Clone, Copy)]
struct At {
    core: CoreId,
    pc: u64,
    instruction: Option<Instruction>,
}

impl Teller {
    /// Takes the next steps of `part`. Returns how many.
    fn take(&mut self, machine: &mut Machine, part: Part) -> u64 {
        let is_told = self.told.contains(&self.steps) && !self.gap.contains(&self.steps);
        if is_told != std::mem::replace(&mut self.is_telling, is_told) && is_told {
            self.begin(machine);
        }
        machine.set_details(is_told);
        let taken = if is_told { self.tell(machine, part) } else { self.skim(machine, part) };
        self.steps += taken;
        taken
    }

    /// Goes on without telling, to where that changes.
    fn skim(&mut self, machine: &mut Machine, part: Part) -> u64 {
        if self.gap.contains(&self.steps) && self.rows.last().is_none_or(|row| row.effects != [self.omission()]) {
            self.rows.push(row_of_nobody(self.omission()));
        }
        let bounds = [self.told.start, self.gap.start, self.gap.end, self.told.end];
        let next = bounds.into_iter().filter(|bound| *bound > self.steps).min();
        let taken = part.take(machine, next.map_or(u64::MAX, |next| next - self.steps));
        for line in machine.take_events() {
            if let Event::Marked { core, mark } = line.event {
                self.note_mark(core, mark);
            }
            if let Event::Drained { core, address, length, value, .. } = line.event
                && self.steps >= self.told.end
            {
                self.drain(machine, core, (address, length, value));
            }
        }
        taken
    }

    fn omission(&self) -> Effect {
        Effect::LeftOut { steps: self.gap.end - self.gap.start }
    }

    /// From here on it is told.
    fn begin(&mut self, machine: &mut Machine) {
        self.handlers = Handlers::of(self.buffers.len());
        for core in cores(self.buffers.len() as u8) {
            self.look_at_buffer(machine, core);
        }
    }

    /// Takes one step of `part`, and tells it.
    fn tell(&mut self, machine: &mut Machine, part: Part) -> u64 {
        let at = part.core().map(|core| {
            let pc = machine.linear_pc(core);
            At { core, pc, instruction: machine.instruction_at(core, pc) }
        });
        if let Some(At { core, .. }) = at {
            self.switches += usize::from(self.last.is_some_and(|last| last != core));
            self.last = Some(core);
        }
        let taken = part.take(machine, 1);
        let mut deed = Deed::default();
        for line in machine.take_events() {
            self.note(machine, at, line.event, &mut deed);
        }
        if let Some(at) = at {
            self.end(machine, at, taken > 0, deed);
        }
        taken
    }

    /// Notes what has happened.
    fn note(&mut self, machine: &mut Machine, at: Option<At>, event: Event, deed: &mut Deed) {
        match event {
            Event::Loaded { core, address, length, value, .. } => {
                let overlaps = |it: &Stored| {
                    it.address < address + u64::from(length) && address < it.address + u64::from(it.length)
                };
                let forwarded = self.buffers[core.index()].iter().any(overlaps);
                deed.effects.push(Effect::Load { address, length: length.into(), value, forwarded });
            }
            Event::Stored { core, address, length, value, buffered, memory, .. } => {
                let kind = kind_of_store(at.map_or(Class::Plain, At::class), memory);
                let stored = Stored { address, length, value, kind };
                if buffered {
                    self.buffers[core.index()].push(stored);
                }
                deed.pushed.push(Place { address: PhysAddr(address), length: length.into() });
                deed.effects.push(Effect::Store { stored, buffered });
            }
            Event::Drained { core, address, length, value, .. } => {
                if let Some(at) = at {
                    let effects = std::mem::take(&mut deed.effects);
                    self.push(machine, at, effects);
                }
                self.drain(machine, core, (address, length, value));
            }
            Event::PortRead { .. }
            | Event::PortWritten { .. }
            | Event::DeviceRead { .. }
            | Event::DeviceWritten { .. }
            | Event::Posted { .. }
            | Event::Unanswered { .. } => deed.add_once(Effect::Device),
            Event::Interrupted { source, vector, .. } => {
                deed.effects.clear();
                deed.enters_handler = true;
                deed.effects.push(match source {
                    Source::Hardware => Effect::Interrupt,
                    Source::Exception | Source::Software => Effect::Exception { vector },
                });
            }
            Event::Faulted { fault, .. } => deed.effects.push(Effect::Fault { fault }),
            Event::Halted { .. } => deed.effects.push(Effect::Halt),
            Event::Arrived { .. } => self.rows.push(row_of_nobody(Effect::Arrive)),
            Event::Typed { byte } | Event::Received { byte } => {
                self.rows.push(row_of_nobody(Effect::Input { byte: Some(byte) }));
            }
            Event::MouseMoved { .. } => self.rows.push(row_of_nobody(Effect::Input { byte: None })),
            Event::Passed { .. } => self.rows.push(row_of_nobody(Effect::Pass)),
            Event::Marked { core, mark } => self.note_mark(core, mark),
            Event::Ran { .. }
            | Event::Accessed { .. }
            | Event::Serial { .. }
            | Event::DebugConsole { .. }
            | Event::Irq { .. }
            | Event::FrameReady { .. }
            | Event::Exited { .. }
            | Event::Sent { .. }
            | Event::CoreReset { .. }
            | Event::Started { .. } => (),
        }
    }

    /// A core has taken its step.
    fn end(&mut self, machine: &mut Machine, at: At, is_done: bool, mut deed: Deed) {
        let At { core, .. } = at;
        self.look_at_buffer(machine, core);
        if deed.enters_handler {
            self.handlers.enter(core, &deed.pushed);
            return self.push(machine, at, deed.effects);
        }
        if is_done && matches!(at.class(), Class::FullFence | Class::CpuId | Class::StoreFence) {
            deed.effects.push(Effect::Fence);
        }
        let level = self.level(machine, core);
        let is_return = at
            .instruction
            .is_some_and(|it| matches!(it.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq));
        if is_done && is_return && self.handlers.leave(core) {
            deed.effects.push(Effect::Return);
        }
        self.push_at(level, at, deed.effects);
    }

    fn note_mark(&mut self, core: CoreId, mark: Mark) {
        self.inside[core.index()] = !self.is_marked || mark == Mark::Begin;
    }

    /// A store of `core` becomes visible. One that was not pending when telling ended is not told.
    fn drain(&mut self, machine: &mut Machine, core: CoreId, (address, length, value): (u64, u8, u64)) {
        let pending = &mut self.buffers[core.index()];
        let is_it = |it: &Stored| (it.address, it.length, it.value) == (address, length, value);
        let Some(index) = pending.iter().position(is_it) else { return };
        let effects = vec![Effect::Drain { stored: pending.remove(index) }];
        let buffer = pending.clone();
        let level = self.level(machine, core);
        self.rows.push(Row {
            core: Some(core),
            pc: None,
            instruction: None,
            effects,
            buffer,
            is_delayed: false,
            level,
        });
    }

    fn push(&mut self, machine: &mut Machine, at: At, effects: Vec<Effect>) {
        let level = self.level(machine, at.core);
        self.push_at(level, at, effects);
    }

    /// Adds what a core has done, if another could see it.
    fn push_at(&mut self, level: Level, at: At, mut effects: Vec<Effect>) {
        let At { core, pc, instruction } = at;
        if !self.inside[core.index()] {
            effects.retain(|effect| !matches!(effect, Effect::Device | Effect::Fence | Effect::Halt));
        }
        if effects.is_empty() {
            return;
        }
        let instruction = instruction.map(|instruction| nasm(&instruction));
        let buffer = self.buffers[core.index()].clone();
        self.rows.push(Row { core: Some(core), pc: Some(pc), instruction, effects, buffer, is_delayed: false, level });
    }

    fn look_at_buffer(&mut self, machine: &Machine, core: CoreId) {
        let entries = machine.outer_state().cores[core.index()].buffer.entries();
        let pending = &mut self.buffers[core.index()];
        pending.clear();
        pending.extend(entries.iter().map(Stored::from));
    }

    /// Which of the code of `core` is at work.
    fn level(&mut self, machine: &mut Machine, core: CoreId) -> Level {
        let level = self.handlers.level(core, None);
        if level.handlers == 0 {
            return level;
        }
        let stack_pointer = stack_pointer(machine, core);
        self.handlers.level(core, stack_pointer.map(|at| at.0))
    }
}

impl At {
    fn class(self) -> Class {
        self.instruction.map_or(Class::Plain, |instruction| decode::classify(&instruction))
    }
}

/// What a core does in a step.
#[derive(Default)]
struct Deed {
    effects: Vec<Effect>,
    /// What it has stored, oldest first.
    pushed: Vec<Place>,
    enters_handler: bool,
}

impl Deed {
    fn add_once(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }
}

/// Something that no core does.
fn row_of_nobody(effect: Effect) -> Row {
    Row {
        core: None,
        pc: None,
        instruction: None,
        effects: vec![effect],
        buffer: Vec::new(),
        is_delayed: false,
        level: Level::default(),
    }
}

/// The physical address of the top of the stack of `core`; `None` where none is mapped.
fn stack_pointer(machine: &mut Machine, core: CoreId) -> Option<PhysAddr> {
    let state = machine.state();
    let core = &state.cores[core.index()];
    let linear = core.cpu.segment(SegmentName::Ss).base.wrapping_add(core.cpu.gpr[gpr::RSP]);
    core.tlb.translate(Side::Data, linear, &paging::Mode::of(&core.cpu), &state.memory)
}
