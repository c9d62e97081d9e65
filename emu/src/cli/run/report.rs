//! What one run came to, for people and as JSON.

use crate::cli::colour::{self, Colour, paint};
use crate::cli::failure::note;
use crate::cli::guest::{Subject, Target};
use crate::cli::run::fault::FaultReport;
use crate::cli::run::point::Point;
use crate::cli::run::undone::Undone;
use crate::cli::stanza::{Judgement, judge};
use crate::cli::table::counted;
use fencepost::devices::TICKS_PER_SECOND;
use fencepost::loader::Image;
use fencepost::machine::{Settings, Stop};
use fencepost::runner::Ended;
use fencepost::testbench::{CoreCounts, Counts, Run};
use serde::Serialize;
use std::time::Duration;

/// How the run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum How {
    /// The guest exited.
    Exited,
    /// A core faulted.
    Faulted,
    /// Every core has halted.
    AllHalted,
    /// The guest has reset the machine.
    Reset,
    /// The point of `--until` was reached.
    Reached,
    /// The bound on steps was reached.
    StepLimit,
    /// The schedule has no more choices.
    ScheduleEnd,
    /// Every core waits for input, and none is left.
    AwaitsInput,
    /// Who typed has left.
    Left,
}

/// Everything there is to say about one run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    subject: Subject,
    /// Hash of the image, in hexadecimal.
    image: String,
    cores: u8,
    model: &'static str,
    processor: &'static str,
    ram: u64,
    depth: usize,
    wc_depth: usize,
    args: String,
    /// `null` for a replay.
    seed: Option<u64>,
    ended: How,
    /// The code with which the guest exited.
    exit_code: Option<u8>,
    fault: Option<FaultReport>,
    outcome: Option<String>,
    /// Whether the program's stanza calls the outcome a hazard; `null` without outcome or stanza.
    hazard: Option<bool>,
    /// Whether the program's stanza lists the outcome for this model.
    listed: Option<bool>,
    steps: u64,
    /// In all, and core by core.
    counts: CountsReport,
    /// Seconds of the machine's time.
    virtual_seconds: f64,
    /// What is not the same each time.
    host: Host,
    frames: u64,
    /// Hash of all events, in hexadecimal.
    trace_hash: String,
    serial: String,
    debug_console: String,
    /// What was to be typed and was not; `null` when all was.
    undone: Option<Undone>,
    /// The command line that gives this run again.
    replay: Option<String>,
    /// The command line that tells this run step by step.
    story: Option<String>,
    /// The schedule, if it was recorded.
    schedule: Option<String>,
    /// The command line that tells whether cores hang where the schedule ends.
    #[serde(skip)]
    explore: Option<String>,
    /// What `--until` asked for and did not get.
    #[serde(skip)]
    missed: Option<String>,
}

/// What the cores did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct CountsReport {
    instructions: u64,
    interrupts: u64,
    exceptions: u64,
    page_faults: u64,
    software_interrupts: u64,
    cores: Vec<CoreCounts>,
}

/// Seconds of the host after which it can be said how fast it is: before, it has mostly set the machine up.
const LONG_ENOUGH: f64 = 0.5;

/// How long the host took.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct Host {
    seconds: f64,
    /// Millions of guest instructions in a second of the host's time.
    /// `null` when the host has waited for somebody to type.
    mips: Option<f64>,
}

/// What a report is made from, besides the run.
pub(super) struct Asked<'a> {
    /// What was run.
    pub(super) target: &'a Target,
    /// Its image.
    pub(super) image: &'a Image,
    /// The machine.
    pub(super) settings: &'a Settings,
    /// `None` for a replay.
    pub(super) seed: Option<u64>,
    /// The point of `--until`.
    pub(super) point: Option<&'a Point>,
    /// How long the host took.
    pub(super) took: Duration,
    /// Whether it waited for somebody to type.
    pub(super) has_rested: bool,
    /// The command line that gives the run again.
    pub(super) replay: Option<String>,
    /// The command line that explores from the schedule's end.
    pub(super) explore: Option<String>,
    /// The command line that tells the run.
    pub(super) story: Option<String>,
}

impl Report {
    /// The report of `run`.
    pub(super) fn new(run: &mut Run, asked: Asked) -> Report {
        let Asked { target, image, settings, seed, point, took, has_rested, replay, explore, story } = asked;
        let ended = how(run, point);
        let fault = match run.stop() {
            Some(Stop::Faulted { core, pc, fault }) => Some(FaultReport::new(run, image, core, pc, fault)),
            Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset) | None => None,
        };
        let variant = target.variant(&settings.command_line);
        let judgement = variant
            .filter(|_| run.outcome().is_some())
            .and_then(|variant| judge(variant, settings.model, run.outcome()));
        Report {
            subject: target.subject(variant),
            image: format!("{:016x}", image.hash()),
            cores: settings.cores,
            model: settings.model.name(),
            processor: settings.processor.name(),
            ram: settings.ram_bytes,
            depth: settings.depth,
            wc_depth: settings.wc_depth,
            args: settings.command_line.clone(),
            seed,
            ended,
            exit_code: run.exit_code(),
            fault,
            outcome: run.outcome().map(str::to_owned),
            hazard: judgement.map(|judgement| judgement == Judgement::Hazard),
            listed: judgement.map(|judgement| judgement != Judgement::Unlisted),
            steps: run.steps(),
            counts: CountsReport::new(run.counts()),
            virtual_seconds: run.time().0 as f64 / TICKS_PER_SECOND as f64,
            host: Host::new(took, (!has_rested).then_some(run.counts().instructions())),
            frames: run.frames(),
            trace_hash: format!("{:016x}", run.trace_hash()),
            serial: run.serial(),
            debug_console: run.debug_console(),
            undone: Undone::of(run.script_left()),
            replay,
            story,
            schedule: None,
            explore,
            missed: point.filter(|_| ended != How::Reached).map(ToString::to_string),
        }
    }

    /// Adds the schedule.
    pub(super) fn with_schedule(mut self, schedule: Option<String>) -> Report {
        self.schedule = schedule;
        self
    }

    /// The exit code of the process.
    pub(super) fn exit_code(&self) -> u8 {
        match (self.ended, self.exit_code) {
            (How::Exited | How::AllHalted | How::Reset, code) => match (code.unwrap_or(0), &self.missed) {
                (0, Some(_)) => 1,
                (code, _) => code,
            },
            (How::Faulted, _) => 1,
            (How::StepLimit, _) => 3,
            (How::Reached | How::ScheduleEnd | How::AwaitsInput | How::Left, _) => 0,
        }
    }

    /// Whether the guest came to an end, or where it was wanted, and took all that was to be typed.
    pub(super) fn is_complete(&self) -> bool {
        self.missed.is_none() && self.undone.is_none() && !matches!(self.ended, How::Faulted | How::StepLimit)
    }

    /// Writes the summary to standard error.
    pub(super) fn sum_up(&self) {
        let coloured = colour::is_wanted(&std::io::stderr());
        self.explain_end();
        if let Some(outcome) = &self.outcome {
            let (text, colour) = match (self.listed, self.hazard) {
                (Some(false), _) => (format!("NOT LISTED by the program's stanza under {}", self.model), Colour::Bad),
                (_, Some(true)) => (format!("a hazard, which {} allows", self.model), Colour::Bad),
                (_, Some(false)) => ("as it should be".to_owned(), Colour::Good),
                (_, None) => (String::new(), Colour::Faint),
            };
            let remark = if text.is_empty() { text } else { format!("  ({})", paint(&text, colour, coloured)) };
            note(&format!("outcome  {outcome}{remark}"));
        }
        let seed = self.seed.map_or("replayed".to_owned(), |seed| format!("seed {seed}"));
        let (steps, cores) = (counted(self.steps, "step"), counted(u64::from(self.cores), "core"));
        note(&format!("run      {steps}, {cores}, {}, {seed}, trace {}", self.model, self.trace_hash));
        note(&format!("counts   {}", self.counts));
        note(&format!("time     {:.6} s in the machine, {}", self.virtual_seconds, self.host));
        if let Some(replay) = &self.replay {
            note(&format!("replay   {}", paint(replay, Colour::Faint, coloured)));
        }
        if let Some(story) = &self.story {
            note(&format!("story    {}", paint(story, Colour::Faint, coloured)));
        }
    }

    /// Writes to standard error how the run ended, and where it faulted.
    pub(super) fn explain_end(&self) {
        let text = match (self.ended, &self.fault) {
            (How::Faulted, Some(fault)) => fault.to_string(),
            (How::Exited, _) => format!("the guest exited with code {}", self.exit_code.unwrap_or(0)),
            (How::Reset, _) => "the guest has reset the machine".to_owned(),
            (How::AllHalted | How::Faulted, _) => "every core has halted, and nothing can wake them".to_owned(),
            (How::Reached, _) => "stopped at the point of --until".to_owned(),
            (How::StepLimit, _) => {
                format!("given up after {}; raise --max-steps to go on", counted(self.steps, "step"))
            }
            (How::AwaitsInput, _) => {
                "every core waits for input, and none is left; --keys and --input give some".to_owned()
            }
            (How::Left, _) => "you have left; the guest has not ended".to_owned(),
            (How::ScheduleEnd, _) => "the schedule has ended; the guest has not".to_owned(),
        };
        note(&format!("ended    {text}"));
        if let (How::ScheduleEnd, Some(explore)) = (self.ended, &self.explore) {
            note("         whether its cores wait for ever then, exploration can tell if it has written the schedule:");
            note(&format!("         {explore}"));
        }
        for place in self.fault.iter().flat_map(FaultReport::places) {
            note(&format!("         {place}"));
        }
        if let Some(missed) = &self.missed {
            note(&format!("         before {missed} of --until"));
        }
        if let Some(undone) = &self.undone {
            note(&format!("input    {undone}"));
        }
    }
}

impl CountsReport {
    fn new(counts: &Counts) -> CountsReport {
        CountsReport {
            instructions: counts.instructions(),
            interrupts: counts.interrupts(),
            exceptions: counts.exceptions(),
            page_faults: counts.page_faults(),
            software_interrupts: counts.software_interrupts(),
            cores: counts.cores().to_vec(),
        }
    }
}

impl std::fmt::Display for CountsReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (interrupts, exceptions) = (counted(self.interrupts, "interrupt"), counted(self.exceptions, "exception"));
        write!(f, "{}, {interrupts}, {exceptions}", counted(self.instructions, "instruction"))?;
        if self.page_faults > 0 {
            write!(f, " ({})", counted(self.page_faults, "page fault"))?;
        }
        if self.software_interrupts > 0 {
            write!(f, ", {}", counted(self.software_interrupts, "software interrupt"))?;
        }
        Ok(())
    }
}

impl Host {
    fn new(took: Duration, instructions: Option<u64>) -> Host {
        let seconds = took.as_secs_f64();
        let mips = |instructions| instructions as f64 / seconds.max(f64::MIN_POSITIVE) / 1e6;
        Host { seconds, mips: instructions.map(mips) }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s of the host", self.seconds)?;
        if let Some(mips) = self.mips.filter(|_| self.seconds >= LONG_ENOUGH) {
            write!(f, ", {mips:.1} MIPS")?;
        }
        Ok(())
    }
}

fn how(run: &Run, point: Option<&Point>) -> How {
    let is_reached = matches!(point, Some(Point::Steps(steps)) if run.steps() >= *steps);
    match (run.ended(), run.stop()) {
        (Ended::Interrupted, _) => How::Reached,
        (_, Some(Stop::Exited { .. })) => How::Exited,
        (_, Some(Stop::Faulted { .. })) => How::Faulted,
        (_, Some(Stop::AllHalted)) => How::AllHalted,
        (_, Some(Stop::Reset)) => How::Reset,
        (Ended::StepLimit, None) if is_reached => How::Reached,
        (Ended::StepLimit | Ended::Stopped, None) => How::StepLimit,
        (Ended::ScheduleEnd, None) => How::ScheduleEnd,
        (Ended::AwaitsInput, None) => How::AwaitsInput,
        (Ended::Left, None) => How::Left,
    }
}
