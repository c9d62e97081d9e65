//! Litmus tests against what herd7 computes.

use fencepost::explorer::Limits;
use fencepost::litmus::{Pool, parse};
use fencepost::memory_model::MemoryModel;
use rayon::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The published tests, which lie beside the project, not in it.
fn published() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/litmus/x86");
    if !folder.join("expected.jsonl").is_file() {
        eprintln!("skipped: there are no published litmus tests beside the project");
        return None;
    }
    Some(folder)
}

/// One published test: its path, and the states expected under each model.
fn rows(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).expect("the expectations can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn every_published_test_has_exactly_the_final_states_that_herd_computes() {
    let Some(folder) = published() else { return };
    let rows = rows(&folder);
    assert_eq!(rows.len(), 1507);
    let wrong: Vec<String> = rows
        .par_iter()
        .map_init(Pool::new, |pool, row| {
            let path = row["path"].as_str().expect("each row has a path");
            let source = std::fs::read_to_string(folder.join(path)).expect("the test can be read");
            let test = parse::parse(&source).expect("it is a litmus test");
            let ready = pool.prepare(&test).expect("it can be assembled");
            let differs = |model: &&MemoryModel| {
                let outcome = pool.explore(&ready, &test, **model, &Limits::default());
                let expected = &row[model.name()];
                let states: Vec<&str> =
                    expected["states"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                !outcome.complete
                    || outcome.states != states
                    || expected["observation"] != format!("{:?}", outcome.observation())
            };
            MemoryModel::ALL.iter().filter(differs).map(|model| format!("{path} {model}")).collect::<Vec<_>>()
        })
        .flatten()
        .collect();
    assert!(wrong.is_empty(), "{} differ: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
}
