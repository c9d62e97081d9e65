//! A core that spins says so by PAUSE, and gives way when it is asked to.

use super::testbed::*;
use fencepost::core::CoreId;
use fencepost::memory_model::MemoryModel;
use fencepost::runner::{Ended, Policy, Runner, Slices};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Some work, long enough for either engine, and a PAUSE; again and again.
fn spin(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut work) = (a.create_label(), a.create_label());
    a.nop()?;
    a.set_label(&mut again)?;
    a.mov(ecx, 50)?;
    a.set_label(&mut work)?;
    a.dec(ecx)?;
    a.jnz(work)?;
    a.pause()?;
    a.jmp(again)
}

#[test]
fn a_run_that_gives_way_ends_right_after_the_first_pause() {
    for model in MemoryModel::ALL {
        for drained in [true, false] {
            let mut t = Testbed::new(model, &[&spin]);
            t.step(0);
            // MOV, 50 times DEC and JNZ, PAUSE; and then the jump before them.
            for expected in [102, 103, 103] {
                assert_eq!(t.machine.run_to_pause(CoreId(0), 1000, drained), expected, "under {model}");
            }
        }
    }
}

#[test]
fn a_run_that_gives_way_takes_no_more_steps_than_it_may() {
    for drained in [true, false] {
        let mut t = Testbed::new(TSO, &[&spin]);
        assert_eq!(t.machine.run_to_pause(CoreId(0), 40, drained), 40);
        assert_eq!(t.machine.run_to_pause(CoreId(0), 1000, drained), 63);
    }
}

#[test]
fn any_other_run_goes_on_through_pause() {
    for drained in [true, false] {
        let mut t = Testbed::new(TSO, &[&spin]);
        let run = fencepost::choice::Choice::Run { core: CoreId(0), steps: 1000, drained };
        assert_eq!(t.apply(run), 1000);
    }
}

/// Takes the lock at X by XCHG without PAUSE, holds it for `held` rounds of a loop, gives it up.
fn hold(a: &mut CodeAssembler, held: i32) -> Result<(), IcedError> {
    let (mut taken, mut work) = (a.create_label(), a.create_label());
    a.nop()?;
    a.set_label(&mut taken)?;
    a.mov(eax, 1)?;
    a.xchg(dword_ptr(X), eax)?;
    a.test(eax, eax)?;
    a.jnz(taken)?;
    a.mov(ecx, held)?;
    a.set_label(&mut work)?;
    a.dec(ecx)?;
    a.jnz(work)?;
    a.mov(dword_ptr(X), 0)
}

/// As an idle scheduler does beside a worker: it has the lock nine tenths of the time.
#[test]
fn a_core_gets_a_lock_that_another_takes_again_at_once() {
    let idle = |a: &mut CodeAssembler| {
        let (mut again, mut outside) = (a.create_label(), a.create_label());
        a.nop()?;
        a.set_label(&mut again)?;
        hold(a, 150)?;
        a.mov(ecx, 12)?;
        a.set_label(&mut outside)?;
        a.dec(ecx)?;
        a.jnz(outside)?;
        a.cmp(dword_ptr(Y), 0)?;
        a.jz(again)
    };
    let worker = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ebx, 200)?;
        a.set_label(&mut again)?;
        hold(a, 2)?;
        a.dec(ebx)?;
        a.jnz(again)?;
        a.mov(dword_ptr(Y), 1)
    };
    let mut steps = 0;
    for seed in 0..20 {
        let machine = Testbed::new(TSO, &[&idle, &worker]).machine;
        let mut runner = Runner::new(machine, Policy::new(seed, Slices::default()));
        assert_eq!(runner.run(20_000_000, |_| false), Ended::Stopped, "seed {seed}");
        steps += runner.steps();
    }
    // Eleven millions; nine times as many where slices are long while a core waits.
    assert!(steps < 25_000_000, "{steps}");
}
