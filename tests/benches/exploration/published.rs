//! The published litmus tests, which lie beside the project: reading, assembling and exploring all of them.

use fencepost::explorer::Limits;
use fencepost::litmus::{Pool, parse};
use fencepost::memory_model::MemoryModel;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What herd7 takes for one test, in seconds, in one process (its own measurement on a like machine).
const HERD: f64 = 0.012;

pub(crate) fn print() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/litmus/x86");
    let mut paths = Vec::new();
    find(&folder, &mut paths);
    if paths.is_empty() {
        println!("published litmus tests: none beside the project");
        return;
    }
    paths.sort();
    println!("{} published litmus tests, one thread, reading and assembling included:", paths.len());
    for model in MemoryModel::ALL {
        let began = Instant::now();
        let mut pool = Pool::new();
        let (mut states, mut executions) = (0, 0);
        for path in &paths {
            let source = std::fs::read_to_string(path).expect("the test can be read");
            let test = parse::parse(&source).expect("it is a litmus test");
            let ready = pool.prepare(&test).expect("it can be assembled");
            let outcome = pool.explore(&ready, &test, model, &Limits::default());
            assert!(outcome.complete, "{}", path.display());
            states += outcome.explored;
            executions += outcome.executions;
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "  {model}: {seconds:.3} s, {states} states, {executions} executions; 1/{:.0} of herd7's time",
            HERD * paths.len() as f64 / seconds
        );
    }
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            paths.push(path);
        }
    }
}
