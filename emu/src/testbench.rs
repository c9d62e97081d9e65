//! Running a guest to a point and looking at it: the library's front door, and what the command line uses.
//!
//! ```
//! use fencepost::memory_model::MemoryModel;
//! use fencepost::testbench::Testbench;
//!
//! let run = Testbench::program("store-buffering/mfence")?.model(MemoryModel::TSO).seed(1).run()?;
//! assert_eq!(run.exit_code(), Some(0));
//! assert_ne!(run.outcome(), Some("r0=0 r1=0"));
//! # Ok::<(), fencepost::testbench::BenchError>(())
//! ```

mod counts;
mod output;
mod series;
mod until;

pub use counts::{CoreCounts, Counts, Vectors};
pub use output::Output;
pub use series::Series;
pub use until::Until;

use crate::boot::BootError;
use crate::core::CoreId;
use crate::input::{Live, Script};
use crate::loader::{Image, LoadError};
use crate::machine::{Machine, Settings, Stop};
use crate::memory_model::MemoryModel;
use crate::processor::Processor;
use crate::runner::{Diverged, Ended, IRQ_JITTER, Policy, Runner, Slices};
use crate::schedule::Schedule;
use crate::trace::Line;
use fencepost_devices::{Ata, Framebuffer, Picture, Resolution, Ticks, VgaText, VirtioNet, write_pcap};
use fencepost_programs::{Program, Variant};
use std::ops::ControlFlow;
use std::path::Path;

/// Steps after which a run is given up unless told otherwise: some seconds of host time.
pub const DEFAULT_MAX_STEPS: u64 = 200_000_000;

/// A guest and everything that decides how it runs.
#[derive(Clone)]
pub struct Testbench {
    image: Image,
    program: Option<(&'static Program, &'static Variant)>,
    settings: Settings,
    seed: u64,
    slices: Slices,
    max_steps: u64,
    schedule: Option<Schedule>,
    details: bool,
    is_recorded: bool,
    irq_jitter: u64,
    is_prompt: bool,
    script: Script,
}

impl Testbench {
    /// One of the programs that come with Fencepost: `name` or `name/variant`, else its first variant.
    ///
    /// # Errors
    /// There is no such program or variant; the message offers near matches.
    pub fn program(name: &str) -> Result<Testbench, BenchError> {
        let (program, variant) = find_program(name)?;
        let image = Image::from_elf(program.name, program.image.to_vec())?;
        let mut bench = Testbench::image(image).args(variant.name);
        bench.settings.cores = program.cores as u8;
        bench.program = Some((program, variant));
        Ok(bench)
    }

    /// The ELF executable at `path`.
    ///
    /// # Errors
    /// It cannot be read or is not such a file.
    pub fn elf(path: impl AsRef<Path>) -> Result<Testbench, BenchError> {
        Ok(Testbench::image(Image::open(path.as_ref())?))
    }

    /// An image.
    pub fn image(image: Image) -> Testbench {
        Testbench {
            image,
            program: None,
            settings: Settings::default(),
            seed: 0,
            slices: Slices::default(),
            max_steps: DEFAULT_MAX_STEPS,
            schedule: None,
            details: false,
            is_recorded: true,
            irq_jitter: IRQ_JITTER,
            is_prompt: false,
            script: Script::default(),
        }
    }

    /// The number of cores.
    pub fn cores(mut self, cores: u8) -> Testbench {
        self.settings.cores = cores;
        self
    }

    /// The memory model.
    pub fn model(mut self, model: MemoryModel) -> Testbench {
        self.settings.model = model;
        self
    }

    /// Whose processors the cores are like.
    pub fn processor(mut self, processor: Processor) -> Testbench {
        self.settings.processor = processor;
        self
    }

    /// All settings of the machine at once.
    pub fn settings(mut self, settings: Settings) -> Testbench {
        self.settings = settings;
        self
    }

    /// RAM in bytes.
    pub fn ram(mut self, bytes: u64) -> Testbench {
        self.settings.ram_bytes = bytes;
        self
    }

    /// The guest's command line.
    pub fn args(mut self, command_line: impl Into<String>) -> Testbench {
        self.settings.command_line = command_line.into();
        self
    }

    /// The seed from which the interleaving is drawn.
    pub fn seed(mut self, seed: u64) -> Testbench {
        self.seed = seed;
        self
    }

    /// How long slices are.
    pub fn slices(mut self, slices: Slices) -> Testbench {
        self.slices = slices;
        self
    }

    /// For how many steps an interrupt that could be taken is held off at most.
    pub fn irq_jitter(mut self, steps: u64) -> Testbench {
        self.irq_jitter = steps;
        self
    }

    /// Nothing is late: writes to devices arrive and interrupts are taken at once, as in emulators without such delays.
    pub fn prompt(mut self, prompt: bool) -> Testbench {
        self.is_prompt = prompt;
        self
    }

    /// What is typed on the keyboard and sent down the serial line.
    pub fn script(mut self, script: Script) -> Testbench {
        self.script = script;
        self
    }

    /// The bound on steps, of all cores together.
    pub fn max_steps(mut self, steps: u64) -> Testbench {
        self.max_steps = steps;
        self
    }

    /// Replays `schedule`, with its settings, instead of drawing from the seed.
    ///
    /// # Errors
    /// The schedule was recorded with another image.
    pub fn schedule(mut self, schedule: Schedule) -> Result<Testbench, BenchError> {
        if schedule.image != self.image.hash() {
            return Err(BenchError::OtherImage { schedule: schedule.image, image: self.image.hash() });
        }
        self.settings = schedule.settings.clone();
        self.schedule = Some(schedule);
        Ok(self)
    }

    /// Keeps every event, with loads, stores and register names: [`Run::trace`]. Slow.
    pub fn trace(mut self) -> Testbench {
        self.details = true;
        self
    }

    /// Does not record the schedule: a long run need not keep it.
    pub fn unrecorded(mut self) -> Testbench {
        self.is_recorded = false;
        self
    }

    /// The image it runs.
    pub fn loaded_image(&self) -> &Image {
        &self.image
    }

    /// The settings as they are now.
    pub fn current_settings(&self) -> &Settings {
        &self.settings
    }

    /// The program and variant it was made from.
    pub fn known_program(&self) -> Option<(&'static Program, &'static Variant)> {
        self.program
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The image does not fit the settings, or the schedule does not fit the image.
    pub fn run(self) -> Result<Run, BenchError> {
        self.run_until(Until::End)
    }

    /// Runs until `until`, or to the end if that comes first; [`Run::reached`] tells which.
    ///
    /// # Errors
    /// As for [`Testbench::run`].
    pub fn run_until(self, until: Until) -> Result<Run, BenchError> {
        let keeps_trace = self.details;
        let mut trace = Vec::new();
        let mut run = self.run_watched(until, |line| {
            if keeps_trace {
                trace.push(line.clone());
            }
        })?;
        run.trace = trace;
        Ok(run)
    }

    /// Like [`Testbench::run_until`], and shows `watch` every event as it happens.
    ///
    /// # Errors
    /// As for [`Testbench::run`].
    pub fn run_watched(self, until: Until, mut watch: impl FnMut(&Line)) -> Result<Run, BenchError> {
        self.run_interruptible(until, |line| {
            watch(line);
            ControlFlow::Continue(())
        })
    }

    /// Like [`Testbench::run_watched`], and ends the run soon after `watch` says so.
    ///
    /// # Errors
    /// As for [`Testbench::run`].
    pub fn run_interruptible(
        self,
        until: Until,
        watch: impl FnMut(&Line) -> ControlFlow<()>,
    ) -> Result<Run, BenchError> {
        let machine = self.machine()?;
        self.drive(machine, until, None, watch)
    }

    /// Like [`Testbench::run_interruptible`], and somebody types meanwhile; while the guest waits, so does the host.
    ///
    /// # Errors
    /// As for [`Testbench::run`].
    pub fn run_live(
        self,
        until: Until,
        live: Live,
        watch: impl FnMut(&Line) -> ControlFlow<()>,
    ) -> Result<Run, BenchError> {
        let machine = self.machine()?;
        self.drive(machine, until, Some(live), watch)
    }

    /// The machine, about to start.
    ///
    /// # Errors
    /// The image does not fit the settings.
    pub fn machine(&self) -> Result<Machine, BenchError> {
        Ok(Machine::new(&self.image, self.settings.clone())?)
    }

    /// Runs `machine`, which is about to start, until `until`.
    fn drive(
        self,
        mut machine: Machine,
        until: Until,
        live: Option<Live>,
        mut watch: impl FnMut(&Line) -> ControlFlow<()>,
    ) -> Result<Run, BenchError> {
        machine.set_details(self.details);
        machine.set_break(until.break_condition());
        let policy = Policy::new(self.seed, self.slices).with_irq_jitter(self.irq_jitter);
        let policy = if self.is_prompt { policy.prompt() } else { policy };
        let mut runner = Runner::new(machine, policy).with_script(self.script).with_live(live);
        if !self.is_recorded {
            runner = runner.without_record();
        }
        let mut output = Output::default();
        let mut counts = Counts::new(self.settings.cores);
        let mut is_reached = false;
        let mut is_interrupted = false;
        let mut observe = |machine: &mut Machine| {
            for line in machine.take_events() {
                is_interrupted |= watch(&line).is_break();
                output.take(&line.event);
                counts.take(&line.event);
                is_reached |= until.is_reached(&line.event, &output);
            }
            is_reached || is_interrupted
        };
        let max_steps = until.max_steps(self.max_steps);
        let ended = match &self.schedule {
            Some(schedule) => runner.replay(schedule, max_steps, &mut observe)?,
            None => runner.run(max_steps, &mut observe),
        };
        let reached =
            is_reached || matches!((until, ended), (Until::End, Ended::Stopped) | (Until::Steps(_), Ended::StepLimit));
        for (core, &instructions) in runner.instructions().iter().enumerate() {
            counts.set_instructions(CoreId(core as u8), instructions);
        }
        Ok(Run { runner, output, counts, ended, reached, trace: Vec::new() })
    }
}

/// A run that has reached its point.
pub struct Run {
    runner: Runner,
    output: Output,
    counts: Counts,
    ended: Ended,
    reached: bool,
    trace: Vec<Line>,
}

impl Run {
    /// What the guest wrote to its serial port.
    pub fn serial(&self) -> String {
        self.output.serial()
    }

    /// What the guest wrote to its debug console.
    pub fn debug_console(&self) -> String {
        self.output.debug_console()
    }

    /// The last outcome that the guest reported: `outcome: TEXT` on the debug console.
    pub fn outcome(&self) -> Option<&str> {
        self.output.outcome()
    }

    /// Whether the point asked for was reached, rather than an earlier end.
    pub fn reached(&self) -> bool {
        self.reached
    }

    /// How the run ended.
    pub fn ended(&self) -> Ended {
        self.ended
    }

    /// Why the machine stopped; `None` if it could go on.
    pub fn stop(&self) -> Option<Stop> {
        self.runner.outer_state().stop
    }

    /// The code with which the guest exited, if it did.
    pub fn exit_code(&self) -> Option<u8> {
        match self.stop() {
            Some(Stop::Exited { code }) => Some(code),
            Some(Stop::Faulted { .. } | Stop::AllHalted | Stop::Reset) | None => None,
        }
    }

    /// What of the script was not done.
    pub fn script_left(&self) -> &Script {
        self.runner.script()
    }

    /// Steps taken by all cores.
    pub fn steps(&self) -> u64 {
        self.runner.steps()
    }

    /// Instructions, interrupts and exceptions, core by core.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The machine's time at the end.
    pub fn time(&self) -> Ticks {
        self.runner.outer_state().time
    }

    /// The whole content of disk `index`, if the guest has written to it.
    pub fn changed_disk(&self, index: usize) -> Option<Vec<u8>> {
        let disk = self.runner.outer_state().board.bus().device::<Ata>()?.disk(index)?;
        disk.changed_sectors().next()?;
        Some((0..disk.sectors()).flat_map(|lba| disk.sector(lba)).collect())
    }

    /// The frames that the network card has sent, as a capture file.
    pub fn capture(&self) -> Vec<u8> {
        let card = self.runner.outer_state().board.bus().device::<VirtioNet>();
        write_pcap(card.into_iter().flat_map(VirtioNet::sent), Resolution::Nanoseconds)
    }

    /// The picture of the last frame that the guest presented, or of its text screen if it presented none.
    pub fn screen(&self) -> Picture {
        self.frame().unwrap_or_else(|| self.text_screen().picture())
    }

    /// The last frame that the guest presented.
    pub fn frame(&self) -> Option<Picture> {
        self.runner.outer_state().board.bus().device::<Framebuffer>()?.picture()
    }

    /// How many frames the guest has presented.
    pub fn frames(&self) -> u64 {
        self.runner.outer_state().board.bus().device::<Framebuffer>().map_or(0, Framebuffer::frames)
    }

    /// The screen as plain text: the frame as shades of characters, or the text screen's characters.
    pub fn screen_text(&self) -> String {
        match self.frame() {
            Some(picture) => picture.to_terminal(120, false),
            None => self.text_screen().text(),
        }
    }

    /// The screen as a PNG file, small pictures enlarged.
    pub fn screen_png(&self) -> Vec<u8> {
        let screen = self.screen();
        screen.to_png(screen.viewing_scale())
    }

    /// Every event, if [`Testbench::trace`] asked for them.
    pub fn trace(&self) -> &[Line] {
        &self.trace
    }

    /// The hash that names this run: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.runner.trace_hash()
    }

    /// The schedule that gives this run again; `None` if it was not recorded.
    pub fn schedule(&self) -> Option<Schedule> {
        self.runner.schedule()
    }

    /// The machine, to look further or to go on.
    pub fn machine(&mut self) -> &mut Machine {
        self.runner.machine()
    }

    fn text_screen(&self) -> &VgaText {
        self.runner.outer_state().board.bus().device().expect("every board has a text screen")
    }
}

/// The program and variant that `name` names.
fn find_program(name: &str) -> Result<(&'static Program, &'static Variant), BenchError> {
    let (program_name, variant_name) = match name.split_once('/') {
        Some((program, variant)) => (program, Some(variant)),
        None => (name, None),
    };
    let program = fencepost_programs::find(program_name).ok_or_else(|| {
        let names = fencepost_programs::all().iter().map(|program| program.name);
        BenchError::unknown("program", program_name, names.collect())
    })?;
    let variant = match variant_name {
        None => program.variants.first(),
        Some(name) => program.variants.iter().find(|variant| variant.name == name),
    };
    let variant = variant.ok_or_else(|| {
        let names = program.variants.iter().map(|variant| variant.name);
        BenchError::unknown("variant", variant_name.unwrap_or_default(), names.collect())
    })?;
    Ok((program, variant))
}

/// Why a run could not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BenchError {
    /// No program or variant has this name.
    Unknown {
        /// `program` or `variant`.
        what: &'static str,
        /// The name given.
        name: String,
        /// The names there are, nearest first when one is near.
        known: Vec<&'static str>,
        /// Whether the first of `known` is a near match.
        has_near: bool,
    },
    /// The image cannot be loaded.
    Load(LoadError),
    /// The image cannot be started with these settings.
    Boot(BootError),
    /// The schedule was recorded with another image.
    OtherImage {
        /// The hash in the schedule.
        schedule: u64,
        /// The hash of the image given.
        image: u64,
    },
    /// The schedule does not fit the image although it names it.
    Diverged(Diverged),
}

impl BenchError {
    fn unknown(what: &'static str, name: &str, mut known: Vec<&'static str>) -> BenchError {
        let likeness = |candidate: &str| strsim::jaro_winkler(candidate, name);
        known.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
        let has_near = known.first().is_some_and(|nearest| likeness(nearest) > 0.75);
        BenchError::Unknown { what, name: name.to_owned(), known, has_near }
    }
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BenchError::Unknown { what, name, known, has_near: true } => {
                write!(f, "there is no {what} `{name}`; did you mean `{}`?", known[0])
            }
            BenchError::Unknown { what, name, known, has_near: false } => {
                let mut names = known.clone();
                names.sort_unstable();
                let verb = if names.len() == 1 { "there is only" } else { "there are" };
                write!(f, "there is no {what} `{name}`; {verb} {}", names.join(", "))
            }
            BenchError::Load(error) => error.fmt(f),
            BenchError::Boot(error) => error.fmt(f),
            BenchError::OtherImage { schedule, image } => write!(
                f,
                "the schedule was recorded with another image (it names {schedule:016x}, this one is {image:016x}); \
                 give the program it was recorded with, or record it again"
            ),
            BenchError::Diverged(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<LoadError> for BenchError {
    fn from(error: LoadError) -> BenchError {
        BenchError::Load(error)
    }
}

impl From<BootError> for BenchError {
    fn from(error: BootError) -> BenchError {
        BenchError::Boot(error)
    }
}

impl From<Diverged> for BenchError {
    fn from(error: Diverged) -> BenchError {
        BenchError::Diverged(error)
    }
}
