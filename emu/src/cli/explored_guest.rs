//! A guest at the beginning of its region: what `explore` and `fences` begin with.

use super::failure::{Failure, refuse};
use super::guest::{GuestOptions, Target};
use super::machine_options::MachineOptions;
use super::replayed::Replayed;
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
#[command(mut_arg("depth", |arg| arg.help("How many ordinary stores a core's store buffer holds, 1 to 128 [default: 128]")))]
#[command(mut_arg("wc_depth", |arg| arg.help("How many write-combining stores it holds, 1 to 128 [default: 128]")))]
#[command(mut_arg("model", |arg| {
    let help = "Which stores other cores may see late, and in what order [default: tso]";
    arg.long_help(format!("{help}\n\nIt may be a list, as in `sc,tso,pso`: there is an answer for each."))
}))]
pub(super) struct ExploredGuest {
    #[command(flatten)]
    guest: GuestOptions,

    #[command(flatten)]
    machine: MachineOptions,

    /// Explore from the guest's first instruction on, marks or not
    #[arg(long, help_heading = "Exploration")]
    whole: bool,
}

impl ExploredGuest {
    /// What is named.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        self.guest.target(None)
    }

    /// Whether it is explored from its first instruction on.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The models asked for.
    pub(super) fn models(&self) -> Vec<MemoryModel> {
        self.machine.models()
    }

    /// The guest at the beginning of its region, which it must come to within `time`.
    pub(super) fn surveyor(&self, target: &Target, time: Option<Duration>) -> Result<Surveyor, Failure> {
        self.surveyor_with(target, self.settings(target)?, time)
    }

    /// Likewise, on the machine that a schedule is for.
    pub(super) fn replaying(
        &self,
        target: &Target,
        replayed: &Replayed,
        time: Option<Duration>,
    ) -> Result<Surveyor, Failure> {
        let settings = replayed.schedule.settings.clone();
        // A testbench knows which image a schedule is for.
        target.bench(None)?.schedule(replayed.schedule.clone())?;
        let said = self.guest.command_line().or(target.said().map(str::to_owned));
        // A schedule of `run` is one of a program that goes on for more than one round.
        let said = said.map(|said| if said == settings.command_line { said } else { once(target, said) });
        replayed.agree(&self.machine, said.as_deref())?;
        let image = target.image()?;
        let first = Machine::new(&image, settings.clone())?;
        let region = if self.whole {
            Region::whole(first)
        } else {
            let start = || Machine::new(&image, settings.clone()).expect("the image has fitted before");
            Region::along(&replayed.schedule.choices, start, LONGEST_BEFORE, time)
        };
        Ok(Surveyor::new(image.clone(), settings.clone(), region)?)
    }

    fn surveyor_with(&self, target: &Target, settings: Settings, time: Option<Duration>) -> Result<Surveyor, Failure> {
        let image = target.image()?;
        let machine = Machine::new(&image, settings.clone())?;
        let region = if self.whole { Ok(Region::whole(machine)) } else { Region::find(machine, LONGEST_BEFORE, time) };
        let name = self.guest.name();
        let way_out = "mark its region (programs/BOOT.md), or explore it --whole";
        match region {
            Ok(region) => Ok(Surveyor::new(image, settings, region)?),
            Err(error @ NoRegion::Ended { .. }) => {
                refuse(format!("`{name}` has no region to explore: {error}; {way_out}"))
            }
            Err(error @ NoRegion::EndsFirst { .. }) => Err(Failure::Undecided(format!(
                "`{name}` has no region to explore: {error}; exchange the two, or let every core that takes part come to both \
                 (programs/BOOT.md)"
            ))),
            Err(error @ NoRegion::StepLimit(_)) => Err(Failure::Undecided(format!("`{name}`: {error}; {way_out}"))),
            Err(error @ NoRegion::TimeLimit(_)) => {
                Err(Failure::Undecided(format!("`{name}`: {error}; raise --time, {way_out}")))
            }
        }
    }

    /// The machine: as asked, buffers as deep as there are unless asked.
    fn settings(&self, target: &Target) -> Result<Settings, Failure> {
        let bench = target.bench(self.guest.command_line())?;
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
        Target::Program(..) | Target::Elf(..) | Target::Flat(_) => command_line,
    }
}

/// The variant that a guest with this command line is.
pub(super) fn variant(target: &Target, command_line: &str) -> Option<&'static Variant> {
    target.variant(command_line.strip_suffix(ONCE).map_or(command_line, str::trim_end))
}
