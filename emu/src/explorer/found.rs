//! What a strategy has found: states as they were met, and those in which nothing more is possible.

use super::limits::{Cut, CutPlace};
use super::sharing::{Sharing, Witness};
use super::state::{State, Step};
use crate::choice::Choice;
use crate::schedule::text_of;
use std::collections::{BTreeSet, HashSet};

/// A state as it was met.
pub(super) struct Met {
    /// The state it was first reached from, and by which step; the first state has none.
    pub(super) from: Option<(u32, Step)>,
}

/// What an exploration has found.
#[derive(Default)]
pub(super) struct Found {
    /// Steps that were given: what was met was met after them.
    pub(super) lead: Vec<Step>,
    /// Why the choices that were given cannot be followed.
    pub(super) misfit: Option<Misfit>,
    /// What was shared in the end; `None` when nothing was left out.
    pub(super) sharing: Option<Sharing>,
    /// What was met that one core does and another could see; `None` where that was not looked at.
    pub(super) witness: Option<Witness>,
    pub(super) met: Vec<Met>,
    /// States in which nothing more is possible.
    pub(super) finals: Vec<(u32, State)>,
    /// Steps taken.
    pub(super) transitions: u64,
    /// How often a state in which nothing more is possible was reached.
    pub(super) executions: u64,
    /// Steps between states, for finding those that lead nowhere.
    pub(super) edges: Vec<(u32, u32)>,
    /// Which of `edges`, by their places, a core takes that could have taken an interrupt instead.
    pub(super) late: Vec<usize>,
    /// Whether `edges` are all there are, apart from those out of `open` states.
    pub(super) is_graph: bool,
    /// States from which there may be more steps than `edges` says, and second meetings of a state: nothing is claimed of them.
    pub(super) open: Vec<u32>,
    /// Why something was left out.
    pub(super) cuts: BTreeSet<Cut>,
    /// Where, as far as it was at an instruction or because of a device.
    pub(super) places: BTreeSet<CutPlace>,
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

    /// Adds a step between two states; it `is_late` where its core could have taken an interrupt instead.
    pub(super) fn add_edge(&mut self, from: u32, to: u32, is_late: bool) {
        if is_late {
            self.late.push(self.edges.len());
        }
        self.edges.push((from, to));
    }

    /// Adds a path from the first state to another, and returns the other's number.
    pub(super) fn add_path(&mut self, steps: &[Step]) -> u32 {
        let mut number = 0;
        for &step in steps {
            self.met.push(Met { from: Some((number, step)) });
            number = self.met.len() as u32 - 1;
        }
        number
    }

    /// Adds what was found from state `number` on.
    pub(super) fn graft(&mut self, number: u32, rest: &Found) {
        // The first state of `rest` is there; each other one comes after all that are.
        let shift = self.met.len() as u32 - 1;
        let renumbered = |it: u32| if it == 0 { number } else { it + shift };
        let met = rest.met.iter().filter_map(|met| met.from);
        self.met.extend(met.map(|(from, step)| Met { from: Some((renumbered(from), step)) }));
        self.late.extend(rest.late.iter().map(|edge| edge + self.edges.len()));
        self.edges.extend(rest.edges.iter().map(|&(from, to)| (renumbered(from), renumbered(to))));
    }

    /// Says that nothing is known of states out of which no step is recorded.
    pub(super) fn leave_open(&mut self) {
        let closed: HashSet<u32> = self.edges.iter().map(|&(from, _)| from).collect();
        self.open = (0..self.met.len() as u32).filter(|number| !closed.contains(number)).collect();
    }

    pub(super) fn count_executions(&mut self) {
        let finals: HashSet<u32> = self.finals.iter().map(|(number, _)| *number).collect();
        let arrivals = self.edges.iter().filter(|(_, to)| finals.contains(to)).count();
        // The first state may be the last one, too.
        self.executions = arrivals.max(self.finals.len()) as u64;
    }
}

/// Where a schedule does not fit what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// Which choice, from 0.
    pub(super) at: usize,
    /// It; `None` at the schedule's end.
    pub(super) choice: Option<Choice>,
    /// Why.
    pub(super) problem: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Misfit { at, choice, problem } = self;
        match choice {
            Some(choice) => {
                write!(f, "choice {} of the schedule, `{}`, does not fit: {problem}", at + 1, text_of(*choice))
            }
            None => write!(f, "after its {at} choices {problem}"),
        }
    }
}

impl std::error::Error for Misfit {}
