//! How long exploration takes: the published litmus tests, small programs beside loom and shuttle, and how states grow.
//!
//! `cargo bench -p fencepost-tests --features peers --bench exploration` prints the tables that README quotes; without the
//! feature the peers are left out. Everything runs on one thread of the host. What is compared with the peers is the same
//! algorithm as they see it; they also interleave spawning, joining and dropping, so it is user-visible work, not algorithms.

#[path = "exploration/growth.rs"]
mod growth;
#[cfg(feature = "peers")]
#[path = "exploration/peers.rs"]
mod peers;
#[path = "exploration/published.rs"]
mod published;

use fencepost::explorer::Limits;
use fencepost::litmus::{Outcome, Pool, parse};
use fencepost::memory_model::MemoryModel;
use std::time::{Duration, Instant};

fn main() {
    published::print();
    small();
    #[cfg(feature = "peers")]
    peers::print();
    growth::print();
}

/// One test, explored afresh.
fn explore(source: &str, model: MemoryModel) -> (Outcome, Duration) {
    explore_within(source, model, Limits::default().states)
}

/// Likewise, up to so many states; the pool is made before the clock starts.
fn explore_within(source: &str, model: MemoryModel, states: usize) -> (Outcome, Duration) {
    let test = parse::parse(source).expect("it is a litmus test");
    let mut pool = Pool::new();
    // Opening engines is no part of exploring.
    let warm_up = parse::parse("X86_64 warm-up\n{}\n P0 ;\n movq $1,(w) ;\nexists (w=1)").expect("it is a litmus test");
    let ready = pool.prepare(&warm_up).expect("it can be assembled");
    pool.explore(&ready, &warm_up, model, &Limits::default());
    let began = Instant::now();
    let ready = pool.prepare(&test).expect("it can be assembled");
    let outcome = pool.explore(&ready, &test, model, &Limits { states, ..Limits::default() });
    (outcome, began.elapsed())
}

/// The fastest of some explorations.
fn fastest(source: &str, model: MemoryModel) -> (Outcome, Duration) {
    let runs = (0..7).map(|_| explore(source, model));
    runs.min_by_key(|(_, time)| *time).expect("there is at least one")
}

/// Each of `threads` threads with the same `lines`.
fn alike(name: &str, threads: usize, lines: &[&str]) -> String {
    columns(name, &vec![lines.iter().map(|line| (*line).to_owned()).collect(); threads])
}

/// Threads side by side.
fn columns(name: &str, threads: &[Vec<String>]) -> String {
    let heads: Vec<String> = (0..threads.len()).map(|thread| format!("P{thread}")).collect();
    let mut text = format!("X86_64 {name}\n{{}}\n{} ;\n", heads.join(" | "));
    let rows = threads.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..rows {
        let cells: Vec<&str> = threads.iter().map(|thread| thread.get(row).map_or("", String::as_str)).collect();
        text += &format!("{} ;\n", cells.join(" | "));
    }
    text + "exists (x=1)\n"
}

fn small() {
    println!("small programs, one exploration each, assembling included:");
    let sb = columns(
        "SB",
        &[vec!["movl $1,(x)".into(), "movl (y),%eax".into()], vec!["movl $1,(y)".into(), "movl (x),%eax".into()]],
    );
    for (name, source, model) in [
        ("SB", sb.as_str(), MemoryModel::SC),
        ("SB", sb.as_str(), MemoryModel::TSO),
        ("3 threads x 2 increments", &alike("counter", 3, &["lock incl (x)"; 2]), MemoryModel::TSO),
    ] {
        let (outcome, time) = fastest(source, model);
        println!(
            "  {name:26} {model}: {:4} states, {:3} executions, {:8.3} ms",
            outcome.explored,
            outcome.executions,
            time.as_secs_f64() * 1e3
        );
    }
}
