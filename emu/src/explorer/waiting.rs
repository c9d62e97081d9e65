//! What cores wait in for ever: [traps](super::hang) told apart by which cores are in them and which loop each goes round.
//!
//! All traps are looked at, and nothing of them is left out: each is gone round once more, so that a loop is known by all of its
//! instructions, whichever of them a core came to first. Those with the same cores in the same loops are one hang.
//!
//! A core that has come to the mark at its region's end takes no part any more, and yet others may wait for what it does next:
//! a store of its own, or a handler that it enters once it lets interrupts in. So where cores wait and another has left, what
//! that one does next is explored, too, up to where one of those that wait comes to its end. Only if none ever does is it a
//! hang; else, or where that is not found out, it is [said](Outlook) and nothing is complete.

use super::delta::Delta;
use super::found::Found;
use super::hang::{Interrupts, Trap, traps};
use super::limits::{Cut, Limits};
use super::local::{LocalId, fingerprint};
use super::op::{Beyond, Op};
use super::sharing::Sharing;
use super::state::{State, Step, World};
use super::strategy::exhaustive;
use super::{Explored, Explorer, Start, reduction};
use crate::choice::Choice;
use crate::core::{Activity, CoreId};
use crate::machine::staging::{Local, Standing};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

/// States in which what cores do that have left the region is followed, to find out whether that ends the others' waiting.
/// Where there are more, the waiting is said not to be settled.
pub(super) const MOST_AFTERWARDS: usize = 50_000;
/// And in all that is waited in together.
const MOST_AFTERWARDS_IN_ALL: usize = 1_000_000;

/// Cores that wait for ever: no schedule leads out.
pub struct Hang {
    /// The choices that lead there.
    pub path: Vec<Choice>,
    /// Which cores wait, and where.
    pub whereabouts: String,
    /// Whether memory or devices go on changing.
    pub changes: bool,
    /// Whether a late interrupt would lead out.
    pub interrupts: Interrupts,
    /// How many states it has.
    pub states: usize,
    /// The number of the first of them.
    pub(super) first: u32,
}

/// Cores that wait in the region while others have left it, where it is not so, or not known, that this is for ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Unsettled {
    /// The cores that wait, and the linear address of the loop of each.
    pub waiting: Vec<(CoreId, u64)>,
    /// Those that have come to their end.
    pub left: Vec<CoreId>,
    /// What came of looking at what these do next.
    pub outlook: Outlook,
}

impl std::fmt::Display for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting: Vec<String> = self.waiting.iter().map(|(core, pc)| format!("{core} at {pc:#x}")).collect();
        let left: Vec<String> = self.left.iter().map(ToString::to_string).collect();
        let (waiting, left) = (waiting.join(", "), left.join(", "));
        write!(f, "cores wait in the region ({waiting}) that others have left ({left}), ")?;
        match self.outlook {
            Outlook::Never => f.write_str("for ever"),
            Outlook::Ends => f.write_str(
                "until one of those goes on: let `xchg cx, cx` stand behind what ends the waiting, or begin the region later",
            ),
            Outlook::Unknown => f.write_str("and whether what those do next ends the waiting was not found out"),
        }
    }
}

/// What comes of cores that wait, once those that have left the region go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outlook {
    /// They wait for ever.
    Never,
    /// One of them comes to its end.
    Ends,
    /// That was not found out.
    Unknown,
}

/// All that was found of waiting.
#[derive(Default)]
pub struct Hangs {
    /// Proven.
    pub proven: Vec<Hang>,
    /// Others.
    pub unsettled: BTreeSet<Unsettled>,
    /// The time was over before all were looked at.
    pub is_late: bool,
}

/// What cores do in a trap.
struct Rounds {
    /// The linear addresses of the operations that each core performs.
    loops: Vec<BTreeSet<u64>>,
    /// Whether each core comes to its end, from which interrupts take it again and again.
    ends: Vec<bool>,
    /// Whether memory or devices are not always the same.
    changes: bool,
}

impl Explorer {
    /// Ways in which cores wait for ever. None are looked for when something was cut off.
    pub fn hangs(&mut self, start: &Start, explored: &Explored, limits: &Limits) -> Hangs {
        let mut hangs = Hangs::default();
        if !explored.found.is_graph {
            return hangs;
        }
        let began = Instant::now();
        let finals: Vec<u32> = explored.finals.iter().map(|it| it.number).collect();
        let traps = traps(&explored.found, &finals);
        self.resume(explored);
        let firsts = traps.iter().map(|trap| trap.states[0]).collect();
        let states = states(&mut self.world, &start.0, &explored.found, &firsts);
        let mut known: BTreeMap<(String, bool), usize> = BTreeMap::new();
        let mut outlooks = HashMap::new();
        let mut states_left = MOST_AFTERWARDS_IN_ALL;
        for mut trap in traps {
            trap.interrupts = trap.interrupts.max(explored.interrupts);
            if limits.time.is_some_and(|time| began.elapsed() > time) {
                hangs.is_late = true;
                break;
            }
            let first = &states[&trap.states[0]];
            let rounds = rounds(&mut self.world, explored.found.sharing.as_ref(), first, trap.interrupts);
            let waiting = waiting(&mut self.world, first, &rounds);
            let left = left(&mut self.world, first, &rounds);
            let time = limits.time.map(|time| time.saturating_sub(began.elapsed()));
            let limits = Limits { states: MOST_AFTERWARDS.min(states_left), time, threads: 1, ..*limits };
            let is_awaited = |(core, _): &&(CoreId, u64)| !rounds.ends[core.index()];
            let awaited: Vec<CoreId> = waiting.iter().filter(is_awaited).map(|(core, _)| *core).collect();
            let (outlook, met) = self.outlook(first, awaited, &left, trap.interrupts, &limits, &mut outlooks);
            states_left = states_left.saturating_sub(met);
            if outlook != Outlook::Never {
                hangs.unsettled.insert(Unsettled { waiting, left, outlook });
                continue;
            }
            let name = (name(&waiting, trap.interrupts), rounds.changes);
            match known.get(&name) {
                Some(&index) => hangs.proven[index].states += trap.states.len(),
                None => {
                    known.insert(name.clone(), hangs.proven.len());
                    let path = self.way_to(start, explored, trap.states[0]).0;
                    hangs.proven.push(hang(trap, name, path));
                }
            }
        }
        self.world.interrupts = explored.interrupts;
        hangs
    }

    /// What comes of those that are `awaited` in `state` once those that have `left` go on. If none are, since all that go round
    /// have come to their end and are only interrupted there, the question is whether that ever ceases. Tells how many states were
    /// met.
    fn outlook(
        &mut self,
        state: &State,
        awaited: Vec<CoreId>,
        left: &[CoreId],
        interrupts: Interrupts,
        limits: &Limits,
        known: &mut HashMap<u128, Outlook>,
    ) -> (Outlook, usize) {
        if left.is_empty() {
            return (Outlook::Never, 0);
        }
        let world = &mut self.world;
        let mut state = state.clone();
        for core in left {
            let at = &mut state.cores[core.index()];
            let local = Local { standing: Standing::Outside, ..world.locals.local(at.local).clone() };
            at.local = world.locals.number(local);
        }
        let key = fingerprint(&(&state, interrupts));
        if let Some(&known) = known.get(&key) {
            return (known, 0);
        }
        world.interrupts = interrupts;
        let is_any_end = awaited.is_empty();
        world.awaited = awaited;
        let found = exhaustive::explore(world, &state, limits);
        world.awaited.clear();
        let is_patched = !world.stage.patches().take_both().is_empty();
        let comes_to_its_end = found.cuts.contains(&Cut::Beyond(Beyond::ComesToItsEnd));
        let outlook = if comes_to_its_end || is_any_end && !found.finals.is_empty() {
            Outlook::Ends
        } else if found.cuts.is_empty() && !is_patched {
            Outlook::Never
        } else {
            Outlook::Unknown
        };
        known.insert(key, outlook);
        (outlook, found.met.len())
    }
}

fn hang(trap: Trap, (whereabouts, changes): (String, bool), path: Vec<Choice>) -> Hang {
    let Trap { states, interrupts } = trap;
    Hang { path, whereabouts, changes, interrupts, states: states.len(), first: states[0] }
}

/// What a hang is called.
fn name(waiting: &[(CoreId, u64)], interrupts: Interrupts) -> String {
    let places: Vec<String> = waiting.iter().map(|(core, pc)| format!("{core} at {pc:#x}")).collect();
    let places = places.join(", ");
    match interrupts {
        Interrupts::Late => places,
        Interrupts::Prompt => format!("{places}, as interrupts come at once"),
    }
}

/// The states with these numbers.
fn states(world: &mut World, first: &State, found: &Found, wanted: &BTreeSet<u32>) -> FxHashMap<u32, State> {
    let ways = ways_to(found, wanted);
    let mut all = FxHashMap::default();
    let mut state = first.clone();
    for &step in &found.lead {
        state = world.after(&state, step, &mut Vec::new());
    }
    follow(world, found.sharing.as_ref(), &mut state, |_, _, _| ());
    let mut open = vec![(0, state)];
    while let Some((number, state)) = open.pop() {
        for &(next, step) in ways.get(&number).into_iter().flatten() {
            let mut after = world.after(&state, step, &mut Vec::new());
            follow(world, found.sharing.as_ref(), &mut after, |_, _, _| ());
            open.push((next, after));
        }
        if wanted.contains(&number) {
            all.insert(number, state);
        }
    }
    all
}

/// Of each state on the way to those that are `wanted`, the next ones on these ways.
fn ways_to(found: &Found, wanted: &BTreeSet<u32>) -> FxHashMap<u32, Vec<(u32, Step)>> {
    let mut ways: FxHashMap<u32, Vec<(u32, Step)>> = FxHashMap::default();
    let mut seen: FxHashSet<u32> = FxHashSet::default();
    for &number in wanted {
        let mut number = number;
        while seen.insert(number)
            && let Some((from, step)) = found.met[number as usize].from
        {
            ways.entry(from).or_default().push((number, step));
            number = from;
        }
    }
    ways
}

/// Takes the steps after `state` that stand for all others, where there are such steps.
fn follow(
    world: &mut World,
    sharing: Option<&Sharing>,
    state: &mut State,
    taken: impl FnMut(&mut World, Step, &State),
) {
    if let Some(sharing) = sharing {
        reduction::follow(world, sharing, state, taken);
    }
}

/// What cores do from `first` on, a state of a trap.
fn rounds(world: &mut World, sharing: Option<&Sharing>, first: &State, interrupts: Interrupts) -> Rounds {
    world.interrupts = interrupts;
    let count = first.cores.len();
    let mut rounds = Rounds { loops: vec![BTreeSet::new(); count], ends: vec![false; count], changes: false };
    let mut seen = HashSet::from([fingerprint(first)]);
    let mut open = vec![first.clone()];
    while let Some(state) = open.pop() {
        for (index, ends) in rounds.ends.iter_mut().enumerate() {
            *ends |= *world.op(&state, CoreId(index as u8)) == Op::Finished;
        }
        for step in world.possible_steps(&state) {
            let mut locals = locals(&state);
            let mut after = world.after(&state, step, &mut Vec::new());
            rounds.note(world, first, step, &mut locals, &after);
            follow(world, sharing, &mut after, |world, step, state| {
                rounds.note(world, first, step, &mut locals, state);
            });
            if seen.insert(fingerprint(&after)) {
                open.push(after);
            }
        }
    }
    rounds
}

fn locals(state: &State) -> Vec<LocalId> {
    state.cores.iter().map(|at| at.local).collect()
}

impl Rounds {
    /// Notes that `step` leads from where cores were in `locals` to the state `after`.
    fn note(&mut self, world: &World, first: &State, step: Step, locals: &mut Vec<LocalId>, after: &State) {
        if let Step::Operate(core) = step {
            self.loops[core.index()].insert(world.locals.local(locals[core.index()]).cpu.linear_pc());
        }
        *locals = self::locals(after);
        let of_state = |state: &State| -> (Delta, super::boards::BoardId) { (state.memory.clone(), state.board) };
        self.changes = self.changes || of_state(after) != of_state(first);
    }
}

/// The cores that go round, or that go on for ever by themselves, in a trap with `first` in it, and where.
fn waiting(world: &mut World, first: &State, rounds: &Rounds) -> Vec<(CoreId, u64)> {
    let mut waiting = Vec::new();
    for (index, pcs) in rounds.loops.iter().enumerate() {
        let core = CoreId(index as u8);
        let place = match (pcs.first(), world.op(first, core)) {
            (Some(&pc), _) => Some(pc),
            (None, Op::Finished) => None,
            (None, Op::Diverges) => Some(world.loop_of(first.cores[index].local, core)),
            (None, _) => Some(world.locals.local(first.cores[index].local).cpu.linear_pc()),
        };
        waiting.extend(place.map(|pc| (core, pc)));
    }
    waiting
}

/// The cores that have come to the end of their region, and that could go on behind it.
fn left(world: &mut World, first: &State, rounds: &Rounds) -> Vec<CoreId> {
    let mut left = Vec::new();
    for (index, at) in first.cores.iter().enumerate() {
        let core = CoreId(index as u8);
        let is_running = world.locals.local(at.local).activity == Activity::Running;
        if is_running && rounds.loops[index].is_empty() && *world.op(first, core) == Op::Finished {
            left.push(core);
        }
    }
    left
}
