//! `fencepost litmus`: which final states litmus tests have, from their machine code.

mod emit;
mod expected;
mod files;
mod report;

use super::failure::{Failure, note, refuse};
use super::machine_options::{model_parser, processor_parser};
use super::table::counted;
use super::{progress, seeds, stdout};
use clap::Args;
use expected::Expected;
use fencepost::explorer::Limits;
use fencepost::litmus::parse::{self, Malformed};
use fencepost::litmus::test::{Quantifier, Test};
use fencepost::litmus::{Outcome, Pool};
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use files::LitmusFile;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Explore litmus tests: every final state of each, from machine code
///
/// Reads the format of herd7 in its dialects X86 and X86_64. The code is assembled, executed by the engine, and all
/// interleavings and drains are explored.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  fencepost litmus SB.litmus                 which final states it has under TSO
  fencepost litmus tests/ --model sc,tso,pso every test in a folder
  fencepost litmus tests/ --model tso --json one object a line for each test
  fencepost litmus tests/ --model sc,tso,pso --expect tests/expected.jsonl
  fencepost litmus SB.litmus --emit-elf out  out/SB.elf, and out/SB-tso-1.schedule
                                             and so on for fencepost run

Exit codes: 0 all is as the tests (and --expect) say, 1 a ~exists or forall does
not hold, a thread faults, no order of steps comes to an end, or a set of states
is not the one expected, 2 bad use or a file that is no litmus test, 3 a bound
was reached, so that states may be missing.
That an `exists` has no witness is an answer, not a failure.")]
pub(super) struct Litmus {
    /// Litmus files, or folders with *.litmus files in them
    #[arg(value_name = "FILE|FOLDER", required = true)]
    paths: Vec<PathBuf>,

    /// Under these models [default: tso]
    #[arg(long, value_name = "MODEL", value_delimiter = ',', value_parser = model_parser())]
    model: Vec<MemoryModel>,

    /// On whose processors: what is one access, and what a load may take from the store buffer
    #[arg(long, value_name = "PROCESSOR", default_value = Processor::ANY.name(), value_parser = processor_parser())]
    processor: Processor,

    /// Compare with the sets of final states in this file (JSON lines with path and, per model, states)
    ///
    /// A path is relative to the folder that is given, as --json prints it. What is expected of a test that is not there is
    /// a difference, and so is a test of which nothing is expected.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// Give up a test under a model when it has more states than this (those met meanwhile, hundreds, may come on top)
    #[arg(long, value_name = "N", default_value_t = Limits::default().states as u64,
          value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    max_states: u64,

    /// Give up exploring a test under a model after this many seconds
    ///
    /// Its states are then those found so far, and it is not complete.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    time: Option<u64>,

    /// How many tests at a time [default: one on each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Write each test as a guest image into this folder, with a schedule for each of its final states
    ///
    /// An image exits with 1 in a state that the test's ~exists or forall forbids, and explore and fences take it for a
    /// violation. An exists forbids nothing: outcomes that satisfy it end with (exists).
    #[arg(long, value_name = "FOLDER")]
    emit_elf: Option<PathBuf>,

    /// Write one object a line for each test and model
    #[arg(long)]
    json: bool,
}

/// A test that has been explored.
struct Explored<'a> {
    file: &'a LitmusFile,
    test: Test,
    under: Vec<Under>,
}

/// What is wrong with a file.
struct Complaint<'a> {
    file: &'a LitmusFile,
    text: String,
}

/// What came of it under a model.
struct Under {
    model: MemoryModel,
    outcome: Outcome,
    time: Duration,
}

impl Litmus {
    /// Explores.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let files = files::find(&self.paths)?;
        let expected = self.expect.as_deref().map(Expected::read).transpose()?;
        let models = self.models();
        let time = self.time.map(Duration::from_secs);
        let limits = Limits { states: self.max_states as usize, time, ..Limits::default() };
        let threads = seeds::pool(self.jobs)?;
        let bar = progress::bar(files.len() as u64);
        let explored: Vec<Result<Explored, Complaint>> = threads.install(|| {
            let explore = |pool: &mut Pool, file| {
                bar.inc(1);
                explore(pool, file, &models, &limits)
            };
            files.par_iter().map_init(|| Pool::on(self.processor), explore).collect()
        });
        bar.finish_and_clear();
        if let Some(folder) = &self.emit_elf {
            emit::emit(folder, explored.iter().flatten(), self.processor, &limits)?;
        }
        self.report(&explored, expected.as_ref())
    }

    fn models(&self) -> Vec<MemoryModel> {
        let asked = |model: &MemoryModel| self.model.contains(model);
        let models: Vec<MemoryModel> = MemoryModel::ALL.into_iter().filter(asked).collect();
        if models.is_empty() { vec![MemoryModel::TSO] } else { models }
    }

    fn report(&self, explored: &[Result<Explored, Complaint>], expected: Option<&Expected>) -> Result<u8, Failure> {
        let mut out = stdout::Stdout::new();
        let (mut malformed, mut violated, mut incomplete, mut differences) = (0, 0, 0, Vec::new());
        for result in explored {
            let explored = match result {
                Ok(explored) => explored,
                Err(Complaint { text, .. }) => {
                    malformed += 1;
                    note(text);
                    continue;
                }
            };
            for under in &explored.under {
                let text = if self.json {
                    report::json(explored, under, self.processor)
                } else {
                    report::text(explored, under)
                };
                out.write(text.as_bytes())?;
                let is_faulty = !under.outcome.faults.is_empty();
                incomplete += usize::from(!under.outcome.complete && !is_faulty);
                violated += usize::from(is_faulty);
                let is_claim = explored.test.quantifier != Quantifier::Exists;
                violated += usize::from(is_claim && !under.outcome.is_validated(explored.test.quantifier));
                differences.extend(expected.and_then(|expected| expected.difference(explored, under)));
            }
        }
        out.flush()?;
        if let Some(expected) = expected {
            let files = explored.iter().map(|it| it.as_ref().map_or_else(|it| it.file, |it| it.file));
            differences.extend(expected.unmet(files.map(|file| file.name.as_str())));
            differences.iter().for_each(|difference| note(difference));
            let sets = counted((explored.iter().flatten().count() * self.models().len()) as u64, "set");
            note(&match (differences.len(), incomplete) {
                (0, 0) => format!("{sets} of final states explored, all as expected"),
                (0, _) => {
                    format!("{sets} of final states explored, {incomplete} not completely; nothing differs otherwise")
                }
                (wrong, _) => format!("{} from what is expected", counted(wrong as u64, "difference")),
            });
        }
        if malformed > 0 {
            return refuse(format!("{malformed} of {} files are no litmus tests that can be run", explored.len()));
        }
        Ok(if violated > 0 || !differences.is_empty() {
            1
        } else if incomplete > 0 {
            3
        } else {
            0
        })
    }
}

fn explore<'a>(
    pool: &mut Pool,
    file: &'a LitmusFile,
    models: &[MemoryModel],
    limits: &Limits,
) -> Result<Explored<'a>, Complaint<'a>> {
    let complaint = |text: String| Complaint { file, text };
    let text = file.text.as_ref().map_err(|problem| complaint(format!("error: `{}`: {problem}", file.name)))?;
    let malformed = |wrong: Malformed| complaint(report::excerpt(&file.name, text, &wrong));
    let test = parse::parse(text).map_err(malformed)?;
    let ready = pool.prepare(&test).map_err(malformed)?;
    let under = models.iter().map(|&model| {
        let start = Instant::now();
        let outcome = pool.explore(&ready, &test, model, limits);
        Under { model, outcome, time: start.elapsed() }
    });
    let under = under.collect();
    Ok(Explored { file, test, under })
}
