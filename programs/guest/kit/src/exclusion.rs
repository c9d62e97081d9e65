//! What every lock promises, put to the test: no two cores are inside at once, and whoever waits comes in some day.
//!
//! In each round every core enters once and adds 1 to a counter by a load and a store: if an addition is missing, two were
//! inside.

use crate::{Core, Hazard, Verdict, Word32, pause, race};

static COUNTER: Word32 = Word32::new(0);
/// How many cores have left in this round. Counted by a locked instruction: all that they stored is in memory.
static LEFT: Word32 = Word32::new(0);
static STUCK: Word32 = Word32::new(0);

/// Ends the run with the outcome `apart`, `together` or `stuck`.
///
/// `free` makes the lock as new before each round; what `lock` returns is handed to `unlock`.
pub fn contend<T>(core: &Core, free: impl Fn(), lock: impl Fn() -> T, unlock: impl Fn(T)) {
    let prepare = || {
        free();
        COUNTER.store(0);
        LEFT.store(0);
    };
    let rounds = race(core, prepare, || enter(&lock, &unlock), || judge(core.count as u32));
    core.report("apart", Verdict::Held, format_args!("{rounds} rounds, never two inside at once."));
}

#[inline(always)]
fn enter<T>(lock: impl Fn() -> T, unlock: impl Fn(T)) {
    let ticket = lock();
    let counted = COUNTER.load();
    // A long stay: other cores may run now, and again, and have to wait.
    pause();
    pause();
    COUNTER.store(counted + 1);
    unlock(ticket);
    pause();
    LEFT.lock_add(1);
}

/// Waits while `is_barred`. When all other cores have left the round, nobody will ever open: then it goes on, and the outcome
/// is `stuck`. For locks that can lose a core that waits.
#[inline(always)]
pub fn wait_while(core: &Core, is_barred: impl Fn() -> bool) {
    while is_barred() {
        if LEFT.load() == core.count as u32 - 1 && is_barred() {
            STUCK.xchg(1);
            return;
        }
        pause();
    }
}

fn judge(cores: u32) -> Result<(), Hazard> {
    if COUNTER.load() != cores {
        Err(Hazard { outcome: "together", story: "the counter has missed an entry: two were inside." })
    } else if STUCK.load() != 0 {
        Err(Hazard {
            outcome: "stuck",
            story: "one core waited, all others had left, and nobody would ever have opened.",
        })
    } else {
        Ok(())
    }
}
