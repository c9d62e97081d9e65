//! What exploration has found, as a table and as JSON.

use super::{Explore, Told, timeline};
use crate::cli::colour;
use crate::cli::cut_off::{self, CutOff};
use crate::cli::explored_guest::variant;
use crate::cli::guest::{Subject, Target, quoted, quoted_path};
use crate::cli::stanza::{Judgement, judge};
use crate::cli::table::{self, Align, counted, grouped};
use fencepost::core::CoreId;
use fencepost::explorer::explain::Explanation;
use fencepost::explorer::survey::{GivenUp, Outcome, Reached, Survey, Whereabouts};
use fencepost::explorer::{Interrupts, Witness};
use fencepost::loader::Symbols;
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::programs::Variant;
use fencepost::schedule::Schedule;
use serde::Serialize;
use std::path::PathBuf;

/// A schedule as text up to this long is repeated in the replay line.
const SHORT_SCHEDULE: usize = 1500;

/// Rows of a recorded run's story that are told unless all are asked for: half of them at its beginning, half at its end.
const MOST_ROWS: usize = 200;

/// Everything found.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    subject: Subject,
    cores: u8,
    processor: &'static str,
    ok: bool,
    models: Vec<ModelReport>,
    #[serde(skip)]
    symbols: Symbols,
}

/// What was found under one model.
#[derive(Serialize)]
struct ModelReport {
    model: &'static str,
    complete: bool,
    /// Nothing in the region can be seen by another core, so that there is nothing to prove.
    hollow: bool,
    /// Why it is not complete, and where that is.
    cuts: Vec<String>,
    /// Interrupts were taken at once: orders in which one is late were not tried.
    prompt: bool,
    /// The cores that have begun the region.
    entered: Vec<CoreId>,
    /// What one core does and another could see; none where only some orders were tried.
    witness: Option<Witness>,
    /// The places among them.
    cut_off: Vec<CutOff>,
    states: usize,
    transitions: u64,
    executions: u64,
    seconds: f64,
    seconds_for_endings: f64,
    outcomes: Vec<Row>,
    /// What the stanza or `--must-reach` asks for and was not reached.
    missing: Vec<String>,
    /// A way to a violation, or to the outcome asked for.
    told: Option<ToldRow>,
}

/// A way to an outcome.
#[derive(Serialize)]
struct ToldRow {
    outcome: String,
    /// It is told under `sc`: it comes about without any store being late.
    is_possible_under_sc: bool,
    #[serde(flatten)]
    explanation: Explanation,
    replay: Option<String>,
    schedule: String,
    /// Nothing is to be left out.
    #[serde(skip)]
    tells_all: bool,
}

/// One outcome.
#[derive(Serialize)]
struct Row {
    outcome: String,
    states: usize,
    violation: bool,
    hazard: Option<bool>,
    listed: Option<bool>,
    replay: Option<String>,
    schedule: String,
    /// Why it faulted, in words.
    fault: Option<String>,
    /// Where it was given up after its region, or its schedule ends.
    given_up: Option<GivenUp>,
    /// It is a recorded run that had not ended when its schedule did.
    #[serde(skip)]
    is_cut: bool,
}

impl Report {
    pub(super) fn new(
        explore: &Explore,
        target: &Target,
        settings: &Settings,
        found: Vec<(&Survey, Vec<CutOff>, Option<Told>)>,
        files: &[Vec<Option<PathBuf>>],
        symbols: Symbols,
    ) -> Report {
        let variant = variant(target, &settings.command_line);
        let words = target.words(&settings.command_line);
        let models = found.into_iter().enumerate().map(|(index, (survey, cut_off, told))| {
            let files = files.get(index).map_or(&[] as &[Option<PathBuf>], Vec::as_slice);
            let report = ModelReport::new(explore, survey, variant, &words, files, told);
            ModelReport { cuts: cut_off::lines(&report.cuts, &cut_off), cut_off, ..report }
        });
        let models: Vec<ModelReport> = models.collect();
        Report {
            subject: target.subject(variant),
            cores: settings.cores,
            processor: settings.processor.name(),
            ok: models.iter().all(|model| model.complete && !model.is_violated()),
            models,
            symbols,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        if self.models.iter().any(ModelReport::is_violated) {
            1
        } else if self.models.iter().any(|model| !model.complete) {
            3
        } else {
            0
        }
    }

    pub(super) fn text(&self) -> String {
        let coloured = colour::is_wanted(&std::io::stdout());
        self.models.iter().map(|model| model.text(&self.symbols, self.cores, coloured)).collect::<Vec<_>>().join("\n")
    }
}

impl ModelReport {
    fn new(
        explore: &Explore,
        survey: &Survey,
        variant: Option<&'static Variant>,
        words: &str,
        files: &[Option<PathBuf>],
        told: Option<Told>,
    ) -> ModelReport {
        let again = Again { words, is_whole: explore.guest.is_whole() };
        let outcomes: Vec<Row> = survey
            .outcomes
            .iter()
            .enumerate()
            .map(|(index, (outcome, reached))| {
                Row::new(outcome, reached, variant, survey.model, &again, files.get(index).and_then(Option::as_ref))
            })
            .collect();
        let is_reached = |text: &str| outcomes.iter().any(|row| row.outcome == text);
        let expectation = variant.and_then(|variant| variant.expectation(survey.model.name()));
        let is_judged = !survey.outcomes.keys().any(|outcome| matches!(outcome, Outcome::Screen(_)));
        // One given execution is not asked for all of them.
        let hazards = expectation
            .filter(|_| is_judged && explore.schedule.is_none())
            .into_iter()
            .flat_map(|it| it.outcomes)
            .filter(|it| it.hazard)
            .map(|it| it.text);
        let wanted = explore.must_reach.iter().map(String::as_str).chain(hazards);
        let missing = wanted.filter(|text| !is_reached(text)).map(str::to_owned).collect();
        ModelReport {
            model: survey.model.name(),
            complete: survey.is_complete() && !survey.is_hollow(),
            hollow: survey.is_hollow(),
            cuts: survey.reasons(),
            prompt: explore.prompt,
            entered: survey.entered.clone(),
            witness: survey.explored.witness(),
            cut_off: Vec::new(),
            states: survey.explored.states(),
            transitions: survey.explored.transitions(),
            executions: survey.explored.executions(),
            seconds: survey.times.0.as_secs_f64(),
            seconds_for_endings: survey.times.1.as_secs_f64(),
            outcomes,
            missing,
            told: told.map(|told| ToldRow {
                outcome: told.outcome.to_string(),
                replay: again.by_text(&told.outcome, told.interrupts, &told.schedule),
                is_possible_under_sc: told.is_possible_under_sc,
                schedule: told.schedule.to_string(),
                tells_all: explore.all,
                explanation: told.explanation,
            }),
        }
    }

    /// Whether something was found that must not be, or proved to be impossible that must be possible.
    fn is_violated(&self) -> bool {
        self.outcomes.iter().any(|row| row.violation) || self.complete && !self.missing.is_empty()
    }

    fn text(&self, symbols: &Symbols, cores: u8, coloured: bool) -> String {
        let bound = self.bound();
        let prompt = if self.prompt { " as long as interrupts come at once" } else { "" };
        let mut text = format!(
            "{}: {bound}{prompt}, {}, {}, {:.1} ms; {}\n",
            self.model,
            counted(self.states as u64, "state"),
            counted(self.executions, "execution"),
            self.seconds * 1e3,
            self.seen(cores),
        );
        // A single reason stands in the first line.
        for cut in self.cuts.iter().filter(|_| self.cuts.len() > 1) {
            text += &format!("  cut off: {cut}\n");
        }
        let head = [("outcome", Align::Left), ("states", Align::Right), ("", Align::Left), ("replay", Align::Left)];
        text += &table::text(&head, self.outcomes.iter().map(|row| (row.cells(), row.violation)), coloured);
        for row in &self.outcomes {
            let remark = row.remark(symbols);
            text += &remark.map_or(String::new(), |remark| format!("  {}: {remark}\n", row.outcome));
        }
        for missing in &self.missing {
            let proof = if self.complete { "cannot be reached" } else { "was not reached" };
            text += &format!("`{missing}` must be reachable and {proof}\n");
        }
        if let Some(told) = &self.told {
            let Explanation { switches, delayed_drains, is_minimal, untold_rounds, .. } = &told.explanation;
            let plural = if *switches == 1 { "" } else { "es" };
            let drains = counted(*delayed_drains as u64, "delayed drain");
            let switches = format!("{} context switch{plural}", grouped(*switches as u64));
            let cost = match (is_minimal, untold_rounds) {
                (true, _) => format!("{switches}, as few as there can be, and {drains}"),
                (false, None) => format!("{switches} and {drains}, not the fewest"),
                (false, Some(_)) => format!("{switches} and {drains}, as recorded"),
            };
            let under = if told.is_possible_under_sc { " under sc, too, so that no fence helps" } else { "" };
            text += &format!("\nHow `{}` comes about{under} ({cost}):\n\n", told.outcome);
            let most = if untold_rounds.is_some() && !told.tells_all { MOST_ROWS } else { usize::MAX };
            let lines = timeline::lines(&told.explanation, symbols, cores, coloured, most);
            if let Some(untold @ 1..) = untold_rounds {
                text += &format!("      (the last of {}; --all tells all)\n\n", counted(untold + 1, "round"));
            }
            text += &(lines.join("\n") + "\n");
            if let Some(replay) = &told.replay {
                text += &format!("\nreplay  {replay}\n");
            }
        }
        text
    }
}

impl ModelReport {
    /// The verdict, and what limits it.
    fn bound(&self) -> String {
        let word = match (self.complete, self.hollow) {
            (true, _) => return "complete".into(),
            (false, true) => "NOTHING TO PROVE",
            (false, false) => "NOT COMPLETE",
        };
        match self.cuts.as_slice() {
            [] => word.into(),
            [only] => format!("{word} ({only})"),
            [first, others @ ..] => format!("{word} ({first}, and {} more)", counted(others.len() as u64, "reason")),
        }
    }

    /// Who took part, and how much of it others could see.
    fn seen(&self, cores: u8) -> String {
        let who = match self.entered.as_slice() {
            all if all.len() == usize::from(cores) && cores > 1 => "all cores entered".to_owned(),
            few => {
                let names: Vec<String> = few.iter().map(ToString::to_string).collect();
                format!("{} entered", names.join(", "))
            }
        };
        let Some(witness) = self.witness else { return who };
        let shared = match witness.shared_accesses {
            1 => "1 shared access".to_owned(),
            more => format!("{} shared accesses", grouped(more as u64)),
        };
        let devices = match witness.device_accesses {
            0 => String::new(),
            devices => format!(", {} to devices", grouped(devices as u64)),
        };
        let at_mark = (0..cores).filter(|core| witness.interrupted_at_mark & 1 << core != 0);
        let at_mark: Vec<String> = at_mark.map(|core| CoreId(core).to_string()).collect();
        let trust = match at_mark.is_empty() {
            true => String::new(),
            false => format!(", {} taken to leave interrupts on behind the region", at_mark.join(" and ")),
        };
        format!("{who}, {shared}{devices}{trust}")
    }
}

/// What commands that give an outcome again have in common.
struct Again<'a> {
    words: &'a str,
    is_whole: bool,
}

impl Again<'_> {
    /// The command that gives `outcome` again with its schedule, unless that is long.
    fn by_text(&self, outcome: &Outcome, interrupts: Interrupts, schedule: &Schedule) -> Option<String> {
        let text = schedule.to_string();
        (text.len() <= SHORT_SCHEDULE).then(|| self.command(outcome, interrupts, &quoted(&text)))
    }

    /// The command that gives `outcome` again with the schedule in `given`. That nothing more can happen no run can tell.
    fn command(&self, outcome: &Outcome, interrupts: Interrupts, given: &str) -> String {
        let Again { words, is_whole } = self;
        match outcome {
            Outcome::Deadlock(_) | Outcome::Livelock(_) => {
                let whole = if *is_whole { " --whole" } else { "" };
                let prompt = if interrupts == Interrupts::Prompt { " --prompt" } else { "" };
                format!("fencepost explore {words}{whole}{prompt} --strategy replay --schedule {given}")
            }
            Outcome::Reported(_)
            | Outcome::Exited(_)
            | Outcome::Screen(_)
            | Outcome::AllHalted
            | Outcome::Reset
            | Outcome::Faulted(_)
            | Outcome::Unfinished
            | Outcome::ScheduleEnd => format!("fencepost run {words} --schedule {given}"),
        }
    }
}

impl Row {
    fn new(
        outcome: &Outcome,
        reached: &Reached,
        variant: Option<&'static Variant>,
        model: MemoryModel,
        again: &Again,
        file: Option<&PathBuf>,
    ) -> Row {
        let reported = match outcome {
            Outcome::Reported(text) => Some(text.as_str()),
            _ => None,
        };
        // A stanza lists what is reported, not screens.
        let judged = variant.filter(|_| !matches!(outcome, Outcome::Screen(_) | Outcome::ScheduleEnd));
        let judgement = judged.and_then(|variant| judge(variant, model, reported));
        let schedule = reached.schedule.to_string();
        let replay = match file {
            Some(file) => Some(again.command(outcome, reached.interrupts, &quoted_path(file))),
            None => again.by_text(outcome, reached.interrupts, &reached.schedule),
        };
        Row {
            outcome: outcome.to_string(),
            states: reached.states,
            violation: reached.is_violation(outcome) || judgement == Some(Judgement::Unlisted),
            hazard: judgement.map(|judgement| judgement == Judgement::Hazard),
            listed: judgement.map(|judgement| judgement != Judgement::Unlisted),
            replay,
            schedule,
            fault: reached.fault.map(|fault| fault.to_string()),
            given_up: reached.given_up.clone(),
            is_cut: *outcome == Outcome::ScheduleEnd,
        }
    }

    /// What there is to say beside the name.
    fn remark(&self, symbols: &Symbols) -> Option<String> {
        let given_up = |given_up: &GivenUp| {
            let place = |at: &Whereabouts| match at.halted {
                true => format!("{} has halted", at.core),
                false => format!("{} is at {}", at.core, timeline::place(symbols, at.pc)),
            };
            let places: Vec<String> = given_up.cores.iter().map(place).collect();
            let why = if self.is_cut { "the schedule ends" } else { "given up" };
            format!("{why} after {}; {}", counted(given_up.steps, "step"), places.join(", "))
        };
        self.fault.clone().or_else(|| self.given_up.as_ref().map(given_up))
    }

    fn cells(&self) -> Vec<String> {
        let remark = match (self.listed, self.hazard) {
            (Some(false), _) => Judgement::Unlisted.word(),
            (_, Some(true)) => Judgement::Hazard.word(),
            _ if self.violation => "VIOLATION",
            _ => "",
        };
        let replay = self.replay.clone().unwrap_or_else(|| "(long: write it with --save FOLDER)".into());
        vec![self.outcome.clone(), grouped(self.states as u64), remark.to_owned(), replay]
    }
}
