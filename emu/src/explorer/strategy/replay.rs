//! Replay: one execution, the one that a schedule says.
//!
//! The inverse of how paths become schedules (`World::after`): a choice tells which step comes next, the step tells which
//! choices it is, and these must be the schedule's next ones. Steps that the machine would split otherwise, such as half of
//! what a core does between two operations, or drains that a run does on its way (`0*3!`), do not fit: the schedule is one
//! that exploration has written, or means the same by the same choices.
//!
//! Where the schedule leaves the region's cores in a state from which something is still possible, it must be one from which
//! no end is reached (a schedule that shows a deadlock ends there): that is found out by exploring everything from there.
//!
//! What comes out is there; never complete.

use super::{Plan, Rules, exhaustive};
use crate::choice::Choice;
use crate::core::CoreId;
use crate::explorer::found::{Found, Misfit};
use crate::explorer::hang::Interrupts;
use crate::explorer::limits::{Cut, Limits};
use crate::explorer::op::Op;
use crate::explorer::state::{State, Step, World};
use crate::schedule::text_of;

/// Its row.
pub(super) const RULES: Rules = Rules { name: "replay", summary: "The one that --schedule says", explore };

fn explore(world: &mut World, first: &State, plan: &Plan, limits: &Limits) -> Found {
    let mut rest = Rest { choices: &plan.choices, at: 0, used: 0 };
    // What is given is followed as it is, late interrupts and all.
    let interrupts = std::mem::replace(&mut world.interrupts, Interrupts::Late);
    let followed = follow(world, first, &mut rest);
    world.interrupts = interrupts;
    let mut found = match followed {
        Ok((steps, end)) => {
            // Without reduction: a state that is part of a hang is to be found where it is, not a chain of steps later.
            let limits = Limits { reduces: false, ..*limits };
            let mut found = exhaustive::explore(world, &end, &limits);
            let is_loose = rest.choices.len() == rest.at && !world.possible_steps(&end).is_empty();
            if is_loose && !found.finals.is_empty() {
                found.misfit = Some(rest.misfit("the schedule ends where cores can still come to their end".into()));
                found.finals.clear();
            }
            found.transitions = steps.len() as u64;
            // What was seen from there on is not what was seen on the way.
            found.witness = None;
            found.lead = steps;
            found
        }
        Err(misfit) => Found { misfit: Some(misfit), ..Found::default() },
    };
    found.executions = 1;
    found.cuts.insert(Cut::Schedule);
    found
}

/// The steps that the choices in `rest` say, up to where nothing more is possible or no choice is left, and the state there.
fn follow(world: &mut World, first: &State, rest: &mut Rest) -> Result<(Vec<Step>, State), Misfit> {
    let mut state = first.clone();
    let mut steps = Vec::new();
    while let Some(choice) = rest.next() {
        if world.possible_steps(&state).is_empty() {
            break;
        }
        let step = step_of(world, &state, choice).map_err(|problem| rest.misfit(problem))?;
        let mut made = Vec::new();
        let after = world.after(&state, step, &mut made);
        if !rest.take(&made) {
            let made: Vec<String> = made.into_iter().map(text_of).collect();
            return Err(rest.misfit(format!(
                "up to where another core could step in it takes `{}`, and the schedule goes on otherwise",
                made.join(" ")
            )));
        }
        steps.push(step);
        state = after;
    }
    if rest.used > 0 {
        return Err(rest.misfit(format!("after {} of these steps the core is at its end", rest.used)));
    }
    Ok((steps, state))
}

/// The step that begins with `choice`, or why there is none in `state`.
fn step_of(world: &mut World, state: &State, choice: Choice) -> Result<Step, String> {
    if choice == Choice::Pass {
        return Err("in the explored region no time passes".into());
    }
    if matches!(choice, Choice::Type { .. } | Choice::Receive { .. } | Choice::Mouse { .. }) {
        return Err("in the explored region nothing comes from outside".into());
    }
    let (Choice::Run { core, .. } | Choice::Access { core } | Choice::Drain { core, .. } | Choice::Interrupt { core }) =
        choice
    else {
        let is_posted = !world.boards.board(state.board).posted().is_empty();
        return if is_posted { Ok(Step::Arrive) } else { Err("no write is on its way to a device".into()) };
    };
    let Some(at) = state.cores.get(core.index()) else { return Err(format!("there is no {core}")) };
    match choice {
        Choice::Drain { entry, .. } => {
            let length = at.buffer.entries().len();
            if at.buffer.drainable(world.model).any(|index| index == usize::from(entry)) {
                Ok(Step::Drain(core, entry))
            } else if usize::from(entry) < length {
                Err("an older store must drain first".into())
            } else {
                Err(format!("the buffer of {core} holds {length} stores"))
            }
        }
        Choice::Run { drained: true, .. } => {
            Err("in the explored region each drain is a choice of its own, so none ends with `!`".into())
        }
        Choice::Interrupt { .. } => {
            if world.can_interrupt(state, core) {
                Ok(Step::Interrupt(core))
            } else {
                Err(format!("no interrupt can come to {core} there"))
            }
        }
        Choice::Run { .. }
        | Choice::Access { .. }
        | Choice::Arrive
        | Choice::Type { .. }
        | Choice::Receive { .. }
        | Choice::Mouse { .. }
        | Choice::Pass => {
            if world.can_operate(state, core) {
                return Ok(Step::Operate(core));
            }
            Err(why_not(world.op(state, core), core))
        }
    }
}

/// Why `core`, which is about to perform `op`, cannot.
fn why_not(op: &Op, core: CoreId) -> String {
    match op {
        Op::Finished => format!("{core} is at its end"),
        Op::Diverges => format!("{core} goes on for ever by itself"),
        Op::Beyond { reason, .. } => format!("{core} {reason}"),
        Op::Nothing
        | Op::Load(_)
        | Op::Store(_)
        | Op::Locked { .. }
        | Op::FullFence
        | Op::StoreFence
        | Op::Device
        | Op::Priority
        | Op::Enters
        | Op::Fault { .. } => {
            format!("{core} waits for stores in its buffer to drain, and each drain is a choice of its own")
        }
    }
}

/// What is left of a schedule.
struct Rest<'a> {
    choices: &'a [Choice],
    /// The choice that comes next.
    at: usize,
    /// How many of its steps have been taken.
    used: u64,
}

impl Rest<'_> {
    fn next(&self) -> Option<Choice> {
        self.choices.get(self.at).copied()
    }

    /// Takes `made`, if it is what comes next.
    fn take(&mut self, made: &[Choice]) -> bool {
        made.iter().all(|&choice| self.take_one(choice))
    }

    fn take_one(&mut self, made: Choice) -> bool {
        match (self.next(), made) {
            (
                Some(Choice::Run { core, steps, drained: false }),
                Choice::Run { core: mine, steps: some, drained: false },
            ) if core == mine && some <= steps - self.used => {
                self.used += some;
                if self.used < steps {
                    return true;
                }
            }
            (Some(next), made) if next == made && self.used == 0 => (),
            _ => return false,
        }
        (self.at, self.used) = (self.at + 1, 0);
        true
    }

    fn misfit(&self, problem: String) -> Misfit {
        Misfit { at: self.at, choice: self.next(), problem }
    }
}
