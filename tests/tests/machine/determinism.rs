//! The same run again: by its seed, by its schedule, from a snapshot; in a debug and a release build; on another machine.
//!
//! A run is named by its trace hash, which covers every event. `data/trace-hashes.txt` keeps the hashes of some runs;
//! `FENCEPOST_BLESS=1 cargo test` writes those of the present build.

use super::random_guest::*;
use super::testbed::*;
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings, Stop};
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use fencepost::runner::{Policy, Runner, Slices};
use fencepost::schedule::Schedule;
use rayon::prelude::*;

/// Runs compared, and the seed from which they are drawn.
const CELLS: u64 = 1000;
const SEED: u64 = 0x6665_6e63_6570_6f73;
/// Damaged and meaningless guests compared.
const BLOBS: u64 = 150;

/// Everything that decides a run.
struct Cell {
    image: Image,
    settings: Settings,
    seed: u64,
    slices: Slices,
    max_steps: u64,
}

/// What came of a run.
#[derive(PartialEq, Debug)]
struct Recorded {
    trace_hash: u64,
    steps: u64,
    stop: Option<Stop>,
    schedule: Schedule,
}

impl Cell {
    /// The `index`-th random cell of the built-in programs.
    fn random(index: u64) -> Cell {
        let mut n = Numbers(SEED ^ index << 20);
        let programs = fencepost::programs::all();
        let program = &programs[n.below(programs.len() as u64) as usize];
        let variant = &program.variants[n.below(program.variants.len() as u64) as usize];
        let cores = if program.name == "hello" { n.below(4) as usize + 1 } else { program.cores as usize };
        Cell {
            image: Image::from_elf(program.name, program.image.to_vec()).expect("it is an executable"),
            settings: Settings { command_line: variant.name.to_owned(), ..settings(n.pick(&MemoryModel::ALL), cores) },
            seed: n.next(),
            slices: n.pick(&[Slices::AnyMagnitude, Slices::AnyMagnitude, Slices::Around(30), Slices::Around(2)]),
            max_steps: n.pick(&[500, 3_000, 30_000]),
        }
    }

    /// Bytes as code: meaningless ones, or those of a good guest with a few of them changed.
    fn blob(index: u64) -> Cell {
        let mut n = Numbers(!SEED ^ index << 20);
        let bytes = if index.is_multiple_of(2) {
            (0..n.below(500) + 10).map(|_| n.next() as u8).collect()
        } else {
            let mut bytes = talking_image(2, index).segments()[0].bytes.clone();
            for _ in 0..4 {
                let at = n.below(bytes.len() as u64) as usize;
                bytes[at] = n.next() as u8;
            }
            bytes
        };
        let settings = settings(n.pick(&MemoryModel::ALL), 2);
        let slices = n.pick(&[Slices::AnyMagnitude, Slices::Around(5)]);
        Cell { image: Image::from_flat("blob", bytes), settings, seed: n.next(), slices, max_steps: 3_000 }
    }

    fn machine(&self) -> Machine {
        Machine::new(&self.image, self.settings.clone()).expect("the image fits")
    }

    /// Runs by the seed.
    fn record(&self) -> Recorded {
        self.record_in(self.machine()).0
    }

    /// Runs `machine`, which is about to start, by the seed; gives it back.
    fn record_in(&self, machine: Machine) -> (Recorded, Machine) {
        let mut runner = Runner::new(machine, Policy::new(self.seed, self.slices));
        runner.run(self.max_steps, forget_events);
        (recorded(&runner), runner.into_machine())
    }

    /// Runs by what was recorded, after it has been text, with a snapshot after `index` choices; then goes on from that once
    /// more, in the same machine or in another one.
    fn replay(&self, first: &Recorded, index: usize, is_elsewhere: bool) -> [Recorded; 2] {
        let mut before: Schedule = first.schedule.to_string().parse().expect("a schedule reads its own text");
        let after = Schedule { choices: before.choices.split_off(index), ..before.clone() };
        let mut runner = Runner::new(self.machine(), Policy::new(0, Slices::default()));
        let replay = |runner: &mut Runner, schedule: &Schedule| {
            runner.replay(schedule, u64::MAX, forget_events).expect("the schedule fits");
        };
        replay(&mut runner, &before);
        let (snapshot, at_snapshot) = (runner.machine().snapshot(), recorded(&runner));
        replay(&mut runner, &after);
        let replayed = recorded(&runner);
        let mut machine = if is_elsewhere { self.machine() } else { runner.into_machine() };
        machine.restore(&snapshot);
        let mut runner = Runner::new(machine, Policy::new(0, Slices::default()));
        replay(&mut runner, &after);
        let mut resumed = recorded(&runner);
        resumed.steps += at_snapshot.steps;
        resumed.schedule.choices.splice(0..0, at_snapshot.schedule.choices);
        [replayed, resumed]
    }

    /// By seed twice, by schedule, and from a snapshot.
    fn check(&self, n: &mut Numbers) -> Recorded {
        let mut machine = self.machine();
        let start = machine.snapshot();
        let (first, mut machine) = self.record_in(machine);
        let is_fresh = n.below(2) == 0;
        machine.restore(&start);
        let (again, _) = self.record_in(if is_fresh { self.machine() } else { machine });
        assert_eq!(again, first, "the same seed again, in a fresh machine: {is_fresh}");
        let index = n.below(first.schedule.choices.len() as u64 + 1) as usize;
        let [replayed, resumed] = self.replay(&first, index, n.below(2) == 0);
        assert_eq!(replayed, first, "the recorded schedule, kept after {index} choices");
        assert_eq!(resumed, first, "from a snapshot after {index} choices");
        first
    }
}

fn forget_events(machine: &mut Machine) -> bool {
    machine.take_events();
    false
}

fn recorded(runner: &Runner) -> Recorded {
    Recorded {
        trace_hash: runner.trace_hash(),
        steps: runner.steps(),
        stop: runner.outer_state().stop,
        schedule: runner.schedule().expect("it is recorded"),
    }
}

#[test]
fn a_thousand_runs_are_the_same_by_seed_by_schedule_and_from_a_snapshot() {
    (0..CELLS).into_par_iter().for_each(|index| {
        Cell::random(index).check(&mut Numbers(index));
    });
}

#[test]
fn a_guest_that_faults_is_the_same_by_seed_by_schedule_and_from_a_snapshot() {
    let stops = (0..BLOBS).into_par_iter().map(|index| Cell::blob(index).check(&mut Numbers(index)).stop);
    let faults = stops.filter(|stop| matches!(stop, Some(Stop::Faulted { .. }))).count();
    assert!(faults > BLOBS as usize / 2, "only {faults} of them fault");
}

/// A line of the file: what runs, how, and what came of it.
struct Golden {
    /// `program/variant`, or `random-N` for a guest that is assembled here.
    guest: String,
    /// Guest, cores, model with `@processor` unless that is `intel`, seed, mean slice and bound on steps, as written.
    words: Vec<String>,
    hashes: [u64; 2],
}

impl Golden {
    fn parse(line: &str) -> Golden {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert!(
            (6..=8).contains(&words.len()),
            "a line has guest, cores, model, seed, slice, steps and two hashes: {line}"
        );
        let hash = |index| words.get(index).map_or(0, |word: &String| u64::from_str_radix(word, 16).expect("a hash"));
        Golden { guest: words[0].clone(), hashes: [hash(6), hash(7)], words: words[..6].to_vec() }
    }

    /// What runs; `None` when this build has no such program.
    fn cell(&self) -> Option<Cell> {
        let number = |index: usize| self.words[index].parse::<u64>().expect("a number");
        let cores = number(1) as usize;
        let (image, args) = match self.guest.strip_prefix("random-") {
            Some(number) => (talking_image(cores, number.parse().expect("a number")), ""),
            None => {
                let (name, variant) = self.guest.split_once('/').expect("a program has a variant");
                let program = fencepost::programs::find(name)?;
                (Image::from_elf(name, program.image.to_vec()).expect("it is an executable"), variant)
            }
        };
        let (model, processor) = self.words[2].split_once('@').unwrap_or((&self.words[2], "intel"));
        let model = MemoryModel::named(model).expect("a memory model");
        let processor = Processor::named(processor).expect("a processor");
        let slices = if number(4) == 0 { Slices::AnyMagnitude } else { Slices::Around(number(4)) };
        let settings = Settings { command_line: args.to_owned(), processor, ..settings(model, cores) };
        Some(Cell { image, settings, seed: number(3), slices, max_steps: number(5) })
    }

    /// The line with the hashes of the present build.
    fn blessed(&self) -> String {
        let words = self.words.join(" ");
        match self.cell() {
            Some(cell) => format!("{words} {:016x} {:016x}", cell.image.hash(), cell.record().trace_hash),
            None => format!("{words} {:016x} {:016x}", self.hashes[0], self.hashes[1]),
        }
    }

    /// Whether it could be compared: the guest toolchain may have made another image of a program.
    fn check(&self) -> bool {
        let cell = self.cell();
        let Some(cell) = cell.filter(|cell| self.guest.starts_with("random-") || cell.image.hash() == self.hashes[0])
        else {
            eprintln!("{} is not compared: its image is not the one whose run is stored", self.guest);
            return false;
        };
        let found = [cell.image.hash(), cell.record().trace_hash];
        let name = self.words.join(" ");
        assert_eq!(found, self.hashes, "{name} runs otherwise than stored (FENCEPOST_BLESS=1 stores how it runs now)");
        true
    }
}

#[test]
fn every_build_on_every_machine_gives_the_stored_runs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/trace-hashes.txt");
    let text = std::fs::read_to_string(path).expect("the file can be read");
    let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
    if std::env::var_os("FENCEPOST_BLESS").is_some() {
        let bless = |line: &str| if is_comment(line) { line.to_owned() } else { Golden::parse(line).blessed() };
        let blessed: String = text.lines().map(|line| bless(line) + "\n").collect();
        std::fs::write(path, blessed).expect("the file can be written");
        return;
    }
    let compared = text.lines().filter(|line| !is_comment(line)).filter(|line| Golden::parse(line).check()).count();
    assert!(compared >= 30, "at least the guests assembled here are compared, not {compared}");
}

#[test]
fn a_run_whose_writes_arrive_promptly_is_repeated_by_its_schedule() {
    let register = fencepost::devices::Framebuffer::REGISTERS.0 as u32;
    let code = |a: &mut iced_x86::code_asm::CodeAssembler| {
        use iced_x86::code_asm::*;
        let mut again = a.create_label();
        a.mov(ecx, 200)?;
        a.mov(ebx, register)?;
        a.set_label(&mut again)?;
        a.mov(dword_ptr(rbx + 4), ecx)?;
        a.add(qword_ptr(X), 1)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let image = image(&[&code, &code], &[]);
    for seed in 0..20 {
        let bench = fencepost::testbench::Testbench::image(image.clone()).cores(2).seed(seed).prompt(true);
        let run = bench.clone().run().expect("it fits");
        let schedule = run.schedule().expect("it was recorded");
        let again = bench.schedule(schedule).expect("it is this image").run().expect("it fits");
        assert_eq!((again.trace_hash(), again.steps()), (run.trace_hash(), run.steps()), "seed {seed}");
    }
}
