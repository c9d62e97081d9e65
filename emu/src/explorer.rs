//! Exploration: every outcome that a program can have, each with a schedule that reaches it.
//!
//! A machine has only [`choices`](crate::machine::Machine::choices); the explorer tries them all. What makes that feasible:
//!
//! - scheduling points are only operations that others can observe; what a core does between two of them belongs to the first;
//! - each core is a function from its local state and what it reads to its next local state, so the engine executes every
//!   pair of the two once, and it is remembered (`explorer/local.rs`);
//! - equal states are met once; steps that commute with all others are taken alone (`explorer/reduction.rs`).
//!
//! *Complete* means that nothing was cut off: no bound was reached, and no core came to an instruction that is not followed.

mod boards;
mod circle;
mod delta;
pub mod doctor;
pub mod explain;
mod found;
pub mod graph;
mod handlers;
mod hang;
mod limits;
mod local;
mod numbering;
mod op;
pub mod own_fence;
mod patches;
pub mod recorded;
mod reduction;
pub mod region;
pub mod shared;
mod sharing;
mod stage;
mod state;
mod strategy;
pub mod survey;
mod switches;
pub mod toggles;
mod waiting;

pub use found::Misfit;
pub use hang::Interrupts;
pub use limits::{Cut, CutPlace, Limits};
pub use op::Beyond;
pub use sharing::Witness;
pub use state::Progress;
pub use strategy::{Plan, Strategy};
pub use waiting::{Hang, Hangs, Outlook, Unsettled};

use crate::board::Board;
use crate::choice::Choice;
use crate::core::CoreId;
use crate::core::cpu_state::CpuState;
use crate::machine::staging::{Local, Standing};
use crate::machine::{Machine, Settings, Stop};
use crate::memory_model::MemoryModel;
use boards::Boards;
use delta::Delta;
use doctor::Way;
use fencepost_devices::PhysAddr;
use found::{Found, Met};
use local::Locals;
use op::Op;
use stage::Stage;
use state::{At, Capacity, State, Step, World};
use std::collections::BTreeSet;
use std::time::Instant;
use toggles::Toggles;

/// More entries than the buffer of a litmus test gets, unless it stores in a loop without end.
const OF_LITMUS: usize = 1024;

/// Explores what can happen from some moment of a machine on.
pub struct Explorer {
    world: World,
}

/// Where an exploration begins.
pub struct Start(State);

/// What was found.
pub struct Explored {
    found: Found,
    finals: Vec<Final>,
    model: MemoryModel,
    interrupts: Interrupts,
    toggles: Toggles,
    /// Bytes of code, stores to which were refused.
    refused: BTreeSet<u64>,
}

/// A state with empty buffers, to be put into a machine that is where exploration began.
struct Placed {
    locals: Vec<Local>,
    /// What differs: addresses, and 8 bytes each.
    memory: Vec<(u64, u64)>,
    board: Board,
}

/// What it means that nothing more is possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The run has ended, or all cores have come to their end.
    Over,
    /// A core goes on for ever without an operation that others could observe.
    Diverges,
    /// A core is about to do something that is not followed.
    Cut,
}

/// A state in which nothing more is possible.
pub struct Final {
    number: u32,
    state: State,
}

impl Explored {
    /// One run that has been followed, and of which so many things are told.
    fn recounted(model: MemoryModel, rows: u64) -> Explored {
        let found = Found {
            met: vec![Met { from: None }],
            transitions: rows,
            executions: 1,
            cuts: BTreeSet::from([Cut::Schedule]),
            ..Found::default()
        };
        Explored {
            found,
            finals: Vec::new(),
            model,
            interrupts: Interrupts::Late,
            toggles: Toggles::default(),
            refused: BTreeSet::new(),
        }
    }
}

impl Final {
    /// Why the run ended, unless all cores came to their end.
    pub fn stop(&self) -> Option<Stop> {
        self.state.stop
    }
}

impl Explorer {
    /// Explores `machine`, whose cores all execute on one engine: none of them asks which it is.
    pub(crate) fn with_one_engine(machine: Machine) -> Explorer {
        let capacity = Capacity { ordinary: OF_LITMUS, write_combining: OF_LITMUS };
        Explorer::on(Stage::new(machine, true), capacity)
    }

    /// Explores `machine`, whose model is SC, with buffers as deep as `settings` say.
    pub fn new(machine: Machine, settings: &Settings) -> Explorer {
        assert_eq!(machine.settings().model, MemoryModel::SC, "stores of the machine that tries out commit at once");
        let capacity = Capacity { ordinary: settings.depth, write_combining: settings.wc_depth };
        Explorer::on(Stage::new(machine, false), capacity)
    }

    fn on(stage: Stage, capacity: Capacity) -> Explorer {
        let world = World {
            stage,
            locals: Locals::default(),
            boards: Boards::default(),
            model: MemoryModel::SC,
            capacity,
            interrupts: Interrupts::Late,
            awaited: Vec::new(),
            toggles: Toggles::default(),
            judged: None,
            beyond_op: None,
            entered: None,
            watcher: None,
        };
        Explorer { world }
    }

    /// Begins where the machine is, whose first `cores` cores have empty buffers.
    pub fn start_here(&mut self, cores: u8) -> Start {
        let locals = survey::cores(cores).map(|core| self.first(core)).collect();
        self.start(locals, Vec::new())
    }

    /// Likewise, and the mark at which a region ends is one instruction among others.
    pub(super) fn start_behind(&mut self, cores: u8) -> Start {
        let outside = |local: Local| Local { standing: Standing::Outside, ..local };
        let locals = survey::cores(cores).map(|core| outside(self.first(core))).collect();
        self.start(locals, Vec::new())
    }

    /// Tells `watcher` from time to time how far an exploration has come.
    pub fn watch(&mut self, watcher: impl Fn(Progress) + Send + 'static) {
        self.world.watcher = Some(Box::new(watcher));
    }

    /// The local state of `core` when exploration began.
    pub(crate) fn first(&mut self, core: CoreId) -> Local {
        self.world.stage.first(core)
    }

    /// Puts code in place, for good.
    pub(crate) fn put_code(&mut self, address: PhysAddr, bytes: &[u8]) {
        self.world.stage.put_code(address, bytes);
    }

    /// Begins with these cores and bytes of memory.
    pub(crate) fn start(&mut self, locals: Vec<Local>, memory: Vec<(PhysAddr, Vec<u8>)>) -> Start {
        let mut delta = Delta::default();
        for (address, bytes) in memory {
            delta.write(self.world.stage.base(), address, &bytes);
        }
        let board = self.world.boards.number(self.world.stage.board().clone());
        let locals = locals.into_iter().map(|local| self.world.locals.number(local));
        let cores = locals.map(|local| At { local, buffer: Default::default() }).collect();
        Start(State { cores, memory: delta, board, stop: None, beyond: None })
    }

    /// Explores everything from `start` on under `model`.
    pub fn explore(&mut self, start: &Start, model: MemoryModel, limits: &Limits) -> Explored {
        self.explore_by(&Plan::default(), start, model, limits)
    }

    /// Explores from `start` on under `model`, as `plan` says.
    pub fn explore_by(&mut self, plan: &Plan, start: &Start, model: MemoryModel, limits: &Limits) -> Explored {
        self.explore_with(plan, &Toggles::default(), start, model, limits)
    }

    /// Likewise, with fences added and left out.
    fn explore_with(
        &mut self,
        plan: &Plan,
        toggles: &Toggles,
        start: &Start,
        model: MemoryModel,
        limits: &Limits,
    ) -> Explored {
        self.world.model = model;
        self.world.interrupts = plan.interrupts;
        self.world.set_toggles(toggles);
        if !self.world.stage.patches().refused().is_empty() {
            self.world.begin_anew(BTreeSet::new(), &BTreeSet::new());
        }
        let mut found = self.explore_unpatched(plan, start, limits);
        let refused = self.world.stage.patches().refused().clone();
        let finals = std::mem::take(&mut found.finals);
        finals.iter().for_each(|(_, state)| self.world.know(state));
        let finals = finals.into_iter().map(|(number, state)| Final { number, state }).collect();
        Explored { found, finals, model, interrupts: plan.interrupts, toggles: toggles.clone(), refused }
    }

    /// Explores until no store to code turns up that was not refused.
    fn explore_unpatched(&mut self, plan: &Plan, start: &Start, limits: &Limits) -> Found {
        let began = Instant::now();
        let mut found = plan.explore(&mut self.world, &start.0, limits);
        let mut refused = BTreeSet::new();
        let mut patched = self.world.stage.patches().take_both();
        while !patched.is_empty() {
            // What turned up first may be an earlier exploration's, or depend on which thread was faster: it is not used.
            self.world.begin_anew(refused.clone(), &patched);
            let time = limits.time.map(|limit| limit.saturating_sub(began.elapsed()));
            found = plan.explore(&mut self.world, &start.0, &Limits { time, threads: 1, ..*limits });
            patched = self.world.stage.patches().take_both();
            refused.extend(&patched);
        }
        found
    }

    /// What kind of end that final state is.
    pub fn end_of(&mut self, explored: &Explored, index: usize) -> End {
        let state = &explored.finals[index].state;
        if state.stop.is_some() {
            return End::Over;
        }
        self.resume(explored);
        let mut end = End::Over;
        for index in 0..state.cores.len() {
            match self.world.op(state, CoreId(index as u8)) {
                Op::Beyond { .. } => return End::Cut,
                Op::Diverges => end = End::Diverges,
                _ => (),
            }
        }
        end
    }

    /// The registers of `core` in that final state.
    pub fn final_registers(&self, explored: &Explored, index: usize, core: CoreId) -> &CpuState {
        let local = explored.finals[index].state.cores[core.index()].local;
        &self.world.locals.local(local).cpu
    }

    /// Reads memory in that final state.
    pub fn final_memory(&self, explored: &Explored, index: usize, address: PhysAddr, bytes: &mut [u8]) {
        explored.finals[index].state.memory.read(self.world.stage.base(), address, bytes);
    }

    /// The instruction at linear address `pc` as `core` fetches it, in nasm's syntax.
    fn instruction_text(&mut self, core: CoreId, pc: u64) -> Option<String> {
        self.world.stage.instruction_text(core, pc)
    }

    /// The instruction at linear address `pc` as `core` fetches it.
    fn instruction(&mut self, core: CoreId, pc: u64) -> Option<iced_x86::Instruction> {
        self.world.stage.instruction(core, pc)
    }

    /// What that final state is recognised by.
    fn name_of(&self, explored: &Explored, index: usize) -> u128 {
        local::fingerprint(&explored.finals[index].state)
    }

    /// That final state, to be put into a machine.
    fn place(&self, explored: &Explored, index: usize) -> Placed {
        let state = &explored.finals[index].state;
        Placed {
            locals: state.cores.iter().map(|at| self.world.locals.local(at.local).clone()).collect(),
            memory: state.memory.granules().to_vec(),
            board: self.world.boards.board(state.board).clone(),
        }
    }

    /// The choices that lead from `start` to that final state.
    pub fn path(&mut self, start: &Start, explored: &Explored, index: usize) -> Vec<Choice> {
        self.way_to(start, explored, explored.finals[index].number).0
    }

    /// The choices that lead from `start` to a state, and the state.
    fn way_to(&mut self, start: &Start, explored: &Explored, number: u32) -> (Vec<Choice>, State) {
        let steps = self.steps_of(start, explored, number);
        let mut choices = Vec::new();
        let mut state = start.0.clone();
        for step in steps {
            state = self.world.after(&state, step, &mut choices);
        }
        (choices, state)
    }

    /// The steps that lead from `start` to a state, those that stand for all others included.
    fn steps_of(&mut self, start: &Start, explored: &Explored, number: u32) -> Vec<Step> {
        self.resume(explored);
        let stored = explored.found.steps_to(number);
        let mut steps = explored.found.lead.clone();
        let Some(sharing) = &explored.found.sharing else {
            steps.extend(stored);
            return steps;
        };
        assert!(steps.is_empty(), "what follows given steps is explored without reduction");
        let mut state = start.0.clone();
        reduction::follow(&mut self.world, sharing, &mut state, |_, step, _| steps.push(step));
        for step in stored {
            state = self.world.after(&state, step, &mut Vec::new());
            steps.push(step);
            reduction::follow(&mut self.world, sharing, &mut state, |_, step, _| steps.push(step));
        }
        steps
    }

    /// Again under the rules of that exploration.
    fn resume(&mut self, explored: &Explored) {
        self.world.model = explored.model;
        self.world.interrupts = explored.interrupts;
        self.world.set_toggles(&explored.toggles);
        if *self.world.stage.patches().refused() != explored.refused {
            self.world.begin_anew(explored.refused.clone(), &BTreeSet::new());
        }
    }

    /// The instructions at which cores went on with stores in their buffers, on the way to a state.
    fn places_with_pending_stores(&mut self, start: &Start, explored: &Explored, number: u32) -> Way {
        let steps = self.steps_of(start, explored, number);
        let mut way = Way::default();
        let mut state = start.0.clone();
        for step in steps {
            if let Step::Operate(core) = step {
                let at = &state.cores[core.index()];
                // A fence before what is nobody else's business is as good before what comes after it.
                let is_private = |address, length| {
                    explored.found.sharing.as_ref().is_some_and(|sharing| sharing.is_private(address, length))
                };
                let is_shared = match self.world.op(&state, core) {
                    Op::Load(place) => !is_private(place.address, place.length),
                    Op::Store(entry) => !is_private(entry.address, u64::from(entry.length)),
                    _ => false,
                };
                // Between the accesses of one instruction there is no place.
                let local = self.world.locals.local(at.local);
                if is_shared && !at.buffer.is_empty() && local.partial.is_empty() {
                    let pc = local.cpu.linear_pc();
                    if self.world.stage.is_repeated(core, pc) {
                        way.repeats = true;
                    } else {
                        way.places.insert(pc);
                    }
                }
            }
            state = self.world.after(&state, step, &mut Vec::new());
        }
        way
    }

    /// Where each core is in that final state, when it is not over.
    pub fn whereabouts(&mut self, explored: &Explored, index: usize) -> String {
        self.resume(explored);
        let state = explored.finals[index].state.clone();
        self.describe(&state)
    }

    fn describe(&mut self, state: &State) -> String {
        let mut parts = Vec::new();
        for index in 0..state.cores.len() {
            let core = CoreId(index as u8);
            let local = state.cores[index].local;
            let pc = self.world.locals.local(local).cpu.linear_pc();
            parts.push(match self.world.op(state, core) {
                Op::Finished => continue,
                Op::Beyond { reason, .. } => format!("{core} {reason} at {pc:#x}"),
                Op::Diverges => format!("{core} at {:#x}", self.world.loop_of(local, core)),
                _ => format!("{core} at {pc:#x}"),
            });
        }
        if parts.is_empty() { "all cores are at their end".into() } else { parts.join(", ") }
    }

    /// Whether every order of steps comes to wait for ever; `None` where that is not known, or not so.
    pub(super) fn only_hangs(&mut self, start: &Start, explored: &Explored, limits: &Limits) -> Option<Hang> {
        let has_end = (0..explored.finals.len()).any(|index| self.end_of(explored, index) != End::Diverges);
        if !explored.is_complete() || has_end {
            return None;
        }
        let Hangs { proven, unsettled, is_late } = self.hangs(start, explored, limits);
        if is_late || !unsettled.is_empty() {
            return None;
        }
        let diverged = (!explored.finals.is_empty()).then(|| self.diverged(start, explored, 0));
        diverged.into_iter().chain(proven).next()
    }

    /// A final state in which cores go on for ever by themselves, as a hang.
    fn diverged(&mut self, start: &Start, explored: &Explored, index: usize) -> Hang {
        Hang {
            path: self.path(start, explored, index),
            whereabouts: self.whereabouts(explored, index),
            changes: true,
            interrupts: explored.interrupts,
            states: 1,
            first: explored.finals[index].number,
        }
    }

    /// Whether some order of steps leads to where no core's end can be reached any more. Nothing is known, and none said to,
    /// when something was cut off.
    pub fn can_hang(&mut self, explored: &Explored) -> bool {
        let finals: Vec<u32> = explored.finals.iter().map(|it| it.number).collect();
        explored.found.is_graph && !hang::every_state_can_end(&explored.found, &finals)
            || (0..finals.len()).any(|index| self.end_of(explored, index) == End::Diverges)
    }

    /// How many local states of cores have been met.
    pub fn local_states(&self) -> usize {
        self.world.locals.len()
    }
}

impl Explored {
    /// The states in which nothing more is possible.
    pub fn finals(&self) -> &[Final] {
        &self.finals
    }

    /// Whether nothing was left out.
    pub fn is_complete(&self) -> bool {
        self.found.cuts.is_empty()
    }

    /// Why something was left out.
    pub fn cuts(&self) -> Vec<Cut> {
        self.found.cuts.iter().copied().collect()
    }

    /// Where cores were about to do something that is not followed, the smallest addresses first for each reason.
    pub fn cut_places(&self) -> impl Iterator<Item = &CutPlace> {
        self.found.places.iter()
    }

    /// The model it was explored under.
    fn model(&self) -> MemoryModel {
        self.model
    }

    /// Whether the machine can do what was explored: with fences added there are fewer ways, none others.
    fn is_of_the_machine(&self) -> bool {
        self.toggles.without.is_empty()
    }

    /// How often a state in which nothing more is possible was reached.
    pub fn executions(&self) -> u64 {
        self.found.executions
    }

    /// How many states were met.
    pub fn states(&self) -> usize {
        self.found.lead.len() + self.found.met.len()
    }

    /// What was met that one core does and another could see; `None` where only some orders were tried.
    pub fn witness(&self) -> Option<Witness> {
        self.found.witness
    }

    /// Why the choices that were given cannot be followed, if so.
    pub fn misfit(&self) -> Option<&Misfit> {
        self.found.misfit.as_ref()
    }

    /// How many steps were taken.
    pub fn transitions(&self) -> u64 {
        self.found.transitions
    }
}
