//! Everything a guest program can come to under one memory model.

use super::explain::{Explanation, Sought, Wanted};
use super::limits::{Cut, Limits};
use super::recorded::{self, Overview, Telling};
use super::region::{Ending, Region, difference};
use super::toggles::Toggles;
use super::{End, Explored, Explorer, Misfit, Plan, Start, Strategy};
use crate::boot::BootError;
use crate::choice::Choice;
use crate::core::CoreId;
use crate::loader::Image;
use crate::machine::{Machine, Settings, Stop};
use crate::memory_model::MemoryModel;
use crate::schedule::{MOST_STEPS, Schedule};
use crate::testbench::Output;
use crate::trace::Fault;
use fencepost_devices::{Framebuffer, Picture, VgaText};
use serde::Serialize;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// Steps after which a guest that has left its region is given up.
const LONGEST_ENDING: u64 = 20_000_000;

/// Why nothing is complete when a guest was given up after its region.
pub(super) const DOES_NOT_END: &str = "the guest does not end after its region, as far as it was followed";

/// A guest at the beginning of its region, to be explored under one model after another.
pub struct Surveyor {
    image: Image,
    settings: Settings,
    region: Region,
    explorer: Explorer,
    start: Start,
    /// Whether final states of the region lead to a violation.
    endings: HashMap<u128, Option<bool>>,
    judging: Judging,
}

/// Everything the guest can come to under a model.
pub struct Survey {
    /// The model.
    pub model: MemoryModel,
    /// Each way in which it can end, by name.
    pub outcomes: BTreeMap<Outcome, Reached>,
    /// What exploration has found.
    pub explored: Explored,
    /// How long exploration took, and how long finding out what the final states mean.
    pub times: (Duration, Duration),
    /// Not all final states were gone on from: the time was over.
    is_late: bool,
}

/// What tells outcomes apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Judging {
    /// What the guest reports, and how it ends.
    #[default]
    Report,
    /// The picture on its screen at the end.
    Screen,
}

/// How a guest ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// It reported this: `outcome: TEXT` on the debug console.
    Reported(String),
    /// It exited with this code and had reported nothing.
    Exited(u8),
    /// With this picture on its screen, when screens are what counts: a hash of its pixels.
    Screen(u64),
    /// The guest reset the machine, and nothing had been reported.
    Reset,
    /// All cores halted, and nothing had been reported.
    AllHalted,
    /// A core faulted at this linear address.
    Faulted(u64),
    /// It had not ended long after its region.
    Unfinished,
    /// A recorded run had not ended when its schedule did.
    ScheduleEnd,
    /// Cores wait for each other for ever: nothing is pending, and no memory changes any more.
    Deadlock(String),
    /// Cores go on for ever without getting anywhere.
    Livelock(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Reported(text) => f.write_str(text),
            Outcome::Exited(code) => write!(f, "(exit code {code}, no outcome)"),
            Outcome::Screen(hash) => write!(f, "screen {hash:016x}"),
            Outcome::Reset => f.write_str("(the machine was reset, no outcome)"),
            Outcome::AllHalted => f.write_str("(every core halted, no outcome)"),
            Outcome::Faulted(pc) => write!(f, "(fault at {pc:#x})"),
            Outcome::Unfinished => f.write_str("(does not end after the region)"),
            Outcome::ScheduleEnd => f.write_str("(the schedule ends before the run)"),
            Outcome::Deadlock(where_) => write!(f, "(deadlock: {where_})"),
            Outcome::Livelock(where_) => write!(f, "(livelock: {where_})"),
        }
    }
}

/// How an outcome is reached.
#[derive(Clone, Debug)]
pub struct Reached {
    /// In how many final states of the region.
    pub states: usize,
    /// A schedule of the whole run, with as few steps in the region as any; for a run that does not end, up to the region's
    /// end.
    pub schedule: Schedule,
    /// The choices of that schedule which lie in the region.
    pub region: Vec<Choice>,
    /// The final states of the region with this outcome, as exploration numbers them.
    pub finals: Vec<usize>,
    /// Every core had halted, and one of them to wait for an interrupt.
    pub sleeps: bool,
    /// The code with which the guest exited, if it did.
    pub exit_code: Option<u8>,
    /// The screen at the end, when screens are what counts.
    pub screen: Option<Picture>,
    /// Why it faulted, if it did.
    pub fault: Option<Fault>,
    /// Where it was given up after its region, if it was.
    pub given_up: Option<GivenUp>,
    /// Final states that are no violation, though others with this outcome may be.
    passing: Vec<usize>,
    /// A state from which no end is reached.
    hang: Option<u32>,
}

/// Where a guest was when it was given up after its region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GivenUp {
    /// Steps of all cores from the region's end on.
    pub steps: u64,
    /// Where each core was.
    pub cores: Vec<Whereabouts>,
}

/// Where a core is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Whereabouts {
    /// Which.
    pub core: CoreId,
    /// Whether it has halted.
    pub halted: bool,
    /// Linear address of its next instruction.
    pub pc: u64,
}

impl Reached {
    /// Whether this way to end is a violation: an exit code other than 0, a fault, cores that wait for ever, among them one
    /// that has halted with interrupts on and is never woken.
    pub fn is_violation(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Reported(_) | Outcome::Exited(_) | Outcome::Screen(_) => {
                self.exit_code.is_some_and(|code| code != 0)
            }
            Outcome::AllHalted => self.sleeps,
            Outcome::Reset | Outcome::Unfinished | Outcome::ScheduleEnd => false,
            Outcome::Faulted(_) | Outcome::Deadlock(_) | Outcome::Livelock(_) => true,
        }
    }
}

impl Surveyor {
    /// Prepares to explore `image` from the beginning of `region` on.
    ///
    /// # Errors
    /// The image does not fit the settings.
    pub fn new(image: Image, settings: Settings, region: Region) -> Result<Surveyor, BootError> {
        // Operations are tried out on a machine whose stores commit at once; buffers are the explorer's business.
        let mut machine = Machine::new(&image, Settings { model: MemoryModel::SC, ..settings.clone() })?;
        machine.restore(region.machine());
        let mut explorer = Explorer::new(machine, &settings);
        let start = explorer.start_here(settings.cores);
        Ok(Surveyor { image, settings, region, explorer, start, endings: HashMap::new(), judging: Judging::default() })
    }

    /// Explores under `model`, as `plan` says. The time of `limits` bounds exploring and finding out what the final states
    /// mean together.
    pub fn survey(&mut self, plan: &Plan, model: MemoryModel, limits: &Limits) -> Survey {
        let began = Instant::now();
        let explored = self.explorer.explore_by(plan, &self.start, model, limits);
        let explored_in = began.elapsed();
        let mut outcomes: BTreeMap<Outcome, Reached> = BTreeMap::new();
        let mut is_late = false;
        for index in 0..explored.finals().len() {
            // What was reached within the time is worth a moment more: one of many is always told.
            is_late = index > 0 && limits.time.is_some_and(|time| began.elapsed() > time);
            if is_late {
                break;
            }
            let end = self.explorer.end_of(&explored, index);
            if end == End::Cut {
                continue;
            }
            let region = self.explorer.path(&self.start, &explored, index);
            let (mut exit_code, mut screen, mut fault, mut given_up) = (None, None, None, None);
            let mut sleeps = false;
            let (outcome, choices) = match end {
                End::Over => {
                    let ending = self.finish(model, &region);
                    screen = (self.judging == Judging::Screen).then(|| self.screen());
                    match ending.stop {
                        Some(Stop::Exited { code }) => exit_code = Some(code),
                        Some(Stop::Faulted { fault: why, .. }) => fault = Some(why),
                        Some(Stop::AllHalted) => sleeps = self.region.finished().waits_for_interrupt(),
                        Some(Stop::Reset) => (),
                        None => given_up = Some(self.given_up(ending.steps_after)),
                    }
                    let outcome = self.outcome_of(&ending);
                    let choices = self.worth_telling(&outcome, &region, ending);
                    (outcome, choices)
                }
                End::Diverges | End::Cut => {
                    let place = self.explorer.whereabouts(&explored, index);
                    (Outcome::Livelock(place), [self.region.before(), &region].concat())
                }
            };
            let new = Reached {
                states: 0,
                schedule: self.schedule(model, choices),
                region,
                finals: Vec::new(),
                exit_code,
                sleeps,
                screen,
                fault,
                given_up,
                passing: Vec::new(),
                hang: None,
            };
            let is_bad = new.is_violation(&outcome);
            let reached = outcomes.entry(outcome.clone()).or_insert_with(|| new.clone());
            // What looks the same may be a violation in one run and none in another: then it is told as the violation.
            if is_bad && !reached.is_violation(&outcome) {
                let passing = std::mem::take(&mut reached.passing);
                *reached = Reached { states: reached.states, passing, ..new };
            }
            reached.states += 1;
            if !is_bad {
                reached.passing.push(index);
            }
            if is_bad == reached.is_violation(&outcome) {
                reached.finals.push(index);
            }
        }
        for hang in self.explorer.hangs(&self.start, &explored) {
            let choices = [self.region.before(), &hang.path].concat();
            let outcome =
                if hang.changes { Outcome::Livelock(hang.whereabouts) } else { Outcome::Deadlock(hang.whereabouts) };
            outcomes.entry(outcome).or_insert_with(|| Reached {
                states: hang.states,
                schedule: self.schedule(model, choices),
                region: hang.path,
                finals: Vec::new(),
                sleeps: false,
                exit_code: None,
                screen: None,
                fault: None,
                given_up: None,
                passing: Vec::new(),
                hang: Some(hang.first),
            });
        }
        Survey { model, outcomes, explored, times: (explored_in, began.elapsed() - explored_in), is_late }
    }

    /// The choices of the whole run; of one that does not end, those up to the end of its `region`.
    fn worth_telling(&self, outcome: &Outcome, region: &[Choice], ending: Ending) -> Vec<Choice> {
        match outcome {
            Outcome::Unfinished => [self.region.before(), region].concat(),
            _ => ending.choices,
        }
    }

    /// Follows `schedule` through the region instead of exploring: what it comes to, and nothing else.
    ///
    /// # Errors
    /// It does not fit: somewhere what it says is not possible, or is not what this guest does outside its region.
    ///
    /// # Panics
    /// It is for another image, or for a machine with other settings than the model.
    pub fn replay(&mut self, schedule: &Schedule, limits: &Limits) -> Result<Survey, Misfit> {
        let Schedule { image, settings, choices } = schedule;
        let model = settings.model;
        assert_eq!(*image, self.image.hash(), "a schedule is followed on the image that it is for");
        assert_eq!(*settings, Settings { model, ..self.settings.clone() }, "and on the machine that it is for");
        if let Some(misfit) = self.region.strays() {
            return Err(misfit.clone());
        }
        let given = joined(choices.clone());
        let before = self.region.before();
        if let Some(misfit) = difference(&given, before, "the guest comes to its region") {
            return Err(misfit);
        }
        let lead = before.len();
        let choices = given[lead..].to_vec();
        let plan = Plan { strategy: Strategy::REPLAY, choices, ..Plan::default() };
        let survey = self.survey(&plan, model, limits);
        if let Some(misfit) = survey.explored.misfit() {
            return Err(Misfit { at: lead + misfit.at, ..misfit.clone() });
        }
        for reached in survey.outcomes.values() {
            let whole = &reached.schedule.choices;
            let misfit = difference(&given, whole, "the guest goes on after its region");
            if let Some(misfit) = misfit.or_else(|| too_long(&given, whole)) {
                return Err(misfit);
            }
        }
        Ok(survey)
    }

    /// Lets the machine go through the choices of `schedule`, which may be those of any run, and tells what happens: what it
    /// comes to, and nothing else.
    ///
    /// # Errors
    /// They are not possible.
    ///
    /// # Panics
    /// As for [`Surveyor::replay`].
    pub fn recount(&self, schedule: &Schedule, telling: Telling) -> Result<(Survey, Explanation), Misfit> {
        let Schedule { image, settings, choices } = schedule;
        assert_eq!(*image, self.image.hash(), "a schedule is followed on the image that it is for");
        let began = Instant::now();
        let machine = Machine::new(&self.image, settings.clone());
        let mut machine = machine.expect("an image that a survey is prepared for fits the settings");
        let first = machine.snapshot();
        let overview = Overview::of(&mut machine, choices)?;
        let mut told = recorded::tell(&mut machine, &first, choices, &overview, telling)?;
        let (outcome, reached) = self.recounted(&mut machine, schedule, &overview);
        told.violates = reached.is_violation(&outcome);
        told.pixels_from = (self.judging == Judging::Screen).then_some(settings.ram_bytes);
        let survey = Survey {
            model: settings.model,
            outcomes: BTreeMap::from([(outcome, reached)]),
            explored: Explored::recounted(settings.model, told.rows.len() as u64),
            times: (began.elapsed(), Duration::ZERO),
            is_late: false,
        };
        Ok((survey, told))
    }

    /// What a recorded run came to, at whose end `machine` is.
    fn recounted(&self, machine: &mut Machine, schedule: &Schedule, overview: &Overview) -> (Outcome, Reached) {
        let ends = matches!(overview.stop, Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset));
        let screen = (ends && self.judging == Judging::Screen).then(|| picture(machine));
        let outcome = match (&screen, overview.stop) {
            (Some(screen), _) => screen_of(screen),
            (None, None) => Outcome::ScheduleEnd,
            (None, Some(_)) => outcome_of(overview.stop, &overview.output),
        };
        let reached = Reached {
            states: 1,
            schedule: schedule.clone(),
            region: Vec::new(),
            finals: Vec::new(),
            sleeps: overview.stop == Some(Stop::AllHalted) && machine.waits_for_interrupt(),
            exit_code: match overview.stop {
                Some(Stop::Exited { code }) => Some(code),
                Some(Stop::Faulted { .. } | Stop::AllHalted | Stop::Reset) | None => None,
            },
            screen,
            fault: match overview.stop {
                Some(Stop::Faulted { fault, .. }) => Some(fault),
                Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset) | None => None,
            },
            given_up: overview.stop.is_none().then(|| whereabouts(machine, overview.steps)),
            passing: Vec::new(),
            hang: None,
        };
        (outcome, reached)
    }

    /// From now on outcomes are told apart by this.
    pub fn judge_by(&mut self, judging: Judging) {
        self.judging = judging;
    }

    fn outcome_of(&mut self, ending: &Ending) -> Outcome {
        match (self.judging, ending.stop) {
            (Judging::Report, _) | (_, Some(Stop::Faulted { .. }) | None) => {
                let mut output = Output::default();
                ending.events.iter().for_each(|line| output.take(&line.event));
                outcome_of(ending.stop, &output)
            }
            (Judging::Screen, Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset)) => screen_of(&self.screen()),
        }
    }

    /// Where the guest is that was followed for so many steps after its region.
    fn given_up(&mut self, steps: u64) -> GivenUp {
        whereabouts(self.region.finished(), steps)
    }

    /// The picture of the last frame that the guest presented, or of its text screen, where it has ended.
    fn screen(&mut self) -> Picture {
        picture(self.region.finished())
    }

    /// Explores under `model` with fences added and left out.
    pub(super) fn explore_with(&mut self, toggles: &Toggles, model: MemoryModel, limits: &Limits) -> Explored {
        self.explorer.explore_with(&Plan::default(), toggles, &self.start, model, limits)
    }

    /// Whether the guest exits with another code than 0, or faults, after that final state of its region; `None` when it does
    /// not end.
    ///
    /// The state is put into the machine as it is: with a fence left out, the way there is none that the machine knows.
    pub(super) fn is_bad_ending(&mut self, explored: &Explored, index: usize) -> Option<bool> {
        if let Some(stop) = explored.finals()[index].stop() {
            return is_bad(Some(stop));
        }
        let name = self.explorer.name_of(explored, index);
        if let Some(&known) = self.endings.get(&name) {
            return known;
        }
        let placed = self.explorer.place(explored, index);
        let is_bad = is_bad(self.region.finish_from(&placed, LONGEST_ENDING));
        self.endings.insert(name, is_bad);
        is_bad
    }

    /// Goes through `choices` of the region under `model` and on to the end.
    pub fn finish(&mut self, model: MemoryModel, choices: &[Choice]) -> Ending {
        self.region.finish(model, choices, LONGEST_ENDING, false)
    }

    /// Tells a way to `outcome` with few context switches, and its schedule; `None` where there is no such outcome.
    ///
    /// Where a better way is not found within `time`, the one that exploration found is told.
    pub fn explain(
        &mut self,
        survey: &Survey,
        outcome: &Outcome,
        time: Option<Duration>,
    ) -> Option<(Explanation, Schedule)> {
        let reached = survey.outcomes.get(outcome)?;
        let wanted = match reached.hang {
            Some(number) => Wanted::Hang(number),
            None => Wanted::Finals(reached.finals.clone()),
        };
        let violates = reached.is_violation(outcome);
        // Where not all are known, nothing can be said of when they can no longer be reached.
        let others =
            survey.outcomes.iter().filter(|(other, _)| survey.has_all_finals() && (violates || *other != outcome));
        let others: Vec<usize> = others.flat_map(|(_, reached)| reached.passing.iter().copied()).collect();
        let explained = &survey.explored;
        let mut explanation = self.explorer.explain(&self.start, explained, &wanted, &others, time, Sought::Fewest);
        let choices = match outcome {
            Outcome::Deadlock(_) | Outcome::Livelock(_) => [self.region.before(), &explanation.choices].concat(),
            _ => {
                let mut ending = self.finish(survey.model, &explanation.choices);
                if self.outcome_of(&ending) != *outcome {
                    // An end inside the region that looks the same came after the cores had said something else.
                    explanation = self.explorer.explain(&self.start, explained, &wanted, &others, time, Sought::Known);
                    ending = self.finish(survey.model, &explanation.choices);
                }
                assert_eq!(self.outcome_of(&ending), *outcome, "the way told leads to the outcome it is told for");
                self.worth_telling(outcome, &explanation.choices, ending)
            }
        };
        explanation.violates = violates;
        explanation.pixels_from = (self.judging == Judging::Screen).then_some(self.settings.ram_bytes);
        let schedule = self.schedule(survey.model, choices);
        Some((explanation, schedule))
    }

    /// The instruction at linear address `pc`, in nasm's syntax.
    pub fn instruction_text(&mut self, pc: u64) -> Option<String> {
        self.explorer.instruction_text(CoreId(0), pc)
    }

    /// The machine's settings, apart from the model.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What explores, and where it begins.
    pub fn explorer(&mut self) -> (&mut Explorer, &Start) {
        (&mut self.explorer, &self.start)
    }

    /// The region.
    pub fn region(&mut self) -> &mut Region {
        &mut self.region
    }

    /// `choices` as a schedule.
    pub fn schedule(&self, model: MemoryModel, choices: Vec<Choice>) -> Schedule {
        let settings = Settings { model, ..self.settings.clone() };
        Schedule { image: self.image.hash(), settings, choices: joined(choices) }
    }
}

impl Survey {
    /// Whether every outcome is there.
    pub fn is_complete(&self) -> bool {
        self.has_all_finals() && !self.outcomes.contains_key(&Outcome::Unfinished)
    }

    /// Whether every state in which nothing more is possible has been met and gone on from.
    fn has_all_finals(&self) -> bool {
        self.explored.is_complete() && !self.is_late
    }

    /// What exploration left out.
    pub fn cuts(&self) -> Vec<Cut> {
        let mut cuts = self.explored.cuts();
        if self.is_late && !cuts.contains(&Cut::Time) {
            cuts.push(Cut::Time);
        }
        cuts
    }

    /// Everything that makes it incomplete, in words.
    pub fn reasons(&self) -> Vec<String> {
        let endless = self.outcomes.contains_key(&Outcome::Unfinished).then(|| DOES_NOT_END.to_owned());
        self.cuts().iter().map(ToString::to_string).chain(endless).collect()
    }
}

/// The same choices, where a core's steps in a row are one, as far as a schedule lets them.
fn joined(choices: Vec<Choice>) -> Vec<Choice> {
    let mut joined: Vec<Choice> = Vec::new();
    for choice in choices {
        if let Some(Choice::Run { core, steps, drained: false }) = joined.last_mut()
            && let Choice::Run { core: next, steps: more, drained: false } = choice
            && *core == next
            && *steps + more <= MOST_STEPS
        {
            *steps += more;
        } else {
            joined.push(choice);
        }
    }
    joined
}

/// What `choices` have beyond `whole`, after which nothing more is possible.
fn too_long(choices: &[Choice], whole: &[Choice]) -> Option<Misfit> {
    let &choice = choices.get(whole.len())?;
    Some(Misfit { at: whole.len(), choice: Some(choice), problem: "the run is over before it".into() })
}

/// Whether a run that stopped like this is a violation; `None` when it has not stopped.
fn is_bad(stop: Option<Stop>) -> Option<bool> {
    match stop? {
        Stop::Exited { code } => Some(code != 0),
        Stop::Faulted { .. } => Some(true),
        Stop::AllHalted | Stop::Reset => Some(false),
    }
}

/// What is on the screen of `machine`: the last frame presented, or the text.
fn picture(machine: &Machine) -> Picture {
    let bus = machine.outer_state().board.bus();
    let frame = bus.device::<Framebuffer>().and_then(Framebuffer::picture);
    frame.unwrap_or_else(|| bus.device::<VgaText>().expect("every board has a text screen").picture())
}

fn screen_of(picture: &Picture) -> Outcome {
    let mut hasher = SipHasher13::new();
    picture.hash(&mut hasher);
    Outcome::Screen(hasher.finish())
}

/// Where the cores of `machine` are, after so many steps.
fn whereabouts(machine: &Machine, steps: u64) -> GivenUp {
    let halted: Vec<bool> = machine.outer_state().cores.iter().map(|core| core.is_halted()).collect();
    let at = cores(halted.len() as u8).zip(halted);
    let cores = at.map(|(core, halted)| Whereabouts { core, halted, pc: machine.linear_pc(core) }).collect();
    GivenUp { steps, cores }
}

fn outcome_of(stop: Option<Stop>, output: &Output) -> Outcome {
    match (stop, output.outcome()) {
        (Some(Stop::Faulted { pc, .. }), _) => Outcome::Faulted(pc),
        (Some(_), Some(text)) => Outcome::Reported(text.to_owned()),
        (Some(Stop::Exited { code }), None) => Outcome::Exited(code),
        (Some(Stop::AllHalted), None) => Outcome::AllHalted,
        (Some(Stop::Reset), None) => Outcome::Reset,
        (None, _) => Outcome::Unfinished,
    }
}

/// The names of all cores of a machine with so many.
pub(super) fn cores(count: u8) -> impl Iterator<Item = CoreId> {
    (0..count).map(CoreId)
}
