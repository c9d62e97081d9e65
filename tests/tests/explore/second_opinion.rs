//! Random programs with interrupts: the explorer against brute force.
//!
//! ```text
//! FENCEPOST_PROGRAMS=2000 cargo test --release -p fencepost-tests --test explore second_opinion
//! cargo run --release -p fencepost-tests --example fuzz -- explored 2000
//! ```

use fencepost_tests::brute_force::Model;
use fencepost_tests::interrupted::{
    ApicWrite, Compared, CoreCode, Ends, Gaps, Handler, Hang, Instruction, Pin, PortWrite, Program, Target, Wiring,
    compare, enumerate, generate,
};
use rayon::prelude::*;

/// How many programs are compared.
fn count() -> u64 {
    std::env::var("FENCEPOST_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(100)
}

#[test]
fn the_explorer_agrees_with_brute_force_on_random_programs_with_interrupts() {
    let count = count();
    let compared: Vec<_> = (0..count).into_par_iter().map(|seed| compare(seed, Gaps::ALL)).collect();
    let wrong: Vec<&String> = compared.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{} of {count} differ; the first: {}", wrong.len(), wrong[0]);
    let large = compared.iter().filter(|it| **it == Ok(Compared::TooLarge)).count() as u64;
    assert!(large <= count / 20, "{large} of {count} are too large");
}

#[test]
fn programs_with_interrupts_end_hang_or_may_do_either() {
    let few = |seed: u64, model: Model| enumerate(&generate(seed, Gaps::ALL), model, 2_000);
    let all: Vec<(Ends, Ends)> =
        (0..300).filter_map(|seed| Some((few(seed, Model::Sc)?, few(seed, Model::Tso)?))).collect();
    let count = |is_such: &dyn Fn(&Ends) -> bool| all.iter().filter(|(_, ends)| is_such(ends)).count();
    let end = count(&|ends| ends.hang.is_none());
    let hang = count(&|ends| ends.hang.is_some() && ends.finals.is_empty());
    let either = count(&|ends| ends.hang.is_some() && !ends.finals.is_empty());
    let storm = count(&|ends| ends.hang == Some(Hang::Storm));
    let several = count(&|ends| ends.finals.len() > 1);
    let weaker = all.iter().filter(|(sc, tso)| sc.finals != tso.finals).count();
    let counts = [end, hang, either, storm, several, weaker];
    let least = [100, 20, 5, 1, 60, 15];
    assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{counts:?} of {}", all.len());
}

/// What the program of `cores` comes to under TSO, whose one handler is of vector 0x41.
fn ends(cores: [(bool, &[Instruction]); 2], handler: &[Instruction], pins: &[Pin]) -> Ends {
    let core = |(is_open, code): (bool, &[Instruction])| CoreCode { code: code.to_vec(), is_open, destination: 0 };
    let program = Program {
        cores: cores.map(core).to_vec(),
        handlers: vec![Handler { vector: 0x41, code: [handler, &[Instruction::Return]].concat() }],
        wiring: Wiring::IoApic(pins.to_vec()),
    };
    enumerate(&program, Model::Tso, 10_000).expect("it is small")
}

const END: Instruction = Instruction::Apic(ApicWrite::End);
const CALL: Instruction = Instruction::Apic(ApicWrite::Send(Target::One, 0x41));

#[test]
fn brute_force_knows_which_wakeups_are_lost() {
    use Instruction::{Compare, Halt, Jump, Nop, Open, Store};
    let look = [Compare(0, 0), Jump { if_equal: false, to: 5 }];
    let sleeper = |rest: [Instruction; 3]| [look.as_slice(), &rest, &[Store(1, 1)]].concat();
    let is_lost = |is_open: bool, rest: [Instruction; 3]| {
        let ends = ends([(is_open, &sleeper(rest)), (false, &[CALL])], &[Store(0, 1), END], &[]);
        assert!(ends.hang.is_none());
        ends.finals.iter().any(|name| name.ends_with("[1, 0, 0]"))
    };
    assert!(is_lost(true, [Nop, Nop, Halt]));
    assert!(is_lost(false, [Open, Nop, Halt]));
    assert!(!is_lost(false, [Nop, Open, Halt]));
}

#[test]
fn brute_force_knows_that_a_level_that_nobody_lowers_storms_unless_it_is_masked() {
    use Instruction::{Compare, Jump, Mask, Out, Store};
    let line = |is_high| Out(PortWrite::Line { line: 3, is_high });
    let pin = Pin { line: 3, vector: 0x41, core: 0, is_level: true, is_masked: false };
    let served = [Compare(0, 0), Jump { if_equal: true, to: 0 }, line(false)];
    let hang = |handler: &[Instruction]| ends([(true, &served), (false, &[line(true)])], handler, &[pin]).hang;
    assert_eq!(hang(&[Store(0, 1), END]), Some(Hang::Storm));
    // OUT pushes the mask through, which is posted.
    assert_eq!(hang(&[Mask(true), line(true), Store(0, 1), END]), None);
    assert_eq!(hang(&[Store(0, 1), line(false), END]), None);
}
