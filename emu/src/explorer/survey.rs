//! Everything a guest program can come to under one memory model.

use super::explain::{Explanation, Sought, Wanted};
use super::limits::{Cut, CutPlace, Limits};
use super::recorded::{self, Overview, Telling};
use super::region::{Aftermath, Ending, Region, difference};
use super::toggles::Toggles;
use super::waiting::{MOST_AFTERWARDS, Unsettled};
use super::{End, Explored, Explorer, Hang, Hangs, Interrupts, Misfit, Plan, Start, Strategy};
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
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// Steps after which a guest that has left its region is given up.
const LONGEST_ENDING: u64 = 20_000_000;

/// Why nothing is complete when a guest was given up after its region.
pub(super) const DOES_NOT_END: &str = "the guest does not end after its region, as far as it was followed";

/// Why nothing is right when all that was explored cannot be seen by another core.
pub(super) const NOTHING_SHARED: &str = "nothing that a core does in the region can be seen by another: no memory is shared \
     there; let `xchg bx, bx` stand before the accesses that matter and `xchg cx, cx` behind them, on every core that takes part";

/// Why nothing is complete when a core comes to its region again.
pub(super) const BEGINS_AGAIN: &str = "a core comes to `xchg bx, bx` again behind its region, and only its first pass was explored; \
     let each core pass its marks once";

/// A guest at the beginning of its region, to be explored under one model after another.
pub struct Surveyor {
    image: Image,
    settings: Settings,
    region: Region,
    explorer: Explorer,
    start: Start,
    /// How the guest ends after final states of the region.
    endings: HashMap<u128, Ended>,
    judging: Judging,
    /// When interrupts come behind a schedule that is followed.
    interrupts: Interrupts,
    /// What the guest may report, where that is known.
    listed: Option<BTreeSet<String>>,
}

/// How a guest ends after its region.
#[derive(Clone)]
struct Ended {
    /// Why; `None` where it was given up.
    stop: Option<Stop>,
    /// One of its cores waits for an interrupt then.
    sleeps: bool,
    /// It has not stopped and never does.
    hangs: bool,
    /// A core comes to its region again.
    begins_again: bool,
    /// What it has reported, if that was after its region.
    reported: Option<String>,
}

/// What a final state of the region leads to.
pub(super) enum Judged {
    /// No violation.
    Right,
    /// A violation.
    Wrong,
    /// The guest was given up after its region.
    Endless,
    /// What it has reported counts, and is not known.
    Untold,
    /// No violation, but a core comes to its region again.
    Again,
    /// A core is about to do something that is not followed.
    Cut,
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
    /// The cores that have begun the region; the others had halted before.
    pub entered: Vec<CoreId>,
    /// Cores that wait in the region while others have left it, where it is not so, or not known, that this is for ever.
    pub unsettled: BTreeSet<Unsettled>,
    /// A core comes to its region again: only its first pass was explored.
    pub begins_again: bool,
    /// Not all final states were gone on from, or not all that wait for ever were looked at: the time was over.
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

impl Outcome {
    fn of(hang: Hang) -> Outcome {
        // Where an interrupt comes again and again, a core goes on.
        let is_still = !hang.changes && hang.interrupts == Interrupts::Late;
        if is_still { Outcome::Deadlock(hang.whereabouts) } else { Outcome::Livelock(hang.whereabouts) }
    }
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
    /// Whether that is a hang only as long as interrupts are taken at once.
    pub interrupts: Interrupts,
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
        // Without a region marks are nothing.
        let start = match region.is_whole() {
            true => explorer.start_behind(settings.cores),
            false => explorer.start_here(settings.cores),
        };
        Ok(Surveyor {
            image,
            settings,
            region,
            explorer,
            start,
            endings: HashMap::new(),
            judging: Judging::default(),
            interrupts: Interrupts::Late,
            listed: None,
        })
    }

    /// Explores under `model`, as `plan` says. The time of `limits` bounds exploring, and again finding out what the final
    /// states mean.
    pub fn survey(&mut self, plan: &Plan, model: MemoryModel, limits: &Limits) -> Survey {
        let began = Instant::now();
        let explored = self.explorer.explore_by(plan, &self.start, model, limits);
        let explored_in = began.elapsed();
        // What exploration has found in its time is worth as much again.
        let began_judging = Instant::now();
        let mut outcomes: BTreeMap<Outcome, Reached> = BTreeMap::new();
        let (mut is_late, mut begins_again) = (false, false);
        for index in 0..explored.finals().len() {
            // What was reached within the time is worth a moment more: one of many is always told.
            is_late = index > 0 && limits.time.is_some_and(|time| began_judging.elapsed() > time);
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
                    begins_again |= ending.begins_again;
                    screen = (self.judging == Judging::Screen).then(|| self.screen());
                    match ending.stop {
                        Some(Stop::Exited { code }) => exit_code = Some(code),
                        Some(Stop::Faulted { fault: why, .. }) => fault = Some(why),
                        Some(Stop::AllHalted) => sleeps = self.region.finished().waits_for_interrupt(),
                        Some(Stop::Reset) => (),
                        None => given_up = Some(self.given_up(ending.steps_after)),
                    }
                    let hang = if ending.goes_round { self.hang_behind(model, limits) } else { None };
                    let outcome = hang.unwrap_or_else(|| self.outcome_of(&ending));
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
                interrupts: plan.interrupts,
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
        let Hangs { proven, unsettled, is_late: is_cut } = self.explorer.hangs(&self.start, &explored, limits);
        for hang in proven {
            let (outcome, reached) = self.reached(model, hang);
            outcomes.entry(outcome).or_insert(reached);
        }
        let times = (explored_in, began.elapsed() - explored_in);
        let entered = self.region.entered().to_vec();
        Survey { model, outcomes, explored, times, entered, unsettled, begins_again, is_late: is_late || is_cut }
    }

    /// Cores that wait for ever, as an outcome.
    fn reached(&self, model: MemoryModel, hang: Hang) -> (Outcome, Reached) {
        let Hang { path, states, first, interrupts, .. } = &hang;
        let choices = [self.region.before(), path].concat();
        let reached = Reached {
            states: *states,
            schedule: self.schedule(model, choices),
            region: path.clone(),
            finals: Vec::new(),
            sleeps: false,
            exit_code: None,
            screen: None,
            fault: None,
            given_up: None,
            passing: Vec::new(),
            hang: Some(*first),
            interrupts: *interrupts,
        };
        (Outcome::of(hang), reached)
    }

    /// How cores wait for ever in the state in which the guest goes round behind its region; `None` where it may end, or where
    /// that cannot be told.
    fn hang_behind(&mut self, model: MemoryModel, limits: &Limits) -> Option<Outcome> {
        let settings = Settings { model: MemoryModel::SC, ..self.settings.clone() };
        let mut machine = Machine::new(&self.image, settings).ok()?;
        machine.restore(&self.region.finished().snapshot());
        let mut explorer = Explorer::new(machine, &self.settings);
        let start = explorer.start_behind(self.settings.cores);
        let limits = Limits { states: MOST_AFTERWARDS, threads: 1, ..*limits };
        let explored = explorer.explore(&start, model, &limits);
        let hang = explorer.only_hangs(&start, &explored, &limits)?;
        let whereabouts = format!("behind the region, {}", hang.whereabouts);
        Some(Outcome::of(Hang { whereabouts, ..hang }))
    }

    /// The choices of the whole run; of one that does not end, those up to the end of its `region`.
    fn worth_telling(&self, outcome: &Outcome, region: &[Choice], ending: Ending) -> Vec<Choice> {
        match outcome {
            Outcome::Unfinished | Outcome::ScheduleEnd | Outcome::Deadlock(_) | Outcome::Livelock(_) => {
                [self.region.before(), region].concat()
            }
            Outcome::Reported(_)
            | Outcome::Exited(_)
            | Outcome::Screen(_)
            | Outcome::Reset
            | Outcome::AllHalted
            | Outcome::Faulted(_) => ending.choices,
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
        let interrupts = self.interrupts;
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
        let plan = Plan { strategy: Strategy::REPLAY, choices, interrupts, ..Plan::default() };
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

    /// From now on a schedule that is followed may leave cores where no end can be reached with `interrupts` like that.
    pub fn wait_with(&mut self, interrupts: Interrupts) {
        self.interrupts = interrupts;
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
            entered: cores(settings.cores).collect(),
            unsettled: BTreeSet::new(),
            begins_again: false,
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
            interrupts: Interrupts::Late,
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

    /// From now on, where fences are judged, a guest that reports anything else is wrong; with `None` it may report anything.
    pub fn allow_only(&mut self, listed: Option<BTreeSet<String>>) {
        self.listed = listed;
    }

    /// Whether it is a violation what comes after that final state of the region, by what
    /// [`explore`](Surveyor::survey) calls one.
    pub(super) fn judge_ending(&mut self, explored: &Explored, index: usize) -> Judged {
        let mut ended = self.ended(explored, index);
        let Some(stop) = ended.stop else {
            return if ended.hangs { Judged::Wrong } else { Judged::Endless };
        };
        if is_bad(stop) {
            return Judged::Wrong;
        }
        let counts = ended.sleeps || self.listed.is_some();
        if counts && ended.reported.is_none() {
            // It may have reported inside its region; a way with a fence left out is none that the machine knows.
            if !explored.is_of_the_machine() {
                return Judged::Untold;
            }
            let region = self.explorer.path(&self.start, explored, index);
            let ending = self.finish(explored.model(), &region);
            ended.reported = reported(&ending);
        }
        let is_listed =
            self.listed.as_ref().is_none_or(|listed| ended.reported.as_ref().is_some_and(|it| listed.contains(it)));
        let is_asleep = ended.sleeps && ended.reported.is_none();
        match (is_asleep || !is_listed, ended.begins_again) {
            (true, _) => Judged::Wrong,
            (false, true) => Judged::Again,
            (false, false) => Judged::Right,
        }
    }

    /// How the guest ends after that final state, which is put into the machine as it is.
    fn ended(&mut self, explored: &Explored, index: usize) -> Ended {
        if let Some(stop) = explored.finals()[index].stop() {
            return Ended { stop: Some(stop), sleeps: false, hangs: false, begins_again: false, reported: None };
        }
        let name = self.explorer.name_of(explored, index);
        if let Some(known) = self.endings.get(&name) {
            return known.clone();
        }
        let placed = self.explorer.place(explored, index);
        let Aftermath { stop, said, goes_round, begins_again } = self.region.finish_from(&placed, LONGEST_ENDING);
        let sleeps = stop == Some(Stop::AllHalted) && self.region.finished().waits_for_interrupt();
        let reported = said.outcome().map(str::to_owned);
        let hangs = goes_round && self.hang_behind(explored.model, &Limits::default()).is_some();
        let ended = Ended { stop, sleeps, hangs, begins_again, reported };
        self.endings.insert(name, ended.clone());
        ended
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

    /// The instruction at linear address `pc`.
    pub fn instruction(&mut self, pc: u64) -> Option<iced_x86::Instruction> {
        self.explorer.instruction(CoreId(0), pc)
    }

    /// The machine's settings, apart from the model.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Ways in which cores wait for ever.
    pub(super) fn hangs(&mut self, explored: &Explored, limits: &Limits) -> Hangs {
        self.explorer.hangs(&self.start, explored, limits)
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
        let is_settled = self.unsettled.is_empty() && !self.begins_again;
        self.has_all_finals() && is_settled && !self.outcomes.contains_key(&Outcome::Unfinished)
    }

    /// Whether the region has nothing in it that one core does and another could see: then no order of steps differs from
    /// any other, and that all end well says nothing. What goes wrong in it goes wrong all the same.
    pub fn is_hollow(&self) -> bool {
        let is_wrong = self.outcomes.iter().any(|(outcome, reached)| reached.is_violation(outcome));
        let has_nothing = self.explored.witness().is_some_and(|witness| witness.is_hollow());
        self.explored.is_complete() && self.unsettled.is_empty() && has_nothing && !is_wrong
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

    /// Where cores were about to do something that is not followed, the smallest addresses first for each reason.
    pub fn cut_places(&self) -> Vec<CutPlace> {
        self.explored.cut_places().copied().collect()
    }

    /// Everything that makes it incomplete, in words.
    pub fn reasons(&self) -> Vec<String> {
        let endless = self.outcomes.contains_key(&Outcome::Unfinished).then(|| DOES_NOT_END.to_owned());
        let waits = self.unsettled.iter().map(ToString::to_string);
        let again = self.begins_again.then(|| BEGINS_AGAIN.to_owned());
        let hollow = self.is_hollow().then(|| NOTHING_SHARED.to_owned());
        self.cuts().iter().map(ToString::to_string).chain(endless).chain(waits).chain(again).chain(hollow).collect()
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

/// Whether a run that stopped like this is a violation, whatever else it did.
fn is_bad(stop: Stop) -> bool {
    match stop {
        Stop::Exited { code } => code != 0,
        Stop::Faulted { .. } => true,
        Stop::AllHalted | Stop::Reset => false,
    }
}

/// What the guest has reported, unless it was given up.
fn reported(ending: &Ending) -> Option<String> {
    let mut output = Output::default();
    ending.events.iter().for_each(|line| output.take(&line.event));
    let is_over = matches!(ending.stop, Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset));
    output.outcome().filter(|_| is_over).map(str::to_owned)
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
