//! `fencepost check`: every program against its stanza, under every model.

use super::colour::{self, Colour, paint};
use super::failure::{Failure, note};
use super::guest::Target;
use super::machine_options::{model_parser, processor_parser};
use super::progress;
use super::seeds::{self, Ending, Tally};
use super::stdout;
use super::table::{counted, grouped};
use clap::Args;
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use fencepost::programs::{self, Program, Variant};
use fencepost::testbench::Testbench;
use indicatif::ProgressBar;
use rayon::ThreadPool;
use serde::Serialize;

/// By this seed each hazard must have been seen.
const HAZARD_WITHIN: u64 = 200;

/// Check programs against what their stanzas promise, under every memory model
///
/// For each program, variant and model: every hazard the model allows is seen within the first 200 seeds, and nothing is
/// ever seen that is not listed.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  fencepost check                        everything, 2000 seeds each; takes most of an hour
  fencepost check --runs 200             the same, quicker
  fencepost check dekker publish/sfence  some of it
  fencepost check torn-frame --model tso --json

Exit codes: 0 every promise was kept, 1 one was broken (the table has the seed
and the line that replays it), 2 bad use.")]
pub(super) struct Check {
    /// Programs, with or without a variant after a / [default: all]
    #[arg(value_name = "NAME[/VARIANT]")]
    names: Vec<String>,

    /// How many seeds each
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,

    /// Under these models only [default: sc,tso,pso]
    #[arg(long, value_name = "MODEL", value_delimiter = ',', value_parser = model_parser())]
    model: Vec<MemoryModel>,

    /// On whose processors: what is one access, and what a load may take from the store buffer
    #[arg(long, value_name = "PROCESSOR", default_value = Processor::ANY.name(), value_parser = processor_parser())]
    processor: Processor,

    /// How many runs at a time [default: one on each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Write one report as JSON at the end
    #[arg(long)]
    json: bool,
}

/// One program, variant and model.
#[derive(Clone, Copy)]
struct Cell {
    program: &'static Program,
    variant: &'static Variant,
    model: MemoryModel,
    processor: Processor,
}

/// What checking one cell came to.
#[derive(Serialize)]
struct Row {
    program: &'static str,
    variant: &'static str,
    model: &'static str,
    processor: &'static str,
    runs: u64,
    ok: bool,
    outcomes: Vec<Outcome>,
    problem: Option<Problem>,
}

/// One outcome seen.
#[derive(Serialize)]
struct Outcome {
    outcome: String,
    count: u64,
    first_seed: u64,
}

/// A promise broken.
#[derive(Serialize)]
struct Problem {
    what: String,
    /// The smallest seed that shows it; `null` when what should have come out did not.
    seed: Option<u64>,
    replay: String,
}

impl Check {
    /// Checks.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let cells = self.cells()?;
        let pool = seeds::pool(self.jobs)?;
        let bar = progress::bar(self.runs.saturating_mul(cells.len() as u64));
        let widths = Widths::of(&cells);
        let mut rows = Vec::new();
        for cell in cells {
            bar.set_message(cell.title());
            let row = cell.check(self.runs, &pool, &bar)?;
            if !self.json {
                bar.suspend(|| stdout::print(&row.text(&widths)))?;
            }
            rows.push(row);
        }
        bar.finish_and_clear();
        let broken = rows.iter().filter(|row| !row.ok).count();
        if self.json {
            stdout::print_json(&rows)?;
        } else if broken == 0 {
            let (promises, runs) = (counted(rows.len() as u64, "promise"), counted(self.runs, "run"));
            note(&format!("all {promises} kept, {runs} each"));
        } else {
            note(&format!("{broken} of {} promises broken", rows.len()));
        }
        Ok(u8::from(broken > 0))
    }

    fn cells(&self) -> Result<Vec<Cell>, Failure> {
        let processor = self.processor;
        let models = if self.model.is_empty() { MemoryModel::ALL.to_vec() } else { self.model.clone() };
        let mut variants = Vec::new();
        for name in &self.names {
            let bench = Testbench::program(name)?;
            let (program, variant) = bench.known_program().expect("the bench is made from a program");
            let is_one = name.contains('/');
            variants.extend(program.variants.iter().filter(|it| !is_one || *it == variant).map(|it| (program, it)));
        }
        if self.names.is_empty() {
            let all = programs::all().iter();
            variants.extend(all.flat_map(|program| program.variants.iter().map(move |variant| (program, variant))));
        }
        let cells = variants.into_iter().flat_map(|(program, variant)| {
            models.iter().map(move |&model| Cell { program, variant, model, processor })
        });
        Ok(cells.collect())
    }
}

impl Cell {
    fn check(&self, runs: u64, pool: &ThreadPool, bar: &ProgressBar) -> Result<Row, Failure> {
        let is_wrong = |ending: &Ending| ending.is_wrong(Some(self.variant), self.model);
        let bench = self.target().bench(None)?.model(self.model).processor(self.processor);
        let tally = pool.install(|| seeds::tally_until(&bench, 0..runs, bar, is_wrong))?;
        let problem = self.wrong(&bench, &tally).or_else(|| self.missing(&bench, &tally, runs));
        let outcomes = tally.by_count().into_iter().map(|(ending, seen)| Outcome {
            outcome: ending.to_string(),
            count: seen.count,
            first_seed: seen.first_seed,
        });
        Ok(Row {
            program: self.program.name,
            variant: self.variant.name,
            model: self.model.name(),
            processor: self.processor.name(),
            runs,
            ok: problem.is_none(),
            outcomes: outcomes.collect(),
            problem,
        })
    }

    /// What was seen and must not be.
    fn wrong(&self, bench: &Testbench, tally: &Tally) -> Option<Problem> {
        let wrong = tally.by_count().into_iter().filter(|(ending, _)| ending.is_wrong(Some(self.variant), self.model));
        let (ending, seen) = wrong.min_by_key(|(_, seen)| seen.first_seed)?;
        Some(Problem {
            what: match ending {
                Ending::Fault(_) | Ending::StepLimit => format!("it did not end by itself: {ending}"),
                Ending::Outcome(_) | Ending::ExitCode(_) | Ending::AllHalted | Ending::Reset => {
                    format!("not listed: {ending}")
                }
            },
            seed: Some(seen.first_seed),
            replay: format!("{} --seed {}", self.target().command(bench.current_settings()), seen.first_seed),
        })
    }

    /// What was not seen and must be.
    fn missing(&self, bench: &Testbench, tally: &Tally, runs: u64) -> Option<Problem> {
        let within = HAZARD_WITHIN.min(runs);
        let Some(expectation) = self.variant.expectation(self.model.name()) else {
            let replay = format!("fencepost list {}/{}", self.program.name, self.variant.name);
            return Some(Problem { what: "its stanza says nothing about this model".into(), seed: None, replay });
        };
        let is_seen = |text: &str| tally.seen(text).is_some_and(|seen| seen.first_seed < within);
        let unseen = expectation.outcomes.iter().find(|outcome| outcome.hazard && !is_seen(outcome.text))?;
        Some(Problem {
            what: format!("the hazard `{}` was not seen within {within} seeds", unseen.text),
            seed: None,
            replay: format!("{} --runs {within}", self.target().command(bench.current_settings())),
        })
    }

    fn target(&self) -> Target {
        Target::Program(self.program, Some(self.variant))
    }

    fn title(&self) -> String {
        format!("{}/{} {}", self.program.name, self.variant.name, self.model)
    }
}

/// How wide the table's columns are, known before its rows are.
struct Widths {
    name: usize,
}

impl Widths {
    fn of(cells: &[Cell]) -> Widths {
        let name = cells.iter().map(|cell| cell.program.name.len() + 1 + cell.variant.name.len()).max();
        Widths { name: name.unwrap_or(0) }
    }
}

impl Row {
    fn text(&self, widths: &Widths) -> String {
        let coloured = colour::is_wanted(&std::io::stdout());
        let name =
            format!("{:width$}  {:3}", format!("{}/{}", self.program, self.variant), self.model, width = widths.name);
        let Some(Problem { what, replay, .. }) = &self.problem else {
            let seen = self.outcomes.iter().map(|seen| format!("{} {}", seen.outcome, grouped(seen.count)));
            let seen: Vec<_> = seen.collect();
            return format!("{name}  {}    {}\n", paint("ok", Colour::Good, coloured), seen.join(" | "));
        };
        format!("{name}  {}  {what}\n      {replay}\n", paint("FAIL", Colour::Bad, coloured))
    }
}
