//! A sample of the fuzzing; `tests/examples/fuzz.rs` does it at length.

use fencepost_tests::fuzz::{self, Campaign, Kind};
use std::ops::Range;
use std::process::Command;

/// How a worker is told what to do: kind, first seed, seed after the last.
const WORK: &str = "FENCEPOST_FUZZ_WORK";

#[test]
fn guests_may_do_anything() {
    sample(Kind::Code, 300);
}

#[test]
fn guests_may_interrupt_themselves_and_each_other() {
    sample(Kind::Interrupts, 60);
}

#[test]
fn broken_executables_are_refused_or_run() {
    sample(Kind::Elf, 3000);
}

#[test]
fn broken_schedules_are_refused_or_replayed() {
    sample(Kind::Schedules, 3000);
}

#[test]
fn broken_litmus_tests_are_refused_or_explored() {
    sample(Kind::Litmus, 2000);
}

#[test]
#[ignore = "the other tests start it, each time in a process of its own"]
fn worker() {
    let Ok(work) = std::env::var(WORK) else { return };
    let words: Vec<&str> = work.split(' ').collect();
    let [kind, first, end] = words[..] else { panic!("`{work}` is not a kind and two seeds") };
    let seed = |text: &str| text.parse::<u64>().expect("seeds are numbers");
    fuzz::serve(Kind::named(kind).expect("the kind exists"), seed(first)..seed(end)).expect("the other side listens");
}

fn sample(kind: Kind, cases: u64) {
    let report = Campaign { kind, seeds: 0..cases, jobs: 2, worker: &|seeds| command(kind, seeds), progress: &|_| () }
        .run()
        .expect("this test can be started again");
    assert_eq!(report.cases, cases);
    let command = format!("cargo run --release -p fencepost-tests --example fuzz -- {} 1 SEED", kind.name());
    assert!(report.failures.is_empty(), "{command}\n{:#?}", report.failures);
}

fn command(kind: Kind, seeds: Range<u64>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a file"));
    command.args(["--exact", "worker", "--ignored", "--nocapture"]);
    command.env(WORK, format!("{} {} {}", kind.name(), seeds.start, seeds.end));
    command
}
