//! Snapshots: from any moment, in any machine of the same settings, the same choices give the same run.

use super::page_tables::*;
use super::random_guest::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings, Snapshot, State, Stop};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// What names a moment of a run: the hashes of its state and of all that has happened.
type Moment = (u64, u64);

fn moment(machine: &mut Machine) -> Moment {
    (machine.snapshot().hash(), machine.trace_hash())
}

/// Anything that can happen, long runs included; `None` when nothing can.
fn random_choice(machine: &mut Machine, n: &mut Numbers) -> Option<Choice> {
    let choices = machine.choices();
    if choices.is_empty() {
        return None;
    }
    Some(match n.pick(&choices) {
        Choice::Run { core, .. } if n.below(4) == 0 => {
            Choice::Run { core, steps: n.below(200) + 1, drained: n.below(2) == 0 }
        }
        choice => choice,
    })
}

/// Lets up to `count` random things happen; what they were.
fn walk(machine: &mut Machine, n: &mut Numbers, count: u64) -> Vec<Choice> {
    let next = |_| {
        let choice = random_choice(machine, n)?;
        machine.apply(choice).expect("what is listed can happen");
        Some(choice)
    };
    (0..count).map_while(next).collect()
}

fn apply_all(machine: &mut Machine, choices: &[Choice]) -> Moment {
    for &choice in choices {
        machine.apply(choice).expect("it was possible the first time");
    }
    moment(machine)
}

/// A run that was kept at one moment and went on.
struct Kept {
    image: Image,
    settings: Settings,
    before: Vec<Choice>,
    snapshot: Snapshot,
    then: Moment,
    after: Vec<Choice>,
    end: Moment,
}

impl Kept {
    /// A random run, and the machine at its end.
    fn random(seed: u64) -> (Kept, Machine) {
        let mut n = Numbers(seed);
        let image = talking_image(2, seed);
        let settings = settings([SC, TSO, PSO][seed as usize % 3], 2);
        let mut machine = Machine::new(&image, settings.clone()).expect("the image fits");
        let count = n.below(100);
        let before = walk(&mut machine, &mut n, count);
        let (snapshot, then) = (machine.snapshot(), moment(&mut machine));
        let after = walk(&mut machine, &mut n, 100);
        let end = moment(&mut machine);
        (Kept { image, settings, before, snapshot, then, after, end }, machine)
    }

    fn fresh_machine(&self) -> Machine {
        Machine::new(&self.image, self.settings.clone()).expect("the image fits")
    }

    /// Goes back in `machine`, wherever that is, and on again.
    fn check_in(&self, machine: &mut Machine) {
        machine.restore(&self.snapshot);
        assert_eq!(moment(machine), self.then, "it is back");
        assert_eq!(apply_all(machine, &self.after), self.end, "it has gone on as before");
    }
}

const RUNS: u64 = 40;

#[test]
fn from_a_random_moment_the_same_choices_give_the_same_run_in_the_same_machine() {
    for seed in 0..RUNS {
        let (kept, mut machine) = Kept::random(seed);
        kept.check_in(&mut machine);
        kept.check_in(&mut machine);
    }
}

#[test]
fn from_a_random_moment_the_same_choices_give_the_same_run_in_another_machine() {
    for seed in 0..RUNS {
        let (kept, _) = Kept::random(seed);
        kept.check_in(&mut kept.fresh_machine());
        // One that has gone another way, and whose engines have been there.
        let mut other = kept.fresh_machine();
        walk(&mut other, &mut Numbers(!seed), 40);
        kept.check_in(&mut other);
    }
}

#[test]
fn taking_a_snapshot_disturbs_nothing() {
    for seed in 0..RUNS {
        let (kept, _) = Kept::random(seed);
        let mut machine = kept.fresh_machine();
        assert_eq!(apply_all(&mut machine, &kept.before), kept.then);
        assert_eq!(apply_all(&mut machine, &kept.after), kept.end);
        let mut machine = kept.fresh_machine();
        for &choice in kept.before.iter().chain(&kept.after) {
            machine.apply(choice).expect("it was possible the first time");
            machine.state();
            machine.choices();
        }
        assert_eq!(moment(&mut machine), kept.end);
    }
}

#[test]
fn the_random_moments_are_interesting_ones() {
    let are_seen = |what: fn(&State) -> bool| {
        let count = (0..RUNS).filter(|&seed| what(Kept::random(seed).0.snapshot.state())).count();
        assert!(count >= 2, "only {count}");
    };
    are_seen(|state| state.cores.iter().any(|core| !core.partial.is_empty()));
    are_seen(|state| state.cores.iter().any(|core| !core.buffer.is_empty()));
    are_seen(|state| !state.board.posted().is_empty());
    are_seen(|state| state.cores.iter().any(|core| core.is_halted()));
}

/// Runs `to_the_moment` and keeps it, then `check` from there: in the same machine twice, and in a fresh one.
fn from_moment(make: impl Fn() -> Testbed, to_the_moment: impl Fn(&mut Testbed), check: impl Fn(&mut Testbed)) {
    let mut t = make();
    to_the_moment(&mut t);
    let snapshot = t.machine.snapshot();
    let mut ends = Vec::new();
    check(&mut t);
    ends.push(moment(&mut t.machine));
    for mut t in [t, make()] {
        t.machine.restore(&snapshot);
        check(&mut t);
        ends.push(moment(&mut t.machine));
    }
    assert_eq!((ends[1], ends[2]), (ends[0], ends[0]));
}

#[test]
fn in_the_middle_of_an_instruction_what_it_has_loaded_is_kept() {
    let add = |a: &mut CodeAssembler| a.add(qword_ptr(Y), 1);
    let other = |a: &mut CodeAssembler| a.mov(qword_ptr(Y), 5);
    from_moment(
        || Testbed::new(TSO, &[&add, &other]),
        |t| t.access(0),
        |t| {
            t.finish(1);
            assert_eq!(t.memory(Y), 5);
            t.finish(0);
            assert_eq!(t.memory(Y), 1);
        },
    );
}

#[test]
fn in_the_middle_of_an_instruction_what_it_has_stored_is_not_stored_again() {
    let store = |a: &mut CodeAssembler| a.movups(xmmword_ptr(Y), xmm0);
    let other = |a: &mut CodeAssembler| a.mov(qword_ptr(Y), 5);
    from_moment(
        || Testbed::new(SC, &[&store, &other]),
        |t| t.access(0),
        |t| {
            t.run(1);
            t.run(0);
            assert_eq!(t.memory(Y), 5);
        },
    );
}

#[test]
fn pending_stores_and_the_fences_between_and_after_them_are_kept() {
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(X), 1)?;
        a.sfence()?;
        a.mov(qword_ptr(Y), 2)?;
        a.sfence()?;
        a.mov(qword_ptr(Z), 3)
    };
    from_moment(
        || Testbed::new(PSO, &[&code]),
        |t| t.steps(0, 4),
        |t| {
            t.run(0);
            assert_eq!(t.pending_addresses(0), [X, Y, Z]);
            assert_eq!(t.drainable(0), [X]);
            t.drain(0, 0);
            assert_eq!(t.drainable(0), [Y]);
            t.drain_all(0);
        },
    );
}

#[test]
fn posted_writes_and_devices_are_kept() {
    let code = |a: &mut CodeAssembler| {
        a.mov(ebx, fencepost::devices::Framebuffer::REGISTERS.0 as u32 + 4)?;
        a.mov(dword_ptr(rbx), 7)?;
        a.mov(eax, dword_ptr(rbx))?;
        a.mov(dword_ptr(rbx), 8)?;
        a.mov(eax, dword_ptr(rbx))
    };
    for steps in 2..=5 {
        from_moment(
            || Testbed::new(TSO, &[&code]),
            |t| t.steps(0, steps),
            |t| {
                assert_eq!(
                    t.state().board.posted().is_empty(),
                    steps % 2 == 1,
                    "a write is on its way, or has been read back"
                );
                t.run(0);
                assert_eq!(t.rax(0), 8);
            },
        );
    }
}

#[test]
fn clocks_and_random_numbers_go_back_too() {
    let code = |a: &mut CodeAssembler| {
        a.rdrand(rbx)?;
        a.rdrand(rcx)?;
        a.rdtsc()
    };
    from_moment(|| Testbed::new(TSO, &[&code]), |t| t.step(0), |t| t.run(0));
}

#[test]
fn page_tables_go_back_with_a_snapshot() {
    // The load has found its page, then the page is another one, then both are as before.
    let code = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(LAST), 5)?;
        a.mov(eax, dword_ptr(READ_ONLY))?;
        a.mov(dword_ptr(entry_of(READ_ONLY)), SECOND_FRAME as u32 | 1)?;
        a.invlpg(byte_ptr(READ_ONLY))?;
        a.mov(ecx, dword_ptr(READ_ONLY))
    };
    for drained in [false, true] {
        let mut t = paged(TSO, &[&code]);
        t.step(0);
        let before = t.machine.snapshot();
        for _ in 0..3 {
            t.apply(Choice::Run { core: CoreId(0), steps: 100, drained });
            assert_eq!((t.rax(0), t.gpr(0, 1)), (0, 5));
            t.machine.restore(&before);
        }
    }
}

#[test]
fn a_machine_that_has_stopped_goes_back_to_running() {
    for end in [&|a: &mut CodeAssembler| a.ud2(), &|a: &mut CodeAssembler| a.nop()] as [Code; 2] {
        let mut t = Testbed::new(TSO, &[end]);
        let before = t.machine.snapshot();
        t.run(0);
        let stop = t.machine.stop().copied();
        let after = t.machine.snapshot();
        t.machine.restore(&before);
        assert_eq!(t.machine.stop(), None);
        t.run(0);
        assert_eq!(t.machine.stop().copied(), stop);
        t.machine.restore(&before);
        t.machine.restore(&after);
        assert_eq!((t.machine.stop().copied(), t.machine.choices()), (stop, vec![]));
    }
}

#[test]
fn events_that_nobody_took_are_gone_after_going_back() {
    let mut t = Testbed::new(TSO, &[&|a| a.nop()]);
    let before = t.machine.snapshot();
    t.run(0);
    t.machine.restore(&before);
    assert_eq!(t.machine.take_events(), []);
    t.run(0);
    assert!(!t.machine.take_events().is_empty());
}

fn long_loop(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(ecx, 200)?;
    a.set_label(&mut again)?;
    a.add(qword_ptr(X), 1)?;
    a.dec(ecx)?;
    a.jnz(again)
}

#[test]
fn a_fast_run_goes_back_into_any_engine() {
    // Registers live in the fast engine, the precise one or the state; the snapshot must not care.
    let run = |t: &mut Testbed, steps, drained| t.apply(Choice::Run { core: CoreId(0), steps, drained });
    let mut t = Testbed::new(TSO, &[&long_loop]);
    run(&mut t, 100, true);
    let snapshot = t.machine.snapshot();
    for (steps, drained) in [(1, false), (100, true), (7, true), (100, false)] {
        t.machine.restore(&snapshot);
        while !t.core(0).is_halted() {
            run(&mut t, steps, drained);
        }
        t.drain_all(0);
        assert_eq!((t.memory(X), t.machine.stop()), (200, Some(&Stop::AllHalted)));
    }
}
