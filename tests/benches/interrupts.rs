//! Host time for an interrupt, with peers in the same run.
//!
//! `cargo bench -p fencepost-tests --bench interrupts` prints the tables that README quotes: under the default policy, the
//! time that a run takes beyond the same instructions without interrupts, for each interrupt that is taken; beside it what
//! bare Unicorn takes whose user enters the handler by hand. And the speed of a loop in which interrupts are off, on, and
//! taken, against bare Unicorn's.
//!
//! Each number is the least of [`ROUNDS`] rounds, in which all guests take turns: whatever else the host does adds to it.

#[path = "interrupts/bare.rs"]
mod bare;
#[path = "interrupts/guests.rs"]
mod guests;

use bare::Bare;
use fencepost::core::interruption::Source;
use fencepost::machine::{Machine, Settings};
use fencepost::runner::{Policy, Runner, Slices};
use fencepost::trace::Event;
use guests::Guest;
use std::time::Instant;

/// How often everything is measured.
const ROUNDS: usize = 11;
/// Steps of each measurement, and of those that are nothing but interrupts.
const STEPS: u64 = 10_000_000;
/// See [`STEPS`].
const STEPS_OF_INTERRUPTS: u64 = 200_000;

fn main() {
    // `cargo test --benches` asks for one quick round.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let mut ours: Vec<(Guest, Runner, Vec<Measured>)> =
        Guest::ALL.into_iter().map(|guest| (guest, runner(guest), Vec::new())).collect();
    let mut bare: Vec<(Guest, Bare, Vec<Measured>)> =
        [Guest::Off, Guest::Software, Guest::Timer].map(|guest| (guest, Bare::new(guest), Vec::new())).into();
    for _ in 0..rounds {
        for (guest, runner, measured) in &mut ours {
            measured.push(measure(runner, guest.steps()));
        }
        for (guest, bare, measured) in &mut bare {
            measured.push(bare.measure(guest.steps()));
        }
    }
    print_times(&ours, &bare);
    print_speeds(&ours, &bare);
}

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) steps: u64,
    pub(crate) interrupts: u64,
    pub(crate) nanoseconds: f64,
}

fn runner(guest: Guest) -> Runner {
    let settings = Settings { cores: guest.cores(), ..Settings::default() };
    let machine = Machine::new(&guest.image(), settings).expect("the guest fits the default machine");
    let mut runner = Runner::new(machine, Policy::new(1, Slices::AnyMagnitude)).without_record();
    // Code is translated, and the guest is where it stays.
    measure(&mut runner, guest.steps());
    runner
}

fn measure(runner: &mut Runner, steps: u64) -> Measured {
    let (before, mut interrupts) = (runner.steps(), 0);
    let started = Instant::now();
    runner.run(before + steps, |machine| {
        interrupts += machine.take_events().iter().filter(|line| is_taken(&line.event)).count() as u64;
        false
    });
    let nanoseconds = started.elapsed().as_nanos() as f64;
    assert!(runner.machine().stop().is_none(), "the guest goes on for ever: {:?}", runner.machine().stop());
    Measured { steps: runner.steps() - before, interrupts, nanoseconds }
}

fn is_taken(event: &Event) -> bool {
    matches!(event, Event::Interrupted { source: Source::Hardware | Source::Software, .. })
}

/// Nanoseconds of a step of `guest`, were there no interrupts.
fn step(all: &[(Guest, Runner, Vec<Measured>)], guest: Guest) -> f64 {
    let quiet = if guest == Guest::Timer32 { Guest::Off32 } else { Guest::Off };
    let (.., measured) = all.iter().find(|(guest, ..)| *guest == quiet).expect("all guests are measured");
    least(measured, |it| it.nanoseconds / it.steps as f64)
}

fn print_times(ours: &[(Guest, Runner, Vec<Measured>)], bare: &[(Guest, Bare, Vec<Measured>)]) {
    println!("\nHost time for each interrupt, beyond that of the loop around it\n");
    println!("| guest | interrupts | time for each | bare Unicorn with a hook |");
    println!("|---|---|---|---|");
    for (guest, _, measured) in ours.iter().filter(|(guest, ..)| guest.is_interrupted()) {
        let around = if guest.works() { step(ours, *guest) } else { 0.0 };
        let time = |it: &Measured, step: f64| (it.nanoseconds - step * it.steps as f64) / it.interrupts as f64 / 1e3;
        let peer = bare.iter().find(|(peer, ..)| peer == guest).map_or("".to_owned(), |(.., peer)| {
            let (.., loops) = &bare[0];
            let step = if guest.works() { least(loops, |it| it.nanoseconds / it.steps as f64) } else { 0.0 };
            format!("{:.2} us", least(peer, |it| time(it, step)))
        });
        let ours = least(measured, |it| time(it, around));
        println!("| {} | {} | {ours:.2} us | {peer} |", guest.text(), measured[0].interrupts);
    }
}

fn print_speeds(ours: &[(Guest, Runner, Vec<Measured>)], bare: &[(Guest, Bare, Vec<Measured>)]) {
    let rate = |measured: &[Measured]| 1e3 / least(measured, |it| it.nanoseconds / it.steps as f64);
    let (.., peer) = &bare[0];
    println!("\nThe loop: million instructions a second, and as a fraction of bare Unicorn's {:.0}\n", rate(peer));
    for (guest, _, measured) in ours.iter().filter(|(guest, ..)| guest.works()) {
        println!("| {} | {:.0} | {:.3} |", guest.text(), rate(measured), rate(measured) / rate(peer));
    }
}

fn least(measured: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    measured.iter().map(of).fold(f64::INFINITY, f64::min)
}
