//! Snapshots of what guests show and say, with the library as README shows it.
//!
//! After a change that is meant, `INSTA_UPDATE=always cargo test -p fencepost-tests --test screens` stores the new ones.

use fencepost::memory_model::MemoryModel;
use fencepost::testbench::{BenchError, Run, Testbench, Until};

/// A seed whose frame is torn, under TSO.
const TORN: u64 = 0;

fn presented(variant: &str) -> Result<Run, BenchError> {
    let bench = Testbench::program(&format!("torn-frame/{variant}"))?.model(MemoryModel::TSO).seed(TORN);
    let run = bench.run()?;
    assert!(run.frames() > 0, "it presents a frame");
    Ok(run)
}

#[test]
fn a_frame_presented_too_early_is_torn() -> Result<(), BenchError> {
    let run = presented("broken")?;
    assert_eq!(run.outcome(), Some("torn"));
    insta::assert_snapshot!(run.screen_text());
    insta::assert_binary_snapshot!(".png", run.screen_png());
    Ok(())
}

#[test]
fn a_frame_presented_after_an_sfence_is_whole() -> Result<(), BenchError> {
    let run = presented("sfence")?;
    assert_eq!(run.outcome(), Some("whole"));
    insta::assert_snapshot!(run.screen_text());
    insta::assert_binary_snapshot!(".png", run.screen_png());
    Ok(())
}

#[test]
fn a_torn_frame_is_torn_again_when_it_is_replayed() -> Result<(), BenchError> {
    let run = presented("broken")?;
    let schedule = run.schedule().expect("runs are recorded unless told otherwise");
    let again = Testbench::program("torn-frame/broken")?.schedule(schedule)?.run()?;
    assert_eq!(again.trace_hash(), run.trace_hash());
    assert_eq!(again.screen_png(), run.screen_png());
    Ok(())
}

#[test]
fn hello_greets_on_the_serial_port_and_on_the_text_screen() -> Result<(), BenchError> {
    let run = Testbench::program("hello")?.run()?;
    insta::assert_snapshot!(run.serial());
    insta::assert_snapshot!(run.screen_text());
    Ok(())
}

#[test]
fn a_guest_can_be_run_to_its_first_line() -> Result<(), BenchError> {
    let run = Testbench::program("hello")?.run_until(Until::SerialLine("core 0"))?;
    assert!(run.reached(), "the line comes");
    assert_eq!(run.exit_code(), None);
    insta::assert_snapshot!(run.serial());
    Ok(())
}

/// Waiting for a line that never comes looks at the machine after every line, and changes nothing.
#[test]
fn a_point_that_is_never_reached_does_not_change_the_run() -> Result<(), BenchError> {
    for seed in 0..8 {
        let bench = || Ok::<_, BenchError>(Testbench::program("store-buffering")?.seed(seed));
        let (mut plain, mut watched) = (bench()?.run()?, bench()?.run_until(Until::SerialLine("no such line"))?);
        assert!(!watched.reached());
        assert_eq!(plain.steps(), watched.steps(), "seed {seed}");
        assert_eq!(plain.machine().snapshot().hash(), watched.machine().snapshot().hash(), "seed {seed}");
    }
    Ok(())
}

/// A line of output ends a core's turn so that it can be looked at; what comes next must be as if it had not.
#[test]
fn a_run_to_a_point_replays_to_the_same_state() -> Result<(), BenchError> {
    for seed in 0..40 {
        let bench = || Testbench::program("store-buffering").map(|bench| bench.seed(seed));
        let mut run = bench()?.run_until(Until::SerialLine("no such line"))?;
        let schedule = run.schedule().expect("it is recorded");
        let mut again = bench()?.schedule(schedule)?.run()?;
        assert_eq!(run.machine().snapshot().hash(), again.machine().snapshot().hash(), "seed {seed}");
    }
    Ok(())
}

/// The turn that an event has ended is over: an access that is chosen next is made.
#[test]
fn an_access_after_an_event_that_ended_a_turn_is_made() -> Result<(), BenchError> {
    use fencepost::choice::Choice;
    use fencepost::core::CoreId;
    use fencepost::trace::Event;
    let core = CoreId(0);
    let mut machine = Testbench::program("hello")?.machine()?;
    machine.set_break(Some(|event| matches!(event, Event::Serial { .. })));
    while !machine.take_events().iter().any(|line| matches!(line.event, Event::Serial { .. })) {
        machine.apply(Choice::Run { core, steps: 10_000, drained: true }).expect("core 0 runs");
    }
    let before = machine.linear_pc(core);
    machine.apply(Choice::Access { core }).expect("core 0 runs");
    assert_ne!(machine.linear_pc(core), before, "the next instruction, which has no second access, is complete");
    Ok(())
}
