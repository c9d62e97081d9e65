//! The files of `tests/litmus`.

use fencepost::explorer::Limits;
use fencepost::litmus::test::Test;
use fencepost::litmus::{Outcome, Pool, parse};
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use std::path::{Path, PathBuf};

/// A litmus file of ours.
pub(super) struct Ours {
    /// Its path within the folder.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
    /// The test in it.
    pub(super) test: Test,
}

impl Ours {
    /// What its header line `Expect=sc:Never tso:Sometimes pso:Sometimes` says.
    pub(super) fn verdict(&self) -> &str {
        self.header("Expect").unwrap_or("nothing")
    }

    /// The value of its header line called `name`. `Intel` is there where the verdict is another on Intel's processors.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A pool for each of the processors whose rules differ.
pub(super) struct Pools {
    /// For any processor.
    pub(super) any: Pool,
    /// For Intel's.
    pub(super) intel: Pool,
}

impl Pools {
    /// With nothing in them.
    pub(super) fn new() -> Pools {
        Pools { any: Pool::on(Processor::ANY), intel: Pool::on(Processor::INTEL) }
    }
}

/// Where our litmus files are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("litmus")
}

/// All of them, by path.
pub(super) fn ours() -> Vec<Ours> {
    let mut paths = Vec::new();
    walk(&folder(), &mut paths);
    paths.sort();
    paths.into_iter().map(|path| read(&path)).collect()
}

/// Explores `test` to the end under every model.
pub(super) fn outcomes(pool: &mut Pool, test: &Test, limits: &Limits) -> Vec<(MemoryModel, Outcome)> {
    let ready = pool.prepare(test).expect("it can be assembled");
    MemoryModel::ALL.into_iter().map(|model| (model, pool.explore(&ready, test, model, limits))).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> Ours {
    let name = path.strip_prefix(folder()).expect("it is in the folder").display().to_string();
    let text = std::fs::read_to_string(path).expect("the test can be read");
    let test = parse::parse(&text).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
    Ours { path: name, text, test }
}
