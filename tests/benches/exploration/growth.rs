//! How states and time grow with threads and operations.

use super::{alike, columns, explore_within};
use fencepost::memory_model::MemoryModel;

/// More states than this are not waited for.
const MOST_STATES: usize = 2_000_000;

pub(crate) fn print() {
    println!("growth under tso, states and milliseconds for n threads x k operations each:");
    table("counter: k x lock incl (x)", |threads, operations| {
        alike("counter", threads, &vec!["lock incl (x)"; operations])
    });
    table("ring: k x store to one's own, load of the next one's", ring);
    table("spinlock: k x lock, add, unlock", |threads, operations| {
        let turns = (0..operations).flat_map(spinlock).collect::<Vec<String>>();
        columns("spinlock", &vec![turns; threads])
    });
}

fn table(title: &str, source: impl Fn(usize, usize) -> String) {
    println!("  {title}");
    for threads in 1..=5 {
        let cells = (1..=4).map(|operations| {
            let (outcome, time) = explore_within(&source(threads, operations), MemoryModel::TSO, MOST_STATES);
            let mark = if outcome.complete { "" } else { " (cut)" };
            format!("{:>9} {:>9.2}{mark}", outcome.explored, time.as_secs_f64() * 1e3)
        });
        println!("    n={threads}  {}", cells.collect::<Vec<_>>().join("  "));
    }
}

fn ring(threads: usize, operations: usize) -> String {
    let names = ["x", "y", "z", "a", "b"];
    let thread = |index: usize| {
        let (mine, next) = (names[index], names[(index + 1) % threads]);
        let round = |round: usize| [format!("movl ${},({mine})", round + 1), format!("movl ({next}),%eax")];
        (0..operations).flat_map(round).collect::<Vec<String>>()
    };
    columns("ring", &(0..threads).map(thread).collect::<Vec<_>>())
}

fn spinlock(turn: usize) -> Vec<String> {
    [
        "movl $1,%eax",
        "xchgl %eax,(l)",
        "testl %eax,%eax",
        "jne L",
        "movl (x),%ebx",
        "addl $1,%ebx",
        "movl %ebx,(x)",
        "movl $0,(l)",
    ]
    .iter()
    .enumerate()
    .map(|(line, text)| match (line, *text) {
        (0, text) => format!("L{turn}: {text}"),
        (_, "jne L") => format!("jne L{turn}"),
        (_, text) => text.to_owned(),
    })
    .collect()
}
