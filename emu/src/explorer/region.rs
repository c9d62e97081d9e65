//! The explored region of a guest: what comes before it is run once, what comes after it once for each state it ends in.
//!
//! A guest marks its region with instructions that do nothing ([`Mark`]). Before the region cores take turns in a fixed
//! order until each has come to the first mark or has halted; all their buffers are empty then. After the region they take
//! turns again, from the state in which exploration left them. So what a guest does to set up, to print and to draw needs no
//! exploring, and a schedule for an outcome is the choices of all three parts in a row.

use super::circle::Circle;
use super::{Misfit, Placed};
use crate::choice::Choice;
use crate::core::decode::Mark;
use crate::core::{Core, CoreId};
use crate::machine::{Machine, Snapshot, Stop};
use crate::memory_model::MemoryModel;
use crate::schedule::text_of;
use crate::testbench::Output;
use crate::trace::{Event, Line};
use fencepost_devices::PhysAddr;
use std::time::{Duration, Instant};

/// Steps of one turn: enough to get on, few enough that nobody waits long for a core that polls.
const TURN: u64 = 4096;
/// Interrupts that a core takes before it goes on: a maskable one and an NMI.
const MOST_INTERRUPTS: usize = 2;
/// Turns after which a guest that has left its region is given up, too: cores that wait for each other end theirs early.
const MOST_TURNS: usize = 1 << 20;

/// A machine at the beginning of its region.
pub struct Region {
    machine: Machine,
    start: Snapshot,
    /// The choices that led there.
    before: Vec<Choice>,
    /// The cores that begin it; the others have halted.
    entered: Vec<CoreId>,
    /// It is the whole guest, whatever marks that has.
    is_whole: bool,
    /// Where the schedule that was to lead there is another run's.
    strays: Option<Misfit>,
}

/// Why a guest has no region to explore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoRegion {
    /// It ended first.
    Ended {
        /// Why.
        stop: Stop,
        /// The last line that it had written to the serial port, empty without one.
        said: String,
    },
    /// A core came to the mark that ends it first.
    EndsFirst {
        /// Which core.
        core: CoreId,
        /// Linear address of the instruction behind the mark.
        pc: u64,
    },
    /// It had not come there after so many steps.
    StepLimit(u64),
    /// It had not come there after this time.
    TimeLimit(Duration),
}

impl std::fmt::Display for NoRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoRegion::Ended { stop, said } => {
                write!(f, "{stop} before every core had come to the mark `xchg bx, bx`")?;
                if said.is_empty() { Ok(()) } else { write!(f, ", and last said `{said}`") }
            }
            NoRegion::EndsFirst { core, pc } => {
                write!(
                    f,
                    "{core} has come to the mark `xchg cx, cx` right before {pc:#x}, which ends a region, without having come to \
                     `xchg bx, bx`, which begins one"
                )
            }
            NoRegion::StepLimit(steps) => {
                write!(f, "after {steps} steps not every core had come to the mark `xchg bx, bx`")
            }
            NoRegion::TimeLimit(time) => {
                write!(f, "after {} s not every core had come to the mark `xchg bx, bx`", time.as_secs_f64())
            }
        }
    }
}

impl std::error::Error for NoRegion {}

/// The last line on the serial port.
#[derive(Default)]
struct LastLine {
    bytes: Vec<u8>,
    /// The next byte begins another.
    is_over: bool,
}

impl LastLine {
    /// As much of a line as is kept, in bytes.
    const LONGEST: usize = 200;

    fn take(&mut self, byte: u8) {
        let ends = byte == b'\n' || byte == b'\r';
        if !ends && std::mem::take(&mut self.is_over) {
            self.bytes.clear();
        }
        self.is_over |= ends;
        if !ends && self.bytes.len() < LastLine::LONGEST {
            self.bytes.push(byte);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).escape_debug().to_string()
    }
}

/// How a guest went on after its region.
pub struct Ending {
    /// The choices of the whole run, from the machine's start.
    pub choices: Vec<Choice>,
    /// What happened, from the region's beginning on.
    pub events: Vec<Line>,
    /// How many steps it took after the region.
    pub steps_after: u64,
    /// Why it stopped; `None` when it had not after the steps allowed.
    pub stop: Option<Stop>,
    /// It has not stopped, and will not as it goes on: it has come back to a state.
    pub goes_round: bool,
    /// A core has come to a mark that begins a region again.
    pub begins_again: bool,
}

/// How a guest went on that is not told of.
pub(super) struct Aftermath {
    /// Why it stopped; `None` when it had not after the steps allowed.
    pub(super) stop: Option<Stop>,
    /// What it has said on the way.
    pub(super) said: Output,
    /// It has not stopped, and will not as it goes on.
    pub(super) goes_round: bool,
    /// A core has come to a mark that begins a region again.
    pub(super) begins_again: bool,
}

impl Region {
    /// Runs `machine`, which is about to start, until each core has come to the beginning of its region.
    ///
    /// # Errors
    /// That does not happen within `max_steps` and, where it is bounded, this time.
    pub fn find(machine: Machine, max_steps: u64, time: Option<Duration>) -> Result<Region, NoRegion> {
        Region::seek(machine, None, max_steps, time)
    }

    /// Likewise, but no farther than the choices are those of a schedule that begins with `given`. Where they are not, or there
    /// is no region, it is one at the very beginning from which no such schedule can be followed.
    pub fn along(given: &[Choice], start: impl Fn() -> Machine, max_steps: u64, time: Option<Duration>) -> Region {
        let strays = match Region::seek(start(), Some(given), max_steps, time) {
            Ok(region) if region.strays.is_none() => return region,
            Ok(region) => region.strays,
            Err(none) => Some(Misfit { at: given.len(), choice: None, problem: none.to_string() }),
        };
        Region { strays, ..Region::whole(start()) }
    }

    fn seek(
        mut machine: Machine,
        given: Option<&[Choice]>,
        max_steps: u64,
        time: Option<Duration>,
    ) -> Result<Region, NoRegion> {
        let began = Instant::now();
        machine.set_break(Some(|event| matches!(event, Event::Marked { .. })));
        let cores = usize::from(machine.settings().cores);
        let mut turns = Turns { is_there: vec![false; cores], choices: Vec::new(), steps: 0 };
        let mut said = LastLine::default();
        while !turns.are_over(&machine) {
            let begin = turns.choices.len();
            turns.round(&mut machine);
            let events = machine.take_events();
            for line in &events {
                match line.event {
                    Event::Marked { core, mark: Mark::Begin } => turns.is_there[core.index()] = true,
                    Event::Marked { core, mark: Mark::End } => {
                        return Err(NoRegion::EndsFirst { core, pc: machine.linear_pc(core) });
                    }
                    Event::Serial { byte } => said.take(byte),
                    _ => (),
                }
            }
            let goes_on =
                |given: &[Choice]| given.get(begin..).is_some_and(|it| it.starts_with(&turns.choices[begin..]));
            if let Some(given) = given.filter(|given| !goes_on(given)) {
                let strays = difference(given, &turns.choices, "the guest comes to its region");
                return Ok(Region { strays, ..Region::here(machine, Vec::new(), Vec::new()) });
            }
            if let Some(&stop) = machine.stop() {
                return Err(NoRegion::Ended { stop, said: said.text() });
            }
            if turns.steps > max_steps {
                return Err(NoRegion::StepLimit(max_steps));
            }
            if let Some(time) = time.filter(|time| began.elapsed() > *time) {
                return Err(NoRegion::TimeLimit(time));
            }
        }
        if turns.is_there.iter().all(|is_there| !is_there) {
            return Err(NoRegion::Ended { stop: Stop::AllHalted, said: said.text() });
        }
        let entered = cores_of(&turns.is_there);
        Ok(Region::here(machine, turns.choices, entered))
    }

    /// The region begins where `machine` is now, about to start.
    pub fn whole(machine: Machine) -> Region {
        let entered = cores_of(&vec![true; usize::from(machine.settings().cores)]);
        Region { is_whole: true, ..Region::here(machine, Vec::new(), entered) }
    }

    /// Whether it is the whole guest, whatever marks that has.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn here(mut machine: Machine, mut before: Vec<Choice>, entered: Vec<CoreId>) -> Region {
        // What is on its way to a device arrives before the region begins.
        while machine.apply(Choice::Arrive).is_ok() {
            before.push(Choice::Arrive);
        }
        machine.set_break(None);
        machine.take_events();
        let start = machine.snapshot();
        Region { machine, start, before, entered, is_whole: false, strays: None }
    }

    /// The cores that begin it. The others had halted before.
    pub fn entered(&self) -> &[CoreId] {
        &self.entered
    }

    /// Why no schedule like the one that was given can be followed from here.
    pub(super) fn strays(&self) -> Option<&Misfit> {
        self.strays.as_ref()
    }

    /// The machine at the beginning, to explore on.
    pub fn machine(&self) -> &Snapshot {
        &self.start
    }

    /// The choices that lead to the beginning.
    pub fn before(&self) -> &[Choice] {
        &self.before
    }

    /// Goes from the beginning through `choices` under `model`, and then on to the end, with details of events if asked for.
    ///
    /// # Panics
    /// The choices are not possible: exploration and machine disagree.
    pub fn finish(&mut self, model: MemoryModel, choices: &[Choice], max_steps: u64, details: bool) -> Ending {
        let machine = &mut self.machine;
        machine.restore(&self.start);
        machine.set_model(model);
        machine.set_details(details);
        machine.take_events();
        let mut events = Vec::new();
        for &choice in choices {
            let taken = machine.apply(choice).expect("what was explored is possible on the machine");
            if let Choice::Run { steps, .. } = choice {
                let is_over = machine.stop().is_some();
                assert!(taken == steps || is_over, "what was explored takes the same steps on the machine");
            }
            events.extend(machine.take_events());
        }
        machine.set_details(false);
        let mut turns =
            Turns { is_there: vec![false; usize::from(machine.settings().cores)], choices: Vec::new(), steps: 0 };
        let (mut circle, mut goes_round, mut begins_again) = (Circle::default(), false, false);
        while turns.go_on(machine, max_steps) && !goes_round {
            turns.round(machine);
            let new = machine.take_events();
            begins_again |= new.iter().any(is_beginning);
            events.extend(new);
            goes_round = machine.stop().is_none() && circle.closes(machine);
        }
        let choices = [self.before.as_slice(), choices, &turns.choices].concat();
        Ending { choices, events, steps_after: turns.steps, stop: machine.stop().copied(), goes_round, begins_again }
    }

    /// Goes on to the end from a state of the region's end.
    pub(super) fn finish_from(&mut self, placed: &Placed, max_steps: u64) -> Aftermath {
        let machine = &mut self.machine;
        machine.restore(&self.start);
        for (index, local) in placed.locals.iter().enumerate() {
            machine.stage(CoreId(index as u8), local);
        }
        for &(address, bytes) in &placed.memory {
            // Code that is executed only after the region may be among it.
            machine.stage_code(PhysAddr(address), &bytes.to_le_bytes());
        }
        machine.staged_board().clone_from(&placed.board);
        machine.set_details(false);
        machine.notice_end();
        let cores = placed.locals.len();
        let mut said = Output::default();
        machine.take_events();
        let mut turns = Turns { is_there: vec![false; cores], choices: Vec::new(), steps: 0 };
        let (mut circle, mut goes_round, mut begins_again) = (Circle::default(), false, false);
        while turns.go_on(machine, max_steps) && !goes_round {
            turns.round(machine);
            let new = machine.take_events();
            begins_again |= new.iter().any(is_beginning);
            new.iter().for_each(|line| said.take(&line.event));
            goes_round = machine.stop().is_none() && circle.closes(machine);
        }
        Aftermath { stop: machine.stop().copied(), said, goes_round, begins_again }
    }

    /// The machine, after [`Region::finish`] at the end of that run.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// The machine, after [`Region::finish`] at the end of that run.
    pub fn finished(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

/// Whether a core has come to a mark that begins a region.
fn is_beginning(line: &Line) -> bool {
    matches!(line.event, Event::Marked { mark: Mark::Begin, .. })
}

/// The cores of which it says so.
fn cores_of(is_so: &[bool]) -> Vec<CoreId> {
    let indices = (0..is_so.len()).filter(|&index| is_so[index]);
    indices.map(|index| CoreId(index as u8)).collect()
}

/// Where `choices` do not begin with `wanted`, with which the guest does `what`.
pub(super) fn difference(choices: &[Choice], wanted: &[Choice], what: &str) -> Option<Misfit> {
    let at = (0..wanted.len()).find(|&at| choices.get(at) != Some(&wanted[at]))?;
    Some(Misfit { at, choice: choices.get(at).copied(), problem: format!("{what} by `{}`", text_of(wanted[at])) })
}

/// Cores taking turns in a fixed order.
struct Turns {
    /// Cores that wait for the others.
    is_there: Vec<bool>,
    choices: Vec<Choice>,
    steps: u64,
}

impl Turns {
    fn are_over(&self, machine: &Machine) -> bool {
        let cores = &machine.outer_state().cores;
        let waits = |(index, core): (usize, &Core)| {
            self.is_there[index] || core.is_halted() && !machine.may_interrupt(CoreId(index as u8))
        };
        cores.iter().enumerate().all(waits) && (self.is_there.contains(&true) || machine.stop().is_some())
    }

    /// Whether the guest is followed further, which has left its region.
    fn go_on(&self, machine: &Machine, max_steps: u64) -> bool {
        machine.stop().is_none() && self.steps <= max_steps && self.choices.len() <= MOST_TURNS
    }

    /// One turn of each core that does not wait.
    fn round(&mut self, machine: &mut Machine) {
        let mut has_run = false;
        for index in 0..self.is_there.len() {
            let core = CoreId(index as u8);
            if self.is_there[index] || machine.stop().is_some() {
                continue;
            }
            // At most one of each kind: a handler begins with interrupts off.
            for _ in 0..MOST_INTERRUPTS {
                if machine.may_interrupt(core) {
                    self.apply(machine, Choice::Interrupt { core });
                }
            }
            if machine.outer_state().cores[index].is_halted() || machine.stop().is_some() {
                continue;
            }
            has_run = true;
            let taken = machine.run_to_pause(core, TURN, true);
            self.steps += taken;
            // An instruction that faults takes no step, and a replay must try it.
            let faulted = matches!(machine.stop(), Some(Stop::Faulted { .. }));
            self.choices.push(Choice::Run { core, steps: (taken + u64::from(faulted)).max(1), drained: true });
        }
        if !has_run && machine.stop().is_none() {
            self.let_out(machine);
        }
        self.let_arrive(machine);
    }

    /// Nobody runs any more: what is pending goes out.
    fn let_out(&mut self, machine: &mut Machine) {
        for index in 0..self.is_there.len() {
            let choice = Choice::Drain { core: CoreId(index as u8), entry: 0 };
            while machine.apply(choice).is_ok() {
                self.choices.push(choice);
            }
        }
        self.let_arrive(machine);
        self.apply(machine, Choice::Pass);
        self.steps += 1;
    }

    /// What is on its way to a device arrives.
    fn let_arrive(&mut self, machine: &mut Machine) {
        while machine.apply(Choice::Arrive).is_ok() {
            self.choices.push(Choice::Arrive);
        }
    }

    fn apply(&mut self, machine: &mut Machine, choice: Choice) {
        if let Ok(steps) = machine.apply(choice) {
            self.steps += steps;
            self.choices.push(choice);
        }
    }
}
