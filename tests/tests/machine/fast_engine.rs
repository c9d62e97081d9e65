//! The fast engine against the precise one: random programs must come to the same state whichever executes them.

use super::random_guest::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::{Core, CoreId};
use fencepost::machine::Machine;
use fencepost::memory_model::MemoryModel;

/// Programs in all.
const PROGRAMS: u64 = 400;

/// How a machine is driven from its first instruction to its last.
type Drive = fn(&mut Machine, &mut Numbers) -> u64;

const CORE: CoreId = CoreId(0);

/// Applies what `next` says until the machine stops; the steps taken.
fn to_the_end(machine: &mut Machine, mut next: impl FnMut(&mut Machine) -> u64) -> u64 {
    let mut steps = 0;
    while machine.stop().is_none() {
        steps += next(machine);
        assert!(steps < 1_000_000, "the program ends");
    }
    steps
}

fn run(machine: &mut Machine, steps: u64, drained: bool) -> u64 {
    machine.apply(Choice::Run { core: CORE, steps, drained }).expect("the core runs")
}

fn drain(machine: &mut Machine, n: &mut Numbers) {
    let model = machine.settings().model;
    let drainable: Vec<usize> = machine.outer_state().cores[0].buffer.drainable(model).collect();
    if !drainable.is_empty() {
        let entry = n.pick(&drainable) as u8;
        machine.apply(Choice::Drain { core: CORE, entry }).expect("the entry may drain");
    }
}

fn in_one_go(machine: &mut Machine, _: &mut Numbers) -> u64 {
    to_the_end(machine, |machine| run(machine, 100_000, true))
}

fn in_one_go_with_details(machine: &mut Machine, n: &mut Numbers) -> u64 {
    machine.set_details(true);
    in_one_go(machine, n)
}

fn one_drained_step_at_a_time(machine: &mut Machine, _: &mut Numbers) -> u64 {
    to_the_end(machine, |machine| run(machine, 1, true))
}

fn in_drained_slices(machine: &mut Machine, n: &mut Numbers) -> u64 {
    to_the_end(machine, |machine| run(machine, n.below(100) + 1, true))
}

fn in_buffered_slices(machine: &mut Machine, n: &mut Numbers) -> u64 {
    to_the_end(machine, |machine| {
        if machine.outer_state().cores[0].is_halted() || n.below(3) == 0 {
            drain(machine, n);
            if machine.outer_state().cores[0].is_halted() {
                return 0;
            }
        }
        run(machine, n.below(20) + 1, false)
    })
}

fn access_by_access(machine: &mut Machine, n: &mut Numbers) -> u64 {
    to_the_end(machine, |machine| {
        if machine.outer_state().cores[0].is_halted() || n.below(3) == 0 {
            drain(machine, n);
            if machine.outer_state().cores[0].is_halted() {
                return 0;
            }
        }
        machine.apply(Choice::Access { core: CORE }).expect("the core runs")
    })
}

/// Under `model`, every program comes to the same state in the same number of steps by `drive` as in one go.
fn check(model: MemoryModel, drive: Drive) {
    for seed in 0..PROGRAMS {
        let image = random_image(1, seed);
        let machine = || Machine::new(&image, settings(model, 1)).expect("the image fits");
        let (mut expected, mut found) = (machine(), machine());
        let mut numbers = Numbers(!seed);
        let steps = (in_one_go(&mut expected, &mut numbers), drive(&mut found, &mut numbers));
        assert_eq!(steps.0, steps.1, "steps of program {seed}, under {model}");
        let differences = differences(&expected.state().cores[0], &found.state().cores[0]);
        assert_eq!(differences, [""; 0], "core after program {seed}, under {model}");
        assert!(expected.state() == found.state(), "states after program {seed}, under {model}");
    }
}

/// The lines in which two cores differ, as they are printed.
fn differences(expected: &Core, found: &Core) -> Vec<String> {
    let (expected, found) = (format!("{expected:#x?}"), format!("{found:#x?}"));
    let pairs = expected.lines().zip(found.lines()).enumerate().filter(|(_, (expected, found))| expected != found);
    pairs.map(|(number, (expected, found))| format!("{number}: {expected} {found}")).collect()
}

#[test]
fn with_details_a_run_comes_to_the_same_state() {
    check(TSO, in_one_go_with_details);
}

#[test]
fn single_drained_steps_come_to_the_same_state() {
    check(TSO, one_drained_step_at_a_time);
}

#[test]
fn drained_slices_come_to_the_same_state() {
    check(TSO, in_drained_slices);
}

#[test]
fn under_sc_slices_come_to_the_same_state() {
    check(SC, in_buffered_slices);
}

#[test]
fn under_tso_a_core_alone_comes_to_the_same_state_however_it_drains() {
    check(TSO, in_buffered_slices);
}

#[test]
fn under_pso_a_core_alone_comes_to_the_same_state_however_it_drains() {
    check(PSO, in_buffered_slices);
}

#[test]
fn access_by_access_a_core_alone_comes_to_the_same_state() {
    check(TSO, access_by_access);
}
