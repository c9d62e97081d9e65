//! Sets of final states to compare with: one JSON object a line, with a path and, per model, an observation and states.

use super::{Explored, Under};
use crate::cli::failure::Failure;
use crate::cli::input_file;
use fencepost::memory_model::MemoryModel;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

/// What is expected, by path.
pub(super) struct Expected(BTreeMap<String, BTreeMap<String, Verdict>>);

#[derive(Deserialize)]
struct Row {
    path: String,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Verdict {
    observation: String,
    states: BTreeSet<String>,
}

impl Expected {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Expected, Failure> {
        let text = input_file::read_text(path, input_file::LARGEST_CONTENT)?;
        let mut expected = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let malformed = |error: serde_json::Error| {
                Failure::Refused(format!("`{}`, line {}: {error}", path.display(), index + 1))
            };
            let row: Row = serde_json::from_str(line).map_err(malformed)?;
            let mut verdicts = BTreeMap::new();
            for (key, value) in row.rest {
                if MemoryModel::named(&key).is_some() {
                    verdicts.insert(key, serde_json::from_value(value).map_err(malformed)?);
                }
            }
            expected.insert(row.path, verdicts);
        }
        Ok(Expected(expected))
    }

    /// How what was explored differs from what is expected.
    pub(super) fn difference(&self, explored: &Explored, under: &Under) -> Option<String> {
        let title = format!("{} {}", explored.file.name, under.model);
        let Some(verdict) = self.0.get(&explored.file.name).and_then(|verdicts| verdicts.get(under.model.name()))
        else {
            return Some(format!("{title}: nothing is expected of it"));
        };
        let found: BTreeSet<String> = under.outcome.states.iter().cloned().collect();
        let list = |states: Vec<&String>| states.into_iter().map(String::as_str).collect::<Vec<_>>().join(" | ");
        let (more, less) =
            (list(found.difference(&verdict.states).collect()), list(verdict.states.difference(&found).collect()));
        let observation = format!("{:?}", under.outcome.observation());
        let mut parts = Vec::new();
        if !under.outcome.complete {
            // What is missing may only not have been found yet.
            return (!more.is_empty()).then(|| format!("{title}: not expected: {more}"));
        }
        if !more.is_empty() {
            parts.push(format!("not expected: {more}"));
        }
        if !less.is_empty() {
            parts.push(format!("missing: {less}"));
        }
        if observation != verdict.observation {
            parts.push(format!("{observation} instead of {}", verdict.observation));
        }
        (!parts.is_empty()).then(|| format!("{title}: {}", parts.join("; ")))
    }

    /// What is expected of tests that are not among `paths`.
    pub(super) fn unmet<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Vec<String> {
        let paths: HashSet<&str> = paths.collect();
        let unmet = self.0.keys().filter(|path| !paths.contains(path.as_str()));
        let folder = "paths are relative to the folder that is given";
        unmet.map(|path| format!("{path}: expected, but no such test is given ({folder})")).collect()
    }
}
