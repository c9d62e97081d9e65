//! Fuzzing at length.
//!
//! ```text
//! cargo run --release -p fencepost-tests --example fuzz -- code 10000
//! cargo run --release -p fencepost-tests --example fuzz -- interrupts 10000
//! cargo run --release -p fencepost-tests --example fuzz -- elf 100000
//! cargo run --release -p fencepost-tests --example fuzz -- schedules 100000
//! cargo run --release -p fencepost-tests --example fuzz -- litmus 100000
//! cargo run --release -p fencepost-tests --example fuzz -- explored 2000
//! ```
//!
//! A third argument is the first seed, so that `code 1 17` is the case of seed 17 alone.
//! Exit code 0: nothing went wrong. 1: something did, and each case of it is named. 2: bad use.
#![forbid(unsafe_code)]

use fencepost_tests::fuzz::{self, Campaign, Kind, Report};
use std::io::IsTerminal;
use std::ops::Range;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: fuzz code|interrupts|elf|schedules|litmus|explored COUNT [FIRST-SEED]";
/// The last argument of a worker.
const WORKER: &str = "worker";
/// How often progress is shown, in cases.
const SHOWN: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((kind, seeds, is_worker)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let ended = if is_worker { fuzz::serve(kind, seeds).map(|()| true) } else { campaign(kind, seeds) };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Option<(Kind, Range<u64>, bool)> {
    let (kind, count, rest) = match arguments {
        [kind, count, rest @ ..] => (Kind::named(kind)?, count.parse::<u64>().ok()?, rest),
        _ => return None,
    };
    let (first, is_worker) = match rest {
        [] => (0, false),
        [first] => (first.parse().ok()?, false),
        [first, worker] if worker == WORKER => (first.parse().ok()?, true),
        _ => return None,
    };
    Some((kind, first..first.checked_add(count)?, is_worker))
}

fn campaign(kind: Kind, seeds: Range<u64>) -> std::io::Result<bool> {
    let program = std::env::current_exe()?;
    let count = seeds.end - seeds.start;
    let has_terminal = std::io::stderr().is_terminal();
    let report = Campaign {
        kind,
        seeds,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        worker: &|seeds| {
            let mut command = Command::new(&program);
            let count = (seeds.end - seeds.start).to_string();
            command.args([kind.name(), &count, &seeds.start.to_string(), WORKER]);
            command
        },
        progress: &|cases| {
            if has_terminal && cases.is_multiple_of(SHOWN) {
                eprint!("\r{cases}/{count} ");
            }
        },
    }
    .run()?;
    if has_terminal {
        eprint!("\r");
    }
    print(kind, &report);
    Ok(report.failures.is_empty())
}

fn print(kind: Kind, report: &Report) {
    let name = kind.name();
    for failure in &report.failures {
        println!("{name} 1 {}: {}", failure.seed, failure.problem);
    }
    let Report { cases, failures, time, peak_kib } = report;
    let (failures, seconds, peak) = (failures.len(), time.as_secs_f64(), peak_kib >> 10);
    println!("{name}: {cases} cases, {failures} went wrong, {seconds:.0} s, at most {peak} MiB in one process");
}
