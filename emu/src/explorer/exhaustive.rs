//! The exhaustive strategy: every state once, nearest first.

use super::local::fingerprint;
use super::op::{Beyond, Op};
use super::reduction::single_step;
use super::sharing::Sharing;
use super::state::{State, Step, World};
use crate::core::CoreId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What bounds an exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most states.
    pub states: usize,
    /// The longest time; `None` for no bound.
    pub time: Option<Duration>,
    /// Whether equivalent orders of steps are left out.
    pub reduces: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { states: 10_000_000, time: None, reduces: true }
    }
}

/// The most steps that are taken for all others before a state is stored: a circle of such steps must be noticed.
const LONGEST_CHAIN: usize = 4096;

/// A state as it was met.
pub(super) struct Met {
    /// The state it was first reached from, and by which step; the first state has none.
    pub(super) from: Option<(u32, Step)>,
}

/// What an exploration has found.
#[derive(Default)]
pub(super) struct Found {
    /// What was shared in the end; `None` when nothing was left out.
    pub(super) sharing: Option<Sharing>,
    pub(super) met: Vec<Met>,
    /// States in which nothing more is possible.
    pub(super) finals: Vec<(u32, State)>,
    /// Steps taken.
    pub(super) transitions: u64,
    /// How often a state in which nothing more is possible was reached.
    pub(super) executions: u64,
    /// Steps between states, for finding those that lead nowhere.
    pub(super) edges: Vec<(u32, u32)>,
    /// Whether `edges` are all there are, between states met once each.
    pub(super) is_graph: bool,
    /// Why something was left out.
    pub(super) cuts: BTreeSet<Cut>,
}

impl Found {
    /// The stored steps that lead to state `number`.
    pub(super) fn steps_to(&self, mut number: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((from, step)) = self.met[number as usize].from {
            steps.push(step);
            number = from;
        }
        steps.reverse();
        steps
    }

    /// Adds a path from the first state to `end`, from which nothing is possible.
    pub(super) fn add_path(&mut self, steps: &[Step], end: State) {
        let mut number = 0;
        for &step in steps {
            self.met.push(Met { from: Some((number, step)) });
            number = self.met.len() as u32 - 1;
        }
        self.finals.push((number, end));
    }

    fn count_executions(&mut self) {
        let finals: HashSet<u32> = self.finals.iter().map(|(number, _)| *number).collect();
        let arrivals = self.edges.iter().filter(|(_, to)| finals.contains(to)).count();
        // The first state may be the last one, too.
        self.executions = arrivals.max(self.finals.len()) as u64;
    }
}

/// Why an exploration is not complete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// There are more states than allowed.
    States,
    /// More time has passed than allowed.
    Time,
    /// Orders with more preemptions than allowed were not tried.
    Bound,
    /// Only a sample of all orders was tried.
    Sample,
    /// A store found its core's buffer full: orders that need a deeper buffer are missing.
    Depth,
    /// A core was about to do something that is not followed.
    Beyond(Beyond),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cut::States => f.write_str("there are more states than allowed"),
            Cut::Bound => f.write_str("orders with more preemptions were not tried"),
            Cut::Sample => f.write_str("only a sample of all orders was tried"),
            Cut::Depth => f.write_str("a store buffer was full; give it more --depth or --wc-depth"),
            Cut::Time => f.write_str("it takes more time than allowed"),
            Cut::Beyond(beyond) => write!(f, "a core {beyond}"),
        }
    }
}

/// Explores everything from `first` on.
pub(super) fn explore(world: &mut World, first: &State, limits: &Limits) -> Found {
    let mut sharing = Sharing::default();
    loop {
        let mut search = Search::new(world, &mut sharing, limits);
        search.run(first);
        let is_settled = !search.has_news;
        let mut found = search.found;
        if is_settled {
            found.count_executions();
            found.is_graph = true;
            found.sharing = limits.reduces.then_some(sharing);
            return found;
        }
    }
}

struct Search<'a> {
    world: &'a mut World,
    sharing: &'a mut Sharing,
    limits: &'a Limits,
    numbers: HashMap<u128, u32>,
    level: Vec<(u32, State)>,
    next_level: Vec<(u32, State)>,
    found: Found,
    /// Something turned out to be contended that was taken to be private.
    has_news: bool,
}

impl<'a> Search<'a> {
    fn new(world: &'a mut World, sharing: &'a mut Sharing, limits: &'a Limits) -> Search<'a> {
        Search {
            world,
            sharing,
            limits,
            numbers: HashMap::new(),
            level: Vec::new(),
            next_level: Vec::new(),
            found: Found::default(),
            has_news: false,
        }
    }

    fn run(&mut self, first: &State) {
        self.note_operations(first);
        let mut first = first.clone();
        if self.limits.reduces {
            self.follow(&mut first);
        }
        self.numbers.insert(fingerprint(&first), 0);
        self.found.met.push(Met { from: None });
        self.level.push((0, first));
        let began = Instant::now();
        while !self.level.is_empty() && !self.has_news {
            if self.limits.time.is_some_and(|limit| began.elapsed() > limit) {
                self.found.cuts.insert(Cut::Time);
                return;
            }
            for (number, state) in std::mem::take(&mut self.level) {
                if self.found.met.len() > self.limits.states {
                    self.found.cuts.insert(Cut::States);
                    return;
                }
                self.expand(number, state);
            }
            self.level = std::mem::take(&mut self.next_level);
        }
    }

    /// Takes the steps that are possible in `state`.
    fn expand(&mut self, number: u32, state: State) {
        let steps = possible_steps(self.world, &state);
        if self.world.is_some_buffer_full(&state) {
            self.found.cuts.insert(Cut::Depth);
        }
        if steps.is_empty() {
            self.found.finals.push((number, state));
            return;
        }
        // A state is stored where no step stands for all others, or where a chain of such steps may have closed a circle:
        // then all are taken (the cycle proviso).
        for step in steps {
            self.take(number, &state, step);
        }
    }

    /// Notes what every core does next in `state`, and what it has done that is still in its buffer.
    fn note_operations(&mut self, state: &State) {
        let memory = self.world.stage.base().ram_bytes();
        for (index, at) in state.cores.iter().enumerate() {
            let core = CoreId(index as u8);
            self.note_operation(state, core);
            for entry in at.buffer.entries() {
                self.has_news |= self.sharing.note(core, &Op::Store(*entry), memory) && self.limits.reduces;
            }
        }
    }

    fn note_operation(&mut self, state: &State, core: CoreId) {
        let memory = self.world.stage.base().ram_bytes();
        let op = self.world.op(state, core);
        if let Op::Beyond { reason, .. } = op {
            self.found.cuts.insert(Cut::Beyond(*reason));
        }
        self.has_news |= self.sharing.note(core, op, memory) && self.limits.reduces;
    }

    /// Takes `step` from `state`, and the steps after it that stand for all others.
    fn take(&mut self, number: u32, state: &State, step: Step) {
        let mut after = self.world.after(state, step, &mut Vec::new());
        self.note_step(&after, step);
        self.found.transitions += 1;
        if self.limits.reduces {
            self.follow(&mut after);
        }
        let next = self.found.met.len() as u32;
        let known = *self.numbers.entry(fingerprint(&after)).or_insert(next);
        self.found.edges.push((number, known));
        if known == next {
            self.found.met.push(Met { from: Some((number, step)) });
            self.next_level.push((next, after));
        }
    }

    /// Takes steps that stand for all others, as long as there are any.
    fn follow(&mut self, state: &mut State) {
        for _ in 0..LONGEST_CHAIN {
            if state.stop.is_some() {
                return;
            }
            let Some(step) = single_step(self.world, self.sharing, state) else { return };
            *state = self.world.after(state, step, &mut Vec::new());
            self.note_step(state, step);
            self.found.transitions += 1;
        }
    }

    /// Notes what the core does next that has taken `step`.
    fn note_step(&mut self, state: &State, step: Step) {
        match step {
            Step::Operate(core) if state.stop.is_none() => self.note_operation(state, core),
            Step::Operate(_) | Step::Drain(..) | Step::Arrive => (),
        }
    }
}

/// Takes the steps after `state` that stand for all others, as an exploration did; adds them to `steps`.
pub(super) fn follow_again(world: &mut World, sharing: &Sharing, state: &mut State, steps: &mut Vec<Step>) {
    for _ in 0..LONGEST_CHAIN {
        if state.stop.is_some() {
            return;
        }
        let Some(step) = single_step(world, sharing, state) else { return };
        *state = world.after(state, step, &mut Vec::new());
        steps.push(step);
    }
}

/// Everything that can happen in `state`.
pub(super) fn possible_steps(world: &mut World, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    if state.stop.is_some() {
        return steps;
    }
    for index in 0..state.cores.len() {
        let core = CoreId(index as u8);
        if world.can_operate(state, core) {
            steps.push(Step::Operate(core));
        }
        let drainable = state.cores[index].buffer.drainable(world.model);
        steps.extend(drainable.map(|entry| Step::Drain(core, entry as u8)));
    }
    if !world.boards.board(state.board).posted().is_empty() {
        steps.push(Step::Arrive);
    }
    steps
}
