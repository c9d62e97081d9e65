//! Every program against its stanza: 200 seeds for each variant and model, as `fencepost check` does at length.

use fencepost::memory_model::MemoryModel;
use fencepost::programs::{self, Expectation, Program, Variant};
use fencepost::testbench::{Run, Series, Testbench};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// By this seed each hazard must have been seen.
const SEEDS: u64 = 200;

/// Programs of many variants and long rounds. Exploration proves what can come out of them (`tests/explore`); here seeds need
/// only find their hazards, and are drawn in batches until they have.
const PROVED: [&str; 12] = [
    "bakery",
    "chase-lev",
    "cilk-the",
    "clh",
    "counter",
    "fast-mutex",
    "mcs",
    "michael-scott",
    "rcu-publish",
    "spsc-ring",
    "ticket-lock",
    "treiber",
];
const BATCH: u64 = 20;

/// One program, variant and model, and what came out of its runs.
struct Cell {
    name: String,
    model: MemoryModel,
    expectation: &'static Expectation,
    /// Each ending, and the first seed that led to it.
    endings: BTreeMap<Ending, u64>,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ending {
    outcome: Option<String>,
    exit_code: Option<u8>,
}

#[test]
fn what_must_never_happen() {
    let wrong: Vec<String> = cells().iter().flat_map(Cell::wrong).collect();
    assert!(wrong.is_empty(), "not listed in the stanza, or with another exit code:\n{}", wrong.join("\n"));
}

#[test]
fn what_must_be_possible() {
    let missing: Vec<String> = cells().iter().flat_map(Cell::missing).collect();
    assert!(missing.is_empty(), "not seen within {SEEDS} seeds:\n{}", missing.join("\n"));
}

impl Cell {
    fn of(program: &Program, variant: &Variant, expectation: &'static Expectation) -> Cell {
        let name = format!("{}/{}", program.name, variant.name);
        let model = MemoryModel::named(expectation.model).expect("stanzas name models that exist");
        let bench = Testbench::program(&name).expect("it is built in").model(model).unrecorded();
        let run = |series: &mut Series, seed| {
            let run = series.run(seed).expect("the program fits its machine");
            let ending = Ending::of(&run);
            series.take_back(run);
            BTreeMap::from([(ending, seed)])
        };
        let batch = if PROVED.contains(&program.name) { BATCH } else { SEEDS };
        let mut cell = Cell { name, model, expectation, endings: BTreeMap::new() };
        for first in (0..SEEDS).step_by(batch as usize) {
            let seeds = (first..first + batch).into_par_iter();
            let endings = seeds.map_init(|| Series::new(bench.clone()), run).reduce(BTreeMap::new, merged);
            cell.endings = merged(cell.endings, endings);
            if cell.missing().is_empty() {
                break;
            }
        }
        cell
    }

    /// Endings that the stanza does not list, each with the line that replays it.
    fn wrong(&self) -> Vec<String> {
        let wrong = self.endings.iter().filter(|(ending, _)| !self.lists(ending));
        wrong.map(|(ending, seed)| format!("{ending:?}: {} --seed {seed}", self.command())).collect()
    }

    /// Whether the stanza lists this ending; a hazard exits with 1, anything else with 0.
    fn lists(&self, ending: &Ending) -> bool {
        self.expectation.outcomes.iter().any(|outcome| {
            ending.outcome.as_deref() == Some(outcome.text) && ending.exit_code == Some(u8::from(outcome.hazard))
        })
    }

    /// Hazards that were not seen.
    fn missing(&self) -> Vec<String> {
        let is_seen = |text: &str| self.endings.keys().any(|ending| ending.outcome.as_deref() == Some(text));
        let missing = self.expectation.outcomes.iter().filter(|outcome| outcome.hazard && !is_seen(outcome.text));
        missing.map(|outcome| format!("{}: {} --runs {SEEDS}", outcome.text, self.command())).collect()
    }

    fn command(&self) -> String {
        format!("fencepost run {} --model {}", self.name, self.model)
    }
}

/// Both, with the smaller seed for what both have.
fn merged(mut one: BTreeMap<Ending, u64>, other: BTreeMap<Ending, u64>) -> BTreeMap<Ending, u64> {
    for (ending, seed) in other {
        one.entry(ending).and_modify(|first| *first = seed.min(*first)).or_insert(seed);
    }
    one
}

impl Ending {
    fn of(run: &Run) -> Ending {
        Ending { outcome: run.outcome().map(str::to_owned), exit_code: run.exit_code() }
    }
}

/// The runs of all programs: both tests look at the same.
fn cells() -> &'static [Cell] {
    static CELLS: OnceLock<Vec<Cell>> = OnceLock::new();
    CELLS.get_or_init(|| {
        let mut cells = Vec::new();
        for program in programs::all() {
            for variant in program.variants {
                let stanza = variant.expectations.iter();
                cells.extend(stanza.map(|expectation| Cell::of(program, variant, expectation)));
            }
        }
        cells
    })
}
