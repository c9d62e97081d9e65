//! `fencepost run`: the options, what they mean together, and which of the two ways to run they ask for.

mod fault;
mod life;
mod many;
mod one;
mod point;
mod report;
mod terminal;
mod undone;
mod watcher;

use super::failure::{Failure, refuse};
use super::guest::{GuestOptions, RULE, Target};
use super::input_file;
use super::machine_options::MachineOptions;
use clap::{Args, ValueEnum};
use fencepost::input::{Place, Script, unescape};
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::runner::{IRQ_JITTER, Slices};
use fencepost::testbench::{DEFAULT_MAX_STEPS, Testbench};
use point::Point;
use std::io::IsTerminal;
use std::path::PathBuf;

/// The longest mean slice: twice as many steps are what one choice of a schedule may take.
const LONGEST_SLICE: u64 = fencepost::schedule::MOST_STEPS / 2;

/// An interrupt held off for longer, in steps, would never come.
const LONGEST_JITTER: u64 = 1_000_000_000;

/// A script longer than this, in bytes, is likely another file.
const LONGEST_SCRIPT: u64 = 1 << 24;

/// Run a program or an ELF file, once or with many seeds
///
/// The guest's serial output appears as it comes; what happened is summed up on standard error.
/// The same guest, options and seed always give the same run, but for what is typed with --interactive.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = after_long_help(), next_line_help = false)]
pub(super) struct Run {
    #[command(flatten)]
    guest: GuestOptions,

    /// The program's variant [default: its first]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["words", "args"])]
    variant: Option<String>,

    #[command(flatten)]
    machine: MachineOptions,

    /// What the interleaving is drawn from [default: 0]
    #[arg(long, value_name = "N", help_heading = "The run", conflicts_with = "schedule")]
    seed: Option<u64>,

    /// How many steps a core takes in a row, on average [default: few and many in turn]
    #[arg(long, value_name = "N", help_heading = "The run", conflicts_with = "schedule",
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_SLICE))]
    slice: Option<u64>,

    /// For how many steps an interrupt that could be taken is held off at most, drawn anew each time; up to 1000000000
    #[arg(long, value_name = "N", help_heading = "The run", conflicts_with = "schedule", default_value_t = IRQ_JITTER,
          value_parser = clap::value_parser!(u64).range(..=LONGEST_JITTER))]
    irq_jitter: u64,

    /// Let writes to devices arrive and interrupts be taken at once, as emulators do that know no such delays
    #[arg(long, help_heading = "The run", conflicts_with_all = ["schedule", "irq_jitter"])]
    prompt: bool,

    /// Type this text on the keyboard, as fast as the guest takes it; \n is Enter, \u0003 Ctrl+C
    #[arg(long, value_name = "TEXT", help_heading = "The run", conflicts_with = "schedule")]
    keys: Option<String>,

    /// Type and send what this script says
    ///
    /// Its lines are [at 2.5s | after "TEXT"] and one of keys "TEXT", serial "TEXT", mouse move DX DY,
    /// mouse press BUTTON, mouse release BUTTON.
    /// Without a time it is done once the line before it is; `after` waits for serial output; # starts a comment.
    #[arg(long, value_name = "FILE", help_heading = "The run", conflicts_with = "schedule")]
    input: Option<PathBuf>,

    /// Pass on what is typed, and wait while the guest waits
    ///
    /// Standard input goes to the serial port, or, with =keys, to the keyboard; each key of a terminal goes there as it is
    /// pressed, Ctrl+C too, and Ctrl+] leaves. While every core waits, virtual time goes no faster than the host's.
    /// The run is another each time; --record keeps it.
    #[arg(long, value_name = "WHERE", help_heading = "The run", conflicts_with_all = ["schedule", "runs"],
          num_args = 0..=1, require_equals = true, default_missing_value = "serial")]
    interactive: Option<Interactive>,

    /// Give up after this many steps of all cores together [default: 200000000; none with --interactive at a terminal]
    #[arg(long, value_name = "N", help_heading = "The run")]
    max_steps: Option<u64>,

    /// Stop at frame:N (the N-th picture presented), steps:N, or serial:TEXT (a complete line with this text)
    #[arg(long, value_name = "POINT", help_heading = "The run")]
    until: Option<Point>,

    /// Replay this schedule, given as text or as a file; its settings are used
    #[arg(long, value_name = "TEXT|FILE", help_heading = "The run")]
    schedule: Option<String>,

    /// Run this many seeds, from --seed on, and count the outcomes
    #[arg(long, value_name = "N", help_heading = "Many runs",
          value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with_all = ["schedule", "until", "record", "screenshot", "show", "serial", "trace"])]
    runs: Option<u64>,

    /// How many of them at a time [default: one on each processor]
    #[arg(long, value_name = "N", help_heading = "Many runs", requires = "runs",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Write the schedule of the run, for --schedule
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    record: Option<PathBuf>,

    /// Write the screen at the end as a PNG picture
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    screenshot: Option<PathBuf>,

    /// Write every event, loads and stores included, as a line of JSON; - for standard output
    ///
    /// The file appears when the run is over. A run that is killed (Ctrl-C too) leaves what it has written beside it,
    /// in a file called .fencepost- and some letters.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    trace: Option<PathBuf>,

    /// Write what the guest has written to its disks into their files, at the end; otherwise the files stay as they are
    ///
    /// A file that is no multiple of 512 bytes long is one, padded with zeroes, when the guest has written to its last sector.
    #[arg(long, help_heading = "Output", conflicts_with = "runs")]
    commit: bool,

    /// Write the frames that the network card has sent, as a capture (pcap) with virtual times
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with = "runs")]
    capture: Option<PathBuf>,

    /// Show the screen at the end in the terminal
    #[arg(long, help_heading = "Output", conflicts_with_all = ["serial", "json"])]
    show: bool,

    /// Write the serial output and nothing else
    #[arg(long, help_heading = "Output", conflicts_with = "json")]
    serial: bool,

    /// Write one report as JSON instead
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Where what is typed goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Interactive {
    /// To the serial port, byte by byte.
    Serial,
    /// To the keyboard, by the keys that write it.
    Keys,
}

impl Interactive {
    fn place(self) -> Place {
        match self {
            Interactive::Serial => Place::Serial,
            Interactive::Keys => Place::Keys,
        }
    }
}

fn after_long_help() -> String {
    format!("{RULE}\n\n{EXAMPLES}")
}

const EXAMPLES: &str = "\
Examples:
  fencepost run hello                            the smallest program
  fencepost run store-buffering/broken --seed 3  one interleaving of two cores
  fencepost run store-buffering/broken --runs 200
                                    which outcomes there are, a seed for each
  fencepost run message-passing --model tso,pso --runs 200
  fencepost run torn-frame/broken --show --screenshot torn.png
  fencepost run dekker/broken --seed 7 --record run.txt
  fencepost run dekker --schedule run.txt --trace run.jsonl
  fencepost run ./kernel.elf --cores 4 --ram 64M -- verbose
  fencepost run ./kernel.elf --until serial:ready --show
  fencepost run ./kernel.elf --interactive --record session.txt

As a cargo runner, in .cargo/config.toml of your crate:
  [target.x86_64-unknown-linux-gnu]
  runner = \"fencepost run\"
  An executable must be static and not position-independent: README's
  \"Your own guest\" has the rustflags for that.
  Then `cargo run -- WORDS` gives WORDS to the guest, but options among them to
  Fencepost, as in `cargo run -- --seed 3`. Words for the guest that begin
  with - follow a second --.

Exit codes of one run: the code that the guest wrote to its debug exit, or
  0  every core has halted or waits for input that does not come, the guest has
     reset the machine, the point of --until was reached, the schedule ended,
     or you left with Ctrl+]
  1  a core faulted, or the guest ended with 0 before the point of --until
  2  bad use or bad input, and nothing has been written; or what the run has
     come to could not be written
  3  --max-steps was reached
Exit codes of --runs:
  0  the program's stanza lists every outcome for its model (hazards are listed:
     they are what a broken variant shows)
  1  an outcome is not listed, a core faulted, or --max-steps was reached
  A file has no stanza: only faults and the bound count.";

impl Run {
    /// Runs.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let target = self.guest.target(self.variant.as_deref())?;
        let command_line = self.command_line(&target)?;
        match self.runs {
            Some(runs) => many::perform(&self, &target, command_line, runs),
            None => one::perform(&self, &target, command_line),
        }
    }

    /// What the guest is told, if anything is said about it.
    fn command_line(&self, target: &Target) -> Result<Option<String>, Failure> {
        let given = self.guest.command_line();
        match (target, &given) {
            (Target::Program(program, Some(variant)), Some(given)) => refuse(format!(
                "a program's variant is its command line, and `{}/{}` and `{given}` are two; leave one of them out",
                program.name, variant.name
            )),
            _ => Ok(given),
        }
    }

    /// The testbench under `model`, everything set but the schedule.
    fn bench(&self, target: &Target, command_line: Option<String>, model: MemoryModel) -> Result<Testbench, Failure> {
        let bench = target.bench(command_line)?;
        let settings = self.machine.settings(bench.current_settings(), model)?;
        let slices = self.slice.map_or(Slices::AnyMagnitude, Slices::Around);
        let bench = bench.settings(settings).seed(self.first_seed()).slices(slices).max_steps(self.step_limit());
        Ok(bench.irq_jitter(self.irq_jitter).prompt(self.prompt).script(self.script()?))
    }

    /// What is typed and sent.
    fn script(&self) -> Result<Script, Failure> {
        let mut script = Script::default();
        if let Some(keys) = &self.keys {
            let script_of_keys = unescape(keys).and_then(|keys| Script::keys(&keys));
            script = script_of_keys.or_else(|problem| refuse(format!("--keys: {problem}")))?;
        }
        let Some(path) = &self.input else { return Ok(script) };
        let text = input_file::read_text(path, LONGEST_SCRIPT)?;
        let more = text.parse::<Script>().or_else(|problem| refuse(format!("`{}`: {problem}", path.display())))?;
        Ok(script.then(more))
    }

    /// The bound on steps; nobody wants to be cut off while typing, and a pipe that has ended ends no guest.
    fn step_limit(&self) -> u64 {
        let is_typing = self.interactive.is_some() && std::io::stdin().is_terminal();
        self.max_steps.unwrap_or(if is_typing { u64::MAX } else { DEFAULT_MAX_STEPS })
    }

    fn first_seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The command line that gives the run of `seed` again.
    fn replay_by_seed(&self, target: &Target, settings: &Settings, seed: u64) -> String {
        let mut command = format!("{} --seed {seed}", target.command(settings));
        if let Some(slice) = self.slice {
            command += &format!(" --slice {slice}");
        }
        if self.irq_jitter != IRQ_JITTER {
            command += &format!(" --irq-jitter {}", self.irq_jitter);
        }
        if self.prompt {
            command += " --prompt";
        }
        if let Some(keys) = &self.keys {
            command += &format!(" --keys {}", super::guest::quoted(keys));
        }
        if let Some(input) = &self.input {
            command += &format!(" --input {}", super::guest::quoted_path(input));
        }
        command + &self.limits()
    }

    /// The options that end a run early, as one types them.
    fn limits(&self) -> String {
        let mut command = String::new();
        if let Some(steps) = self.max_steps.filter(|steps| *steps != DEFAULT_MAX_STEPS) {
            command += &format!(" --max-steps {steps}");
        }
        if let Some(point) = &self.until {
            command += &format!(" --until {}", super::guest::quoted(&point.to_string()));
        }
        command
    }
}
