//! One way to an outcome, told step by step, and the step after which it could no longer be avoided.

use super::handlers::{Handlers, Level};
use super::limits::Limits;
use super::local::fingerprint;
use super::op::{Entered, Op, Place};
use super::reduction::is_own_business;
use super::sharing::Sharing;
use super::state::{State, Step, World};
use super::strategy::exhaustive;
use super::survey::cores;
use super::switches::{Count, Switches, left_behind};
use super::{Explored, Explorer, Start};
use crate::choice::Choice;
use crate::core::CoreId;
use crate::machine::Stop;
use crate::store_buffer::{Entry, StoreKind};
use crate::trace::Fault;
use fencepost_devices::PhysAddr;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

/// States looked at to find a way with few switches; if they do not suffice the shortest way is told.
const MOST_STATES: usize = 2_000_000;

/// Steps of a core's own that are followed to what others can observe of it.
const LONGEST_FOLLOWED: usize = 256;

/// States of a hang that are looked at for what its cores touch: of rounds longer than this, their beginning.
const MOST_OF_A_HANG: usize = 1024;

/// A way to an outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What happens, in order.
    pub rows: Vec<Row>,
    /// Whether the outcome is a violation.
    pub violates: bool,
    /// The row after which no end that is no violation can be reached, other than this outcome; `None` where that is not known.
    pub decisive: Option<usize>,
    /// What could have happened instead of that row, so that one still could.
    pub instead: Option<Row>,
    /// Where the cores are in the end that wait or go round for ever; none where the run ends.
    pub stuck: Vec<Stuck>,
    /// How often another core goes on.
    pub switches: usize,
    /// How many stores that others could see leave their buffer only after another core has gone on, or not before the run ends.
    pub delayed_drains: usize,
    /// How many of them are still in their buffers when the run ends.
    pub left_behind: usize,
    /// Whether there is no way with fewer.
    pub is_minimal: bool,
    /// Of a recorded run, how many rounds before those that are told are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold_rounds: Option<u64>,
    /// The choices of the region.
    #[serde(skip)]
    pub choices: Vec<Choice>,
    /// Stores from this address on are pixels that the outcome consists of; `None` where pictures do not count.
    #[serde(skip)]
    pub(super) pixels_from: Option<u64>,
}

/// Something that happens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    /// Whose; `None` for devices.
    pub core: Option<CoreId>,
    /// Linear address of the instruction; `None` where none executes.
    pub pc: Option<u64>,
    /// The instruction; before an interrupt, the one that would have come next.
    pub instruction: Option<String>,
    /// What it does.
    pub effects: Vec<Effect>,
    /// The core's store buffer afterwards, oldest first.
    pub buffer: Vec<Stored>,
    /// It is a delayed drain: a store leaves its buffer only after another core has gone on.
    pub is_delayed: bool,
    /// Which of the core's code does it; of an interrupt, its handler.
    #[serde(skip)]
    pub(super) level: Level,
}

/// A core that never comes to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stuck {
    /// Which.
    pub core: CoreId,
    /// Linear address of its next instruction.
    pub pc: u64,
    /// The instruction.
    pub instruction: Option<String>,
    /// What it goes on to read and write.
    pub touches: Vec<Touched>,
    /// Which of the core's code does.
    #[serde(skip)]
    pub(super) level: Level,
}

/// Bytes of memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Touched {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// Bytes in a store buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Stored {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub length: u8,
    /// As a little-endian number.
    pub value: u64,
    /// Ordinary or write-combining.
    pub kind: StoreKind,
}

/// What an operation does to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Effect {
    /// Reads.
    Load {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        length: u64,
        /// What it gets.
        value: u64,
        /// From the core's own buffer rather than memory.
        forwarded: bool,
    },
    /// Writes, visible to all at once unless buffered.
    Store {
        /// What.
        stored: Stored,
        /// Only its own core sees it yet.
        buffered: bool,
    },
    /// A buffered store becomes visible.
    Drain {
        /// What.
        stored: Stored,
    },
    /// A fence.
    Fence,
    /// Reaches a device.
    Device,
    /// A posted write arrives.
    Arrive,
    /// An interrupt comes, and the core enters its handler.
    Interrupt,
    /// The instruction causes an exception or is INT n, and the core enters its handler.
    Enter {
        /// What would have ended the run without a handler.
        handled: Fault,
    },
    /// The handler of an interrupt ends, with IRET.
    Return,
    /// The core comes to its end, or halts.
    Finish,
    /// Faults.
    Fault {
        /// Why.
        fault: Fault,
    },
    /// The core enters its handler of an exception, or of an interrupt that its instruction asks for.
    Exception {
        /// Which.
        vector: u32,
    },
    /// The core halts until an interrupt.
    Halt,
    /// Something comes from outside.
    Input {
        /// What is typed or sent; `None` for the mouse.
        byte: Option<u8>,
    },
    /// Every core waits, and time goes on.
    Pass,
    /// Something happens that is not told.
    LeftOut {
        /// How many steps.
        steps: u64,
    },
}

impl Effect {
    /// The memory it touches.
    pub fn touched(&self) -> Option<Touched> {
        match *self {
            Effect::Load { address, length, .. } => Some(Touched { address, length }),
            Effect::Store { stored, .. } | Effect::Drain { stored } => Some(stored.touched()),
            Effect::Fence
            | Effect::Device
            | Effect::Arrive
            | Effect::Interrupt
            | Effect::Enter { .. }
            | Effect::Return
            | Effect::Finish
            | Effect::Fault { .. }
            | Effect::Exception { .. }
            | Effect::Halt
            | Effect::Input { .. }
            | Effect::Pass
            | Effect::LeftOut { .. } => None,
        }
    }
}

impl Stored {
    /// Where.
    pub(super) fn touched(&self) -> Touched {
        Touched { address: self.address, length: u64::from(self.length) }
    }
}

impl Touched {
    /// Each of them.
    pub(super) fn bytes(self) -> Range<u64> {
        self.address..self.address + self.length
    }
}

impl From<&Place> for Touched {
    fn from(place: &Place) -> Touched {
        Touched { address: place.address.0, length: place.length }
    }
}

impl From<&Entry> for Touched {
    fn from(entry: &Entry) -> Touched {
        Touched { address: entry.address.0, length: u64::from(entry.length) }
    }
}

/// A value as it is told: counters and flags as people count, pixels, addresses and the like in hexadecimal.
pub fn shown(value: u64) -> String {
    if value < 10_000 { value.to_string() } else { format!("{value:#x}") }
}

impl From<&Entry> for Stored {
    fn from(entry: &Entry) -> Stored {
        Stored { address: entry.address.0, length: entry.length, value: entry.value(), kind: entry.kind }
    }
}

impl Explorer {
    /// Tells a way from `start` to one of the states `wanted`, the one that is `sought`, and where it parts from the ways to
    /// the final states `others`.
    pub(super) fn explain(
        &mut self,
        start: &Start,
        explored: &Explored,
        wanted: &Wanted,
        others: &[usize],
        time: Option<Duration>,
        sought: Sought,
    ) -> Explanation {
        let deadline = time.map(|time| Instant::now() + time);
        self.resume(explored);
        let name = |index: &usize| explored.finals[*index].state.end_name();
        let (wanted_names, first): (HashSet<u128>, u32) = match wanted {
            Wanted::Finals(finals) => (finals.iter().map(name).collect(), explored.finals[finals[0]].number),
            Wanted::Hang(number) => (HashSet::from([fingerprint(&self.way_to(start, explored, *number).1)]), *number),
        };
        let other_names: HashSet<u128> = others.iter().map(name).collect();
        let everything = Sharing::everything();
        let sharing = explored.found.sharing.as_ref().unwrap_or(&everything);
        let limits = limits(deadline);
        let world = &mut self.world;
        let mut search = Switches { world, sharing, count: Count::Switches, bound: None, limits: &limits };
        // A way that was given is told as it is.
        let is_given = !explored.found.lead.is_empty() || sought == Sought::Known;
        let (found, reached) = if is_given { Default::default() } else { search.search(&start.0, Some(&wanted_names)) };
        let steps = match reached {
            Some(number) => found.steps_to(number),
            None => self.steps_of(start, explored, first),
        };
        let mut explanation = tell(&mut self.world, &start.0, &steps, sharing);
        explanation.is_minimal = reached.is_some();
        if !others.is_empty() {
            let mut ways = Ways { world: &mut self.world, sharing, others: &other_names, deadline };
            let parting = ways.last_way_out(&start.0, &steps);
            explanation.decisive = parting.as_ref().map(|(index, _)| *index);
            explanation.instead = parting.and_then(|(_, instead)| instead);
        }
        explanation
    }
}

/// What an explanation leads to.
pub(super) enum Wanted {
    /// Any of these final states.
    Finals(Vec<usize>),
    /// The state with this number, from which no end is reached.
    Hang(u32),
}

/// Which way is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sought {
    /// One with as few switches as there can be, if it is found in time.
    Fewest,
    /// The one that exploration has found.
    Known,
}

/// What happens on `steps` from `first` on.
fn tell(world: &mut World, first: &State, steps: &[Step], sharing: &Sharing) -> Explanation {
    let mut rows = Vec::new();
    let mut choices = Vec::new();
    let mut state = first.clone();
    let mut handlers = Handlers::of(first.cores.len());
    let (mut switches, mut last) = (0, None);
    for &step in steps {
        let (mut row, next) = row(world, &state, step, &mut choices);
        follow(world, (&state, &next), step, &mut handlers, &mut row);
        state = next;
        match step {
            Step::Operate(core) | Step::Interrupt(core) => {
                switches += usize::from(last.is_some_and(|last| last != core));
                last = Some(core);
            }
            Step::Drain(..) | Step::Arrive => (),
        }
        rows.push(row);
    }
    let left_behind = left_behind(sharing, &state, last);
    let delayed_drains = mark_delayed_drains(&mut rows, |at| sharing.is_private(PhysAddr(at.address), at.length));
    let stuck = stuck(world, &state, &mut handlers);
    Explanation {
        rows,
        violates: false,
        decisive: None,
        instead: None,
        stuck,
        switches,
        delayed_drains: delayed_drains + left_behind,
        left_behind,
        is_minimal: false,
        untold_rounds: None,
        choices,
        pixels_from: None,
    }
}

/// Marks in `rows` the drains of stores that are not private and whose core was not the only one to go on since they executed;
/// returns how many there are.
pub(super) fn mark_delayed_drains(rows: &mut [Row], is_private: impl Fn(Touched) -> bool) -> usize {
    // What is pending, oldest first, and whether another core has gone on since.
    let mut pending: HashMap<CoreId, Vec<(Stored, bool)>> = HashMap::new();
    let mut count = 0;
    for row in rows {
        let Some(core) = row.core else { continue };
        if row.pc.is_some() {
            let others = pending.iter_mut().filter(|(other, _)| **other != core);
            others.flat_map(|(_, stores)| stores).for_each(|(_, is_late)| *is_late = true);
        }
        let stores = pending.entry(core).or_default();
        for effect in &row.effects {
            if let Effect::Store { stored, buffered: true } = *effect {
                stores.push((stored, false));
            } else if let Effect::Drain { stored } = *effect {
                let at = stores.iter().position(|(it, _)| *it == stored);
                row.is_delayed = at.is_some_and(|at| stores.remove(at).1) && !is_private(stored.touched());
                count += usize::from(row.is_delayed);
            }
        }
    }
    count
}

/// Notes in `row`, which is what `step` does between two states, which of its core's code does it, and whether that ends.
fn follow(world: &mut World, between: (&State, &State), step: Step, handlers: &mut Handlers, row: &mut Row) {
    let (state, next) = between;
    let entered = world.entered.take();
    match step {
        Step::Interrupt(core) => {
            handlers.enter(core, &entered.map(pushed).unwrap_or_default());
            row.level = handlers.level(core, None);
        }
        Step::Operate(core) => {
            row.level = level(world, state, core, handlers);
            if let Some(entered) = entered.filter(|entered| entered.handled.is_some()) {
                handlers.enter(core, &pushed(entered));
            }
            let is_end = returns(world, state, next, core) && handlers.leave(core);
            row.effects.extend(is_end.then_some(Effect::Return));
        }
        Step::Drain(core, _) => row.level = level(world, state, core, handlers),
        Step::Arrive => (),
    }
}

/// What was stored on the way into a handler.
fn pushed(entered: Entered) -> Vec<Place> {
    if let Op::Locked { stores, .. } = entered.touched { stores } else { Vec::new() }
}

/// Which of the code of `core` is at work in `state`.
fn level(world: &mut World, state: &State, core: CoreId, handlers: &mut Handlers) -> Level {
    let cpu = &world.locals.local(state.cores[core.index()].local).cpu;
    let stack_pointer = world.stage.stack_pointer(core, cpu);
    handlers.level(core, stack_pointer.map(|at| at.0))
}

/// The cores that have not come to their end in `state`, which is a last one.
fn stuck(world: &mut World, state: &State, handlers: &mut Handlers) -> Vec<Stuck> {
    let mut stuck = Vec::new();
    for core in cores(state.cores.len() as u8).filter(|_| state.stop.is_none()) {
        if *world.op(state, core) != Op::Finished {
            let pc = world.locals.local(state.cores[core.index()].local).cpu.linear_pc();
            let instruction = world.stage.instruction_text(core, pc);
            let level = level(world, state, core, handlers);
            stuck.push(Stuck { core, pc, instruction, touches: Vec::new(), level });
        }
    }
    if !stuck.is_empty() {
        let touched = touched_from(world, state);
        stuck.iter_mut().for_each(|stuck| stuck.touches.extend(&touched[stuck.core.index()]));
    }
    stuck
}

/// What each core touches from `first` on, in the states nearest to it.
fn touched_from(world: &mut World, first: &State) -> Vec<BTreeSet<Touched>> {
    let mut touched = vec![BTreeSet::new(); first.cores.len()];
    let mut seen = HashSet::from([fingerprint(first)]);
    let mut queue = VecDeque::from([first.clone()]);
    while let Some(state) = queue.pop_front() {
        for (index, touched) in touched.iter_mut().enumerate() {
            match world.op(&state, CoreId(index as u8)) {
                Op::Load(place) => touched.extend([Touched::from(place)]),
                Op::Store(entry) => touched.extend([Touched::from(entry)]),
                Op::Locked { loads, stores } => touched.extend(loads.iter().chain(stores).map(Touched::from)),
                Op::Nothing
                | Op::FullFence
                | Op::StoreFence
                | Op::Device
                | Op::Priority
                | Op::Enters
                | Op::Finished
                | Op::Diverges
                | Op::Fault { .. }
                | Op::Beyond { .. } => (),
            }
            touched.extend(state.cores[index].buffer.entries().iter().map(Touched::from));
        }
        for step in world.possible_steps(&state) {
            let next = world.after(&state, step, &mut Vec::new());
            if seen.len() < MOST_OF_A_HANG && seen.insert(fingerprint(&next)) {
                queue.push_back(next);
            }
        }
    }
    touched
}

/// What `step` does in `state`, and the state after it.
fn row(world: &mut World, state: &State, step: Step, choices: &mut Vec<Choice>) -> (Row, State) {
    let next = world.after(state, step, choices);
    let buffer = |core: CoreId| next.cores[core.index()].buffer.entries().iter().map(Stored::from).collect();
    let place = |world: &mut World, core: CoreId| {
        let pc = world.locals.local(state.cores[core.index()].local).cpu.linear_pc();
        (Some(pc), world.stage.instruction_text(core, pc))
    };
    let (core, (pc, instruction), effects) = match step {
        Step::Arrive => (None, (None, None), vec![Effect::Arrive]),
        Step::Interrupt(core) => (Some(core), place(world, core), vec![Effect::Interrupt]),
        Step::Drain(core, index) => {
            let entry = &state.cores[core.index()].buffer.entries()[usize::from(index)];
            (Some(core), (None, None), vec![Effect::Drain { stored: entry.into() }])
        }
        Step::Operate(core) => {
            let mut effects = effects(world, state, core);
            effects.extend(exception(world, &next));
            (Some(core), place(world, core), effects)
        }
    };
    let buffer = core.map_or(Vec::new(), buffer);
    let row = Row { core, pc, instruction, effects, buffer, is_delayed: false, level: Level::default() };
    (row, next)
}

/// The exception that the step which was taken last has led to, and the state `next`.
fn exception(world: &World, next: &State) -> Option<Effect> {
    let entered = world.entered.as_ref()?;
    match next.stop {
        Some(Stop::Faulted { fault, .. }) => Some(Effect::Fault { fault }),
        _ => entered.handled.map(|handled| Effect::Enter { handled }),
    }
}

/// Whether `core` comes to the end of an IRET between `state` and `next`.
fn returns(world: &mut World, state: &State, next: &State, core: CoreId) -> bool {
    let pc = world.locals.local(state.cores[core.index()].local).cpu.linear_pc();
    let has_accesses_left = !world.locals.local(next.cores[core.index()].local).partial.is_empty();
    next.stop.is_none() && !has_accesses_left && world.stage.is_return(core, pc)
}

/// What the next operation of `core` does in `state`.
fn effects(world: &mut World, state: &State, core: CoreId) -> Vec<Effect> {
    let model = world.model;
    let at = &state.cores[core.index()];
    let op = world.op(state, core).clone();
    let load = |world: &World, place: &super::op::Place| Effect::Load {
        address: place.address.0,
        length: place.length,
        value: world.input(state, core, std::slice::from_ref(place)) as u64,
        forwarded: at.buffer.entries().iter().any(|entry| entry.overlaps(place.address, place.length)),
    };
    match &op {
        Op::Load(place) => vec![load(world, place)],
        Op::Store(entry) => vec![Effect::Store { stored: entry.into(), buffered: model.buffers(entry.kind) }],
        Op::Locked { loads, .. } => {
            let input = world.input(state, core, loads);
            let mut effects: Vec<Effect> = loads.iter().map(|place| load(world, place)).collect();
            let writes = world.locals.edge(at.local, input).map(|edge| edge.writes.clone()).unwrap_or_default();
            effects.extend(writes.iter().map(|entry| Effect::Store { stored: entry.into(), buffered: false }));
            effects
        }
        Op::FullFence | Op::StoreFence => vec![Effect::Fence],
        Op::Device | Op::Priority => vec![Effect::Device],
        Op::Fault { fault, .. } => vec![Effect::Fault { fault: *fault }],
        Op::Finished => vec![Effect::Finish],
        Op::Nothing | Op::Enters | Op::Diverges | Op::Beyond { .. } => Vec::new(),
    }
}

/// Looks for ways to other final states than the one that is told.
struct Ways<'a> {
    world: &'a mut World,
    sharing: &'a Sharing,
    others: &'a HashSet<u128>,
    deadline: Option<Instant>,
}

impl Ways<'_> {
    /// The last step of `steps` before which one of the others could still be reached, and what else could have been done
    /// there so that it still can. `None`, too, where a bound is reached before that is known.
    fn last_way_out(&mut self, first: &State, steps: &[Step]) -> Option<(usize, Option<Row>)> {
        let mut states = vec![first.clone()];
        for &step in steps {
            let next = self.world.after(&states[states.len() - 1], step, &mut Vec::new());
            states.push(next);
        }
        // Once it cannot be reached any more, it never can: the last state from which it can is found by halving.
        let (mut can, mut cannot) = (0, states.len());
        while cannot - can > 1 {
            let middle = (can + cannot) / 2;
            if self.can_reach(&states[middle])? { can = middle } else { cannot = middle }
        }
        let taken = *steps.get(can)?;
        let state = states[can].clone();
        let possible = self.world.possible_steps(&state).into_iter();
        let mut instead = possible.filter(|step| *step != taken);
        let instead = instead.find(|step| self.is_open_after(&state, *step));
        Some((can, instead.map(|step| self.telling_row(&state, step))))
    }

    /// What `step` comes to in `state`: the next operation of its core that others can observe, if the others can still be
    /// reached after that one, else what it does at once.
    fn telling_row(&mut self, state: &State, step: Step) -> Row {
        let (at_once, _) = row(self.world, state, step, &mut Vec::new());
        let Step::Operate(core) = step else { return at_once };
        let mut at = state.clone();
        for _ in 0..LONGEST_FOLLOWED {
            if at.stop.is_some() || !self.world.can_operate(&at, core) {
                break;
            }
            if !is_own_business(self.world, self.sharing, &at, core) {
                let is_open = self.is_open_after(&at, step);
                return if is_open { row(self.world, &at, step, &mut Vec::new()).0 } else { at_once };
            }
            at = self.world.after(&at, step, &mut Vec::new());
        }
        at_once
    }

    fn is_open_after(&mut self, state: &State, step: Step) -> bool {
        let after = self.world.after(state, step, &mut Vec::new());
        self.can_reach(&after) == Some(true)
    }

    /// Whether one of the others can be reached; `None` where a bound was reached first.
    fn can_reach(&mut self, from: &State) -> Option<bool> {
        let found = exhaustive::explore(self.world, from, &limits(self.deadline));
        let is_reached = found.finals.iter().any(|(_, state)| self.others.contains(&state.end_name()));
        (is_reached || found.cuts.is_empty()).then_some(is_reached)
    }
}

/// What bounds the looking for a way to tell.
fn limits(deadline: Option<Instant>) -> Limits {
    let time = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    Limits { states: MOST_STATES, time, ..Limits::default() }
}
