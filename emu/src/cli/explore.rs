//! `fencepost explore`: every outcome that a guest can have, proved.

mod report;
mod timeline;

use super::cut_off::{self, CutOff};
use super::explored_guest::ExploredGuest;
use super::failure::{Failure, no_folder, note, refuse};
use super::guest::{RULE, Target};
use super::output_file::OutputFile;
use super::replayed::Replayed;
use super::table::{counted, grouped};
use super::{progress, seeds, stdout};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fencepost::devices::{Picture, contact_sheet};
use fencepost::explorer::explain::Explanation;
use fencepost::explorer::graph;
use fencepost::explorer::recorded::{Since, Telling};
use fencepost::explorer::survey::{Judging, Outcome, Reached, Survey, Surveyor};
use fencepost::explorer::{Interrupts, Limits, Misfit, Plan, Progress, Strategy};
use fencepost::memory_model::MemoryModel;
use fencepost::schedule::{MOST_CHOICES, Schedule};
use report::Report;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
pub(super) use timeline::place;

/// Pictures side by side on a contact sheet.
const SHEET_COLUMNS: u32 = 16;

/// Steps of a recorded run that are told unless all are asked for: a second of the host's time.
const LONGEST_TOLD: u64 = 1 << 17;

/// Explore every interleaving of a guest's marked region, and prove what can come out
///
/// Everything before the mark `xchg bx, bx` is run once; between it and `xchg cx, cx` every order of the cores' operations
/// and of the drains of their store buffers is tried; what comes after is run once for each state that was reached.
/// Programs of Fencepost's own are told `once`, so that they do one round.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = after_long_help())]
pub(super) struct Explore {
    #[command(flatten)]
    guest: ExploredGuest,

    /// Give up under a model when there are more states than this (those met meanwhile, hundreds, may come on top)
    #[arg(long, value_name = "N", help_heading = "Exploration", default_value_t = Limits::default().states as u64,
          value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    max_states: u64,

    /// Give up after this many seconds, on the way to the mark, again under each model, again with what comes after the region,
    /// and again while looking for a short way to tell
    #[arg(long, value_name = "SECONDS", help_heading = "Exploration", value_parser = clap::value_parser!(u64).range(1..))]
    time: Option<u64>,

    /// How many threads explore [default: one on each processor]; what is found does not depend on it
    #[arg(long, value_name = "N", help_heading = "Exploration", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// How orders are chosen
    #[arg(long, value_name = "STRATEGY", help_heading = "Exploration", default_value = Strategy::EXHAUSTIVE.name(),
          value_parser = strategy_parser())]
    strategy: Strategy,

    #[arg(long, value_name = "N", help_heading = "Exploration",
          help = format!("Preemptions of `bounded`; the bug depth of `pct` [default: {}]", Plan::default().bound))]
    bound: Option<u32>,

    #[arg(long, value_name = "N", help_heading = "Exploration", value_parser = clap::value_parser!(u64).range(1..),
          help = format!("Executions of `pct` and `random` [default: {}]", Plan::default().runs))]
    runs: Option<u64>,

    #[arg(long, value_name = "N", help_heading = "Exploration",
          help = format!("What `pct` and `random` draw from [default: {}]", Plan::default().seed))]
    seed: Option<u64>,

    /// Take interrupts at once, as emulators do: no core goes on where it could take one. On a processor one may come later
    #[arg(long, help_heading = "Exploration")]
    prompt: bool,

    /// The schedule that `replay` follows, as text or as a file such as --save and `run --record` write; its settings are used
    #[arg(long, value_name = "SCHEDULE", help_heading = "Exploration", required_if_eq("strategy", "replay"))]
    schedule: Option<String>,

    /// Tell a way to this outcome [default: the first violation; what `replay` follows]
    #[arg(long, value_name = "OUTCOME", help_heading = "Output")]
    explain: Option<String>,

    /// Tell a recorded run from the first mark on and leave nothing out, however long that is
    #[arg(long, help_heading = "Output", requires = "schedule")]
    all: bool,

    /// An outcome that must be reachable; may be said several times
    #[arg(long, value_name = "OUTCOME", help_heading = "Properties")]
    must_reach: Vec<String>,

    /// What tells outcomes apart: what the guest reports, or the picture on its screen
    #[arg(long, value_name = "WHAT", help_heading = "Output", value_enum, default_value_t = Outcomes::Report)]
    outcome: Outcomes,

    /// Write all distinct screens onto one PNG picture, numbered in the table's order; asks for --outcome screen
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    sheet: Option<PathBuf>,

    /// Draw the execution that is told as a graph (po, rf, co, fr) for graphviz
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    dot: Option<PathBuf>,

    /// Write the schedule of each outcome as a file in this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    save: Option<PathBuf>,

    /// Write one report as JSON; it has nothing but `no_answer` where a bound was reached before the mark
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What tells outcomes apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Outcomes {
    /// What the guest reports
    Report,
    /// The picture on its screen
    Screen,
}

/// Takes a strategy's name.
fn strategy_parser() -> impl TypedValueParser<Value = Strategy> {
    let values = Strategy::ALL.map(|strategy| PossibleValue::new(strategy.name()).help(strategy.summary()));
    PossibleValuesParser::new(values)
        .map(|name| Strategy::named(&name).expect("clap lets only the names of strategies through"))
}

fn after_long_help() -> String {
    format!("{RULE}\n\n{EXAMPLES}")
}

const EXAMPLES: &str = "\
Examples:
  fencepost explore store-buffering --model sc,tso,pso
  fencepost explore dekker/mfence                 proves the fixed variant
  fencepost explore ./lock.elf --cores 3 --time 60
  fencepost explore torn-frame --outcome screen --sheet screens.png
  fencepost explore dekker --dot dekker.dot       then: dot -Tsvg dekker.dot
  fencepost explore dekker --save schedules       a file for each outcome, for
                                                  fencepost run --schedule
  fencepost explore dekker --strategy replay --schedule run.txt
                                                  one execution, told step by step:
                                                  one of --save's, or of
                                                  fencepost run --record run.txt

Words:
  state            where every core is, what its buffer holds, memory and devices
                   at one moment; equal ones are met once, and those between
                   which order makes no difference are not counted
  execution        an arrival at a state in which nothing more is possible, from
                   whichever state before it
  delayed drain    a store that others could see leaves its buffer after another
                   core has gone on, or is still there when the run ends
  shared access    an instruction of a core that touches memory which another
                   core, or a device, accesses, too, and one of them writes
  complete         nothing was cut off: what is not listed cannot happen

Exit codes: 0 every outcome is there and none is a violation, 1 a violation: an
exit code other than 0, a fault, a deadlock or livelock, an outcome that the
program's stanza does not list or one that must be reached and cannot,
2 bad use or bad input, 3 no answer: a bound was reached first, only some orders
were tried, the marks are exchanged, or nothing in the region could be seen by
another core, so that there is nothing to prove.";

impl Explore {
    /// Explores.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let plan = self.plan()?;
        let target = self.guest.target()?;
        let time = self.time.map(Duration::from_secs);
        let replayed = self.replayed()?;
        let surveyor = match &replayed {
            Some(replayed) => self.guest.replaying(&target, replayed, time),
            None => self.guest.surveyor(&target, time),
        };
        let mut surveyor = stdout::or_no_answer(surveyor, self.json)?;
        if self.sheet.is_some() && self.outcome != Outcomes::Screen {
            return refuse("--sheet shows the distinct screens: say --outcome screen, too");
        }
        surveyor.wait_with(self.interrupts());
        if self.outcome == Outcomes::Screen {
            surveyor.judge_by(Judging::Screen);
        }
        let sheet = self.sheet.as_deref().map(OutputFile::check).transpose()?;
        let dot = self.dot.as_deref().map(OutputFile::check).transpose()?;
        let outputs: Vec<_> = [("--sheet", &sheet), ("--dot", &dot)]
            .into_iter()
            .filter_map(|(flag, output)| Some((flag, output.as_ref()?)))
            .collect();
        let schedule = replayed.as_ref().and_then(|replayed| replayed.file.as_deref());
        OutputFile::all_differ(&outputs, &target.files().into_iter().chain(schedule).collect::<Vec<_>>())?;
        let spinner = progress::spinner();
        let threads = seeds::pool(self.jobs)?;
        let limits = Limits {
            states: self.max_states as usize,
            time,
            threads: threads.current_num_threads(),
            ..Limits::default()
        };
        let sign = spinner.clone();
        let began = Instant::now();
        surveyor.explorer().0.watch(move |progress| sign.set_message(describe(progress, began.elapsed())));
        let mut recounted = None;
        let surveys: Vec<Survey> = match &replayed {
            Some(Replayed { schedule, .. }) => {
                let (survey, told) = threads.install(|| self.follow(&mut surveyor, schedule, &limits))?;
                recounted = told;
                vec![survey]
            }
            None => self
                .guest
                .models()
                .into_iter()
                .map(|model| {
                    spinner.set_message(format!("exploring under {model}"));
                    threads.install(|| surveyor.survey(&plan, model, &limits))
                })
                .collect(),
        };
        spinner.set_message("looking for a short way to tell");
        let told: Vec<Option<Told>> = match recounted {
            Some(explanation) => surveys.iter().map(|survey| self.recounted(survey, explanation.clone())).collect(),
            None => threads.install(|| self.tell_all(&mut surveyor, &surveys, &plan, &limits)),
        };
        spinner.finish_and_clear();
        let mut files = self.save(&target, &surveys)?;
        if let (Some(file), true) = (schedule, files.is_empty()) {
            files.push(vec![Some(file.to_owned())]);
        }
        let symbols = surveyor.image().symbols();
        let cut_off = surveys.iter().map(|survey| cut_off::named(&mut surveyor, &symbols, survey.cut_places()));
        let cut_off: Vec<Vec<CutOff>> = cut_off.collect();
        if let Some(sheet) = sheet {
            let screens = surveys.iter().flat_map(|survey| survey.outcomes.values());
            let screens: Vec<Picture> = screens.filter_map(|reached| reached.screen.clone()).collect();
            sheet.write(&contact_sheet(&screens, SHEET_COLUMNS).to_png(1))?;
        }
        if let Some((dot, told)) = dot.zip(told.iter().flatten().next()) {
            dot.write(graph::dot(&told.explanation, |address| timeline::name(&symbols, address)).as_bytes())?;
        }
        let is_told = told.iter().any(Option::is_some);
        let found = surveys.iter().zip(cut_off).zip(told).map(|((survey, cut_off), told)| (survey, cut_off, told));
        let report = Report::new(&self, &target, surveyor.settings(), found.collect(), &files, symbols);
        if self.json {
            stdout::print_json(&report)?;
        } else {
            stdout::print(&report.text())?;
        }
        // What was found may have taken long: it is said in any case.
        if is_told { Ok(report.exit_code()) } else { self.nothing_told(&surveys).map(|()| report.exit_code()) }
    }

    /// Refuses what asks for an execution to be told, where none is.
    fn nothing_told(&self, surveys: &[Survey]) -> Result<(), Failure> {
        if let Some(wanted) = &self.explain {
            let outcomes = surveys.iter().flat_map(|survey| survey.outcomes.keys());
            let known: BTreeSet<String> = outcomes.map(ToString::to_string).collect();
            let known: Vec<String> = known.into_iter().collect();
            return refuse(format!("there is no outcome `{wanted}` to explain; there are {}", known.join(" | ")));
        }
        match self.dot {
            Some(_) => refuse("there is no violation to draw; name an outcome with --explain OUTCOME"),
            None => Ok(()),
        }
    }

    /// The schedule to follow, if that is the strategy.
    fn replayed(&self) -> Result<Option<Replayed>, Failure> {
        match &self.schedule {
            Some(_) if self.strategy != Strategy::REPLAY => {
                refuse("--schedule is followed by --strategy replay: say that, too, or leave the schedule out")
            }
            given => given.as_deref().map(Replayed::read).transpose(),
        }
    }

    /// What the strategy is told; what it would not listen to is refused.
    fn plan(&self) -> Result<Plan, Failure> {
        let strategy = self.strategy;
        let draws = [Strategy::PCT, Strategy::RANDOM];
        for (flag, is_given, listeners) in [
            ("--bound", self.bound.is_some(), [Strategy::BOUNDED, Strategy::PCT]),
            ("--runs", self.runs.is_some(), draws),
            ("--seed", self.seed.is_some(), draws),
        ] {
            if is_given && !listeners.contains(&strategy) {
                let [one, other] = listeners.map(Strategy::name);
                return refuse(format!(
                    "{flag} is for --strategy {one} and {other}, and means nothing to {}; leave it out, or say one of them",
                    strategy.name()
                ));
            }
        }
        if strategy == Strategy::PCT && self.bound == Some(0) {
            return refuse("the bug depth of pct, --bound, is 1 or more");
        }
        let usual = Plan::default();
        Ok(Plan {
            strategy,
            bound: self.bound.unwrap_or(usual.bound),
            runs: self.runs.unwrap_or(usual.runs),
            seed: self.seed.unwrap_or(usual.seed),
            interrupts: self.interrupts(),
            ..usual
        })
    }

    /// What a schedule leads to: in exploration's steps if it is one of exploration's, else as the run that it is, told.
    fn follow(
        &self,
        surveyor: &mut Surveyor,
        schedule: &Schedule,
        limits: &Limits,
    ) -> Result<(Survey, Option<Explanation>), Misfit> {
        if let Ok(survey) = surveyor.replay(schedule, limits) {
            return Ok((survey, None));
        }
        let since = match (self.guest.is_whole(), self.all) {
            (true, _) => Since::Start,
            (false, true) => Since::FirstMark,
            (false, false) => Since::LastRound,
        };
        let telling = Telling { since, most_steps: (!self.all).then_some(LONGEST_TOLD) };
        let (survey, explanation) = surveyor.recount(schedule, telling)?;
        Ok((survey, Some(explanation)))
    }

    /// The story of a run, unless another outcome is asked for than the one that it came to.
    fn recounted(&self, survey: &Survey, explanation: Explanation) -> Option<Told> {
        let (outcome, reached) = survey.outcomes.first_key_value()?;
        let is_wanted = self.explain.as_ref().is_none_or(|text| outcome.to_string() == *text);
        is_wanted.then(|| Told {
            outcome: outcome.clone(),
            explanation,
            schedule: reached.schedule.clone(),
            is_possible_under_sc: false,
            interrupts: Interrupts::Late,
        })
    }

    /// When interrupts come.
    fn interrupts(&self) -> Interrupts {
        if self.prompt { Interrupts::Prompt } else { Interrupts::Late }
    }

    /// Of each survey a way to the outcome asked for, or to the first violation. One that is possible under `sc`, too, is told
    /// under `sc`: how stores are late is no part of that story, and no fence prevents it.
    fn tell_all(&self, surveyor: &mut Surveyor, surveys: &[Survey], plan: &Plan, limits: &Limits) -> Vec<Option<Told>> {
        let sc = |survey: &Survey| survey.model == MemoryModel::SC;
        let mut explored_anew: Option<Survey> = None;
        let mut all = Vec::new();
        for survey in surveys {
            let Some((outcome, is_violation)) = self.worth_telling(survey) else {
                all.push(None);
                continue;
            };
            let mut told_survey = survey;
            if is_violation && !sc(survey) && plan.strategy != Strategy::REPLAY && self.schedule.is_none() {
                let known = surveys.iter().find(|survey| sc(survey));
                let of_sc = match known {
                    Some(known) => known,
                    None => explored_anew.get_or_insert_with(|| surveyor.survey(plan, MemoryModel::SC, limits)),
                };
                let same = of_sc.outcomes.get(&outcome);
                if same.is_some_and(|reached| reached.is_violation(&outcome)) {
                    told_survey = of_sc;
                }
            }
            let time = self.time.map(Duration::from_secs);
            let told = surveyor.explain(told_survey, &outcome, time);
            all.push(told.map(|(explanation, schedule)| Told {
                is_possible_under_sc: is_violation && sc(told_survey) && !sc(survey),
                interrupts: told_survey.outcomes[&outcome].interrupts,
                outcome,
                explanation,
                schedule,
            }));
        }
        all
    }

    /// The outcome asked for, or the first violation, and whether it is one.
    fn worth_telling(&self, survey: &Survey) -> Option<(Outcome, bool)> {
        let is_wanted = |(outcome, reached): &(&Outcome, &Reached)| match &self.explain {
            Some(text) => outcome.to_string() == *text,
            None => reached.is_violation(outcome) || self.strategy == Strategy::REPLAY,
        };
        let (outcome, reached) = survey.outcomes.iter().find(is_wanted)?;
        Some((outcome.clone(), reached.is_violation(outcome)))
    }

    /// Writes the schedules, and says where; `None` for one that is too long to be replayed.
    fn save(&self, target: &Target, surveys: &[Survey]) -> Result<Vec<Vec<Option<PathBuf>>>, Failure> {
        let Some(folder) = &self.save else { return Ok(Vec::new()) };
        if let Err(error) = std::fs::create_dir_all(folder) {
            return refuse(no_folder(folder, &error));
        }
        let name = match target {
            Target::Program(program, _) => program.name.to_owned(),
            Target::Elf(path, _) | Target::Flat(path) => {
                path.file_stem().map_or("guest".into(), |stem| stem.to_string_lossy().into_owned())
            }
        };
        let mut files = Vec::new();
        for survey in surveys {
            let mut of_model = Vec::new();
            for (index, (outcome, reached)) in survey.outcomes.iter().enumerate() {
                let length = reached.schedule.choices.len();
                if length > MOST_CHOICES {
                    note(&format!(
                        "`{outcome}` is not saved: its schedule has {length} choices, and `run --schedule` takes {MOST_CHOICES}; \
                         let the guest wait less before and after its region"
                    ));
                    of_model.push(None);
                    continue;
                }
                let path = folder.join(format!("{name}-{}-{}.schedule", survey.model, index + 1));
                let file = OutputFile::check(&path)?;
                let title = outcome.to_string().replace(['\n', '\r'], " ");
                file.write(format!("# {title}\n{}\n", reached.schedule).as_bytes())?;
                of_model.push(Some(path));
            }
            files.push(of_model);
        }
        Ok(files)
    }
}

/// How far exploration has come, and what is left of it.
///
/// How many states there are is not known before they have been met. While the states with steps to take become fewer, what
/// is left is guessed from how fast they do.
fn describe(progress: Progress, elapsed: Duration) -> String {
    let Progress { states, left } = progress;
    let per_second = states as f64 / elapsed.as_secs_f64().max(1e-3);
    let done = states.saturating_sub(left);
    let rest = if left < states / 8 {
        // So late, the rest dies out about as fast as it has begun to.
        format!("about {:.0} s left", left as f64 * (left as f64 / done.max(1) as f64 + 1.0) / per_second)
    } else {
        "still growing".into()
    };
    format!(
        "{}, {} to go on from, {:.0} a second, {rest}",
        counted(states as u64, "state"),
        grouped(left as u64),
        per_second
    )
}

/// A way to an outcome.
pub(super) struct Told {
    outcome: Outcome,
    explanation: Explanation,
    schedule: Schedule,
    /// What it is told of needs no store that is late, though the model asked for has such stores.
    is_possible_under_sc: bool,
    interrupts: Interrupts,
}
