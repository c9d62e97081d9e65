//! A guest at the beginning of its region: what `explore` and `fences` begin with.

use super::failure::{Failure, refuse};
use super::guest::Target;
use super::machine_options::MachineOptions;
use clap::Args;
use fencepost::explorer::region::{NoRegion, Region};
use fencepost::explorer::survey::Surveyor;
use fencepost::machine::{DEEPEST, Machine, Settings};
use fencepost::memory_model::MemoryModel;
use fencepost::programs::Variant;
use std::time::Duration;

/// Steps until every core has come to its region.
const LONGEST_BEFORE: u64 = 200_000_000;

/// The word that asks a program of Fencepost's own for one round only.
const ONCE: &str = "once";

/// Which guest, on which machine.
#[derive(Args, Clone, Debug)]
pub(super) struct ExploredGuest {
    /// A program (`fencepost list`), with or without a variant after a /, or an executable file
    #[arg(value_name = "NAME[/VARIANT]|FILE")]
    target: String,

    /// The guest's command line; write -- before words that begin with -
    #[arg(value_name = "ARGS")]
    words: Vec<String>,

    /// The guest's command line as one text
    #[arg(long, value_name = "TEXT", conflicts_with = "words", allow_hyphen_values = true)]
    args: Option<String>,

    /// The file is raw 64-bit code, loaded and entered at 0x100000
    #[arg(long)]
    flat: bool,

    #[command(flatten)]
    machine: MachineOptions,

    /// Explore from the guest's first instruction on, marks or not
    #[arg(long, help_heading = "Exploration")]
    whole: bool,
}

impl ExploredGuest {
    /// What is named.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        Target::find(&self.target, None, self.flat)
    }

    /// The models asked for.
    pub(super) fn models(&self) -> Vec<MemoryModel> {
        self.machine.models()
    }

    /// The guest at the beginning of its region, which it must come to within `time`.
    pub(super) fn surveyor(&self, target: &Target, time: Option<Duration>) -> Result<Surveyor, Failure> {
        let settings = self.settings(target)?;
        let image = target.image()?;
        let machine = Machine::new(&image, settings.clone())?;
        let region = if self.whole { Ok(Region::whole(machine)) } else { Region::find(machine, LONGEST_BEFORE, time) };
        let way_out = "mark its region (programs/BOOT.md), or explore it --whole";
        match region {
            Ok(region) => Ok(Surveyor::new(image, settings, region)?),
            Err(error @ NoRegion::Ended(_)) => {
                refuse(format!("`{}` has no region to explore: {error}; {way_out}", self.target))
            }
            Err(error @ NoRegion::StepLimit(_)) => {
                Err(Failure::Undecided(format!("`{}`: {error}; {way_out}", self.target)))
            }
            Err(error @ NoRegion::TimeLimit(_)) => {
                Err(Failure::Undecided(format!("`{}`: {error}; raise --time, {way_out}", self.target)))
            }
        }
    }

    /// The machine: as asked, buffers as deep as there are unless asked.
    fn settings(&self, target: &Target) -> Result<Settings, Failure> {
        let given = self.args.clone().or_else(|| (!self.words.is_empty()).then(|| self.words.join(" ")));
        let bench = target.bench(given)?;
        let mut base = bench.current_settings().clone();
        (base.depth, base.wc_depth) = (DEEPEST as usize, DEEPEST as usize);
        if let Target::Program(..) = target
            && !base.command_line.ends_with(ONCE)
        {
            base.command_line = format!("{} {ONCE}", base.command_line).trim_start().to_owned();
        }
        let Some(&model) = self.machine.models().first() else {
            return refuse("there is no model to explore under; leave --model out");
        };
        self.machine.settings(&base, model)
    }
}

/// The variant that a guest with this command line is.
pub(super) fn variant(target: &Target, command_line: &str) -> Option<&'static Variant> {
    target.variant(command_line.strip_suffix(ONCE).map_or(command_line, str::trim_end))
}
