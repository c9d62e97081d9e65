//! Many runs: a table of what came out.

use crate::cli::colour;
use crate::cli::failure::{Failure, refuse};
use crate::cli::guest::{Subject, Target};
use crate::cli::progress;
use crate::cli::run::one::{UNRECORDED, explore_by};
use crate::cli::run::{Run, fault};
use crate::cli::seeds::{self, Ending, Seen, Tally};
use crate::cli::stanza::Judgement;
use crate::cli::stdout;
use crate::cli::table::{self, Align, counted, grouped};
use fencepost::loader::{Image, Symbols};
use fencepost::machine::{Machine, Settings};
use fencepost::memory_model::MemoryModel;
use fencepost::programs::Variant;
use serde::Serialize;

/// What many runs came to.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    subject: Subject,
    image: String,
    processor: &'static str,
    runs: u64,
    first_seed: u64,
    /// Whether nothing happened that the stanza does not list, and no run failed.
    ok: bool,
    models: Vec<ModelReport>,
    /// How one of them is told step by step.
    story: String,
}

/// What they came to under one model.
#[derive(Serialize)]
struct ModelReport {
    model: &'static str,
    outcomes: Vec<Row>,
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    /// `null` when the run ended without one, or not by itself.
    outcome: Option<String>,
    /// The outcome, or how the runs ended that have none.
    ended: String,
    count: u64,
    share: f64,
    first_seed: u64,
    /// `null` without a stanza.
    hazard: Option<bool>,
    listed: Option<bool>,
    replay: String,
    #[serde(skip)]
    is_wrong: bool,
}

/// Runs `target` with `runs` seeds under each model, as `run` says.
pub(super) fn perform(run: &Run, target: &Target, command_line: Option<String>, runs: u64) -> Result<u8, Failure> {
    let seeds = seeds::seeds(run.first_seed(), runs)?;
    let models = run.machine.models();
    let mut benches = Vec::new();
    for &model in &models {
        let bench = run.bench(target, command_line.clone(), model)?;
        Machine::new(bench.loaded_image(), bench.current_settings().clone())?;
        benches.push(bench);
    }
    let Some(first) = benches.first() else { return refuse("there is no model to run under; leave --model out") };
    let image = first.loaded_image().clone();
    let variant = target.variant(&first.current_settings().command_line);
    let pool = seeds::pool(run.jobs)?;
    let bar = progress::bar(runs * models.len() as u64);
    let mut reports = Vec::new();
    for (bench, model) in benches.iter().zip(models) {
        bar.set_message(model.name());
        let tally = pool.install(|| seeds::tally(bench, seeds.clone(), &bar))?;
        let table = Table { run, target, settings: bench.current_settings(), variant, model, runs };
        reports.push(ModelReport { model: model.name(), outcomes: table.rows(&tally, &image) });
    }
    bar.finish_and_clear();
    let ok = !reports.iter().flat_map(|report| &report.outcomes).any(|row| row.is_wrong);
    let report = Report {
        subject: target.subject(variant),
        image: format!("{:016x}", image.hash()),
        processor: first.current_settings().processor.name(),
        runs,
        first_seed: seeds.start,
        ok,
        models: reports,
        story: story(target, first.current_settings()),
    };
    if run.json {
        stdout::print_json(&report)?;
    } else {
        stdout::print(&report.text())?;
    }
    Ok(u8::from(!ok))
}

/// What follows a command that replays a run, to have it told.
fn story(target: &Target, settings: &Settings) -> String {
    format!("--record {UNRECORDED}; {}", explore_by(target, settings, UNRECORDED))
}

/// What is needed to make rows from a tally.
struct Table<'a> {
    run: &'a Run,
    target: &'a Target,
    settings: &'a Settings,
    variant: Option<&'static Variant>,
    model: MemoryModel,
    runs: u64,
}

impl Table<'_> {
    fn rows(&self, tally: &Tally, image: &Image) -> Vec<Row> {
        let endings = tally.by_count();
        // Reading symbols takes time, and only faults need them.
        let has_fault = endings.iter().any(|(ending, _)| matches!(ending, Ending::Fault(_)));
        let symbols = has_fault.then(|| image.symbols());
        endings.into_iter().map(|(ending, seen)| self.row(ending, seen, symbols.as_ref())).collect()
    }

    fn row(&self, ending: &Ending, seen: Seen, symbols: Option<&Symbols>) -> Row {
        let judgement = ending.judged(self.variant, self.model);
        Row {
            outcome: ending.outcome().map(str::to_owned),
            ended: match ending {
                Ending::Fault(pc) => {
                    let place = symbols.and_then(|symbols| fault::function(symbols, *pc));
                    place.map_or(ending.to_string(), |place| format!("(fault at {pc:#x} in {place})"))
                }
                Ending::Outcome(_) | Ending::ExitCode(_) | Ending::AllHalted | Ending::Reset | Ending::StepLimit => {
                    ending.to_string()
                }
            },
            count: seen.count,
            share: seen.count as f64 / self.runs as f64,
            first_seed: seen.first_seed,
            hazard: judgement.map(|judgement| judgement == Judgement::Hazard),
            listed: judgement.map(|judgement| judgement != Judgement::Unlisted),
            replay: self.run.replay_by_seed(self.target, self.settings, seen.first_seed),
            is_wrong: ending.is_wrong(self.variant, self.model),
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let coloured = colour::is_wanted(&std::io::stdout());
        let tables = self.models.iter().map(|report| {
            let title = format!("{}: {} from seed {}", report.model, counted(self.runs, "run"), self.first_seed);
            title + "\n" + &report.text(coloured)
        });
        let story = format!("\nTo see how a run came about, add to its replay: {}\n", self.story);
        tables.collect::<Vec<_>>().join("\n") + &story
    }
}

impl ModelReport {
    fn text(&self, coloured: bool) -> String {
        use Align::{Left, Right};
        let head =
            [("outcome", Left), ("count", Right), ("share", Right), ("seed", Right), ("", Left), ("replay", Left)];
        let rows = self.outcomes.iter().map(|row| (row.cells(), row.is_wrong || row.hazard == Some(true)));
        table::text(&head, rows, coloured)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let remark = match (self.listed, self.hazard) {
            (Some(false), _) => Judgement::Unlisted.word(),
            (_, Some(true)) => Judgement::Hazard.word(),
            (_, Some(false) | None) => Judgement::Expected.word(),
        };
        vec![
            self.ended.clone(),
            grouped(self.count),
            format!("{:.1}%", 100.0 * self.share),
            self.first_seed.to_string(),
            remark.to_owned(),
            self.replay.clone(),
        ]
    }
}
