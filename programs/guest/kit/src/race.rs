//! Rounds in which all cores do something at once, each judged on its own.

use crate::{Barrier, Core, Verdict, Xorshift, pause, region};

/// How often the cores race. The window is a handful of instructions, so most rounds miss it.
const ROUNDS: u32 = 60;
/// Start of a race: up to 2 * 8 instructions apart.
const START_TURNS: u32 = 8;

/// What came of a round in which the bug struck.
#[derive(Clone, Copy, Debug)]
pub struct Hazard {
    /// The outcome, as the program's stanza names it.
    pub outcome: &'static str,
    /// What happened, for people.
    pub story: &'static str,
}

/// Races until `judge` finds a hazard, which ends the run; returns after how many rounds there was none.
///
/// In each round core 0 prepares, every core runs, and core 0 judges; only what `run` does is explored. Nothing is left of a
/// round in the next one, unless `prepare` leaves it.
pub fn race(core: &Core, prepare: impl Fn(), run: impl Fn(), judge: impl Fn() -> Result<(), Hazard>) -> u32 {
    static BARRIER: Barrier = Barrier::new();
    let mut random = Xorshift::new(core);
    let rounds = core.times(ROUNDS);
    for round in 1..=rounds {
        if core.index == 0 {
            prepare();
        }
        BARRIER.wait(core);
        random.delay(START_TURNS);
        region::begin();
        run();
        region::end();
        // No fence here: what is still buffered takes its time while other cores run.
        pause();
        BARRIER.wait(core);
        if core.index == 0
            && let Err(hazard) = judge()
        {
            core.report(hazard.outcome, Verdict::Hazard, format_args!("Round {round}: {}", hazard.story));
        }
    }
    rounds
}
