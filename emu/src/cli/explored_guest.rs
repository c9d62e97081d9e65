//! A guest at the beginning of its region: what `explore` and `fences` begin with.

use super::failure::{Failure, refuse};
use super::guest::Target;
use super::machine_options::MachineOptions;
use super::replayed::Replayed;
use clap::Args;
use fencepost::explorer::region::Region;
use fencepost::explorer::survey::Surveyor;
use fencepost::machine::{DEEPEST, Machine, Settings};
use fencepost::memory_model::MemoryModel;
use fencepost::programs::Variant;

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

    /// The guest at the beginning of its region.
    pub(super) fn surveyor(&self, target: &Target) -> Result<Surveyor, Failure> {
        self.surveyor_with(target, self.settings(target)?)
    }

    /// Likewise, on the machine that a schedule is for.
    pub(super) fn replaying(&self, target: &Target, replayed: &Replayed) -> Result<Surveyor, Failure> {
        let settings = replayed.schedule.settings.clone();
        // A testbench knows which image a schedule is for.
        target.bench(None)?.schedule(replayed.schedule.clone())?;
        let said = self.said().or(target.said().map(str::to_owned)).map(|said| once(target, said));
        replayed.agree(&self.machine, said.as_deref())?;
        self.surveyor_with(target, settings)
    }

    fn surveyor_with(&self, target: &Target, settings: Settings) -> Result<Surveyor, Failure> {
        let image = target.image()?;
        let machine = Machine::new(&image, settings.clone())?;
        let region = if self.whole { Ok(Region::whole(machine)) } else { Region::find(machine, LONGEST_BEFORE) };
        match region {
            Ok(region) => Ok(Surveyor::new(image, settings, region)?),
            Err(error) => refuse(format!(
                "`{}` has no region to explore: {error}; mark it (programs/BOOT.md), or explore it --whole",
                self.target
            )),
        }
    }

    /// The command line that is given.
    fn said(&self) -> Option<String> {
        self.args.clone().or_else(|| (!self.words.is_empty()).then(|| self.words.join(" ")))
    }

    /// The machine: as asked, buffers as deep as there are unless asked.
    fn settings(&self, target: &Target) -> Result<Settings, Failure> {
        let bench = target.bench(self.said())?;
        let mut base = bench.current_settings().clone();
        (base.depth, base.wc_depth) = (DEEPEST as usize, DEEPEST as usize);
        base.command_line = once(target, base.command_line);
        let Some(&model) = self.machine.models().first() else {
            return refuse("there is no model to explore under; leave --model out");
        };
        self.machine.settings(&base, model)
    }
}

/// `command_line`, where a program of Fencepost's own is told to do one round.
fn once(target: &Target, command_line: String) -> String {
    match target {
        Target::Program(..) if !command_line.ends_with(ONCE) => {
            format!("{command_line} {ONCE}").trim_start().to_owned()
        }
        Target::Program(..) | Target::Elf(_) | Target::Flat(_) => command_line,
    }
}

/// The variant that a guest with this command line is.
pub(super) fn variant(target: &Target, command_line: &str) -> Option<&'static Variant> {
    target.variant(command_line.strip_suffix(ONCE).map_or(command_line, str::trim_end))
}
