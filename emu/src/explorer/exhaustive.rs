//! The exhaustive strategy: every state once, nearest first.

use super::local::fingerprint;
use super::op::{Beyond, Op};
use super::reduction::single_step;
use super::sharing::Sharing;
use super::state::{State, Step, World};
use crate::core::CoreId;
use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What bounds an exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most states; what is met while the steps of the last few are taken comes on top.
    pub states: usize,
    /// The longest time; `None` for no bound. It, too, is looked at between blocks of states, a fraction of a second each.
    pub time: Option<Duration>,
    /// Whether equivalent orders of steps are left out.
    pub reduces: bool,
    /// How many threads take steps, those of the rayon pool that this is called in. What is found does not depend on it.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { states: 10_000_000, time: None, reduces: true, threads: 1 }
    }
}

/// States whose steps are taken between two looks at the bounds.
const BLOCK: usize = 1024;
/// Fewer states than this are not worth waking threads for.
const WORTH_THREADS: usize = 512;
/// States that a thread takes at a time.
const PIECE: usize = 64;

/// The most steps that are taken for all others before a state is stored: a circle of such steps must be noticed.
const LONGEST_CHAIN: usize = 256;

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
    let began = Instant::now();
    let mut sharing = Sharing::default();
    loop {
        let mut search = Search::new(world, &mut sharing, limits);
        search.run(first, began);
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
    /// One more for each thread, once there is enough to do.
    workers: Vec<Mutex<World>>,
    numbers: HashMap<u128, u32>,
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
            workers: Vec::new(),
            numbers: HashMap::new(),
            next_level: Vec::new(),
            found: Found::default(),
            has_news: false,
        }
    }

    /// Explores from `first` on, `began` being when the first of several such searches did.
    fn run(&mut self, first: &State, began: Instant) {
        let mut expanded = Expanded::default();
        let mut first = first.clone();
        let mut expansion = self.expansion();
        expansion.note_all(&first, &mut expanded);
        expansion.follow(&mut first, &mut expanded);
        self.note(&expanded);
        self.numbers.insert(fingerprint(&first), 0);
        self.found.met.push(Met { from: None });
        let mut level = vec![(0, first)];
        while !level.is_empty() && !self.has_news {
            for block in level.chunks(BLOCK) {
                if self.limits.time.is_some_and(|limit| began.elapsed() > limit) {
                    self.found.cuts.insert(Cut::Time);
                    return;
                }
                if self.found.met.len() > self.limits.states {
                    self.found.cuts.insert(Cut::States);
                    return;
                }
                self.expand(block);
            }
            level = std::mem::take(&mut self.next_level);
            self.world.report_progress(self.found.met.len(), level.len());
        }
    }

    /// Takes the steps of all states in `block`. What comes of it does not depend on how many threads do that.
    fn expand(&mut self, block: &[(u32, State)]) {
        if self.limits.threads <= 1 || block.len() < WORTH_THREADS {
            for (number, state) in block {
                let expanded = self.expansion().of(state);
                self.merge(*number, state, expanded);
            }
            return;
        }
        while self.workers.len() < self.limits.threads {
            self.workers.push(Mutex::new(self.world.fork()));
        }
        let (workers, sharing, reduces) = (&self.workers, &*self.sharing, self.limits.reduces);
        let pieces: Vec<Vec<Expanded>> = block
            .par_chunks(PIECE)
            .map(|piece| {
                // A thread of rayon's has a number; there are as many workers as threads may be at it.
                let index = rayon::current_thread_index().unwrap_or(0) % workers.len();
                let mut world = workers[index].lock().unwrap_or_else(PoisonError::into_inner);
                let mut expansion = Expansion { world: &mut world, sharing, reduces };
                piece.iter().map(|(_, state)| expansion.of(state)).collect()
            })
            .collect();
        for ((number, state), expanded) in block.iter().zip(pieces.into_iter().flatten()) {
            self.merge(*number, state, expanded);
        }
    }

    fn expansion(&mut self) -> Expansion<'_> {
        Expansion { world: self.world, sharing: self.sharing, reduces: self.limits.reduces }
    }

    fn merge(&mut self, number: u32, state: &State, expanded: Expanded) {
        self.note(&expanded);
        if expanded.successors.is_empty() {
            self.found.finals.push((number, state.clone()));
        }
        for (step, after, name) in expanded.successors {
            let next = self.found.met.len() as u32;
            let known = *self.numbers.entry(name).or_insert(next);
            self.found.edges.push((number, known));
            if known == next {
                self.found.met.push(Met { from: Some((number, step)) });
                self.next_level.push((next, after));
            }
        }
    }

    fn note(&mut self, expanded: &Expanded) {
        let ram_bytes = self.world.stage.base().ram_bytes();
        for (core, op) in &expanded.notes {
            self.has_news |= self.sharing.note(*core, op, ram_bytes) && self.limits.reduces;
        }
        self.found.cuts.extend(&expanded.cuts);
        self.found.transitions += expanded.transitions;
    }
}

/// Takes the steps of one state after the other.
struct Expansion<'a> {
    world: &'a mut World,
    sharing: &'a Sharing,
    reduces: bool,
}

/// What came of taking the steps of a state.
#[derive(Default)]
struct Expanded {
    /// The steps taken, and where each led.
    successors: Vec<(Step, State, u128)>,
    /// Operations that were met and that say something new about what is shared.
    notes: Vec<(CoreId, Op)>,
    cuts: BTreeSet<Cut>,
    transitions: u64,
}

impl Expansion<'_> {
    /// Takes all steps that are possible in `state`.
    ///
    /// A state is stored where no step stands for all others, or where a chain of such steps may have closed a circle: then
    /// all are taken (the cycle proviso).
    fn of(&mut self, state: &State) -> Expanded {
        self.world.know(state);
        let mut expanded = Expanded::default();
        if self.world.is_some_buffer_full(state) {
            expanded.cuts.insert(Cut::Depth);
        }
        for step in possible_steps(self.world, state) {
            let mut after = self.world.after(state, step, &mut Vec::new());
            self.note_step(&after, step, &mut expanded);
            self.follow(&mut after, &mut expanded);
            let name = fingerprint(&after);
            expanded.successors.push((step, after, name));
        }
        expanded
    }

    /// Takes steps that stand for all others, as long as there are any.
    fn follow(&mut self, state: &mut State, expanded: &mut Expanded) {
        for _ in 0..LONGEST_CHAIN {
            if state.stop.is_some() || !self.reduces {
                return;
            }
            let Some(step) = single_step(self.world, self.sharing, state) else { return };
            *state = self.world.after(state, step, &mut Vec::new());
            self.note_step(state, step, expanded);
        }
    }

    /// Notes what the core does next that has taken `step`.
    fn note_step(&mut self, after: &State, step: Step, expanded: &mut Expanded) {
        expanded.transitions += 1;
        match step {
            Step::Operate(core) if after.stop.is_none() => self.note(after, core, expanded),
            Step::Operate(_) | Step::Drain(..) | Step::Arrive => (),
        }
    }

    /// Notes what every core does next in `state`, and what it has done that is still in its buffer.
    fn note_all(&mut self, state: &State, expanded: &mut Expanded) {
        for (index, at) in state.cores.iter().enumerate() {
            let core = CoreId(index as u8);
            self.note(state, core, expanded);
            expanded.notes.extend(at.buffer.entries().iter().map(|entry| (core, Op::Store(*entry))));
        }
    }

    fn note(&mut self, state: &State, core: CoreId, expanded: &mut Expanded) {
        let ram_bytes = self.world.stage.base().ram_bytes();
        let op = self.world.op(state, core);
        if let Op::Beyond { reason, .. } = op {
            expanded.cuts.insert(Cut::Beyond(*reason));
        }
        if !self.sharing.knows(core, op, ram_bytes) {
            expanded.notes.push((core, op.clone()));
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
