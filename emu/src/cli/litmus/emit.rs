//! Litmus tests as guest images, with a schedule for each final state.

use super::Explored;
use crate::cli::failure::{Failure, no_folder, note, refuse};
use crate::cli::guest::quoted;
use crate::cli::output_file::OutputFile;
use fencepost::explorer::region::Region;
use fencepost::explorer::survey::{Outcome, Surveyor};
use fencepost::explorer::{Limits, Plan};
use fencepost::litmus::image;
use fencepost::loader::Image;
use fencepost::machine::{DEEPEST, Machine, Settings};
use fencepost::processor::Processor;
use std::collections::HashSet;
use std::path::Path;

/// Steps until all threads have come to their first instruction.
const LONGEST_BEFORE: u64 = 1_000_000;

/// Writes an image for each test into `folder`, and a schedule for each state under each model, of a machine with `processor`.
pub(super) fn emit<'a>(
    folder: &Path,
    explored: impl Iterator<Item = &'a Explored<'a>>,
    processor: Processor,
    limits: &Limits,
) -> Result<(), Failure> {
    if let Err(error) = std::fs::create_dir_all(folder) {
        return refuse(no_folder(folder, &error));
    }
    let explored: Vec<&Explored> = explored.collect();
    let mut names: HashSet<String> = HashSet::new();
    for explored in explored {
        let mut name = file_name(&explored.test.name);
        if !names.insert(name.clone()) {
            // Names repeat; paths do not.
            name = file_name(explored.file.name.trim_end_matches(".litmus"));
            names.insert(name.clone());
        }
        let bytes = image::image(&explored.test)
            .map_err(|wrong| Failure::Refused(format!("{}: {}", explored.file.name, wrong.problem)))?;
        let path = folder.join(format!("{name}.elf"));
        OutputFile::check(&path)?.write(&bytes)?;
        let mut surveyor = surveyor(&name, bytes, explored.test.threads.len(), processor)?;
        for under in &explored.under {
            let survey = surveyor.survey(&Plan::default(), under.model, limits);
            // Where threads wait for ever there is no state to report.
            let is_state = |outcome: &&Outcome| !matches!(outcome, Outcome::Deadlock(_) | Outcome::Livelock(_));
            let ends = survey.outcomes.keys().filter(is_state);
            let states: Vec<String> = ends.map(|outcome| image::state(&outcome.to_string()).to_owned()).collect();
            assert!(
                !survey.is_complete() || states == under.outcome.states,
                "{name} under {}: as an image it has other final states: {states:?}",
                under.model
            );
            for (index, (state, reached)) in survey.outcomes.iter().enumerate() {
                let path = folder.join(format!("{name}-{}-{}.schedule", under.model, index + 1));
                OutputFile::check(&path)?.write(format!("# {state}\n{}\n", reached.schedule).as_bytes())?;
            }
        }
        note(&format!(
            "{}: replay a state with fencepost run {} --schedule {}",
            explored.file.name,
            quoted(&path.display().to_string()),
            quoted(&folder.join(format!("{name}-MODEL-N.schedule")).display().to_string())
        ));
    }
    Ok(())
}

/// `name` with `_` for what the name of a file should not hold.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "+-_.".contains(c) { c } else { '_' }).collect()
}

fn surveyor(name: &str, bytes: Vec<u8>, threads: usize, processor: Processor) -> Result<Surveyor, Failure> {
    let image = Image::from_elf(name, bytes)?;
    let (depth, wc_depth) = (DEEPEST as usize, DEEPEST as usize);
    let settings = Settings { cores: threads as u8, processor, depth, wc_depth, ..Settings::default() };
    let machine = Machine::new(&image, settings.clone())?;
    match Region::find(machine, LONGEST_BEFORE, None) {
        Ok(region) => Ok(Surveyor::new(image, settings, region)?),
        Err(error) => refuse(format!("{name}: {error}")),
    }
}
