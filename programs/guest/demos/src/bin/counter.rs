//! counter: three cores count, and LOCK is what makes them count right
//!
//! Three cores add 1 to the same word, twice each.
//! Without LOCK an addition is a load and a store, and an addition that comes between the two is lost, under every model:
//! this has nothing to do with the order of stores.
//! XADD also says what was there before; that changes nothing.
//!
//! cores: 3
//! variant broken: ADD without LOCK
//!   sc, tso, pso: exact | lost !
//! variant xadd: XADD without LOCK
//!   sc, tso, pso: exact | lost !
//! variant lock-xadd: LOCK XADD
//!   sc, tso, pso: exact
#![no_std]
#![no_main]

use kit::{Core, Hazard, Verdict, Word32, pause, race};

kit::entry!(main);

const CORES: u32 = 3;
const ADDITIONS: u32 = 2;

static COUNTER: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(CORES as usize);
    match core.variant("broken") {
        "broken" => count(&core, || COUNTER.add(1)),
        "xadd" => count(&core, || _ = COUNTER.xadd(1)),
        "lock-xadd" => count(&core, || _ = COUNTER.lock_xadd(1)),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn count(core: &Core, add: impl Fn()) {
    let run = || {
        for _ in 0..ADDITIONS {
            add();
            pause();
        }
    };
    let rounds = race(core, || COUNTER.store(0), run, judge);
    core.report("exact", Verdict::Held, format_args!("{rounds} rounds, no addition lost."));
}

fn judge() -> Result<(), Hazard> {
    match COUNTER.load() {
        counted if counted == CORES * ADDITIONS => Ok(()),
        _ => Err(Hazard { outcome: "lost", story: "the counter has missed an addition." }),
    }
}
