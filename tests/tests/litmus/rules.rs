//! The rules of the memory models, each by a litmus test of ours and a verdict that stands here: should someone bless a
//! wrong set of states and change the file's own verdict with it, this table still knows.

use super::suite::{ours, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::Pool;
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;

/// A test, and under which models its condition can hold.
const RULES: &[(&str, &[MemoryModel])] = &[
    // Stores wait in a buffer.
    ("two-threads/SB", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("two-threads/R", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("control/SB+never-taken", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("more-threads/RWC", &[MemoryModel::TSO, MemoryModel::PSO]),
    // They drain in order, except under PSO.
    ("two-threads/MP", &[MemoryModel::PSO]),
    ("two-threads/S", &[MemoryModel::PSO]),
    ("two-threads/2+2W", &[MemoryModel::PSO]),
    ("fences/R+po+mfence", &[MemoryModel::PSO]),
    // Loads are made in order, before later stores, and memory is one.
    ("two-threads/LB", &[]),
    ("two-threads/CoRR", &[]),
    ("two-threads/CoWW", &[]),
    ("more-threads/WRC", &[]),
    ("more-threads/IRIW", &[]),
    // Only some fences keep loads behind stores.
    ("fences/SB+mfences", &[]),
    ("fences/SB+mfence+po", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("fences/SB+lfences", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("fences/SB+sfences", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("fences/SB+cpuids", &[]),
    ("fences/MP+sfence", &[]),
    ("fences/MP+lfence", &[MemoryModel::PSO]),
    // Locked instructions are full fences, unlocked ones none.
    ("locked/SB+xchgs", &[]),
    ("locked/SB+lock-or", &[]),
    ("locked/SB+lock-cmpxchg-fails", &[]),
    ("locked/SB+unlocked-add", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("locked/MP+lock-between", &[]),
    ("locked/MP+unlocked-between", &[MemoryModel::PSO]),
    // Read-modify-writes are two steps without LOCK, under every model.
    ("updates/inc", &MemoryModel::ALL),
    ("updates/failed-cmpxchg-writes", &MemoryModel::ALL),
    ("updates/tickets", &[]),
    ("updates/test-and-set", &[]),
    // Store forwarding.
    ("forwarding/n6", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("forwarding/n5", &[]),
    ("forwarding/n4b", &[]),
    ("sizes/forward-byte-of-long", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("sizes/partial-forward-waits", &[]),
    ("sizes/waits-for-older-too", &[MemoryModel::PSO]),
    // What is one access and what is two.
    ("sizes/store-8-atomic", &[]),
    ("lines/torn-store", &MemoryModel::ALL),
    ("lines/torn-load", &MemoryModel::ALL),
    ("lines/whole-locked", &[]),
    // Non-temporal stores.
    ("non-temporal/MP+movnti", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("non-temporal/MP+movnti+sfence", &[]),
    ("non-temporal/MP+movnti+lfence", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("non-temporal/MP+movnti+lock", &[]),
    ("non-temporal/CoWW+movnti", &[]),
];

/// Likewise what AMD's processors may do, and so any, and Intel's do not.
const BEYOND_INTEL: &[(&str, &[MemoryModel])] = &[
    // Stores next to one another forward together.
    ("sizes/two-stores-cover", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("sizes/two-stores-cover-downwards", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("sizes/newest-does-not-cover", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("sizes/two-stores-cover-between", &[MemoryModel::PSO]),
    ("sizes/two-stores-cover-between-in-line", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("sizes/longs-make-quad", &[MemoryModel::TSO, MemoryModel::PSO]),
    ("sizes/bytes-make-long", &[MemoryModel::TSO, MemoryModel::PSO]),
    // What lies in one line is two accesses where it crosses an aligned 8 bytes.
    ("sizes/unaligned-in-line", &MemoryModel::ALL),
    ("lines/torn-store-in-line", &MemoryModel::ALL),
    ("lines/torn-load-in-line", &MemoryModel::ALL),
    ("lines/lost-carry-in-line", &MemoryModel::ALL),
];

/// Likewise what neither may do, however close it comes to that.
const ON_NONE: &[(&str, &[MemoryModel])] =
    &[("sizes/three-bytes-of-long-wait", &[]), ("lines/whole-locked-in-line", &[])];

#[test]
fn the_rules_hold_on_any_processor() {
    hold(Processor::ANY, &[RULES, BEYOND_INTEL, ON_NONE].concat());
}

#[test]
fn the_rules_hold_on_processors_of_amd() {
    hold(Processor::AMD, &[RULES, BEYOND_INTEL, ON_NONE].concat());
}

#[test]
fn the_rules_hold_on_processors_of_intel() {
    let not_at_all: Vec<(&str, &[MemoryModel])> = BEYOND_INTEL.iter().map(|(path, _)| (*path, &[] as &[_])).collect();
    hold(Processor::INTEL, &[RULES, &not_at_all, ON_NONE].concat());
}

fn hold(processor: Processor, rules: &[(&str, &[MemoryModel])]) {
    let (ours, mut pool) = (ours(), Pool::on(processor));
    for (path, possible) in rules {
        let file = ours.iter().find(|it| it.path == format!("{path}.litmus"));
        let test = &file.unwrap_or_else(|| panic!("there is no {path}")).test;
        for (model, outcome) in outcomes(&mut pool, test, &Limits::default()) {
            assert!(outcome.complete, "{path} under {model} on {processor}");
            let is_possible = possible.contains(&model);
            assert_eq!(outcome.positive > 0, is_possible, "{path} under {model} on {processor}: {outcome:#?}");
        }
    }
}

#[test]
fn a_test_that_comes_to_no_end_is_not_complete() {
    use fencepost::explorer::Limits;
    use fencepost::litmus::{Pool, parse};
    for code in ["L: jmp L", "L: cmpl $1,(x)\u{20};\n jne L"] {
        let source = format!("X86_64 endless\n{{}}\nP0;\n{code};\nforall (0:rax=0)\n");
        let test = parse::parse(&source).expect("it is a litmus test");
        let mut pool = Pool::new();
        let ready = pool.prepare(&test).expect("it can be assembled");
        let outcome = pool.explore(&ready, &test, fencepost::memory_model::MemoryModel::TSO, &Limits::default());
        assert!(!outcome.complete && outcome.states.is_empty() && !outcome.faults.is_empty(), "{code}: {outcome:?}");
    }
}
