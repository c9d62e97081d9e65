//! A core that spins says so by PAUSE, and gives way when it is asked to.

use super::testbed::*;
use fencepost::core::CoreId;
use fencepost::memory_model::MemoryModel;
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
