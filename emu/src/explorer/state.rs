//! States of the whole machine as the explorer keeps them, and what can happen in them.
//!
//! The rules are those of [`store_buffer`](crate::store_buffer) and [`memory_model`](crate::memory_model). What a machine
//! does as part of a step (draining before a fence, making room, letting a load wait) is here a step of its own, taken
//! before: the operation is not possible until then. So every order in which that can happen is explored.

use super::boards::{BoardId, Boards};
use super::delta::{Delta, overlay};
use super::hang::Interrupts;
use super::limits::{Cut, CutPlace};
use super::local::{Input, LocalId, Locals, fingerprint, input_of};
use super::op::{Beyond, Entered, Op, Place, Taken};
use super::stage::{Around, Interrupted, Stage, Tried, beyond_of, place_of};
use super::toggles::Toggles;
use crate::choice::Choice;
use crate::core::interruption::Openness;
use crate::core::{Activity, CoreId};
use crate::machine::{DEEPEST, Stop};
use crate::memory_model::MemoryModel;
use crate::store_buffer::{Entry, StoreBuffer, StoreKind};
use smallvec::SmallVec;
use std::collections::BTreeSet;

const FLAGS_IF: u64 = 1 << 9;

/// So many cores need no memory of their own in a state.
const FEW_CORES: usize = 4;

/// The most that is pushed on the way into a handler: SS, RSP, RFLAGS, CS, RIP, and an error code.
const LARGEST_FRAME: usize = 6;

/// A core in a state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct At {
    pub(super) local: LocalId,
    pub(super) buffer: StoreBuffer,
}

/// Everything that decides what happens next.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    pub(super) cores: SmallVec<[At; FEW_CORES]>,
    pub(super) memory: Delta,
    pub(super) board: BoardId,
    pub(super) stop: Option<Stop>,
    /// A core has come to something that is not followed: what comes then is not known.
    pub(super) beyond: Option<CutPlace>,
}

impl State {
    /// What an end is recognised by when any way to it will do: of a run that ends early only why, and its devices. How far
    /// the others had come by then is nothing that can be seen.
    pub(super) fn end_name(&self) -> u128 {
        match self.stop {
            Some(stop) => fingerprint(&(stop, self.board)),
            None => fingerprint(self),
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    /// A core performs its next operation, and what follows up to the next one.
    Operate(CoreId),
    /// A buffered store becomes visible.
    Drain(CoreId, u8),
    /// A posted write arrives.
    Arrive,
    /// A core takes the interrupt that waits for it, and what follows up to the handler's first operation.
    Interrupt(CoreId),
}

/// How many stores of each kind a buffer holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capacity {
    pub(super) ordinary: usize,
    pub(super) write_combining: usize,
}

impl Capacity {
    fn of(self, kind: StoreKind) -> usize {
        match kind {
            StoreKind::Ordinary => self.ordinary,
            StoreKind::WriteCombining => self.write_combining,
        }
    }

    /// What is left out where a buffer holds so many stores of a kind and there is one more.
    fn cut(self, kind: StoreKind, count: usize) -> Option<Cut> {
        let capacity = self.of(kind);
        (count >= capacity).then_some(if capacity < DEEPEST as usize { Cut::Depth } else { Cut::Deepest })
    }
}

/// What explores: the rules and everything remembered.
pub(super) struct World {
    pub(super) stage: Stage,
    pub(super) locals: Locals,
    pub(super) boards: Boards,
    pub(super) model: MemoryModel,
    pub(super) capacity: Capacity,
    /// Whether cores may go on where they could take an interrupt instead.
    pub(super) interrupts: Interrupts,
    /// Cores behind whose end nothing is followed ([`Beyond::ComesToItsEnd`]).
    pub(super) awaited: Vec<CoreId>,
    /// Fences that the program does not have, and fences of its own that are left out.
    pub(super) toggles: Toggles,
    /// The devices that were judged last, and why they cannot be followed, if so.
    pub(super) judged: Option<(BoardId, Option<Beyond>)>,
    /// What a core is said to do next where that is so.
    pub(super) beyond_op: Option<Op>,
    /// What the step that was taken last has accessed which no operation tells, for whoever wants to know who shares what.
    pub(super) entered: Option<Entered>,
    /// Who is told how far an exploration has come.
    pub(super) watcher: Option<Box<dyn Fn(Progress) + Send>>,
}

/// How far an exploration has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// States met.
    pub states: usize,
    /// How many of them have steps that have not been taken.
    pub left: usize,
}

impl World {
    /// The same rules for another thread, with a machine of its own.
    pub(super) fn fork(&mut self) -> World {
        World {
            stage: self.stage.fork(),
            locals: self.locals.fork(),
            boards: self.boards.fork(),
            model: self.model,
            capacity: self.capacity,
            interrupts: self.interrupts,
            awaited: self.awaited.clone(),
            toggles: self.toggles.clone(),
            judged: None,
            beyond_op: None,
            entered: None,
            watcher: None,
        }
    }

    /// Begins anew, with stores to `refused` bytes of code not allowed.
    pub(super) fn begin_anew(&mut self, refused: BTreeSet<u64>, changed: &BTreeSet<u64>) {
        self.locals.forget();
        self.stage.begin_anew(refused, changed);
    }

    /// From now on these fences are added and left out.
    pub(super) fn set_toggles(&mut self, toggles: &Toggles) {
        // What cores do at a fence is another thing without it; everywhere else what is known stays so, because what they do
        // up to the next operation ends before a fence, left out or not.
        let changed: BTreeSet<u64> = self.toggles.without.symmetric_difference(&toggles.without).copied().collect();
        if !changed.is_empty() {
            self.locals.forget_at(&changed);
        }
        self.toggles.clone_from(toggles);
    }

    pub(super) fn report_progress(&self, states: usize, left: usize) {
        if let Some(watcher) = &self.watcher {
            watcher(Progress { states, left });
        }
    }

    /// Learns what the numbers in `state` stand for, which another thread may have given.
    pub(super) fn know(&mut self, state: &State) {
        state.cores.iter().for_each(|at| self.locals.know(at.local));
        self.boards.know(state.board);
    }

    /// The operation that `core` performs next in `state`.
    pub(super) fn op(&mut self, state: &State, core: CoreId) -> &Op {
        let id = state.cores[core.index()].local;
        let beyond = state.beyond.map(|place| place.reason);
        if let Some(reason) = beyond.or_else(|| self.beyond(state.board)) {
            let pc = self.locals.local(id).cpu.linear_pc();
            return self.beyond_op.insert(Op::Beyond { pc, reason });
        }
        if self.locals.op(id).is_none() {
            self.try_out(state, core);
        }
        self.locals.op(id).expect("it has just been tried")
    }

    /// Why devices in state `board` cannot be followed, if so.
    fn beyond(&mut self, board: BoardId) -> Option<Beyond> {
        if self.judged.is_none_or(|(judged, _)| judged != board) {
            self.judged = Some((board, beyond_of(self.boards.board(board))));
        }
        self.judged.and_then(|(_, beyond)| beyond)
    }

    /// Whether `core` can perform its next operation in `state`.
    pub(super) fn can_operate(&mut self, state: &State, core: CoreId) -> bool {
        let (model, processor, capacity) = (self.model, self.stage.processor(), self.capacity);
        let at = &state.cores[core.index()];
        let buffer = &at.buffer;
        if self.interrupts == Interrupts::Prompt && self.is_asked(state, core) {
            return false;
        }
        if !self.toggles.is_empty() && !buffer.is_empty() {
            let local = self.locals.local(at.local);
            // Once it has made an access, the instruction is past what stands before it.
            if local.partial.is_empty() && self.toggles.full.contains(&local.cpu.linear_pc()) {
                return false;
            }
        }
        match self.op(state, core) {
            Op::Nothing | Op::StoreFence | Op::Priority => true,
            Op::Load(place) => buffer.load_waits_for(place.address, place.length, model, processor).is_none(),
            Op::Store(entry) => !model.buffers(entry.kind) || buffer.count(entry.kind) < capacity.of(entry.kind),
            Op::Locked { .. } | Op::FullFence | Op::Device | Op::Enters | Op::Fault { .. } => buffer.is_empty(),
            Op::Finished | Op::Diverges | Op::Beyond { .. } => false,
        }
    }

    /// Whether `core` lets interrupts in, if not right now then after its next instruction: one could come before any of its
    /// operations.
    pub(super) fn is_open(&self, state: &State, core: CoreId) -> bool {
        self.locals.local(state.cores[core.index()].local).cpu.rflags & FLAGS_IF != 0
    }

    /// Whether `core` can take an interrupt in `state`: its buffer has drained, as for every interrupt.
    pub(super) fn can_interrupt(&self, state: &State, core: CoreId) -> bool {
        state.cores[core.index()].buffer.is_empty() && self.is_asked(state, core)
    }

    /// Whether an interrupt waits for `core` in `state` and is let in, as soon as its buffer has drained.
    fn is_asked(&self, state: &State, core: CoreId) -> bool {
        let local = self.locals.local(state.cores[core.index()].local);
        let may_wake = match local.activity {
            Activity::Running | Activity::Halted => true,
            Activity::AwaitsStartUp => false,
        };
        may_wake
            && local.partial.is_empty()
            && Openness::of(&local.cpu).admits_maskable()
            && self.boards.board(state.board).interrupts().maskable(core).is_some()
    }

    /// Whether `core` is at the mark at which its region ends.
    pub(super) fn is_at_mark(&mut self, state: &State, core: CoreId) -> bool {
        let local = state.cores[core.index()].local;
        self.locals.local(local).activity == Activity::Running && *self.op(state, core) == Op::Finished
    }

    /// Whether `step` is one of a core that could take an interrupt instead, now or when its buffer has drained.
    pub(super) fn is_late(&self, state: &State, step: Step) -> bool {
        matches!(step, Step::Operate(core) if self.is_asked(state, core))
    }

    /// Everything that can happen in `state`.
    pub(super) fn possible_steps(&mut self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        if state.stop.is_some() || state.beyond.is_some() {
            return steps;
        }
        for index in 0..state.cores.len() {
            let core = CoreId(index as u8);
            if self.can_operate(state, core) {
                steps.push(Step::Operate(core));
            }
            if self.can_interrupt(state, core) {
                steps.push(Step::Interrupt(core));
            }
            let drainable = state.cores[index].buffer.drainable(self.model);
            steps.extend(drainable.map(|entry| Step::Drain(core, entry as u8)));
        }
        if !self.boards.board(state.board).posted().is_empty() {
            steps.push(Step::Arrive);
        }
        steps
    }

    /// Why there may be steps out of `state` that are not followed: a core waits for room in its buffer, or is about to do
    /// something beyond the explorer.
    pub(super) fn cuts_at(&mut self, state: &State) -> SmallVec<[Cut; FEW_CORES]> {
        (0..state.cores.len()).filter_map(|index| self.cut_at(state, CoreId(index as u8))).collect()
    }

    /// Likewise, of one core.
    fn cut_at(&mut self, state: &State, core: CoreId) -> Option<Cut> {
        let (model, capacity) = (self.model, self.capacity);
        match self.op(state, core) {
            Op::Store(entry) if model.buffers(entry.kind) => {
                capacity.cut(entry.kind, state.cores[core.index()].buffer.count(entry.kind))
            }
            // Its frame may not fit.
            Op::Enters => capacity.cut(StoreKind::Ordinary, LARGEST_FRAME - 1),
            Op::Beyond { reason, .. } => Some(Cut::Beyond(*reason)),
            _ => None,
        }
    }

    /// Where it is that cores are about to do something beyond the explorer in `state`.
    pub(super) fn places_at(&mut self, state: &State) -> SmallVec<[CutPlace; FEW_CORES]> {
        (0..state.cores.len()).filter_map(|index| self.place_at(state, CoreId(index as u8))).collect()
    }

    /// Likewise, of one core.
    pub(super) fn place_at(&mut self, state: &State, core: CoreId) -> Option<CutPlace> {
        if state.beyond.is_some() {
            return state.beyond;
        }
        if self.beyond(state.board).is_some() {
            return place_of(self.boards.board(state.board));
        }
        match *self.op(state, core) {
            Op::Beyond { pc, reason } => Some(CutPlace { reason, pc: Some(pc), core: Some(core), device: None }),
            _ => None,
        }
    }

    /// `state` after `step`, which is possible, and the step as choices of the machine.
    pub(super) fn after(&mut self, state: &State, step: Step, choices: &mut Vec<Choice>) -> State {
        let mut next = state.clone();
        self.entered = None;
        match step {
            Step::Drain(core, index) => {
                let entry = next.cores[core.index()].buffer.remove(usize::from(index));
                next.memory.write(self.stage.base(), entry.address, entry.bytes());
                choices.push(Choice::Drain { core, entry: index });
            }
            Step::Arrive => {
                let board = self.boards.board(state.board);
                let nothing = StoreBuffer::default();
                let around = Around { memory: &state.memory, buffer: &nothing, board };
                let (board, stop) = self.stage.arrive(&around);
                next.board = self.boards.number(board);
                next.stop = stop;
                choices.push(Choice::Arrive);
            }
            Step::Operate(core) => self.operate(&mut next, core, choices),
            Step::Interrupt(core) => self.interrupt(&mut next, core, choices),
        }
        self.look_for_awaited(&mut next);
        next
    }

    /// Nothing is followed any more once a core that is awaited has come to its end.
    fn look_for_awaited(&mut self, state: &mut State) {
        for index in 0..self.awaited.len() {
            let is_followed = state.stop.is_none() && state.beyond.is_none();
            if is_followed && *self.op(state, self.awaited[index]) == Op::Finished {
                let (reason, core) = (Beyond::ComesToItsEnd, Some(self.awaited[index]));
                state.beyond = Some(CutPlace { reason, pc: None, core, device: None });
            }
        }
    }

    /// The lowest of the linear addresses in the loop that `core` in that local state goes round without an operation.
    pub(super) fn loop_of(&mut self, local: LocalId, core: CoreId) -> u64 {
        self.stage.loop_of(core, self.locals.local(local))
    }

    fn operate(&mut self, state: &mut State, core: CoreId, choices: &mut Vec<Choice>) {
        let mut op = self.op(state, core).clone();
        let at = &state.cores[core.index()];
        if let Op::Fault { pc, fault } = op {
            state.stop = Some(Stop::Faulted { core, pc, fault });
            choices.push(Choice::Run { core, steps: 1, drained: false });
            return;
        }
        let input = match &op {
            Op::Load(place) => self.input(state, core, std::slice::from_ref(place)),
            Op::Locked { loads, .. } => self.input(state, core, loads),
            _ => 0,
        };
        let edge = match self.locals.edge(at.local, input) {
            Some(edge) => edge.clone(),
            None => {
                // What is done to devices is not remembered: it is executed each time.
                let tried = self.try_out(state, core);
                if let Some((pc, reason)) = self.beyond_this_time(state, core, &tried.op) {
                    state.beyond = Some(CutPlace { reason, pc: Some(pc), core: Some(core), device: None });
                    return;
                }
                // An exception may come in place of what was said, or the other way round.
                let is_news = op == Op::Enters && tried.entered.is_none() && matches!(tried.op, Op::Locked { .. });
                let entered = is_news.then(|| Entered { touched: tried.op.clone(), handled: None });
                self.entered = tried.entered.or(entered);
                op = tried.op;
                if let Some(board) = tried.board {
                    state.board = self.boards.number(board);
                }
                state.stop = tried.stop;
                tried.edge
            }
        };
        let model = self.model;
        let at = &mut state.cores[core.index()];
        if !self.toggles.is_empty() {
            let local = self.locals.local(at.local);
            if local.partial.is_empty() && self.toggles.store.contains(&local.cpu.linear_pc()) {
                at.buffer.fence();
            }
        }
        at.local = edge.to;
        match op {
            Op::Store(entry) if model.buffers(entry.kind) => at.buffer.push(entry),
            Op::Store(entry) => state.memory.write(self.stage.base(), entry.address, entry.bytes()),
            Op::StoreFence => at.buffer.fence(),
            Op::Locked { .. } => {
                for entry in &edge.writes {
                    state.memory.write(self.stage.base(), entry.address, entry.bytes());
                }
            }
            Op::Nothing | Op::Load(_) | Op::FullFence | Op::Device | Op::Priority | Op::Enters => (),
            Op::Fault { .. } if state.stop.is_some() => (),
            Op::Finished | Op::Diverges | Op::Fault { .. } | Op::Beyond { .. } => {
                unreachable!("{op:?} is not performed")
            }
        }
        edge.pushes.iter().for_each(|entry| self.push(state, core, *entry));
        match edge.taken {
            Taken::Step => choices.push(Choice::Run { core, steps: 1 + edge.then, drained: false }),
            Taken::Access => {
                choices.push(Choice::Access { core });
                if edge.then > 0 {
                    choices.push(Choice::Run { core, steps: edge.then, drained: false });
                }
            }
            Taken::Nothing => (),
        }
    }

    /// `core` enters a handler. What the processor accesses on the way is noted in [`World::entered`].
    fn interrupt(&mut self, state: &mut State, core: CoreId, choices: &mut Vec<Choice>) {
        let at = &state.cores[core.index()];
        let around = Around { memory: &state.memory, buffer: &at.buffer, board: self.boards.board(state.board) };
        let interrupted = self.stage.interrupt(core, at.local, &around, &mut self.locals);
        let Interrupted { to, then, loads, stores, board, stop } = interrupted.expect("the interrupt can be taken");
        choices.push(Choice::Interrupt { core });
        if then > 0 {
            choices.push(Choice::Run { core, steps: then, drained: false });
        }
        state.board = self.boards.number(board);
        state.stop = stop;
        if stop.is_some() {
            return;
        }
        let place = |entry: &Entry| Place { address: entry.address, length: u64::from(entry.length) };
        let touched = Op::Locked { loads, stores: stores.iter().map(place).collect() };
        self.entered = Some(Entered { touched, handled: None });
        state.cores[core.index()].local = to;
        stores.into_iter().for_each(|entry| self.push(state, core, entry));
    }

    /// `core` stores `entry`. Into a full buffer it waits for a drain, as on the machine.
    fn push(&self, state: &mut State, core: CoreId, entry: Entry) {
        let write = |memory: &mut Delta, entry: Entry| memory.write(self.stage.base(), entry.address, entry.bytes());
        if !self.model.buffers(entry.kind) {
            return write(&mut state.memory, entry);
        }
        let buffer = &mut state.cores[core.index()].buffer;
        while buffer.count(entry.kind) >= self.capacity.of(entry.kind) {
            let index = buffer.first_to_make_room(entry.kind, self.model).expect("a full buffer has an entry");
            write(&mut state.memory, buffer.remove(index));
        }
        buffer.push(entry);
    }

    /// Where and why what `core` turns out to perform in `state` is not followed, if so: with these devices, or with what it
    /// reads this time.
    fn beyond_this_time(&self, state: &State, core: CoreId, tried: &Op) -> Option<(u64, Beyond)> {
        let at = &state.cores[core.index()];
        match *tried {
            Op::Beyond { pc, reason } => Some((pc, reason)),
            // It is another instruction than it was, and what was found is thrown away.
            Op::Locked { .. } | Op::FullFence | Op::Device | Op::Enters | Op::Fault { .. } if !at.buffer.is_empty() => {
                Some((self.locals.local(at.local).cpu.linear_pc(), Beyond::StoresToCode))
            }
            _ => None,
        }
    }

    /// Executes the next operation of `core` as `state` has it, and remembers what came of it.
    fn try_out(&mut self, state: &State, core: CoreId) -> Tried {
        let at = &state.cores[core.index()];
        let around = Around { memory: &state.memory, buffer: &at.buffer, board: self.boards.board(state.board) };
        let is_left_out = self.toggles.without.contains(&self.locals.local(at.local).cpu.linear_pc());
        let tried = self.stage.try_out(core, at.local, &around, &mut self.locals, is_left_out);
        if self.locals.op(at.local).is_none() {
            self.locals.learn_op(at.local, tried.op.clone());
        }
        // What leads into a handler is read each time, and whoever loads what it then faults by comes here by what is loaded.
        let leads_on = !matches!(tried.op, Op::Beyond { .. } | Op::Enters | Op::Fault { .. });
        if leads_on && tried.board.is_none() && self.locals.edge(at.local, tried.input).is_none() {
            self.locals.learn_edge(at.local, tried.input, tried.edge.clone());
        }
        tried
    }

    /// What `core` reads at `places`: its own youngest bytes where its buffer has them, else memory's.
    pub(super) fn input(&self, state: &State, core: CoreId, places: &[Place]) -> Input {
        let value = |place: &Place| {
            let mut bytes = [0; 8];
            let length = place.length as usize;
            state.memory.read(self.stage.base(), place.address, &mut bytes[..length]);
            for entry in state.cores[core.index()].buffer.entries() {
                overlay(&mut bytes[..length], place.address.0, entry.address.0, entry.bytes());
            }
            (place.length, u64::from_le_bytes(bytes))
        };
        input_of(&places.iter().map(value).collect::<SmallVec<[_; 2]>>())
    }
}
