//! store-buffering: each core misses the other's store
//!
//! Core 0 stores to X and loads Y; core 1 stores to Y and loads X.
//! Whichever store comes first, the other core's load comes later: one of the two must see a 1.
//! Yet on real x86 both loads can find 0, because each store still waits in its own core's store buffer, where only that
//! core sees it.
//! Anything that empties the buffer between the store and the load cures it: MFENCE, an XCHG as the store, or any
//! LOCK-prefixed instruction.
//!
//! cores: 2
//! variant broken: nothing between the store and the load
//!   sc: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1
//!   tso, pso: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1 | r0=0 r1=0 !
//! variant mfence: MFENCE between the store and the load
//!   sc, tso, pso: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1
//! variant xchg: XCHG is the store
//!   sc, tso, pso: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1
//! variant lock-or: LOCK OR to the top of the stack between the store and the load, as compilers like to do
//!   sc, tso, pso: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1
#![no_std]
#![no_main]

use kit::{Barrier, Core, Verdict, Word32, Xorshift, lock_or, mfence, region};

kit::entry!(main);

/// How often the two cores race. The window is a handful of instructions, so most rounds miss it.
const ROUNDS: u32 = 60;
/// Start of the race: up to 2 * 8 instructions apart.
const START_TURNS: u32 = 8;
/// End of the race: how long a store may stay buffered before the next barrier flushes it out.
const LINGER_TURNS: u32 = 16;

static BARRIER: Barrier = Barrier::new();
static X: Word32 = Word32::new(0);
static Y: Word32 = Word32::new(0);
static SEEN: [Word32; 2] = [Word32::new(0), Word32::new(0)];

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => race(&core, |mine| mine.store(1)),
        "mfence" => race(&core, |mine| {
            mine.store(1);
            mfence();
        }),
        "xchg" => race(&core, |mine| _ = mine.xchg(1)),
        "lock-or" => race(&core, |mine| {
            mine.store(1);
            lock_or();
        }),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn race(core: &Core, store: impl Fn(&Word32)) {
    let (mine, theirs) = if core.index == 0 { (&X, &Y) } else { (&Y, &X) };
    let mut random = Xorshift::new(core);
    let mut last = (1, 1);
    let rounds = core.times(ROUNDS);
    for round in 0..rounds {
        mine.store(0);
        BARRIER.wait(core);
        random.delay(START_TURNS);

        region::begin();
        store(mine);
        let seen = theirs.load();
        region::end();

        random.delay(LINGER_TURNS);
        SEEN[core.index].store(seen);
        BARRIER.wait(core);
        last = (SEEN[0].load(), SEEN[1].load());
        if last == (0, 0) {
            core.report(
                "r0=0 r1=0",
                Verdict::Hazard,
                format_args!("Round {round}: both cores stored 1, and both loaded 0."),
            );
        }
    }
    core.report(
        outcome(last),
        Verdict::Held,
        format_args!("{rounds} rounds, and in each at least one core saw the other's store."),
    );
}

fn outcome(seen: (u32, u32)) -> &'static str {
    match seen {
        (0, 1) => "r0=0 r1=1",
        (1, 0) => "r0=1 r1=0",
        _ => "r0=1 r1=1",
    }
}
