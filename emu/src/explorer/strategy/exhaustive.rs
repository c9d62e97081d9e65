//! The exhaustive strategy: every state once, nearest first.
//!
//! A breadth-first search of whole states that leaves out only what [reduction](crate::explorer::reduction) proves to make no
//! difference (partial-order reduction; Godefroid, LNCS 1032, 1996), made again whenever it turns out that cores share more
//! memory than was known. When it says *complete*, these are all outcomes and all ways to wait for ever, for programs with
//! loops, too: equal states are met once, so that spinning ends.

use super::{Plan, Rules};
use crate::core::CoreId;
use crate::explorer::found::{Found, Met};
use crate::explorer::limits::{Cut, CutPlace, Limits};
use crate::explorer::local::fingerprint;
use crate::explorer::op::{Entered, Op};
use crate::explorer::reduction;
use crate::explorer::sharing::{Interrupted, Note, Sharing};
use crate::explorer::state::{State, Step, World};
use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// States whose steps are taken between two looks at the bounds.
const BLOCK: usize = 1024;
/// Fewer states than this are not worth waking threads for.
const WORTH_THREADS: usize = 512;
/// States that a thread takes at a time.
const PIECE: usize = 64;

/// Its row.
pub(super) const RULES: Rules = Rules {
    name: "exhaustive",
    summary: "All of them, each once where order makes no difference",
    explore: |world, first, _: &Plan, limits| explore(world, first, limits),
};

/// Explores everything from `first` on.
pub(in crate::explorer) fn explore(world: &mut World, first: &State, limits: &Limits) -> Found {
    let began = Instant::now();
    let mut sharing = Sharing::default();
    loop {
        let mut search = Search::new(world, &mut sharing, limits);
        search.run(first, began);
        let is_settled = !search.has_news;
        let (workers, mut found) = (search.workers, search.found);
        for worker in workers {
            let mut worker = worker.into_inner().unwrap_or_else(PoisonError::into_inner);
            world.stage.patches().unite(worker.stage.patches());
            world.stage.learn_fences(&worker.stage);
        }
        if is_settled {
            found.count_executions();
            found.is_graph = found.cuts.is_empty();
            found.witness = Some(sharing.witness());
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
    numbers: FxHashMap<u128, u32>,
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
            numbers: FxHashMap::default(),
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
                if self.found.met.len() > self.limits.states {
                    self.found.cuts.insert(Cut::States);
                    return;
                }
                self.expand(block, began);
                if self.found.cuts.contains(&Cut::Time) {
                    return;
                }
            }
            level = std::mem::take(&mut self.next_level);
            self.world.report_progress(self.found.met.len(), level.len());
        }
    }

    /// Takes the steps of all states in `block`. What comes of it does not depend on how many threads do that.
    fn expand(&mut self, block: &[(u32, State)], began: Instant) {
        let limit = self.limits.time;
        let is_late = || limit.is_some_and(|limit| began.elapsed() > limit);
        if self.limits.threads <= 1 || block.len() < WORTH_THREADS {
            for (number, state) in block {
                // The steps of one state alone may take long: a buffer that never ends, a core that computes.
                if is_late() {
                    self.found.cuts.insert(Cut::Time);
                    return;
                }
                let expanded = self.expansion().of(state);
                self.merge(*number, state, expanded);
            }
            return;
        }
        if is_late() {
            self.found.cuts.insert(Cut::Time);
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
        for Successor { step, after, name, is_late } in expanded.successors {
            let next = self.found.met.len() as u32;
            let known = *self.numbers.entry(name).or_insert(next);
            self.found.add_edge(number, known, is_late);
            if known == next {
                self.found.met.push(Met { from: Some((number, step)) });
                self.next_level.push((next, after));
            }
        }
    }

    fn note(&mut self, expanded: &Expanded) {
        let ram_bytes = self.world.stage.base().ram_bytes();
        for note in &expanded.notes {
            self.has_news |= self.sharing.note(note, ram_bytes) && self.limits.reduces;
        }
        self.found.cuts.extend(&expanded.cuts);
        self.found.places.extend(&expanded.places);
        self.found.transitions += expanded.transitions;
    }
}

/// Takes the steps of one state after the other.
struct Expansion<'a> {
    world: &'a mut World,
    sharing: &'a Sharing,
    reduces: bool,
}

/// What came of taking one step of a state, and those that stand for all others after it.
struct Successor {
    step: Step,
    after: State,
    /// What that state is recognised by.
    name: u128,
    /// The step's core could have taken an interrupt instead.
    is_late: bool,
}

/// What came of taking the steps of a state.
#[derive(Default)]
struct Expanded {
    /// The steps taken, and where each led.
    successors: Vec<Successor>,
    /// Operations that were met and that say something new about what is shared.
    notes: Vec<Note>,
    cuts: BTreeSet<Cut>,
    places: BTreeSet<CutPlace>,
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
        expanded.cuts.extend(self.world.cuts_at(state));
        if !expanded.cuts.is_empty() {
            expanded.places.extend(self.world.places_at(state));
        }
        for step in self.world.possible_steps(state) {
            self.note_interrupt(state, step, &mut expanded);
            let mut after = self.world.after(state, step, &mut Vec::new());
            self.note_step(&after, step, &mut expanded);
            self.follow(&mut after, &mut expanded);
            let name = fingerprint(&after);
            let is_late = self.world.is_late(state, step);
            expanded.successors.push(Successor { step, after, name, is_late });
        }
        expanded
    }

    /// Notes that `step`, if it is an interrupt's, comes to a core that is in its region or at its end.
    fn note_interrupt(&mut self, state: &State, step: Step, expanded: &mut Expanded) {
        let Step::Interrupt(core) = step else { return };
        let is_at_mark = self.world.is_at_mark(state, core);
        let interrupt = if is_at_mark { Interrupted::AtMark } else { Interrupted::Yes };
        expanded.notes.push(Note { core, op: Op::Nothing, of: None, interrupt });
    }

    /// Takes steps that stand for all others, as long as there are any.
    fn follow(&mut self, state: &mut State, expanded: &mut Expanded) {
        if self.reduces {
            let sharing = self.sharing;
            reduction::follow(self.world, sharing, state, |world, step, after| {
                Expansion { world, sharing, reduces: true }.note_step(after, step, expanded);
            });
        }
    }

    /// Notes what the core does next that has taken `step`.
    fn note_step(&mut self, after: &State, step: Step, expanded: &mut Expanded) {
        expanded.transitions += 1;
        match step {
            Step::Operate(core) | Step::Interrupt(core) if after.stop.is_none() => {
                let entered = self.world.entered.take();
                let interrupt = Interrupted::No;
                let note = |entered: Entered| Note { core, op: entered.touched, of: None, interrupt };
                expanded.notes.extend(entered.map(note));
                self.note(after, core, expanded);
            }
            Step::Operate(_) | Step::Drain(..) | Step::Arrive | Step::Interrupt(_) => (),
        }
    }

    /// Notes what every core does next in `state`, and what it has done that is still in its buffer.
    fn note_all(&mut self, state: &State, expanded: &mut Expanded) {
        for (index, at) in state.cores.iter().enumerate() {
            let core = CoreId(index as u8);
            self.note(state, core, expanded);
            let stores = at.buffer.entries().iter().map(|entry| Op::Store(*entry));
            expanded.notes.extend(stores.map(|op| Note { core, op, of: None, interrupt: Interrupted::No }));
        }
    }

    fn note(&mut self, state: &State, core: CoreId, expanded: &mut Expanded) {
        let local = state.cores[core.index()].local;
        if let Op::Beyond { reason, .. } = *self.world.op(state, core) {
            expanded.cuts.insert(Cut::Beyond(reason));
            expanded.places.extend(self.world.place_at(state, core));
        } else if !self.sharing.knows(core, local) {
            let op = self.world.op(state, core).clone();
            let pc = self.world.locals.local(local).cpu.linear_pc();
            expanded.notes.push(Note { core, op, of: Some((local, pc)), interrupt: Interrupted::No });
        }
    }
}
