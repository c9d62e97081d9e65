//! Guests that interrupt themselves and each other: interrupt controllers and timers programmed at random, tables with good
//! and bad gates, messages between cores, non-maskable interrupts, resets and starts in real mode, task switches.
//!
//! Each run is replayed, by both engines and by the precise one alone, and gone on with from its middle by a machine that
//! has executed nothing before; all must end alike.
//!
//! There are several sets of page tables, with random flags; guests change from one to another and write to their entries,
//! with and without INVLPG.

mod gadgets;
mod tables;

use crate::random::Random;
use fencepost::choice::Choice;
use fencepost::devices::PhysAddr;
use fencepost::machine::{Machine, State};
use fencepost::memory_model::MemoryModel;
use fencepost::runner::Slices;
use fencepost::testbench::{Run, Testbench, Until};
use fencepost::trace::Event;

/// Steps of all cores together: a guest that executes zeros, each of which stores into the page that it is on, takes a
/// fraction of a millisecond for each, and is run six times.
const STEPS: u64 = 3_000;
/// RAM in bytes: the least.
const RAM: u64 = 2 << 20;

pub(super) fn case(seed: u64) -> Result<(), String> {
    let (bench, mut random) = bench(seed);
    let mut run = Watched::run(bench.clone())?;
    let schedule = run.run.schedule().expect("it was recorded");
    let replay = |bench: Testbench| {
        let bench = bench.schedule(schedule.clone()).map_err(|error| error.to_string())?;
        Watched::run(bench.max_steps(u64::MAX))
    };
    run.compare(replay(bench.clone())?, "its replay")?;
    run.compare(replay(bench.clone().trace())?, "its replay by the precise engine alone")?;
    if random.one_in(4) {
        run.compare(Watched::run(bench.clone())?, "the same seed")?;
    }
    go_on_from_the_middle(&bench, &schedule.choices, &mut run.run, &mut random)
}

/// A run, and what happened in it.
struct Watched {
    run: Run,
    events: Vec<Event>,
}

impl Watched {
    fn run(bench: Testbench) -> Result<Watched, String> {
        let mut events = Vec::new();
        let run = bench.run_watched(Until::End, |line| {
            // Only a detailed trace has these.
            if !matches!(line.event, Event::Loaded { .. } | Event::Stored { .. }) {
                events.push(line.event.clone());
            }
        });
        Ok(Watched { run: run.map_err(|error| error.to_string())?, events })
    }

    fn compare(&mut self, mut again: Watched, what: &str) -> Result<(), String> {
        let (steps, others) = (self.run.steps(), again.run.steps());
        if moment(&mut self.run) == moment(&mut again.run) && steps == others {
            return Ok(());
        }
        let mut events = self.events.iter().zip(&again.events).enumerate();
        let event = events.find(|(_, (one, other))| one != other);
        let place = difference(self.run.machine(), again.run.machine());
        Err(format!("{what} differs, {steps} and {others} steps: {place}; event {event:x?}"))
    }
}

/// The guest of `seed` and its settings.
fn bench(seed: u64) -> (Testbench, Random) {
    let mut random = Random::new(seed);
    let bits = random.pick(&[32, 64, 64]);
    let image = tables::image(bits, &mut random);
    let slices = random.pick(&[Slices::AnyMagnitude, Slices::AnyMagnitude, Slices::Around(3), Slices::Around(200)]);
    let bench = Testbench::image(image)
        .cores(random.pick(&[1, 2, 2, 2, 3]))
        .model(random.pick(&MemoryModel::ALL))
        .ram(RAM)
        .slices(slices)
        .irq_jitter(random.pick(&[0, 5, 32]))
        .prompt(random.one_in(4))
        .seed(seed)
        .max_steps(STEPS);
    (bench, random)
}

/// What must be the same.
fn moment(run: &mut Run) -> (u64, u64) {
    (run.trace_hash(), run.machine().snapshot().hash())
}

/// Where the states of two machines differ, as text, to begin looking.
fn difference(one: &mut Machine, other: &mut Machine) -> String {
    let (one, other) = (one.state(), other.state());
    let word = |state: &State, at: u64| state.memory.read_u64(PhysAddr(at));
    let mut words = (0..RAM).step_by(8).filter(|&at| word(one, at) != word(other, at));
    if let Some(at) = words.next() {
        return format!("{:x?} / {:x?} at {at:#x}", word(one, at), word(other, at));
    }
    let (one, other) = (format!("{:#x?}", (&one.cores, &one.board)), format!("{:#x?}", (&other.cores, &other.board)));
    let lines = one.lines().zip(other.lines()).enumerate();
    let differing = lines.filter(|(_, (one, other))| one != other).take(3);
    let texts = differing.map(|(number, (one, other))| format!("line {number}: {} / {}", one.trim(), other.trim()));
    texts.collect::<Vec<_>>().join("; ")
}

/// A machine is taken to some choice of the run, and another one, which has fresh engines, goes on from there.
fn go_on_from_the_middle(
    bench: &Testbench,
    choices: &[Choice],
    run: &mut Run,
    random: &mut Random,
) -> Result<(), String> {
    let middle = random.index(choices.len() + 1);
    let mut first = bench.machine().map_err(|error| error.to_string())?;
    let mut second = bench.machine().map_err(|error| error.to_string())?;
    for &choice in &choices[..middle] {
        first.apply(choice).map_err(|error| error.to_string())?;
    }
    let snapshot = first.snapshot();
    second.restore(&snapshot);
    for machine in [&mut first, &mut second] {
        for &choice in &choices[middle..] {
            machine.apply(choice).map_err(|error| format!("after a snapshot at choice {middle}: {error}"))?;
        }
        let end = (machine.trace_hash(), machine.snapshot().hash());
        if end != moment(run) {
            let place = difference(run.machine(), machine);
            return Err(format!("after a snapshot at choice {middle} it differs: {place}"));
        }
    }
    Ok(())
}
