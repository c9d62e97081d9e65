//! dekker: the first lock ever made, and what a store buffer does to it
//!
//! Dekker's algorithm (about 1962) keeps two cores apart with nothing but loads and stores: raise your own flag, look at
//! the other's, and if both are up, whoever's turn it is not steps back.
//! It needs the store of the own flag to be seen before the load of the other's; a store buffer breaks exactly that
//! (see `store-buffering`), and both cores enter.
//! MFENCE between the two cures it on x86.
//! Under `pso` leaving needs a fence too: the flag is lowered by an ordinary store, which must not overtake what was
//! stored inside.
//! Inside, each core adds 1 to a counter by a load and a store: if an addition is missing, both were inside.
//!
//! cores: 2
//! variant broken: no fence at all
//!   sc: apart
//!   tso, pso: apart | together !
//! variant mfence: MFENCE after raising the flag
//!   sc, tso: apart
//!   pso: apart | together !
//! variant pso-right: MFENCE after raising the flag, SFENCE before lowering it
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Barrier, Core, Verdict, Word32, Xorshift, mfence, pause, region, sfence};

kit::entry!(main);

/// How often the counter is looked at.
const ROUNDS: u32 = 10;
/// How often each core enters in a round.
const ENTRIES: u32 = 8;
/// Before each entry: up to 2 * 8 instructions.
const OUTSIDE_TURNS: u32 = 8;

static BARRIER: Barrier = Barrier::new();
static FLAG: [Word32; 2] = [Word32::new(0), Word32::new(0)];
static TURN: Word32 = Word32::new(0);
static COUNTER: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => contend(&core, || {}, || {}),
        "mfence" => contend(&core, mfence, || {}),
        "pso-right" => contend(&core, mfence, sfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(core: &Core, after_flag: impl Fn(), before_unlock: impl Fn()) {
    let mut random = Xorshift::new(core);
    let entries = core.times(ENTRIES);
    for round in 1..=core.times(ROUNDS) {
        region::begin();
        for _ in 0..entries {
            random.delay(OUTSIDE_TURNS);
            lock(core.index, &after_flag);
            let counted = COUNTER.load();
            // A long stay: the other core may run now, and has to wait.
            pause();
            COUNTER.store(counted + 1);
            unlock(core.index, &before_unlock);
            pause();
        }
        region::end();
        BARRIER.wait(core);
        let (counted, expected) = (COUNTER.load(), round * entries * 2);
        if counted != expected {
            core.report(
                "together",
                Verdict::Hazard,
                format_args!("{expected} entries, but the counter says {counted}: both were inside."),
            );
        }
        BARRIER.wait(core);
    }
    core.report("apart", Verdict::Held, format_args!("{} entries, never two at once.", COUNTER.load()));
}

#[inline(always)]
fn lock(me: usize, after_flag: impl Fn()) {
    let other = 1 - me;
    FLAG[me].store(1);
    after_flag();
    while FLAG[other].load() != 0 {
        if TURN.load() != me as u32 {
            FLAG[me].store(0);
            // Looking at the flag as well ends the wait even if both were inside and each gave the turn away.
            while TURN.load() != me as u32 && FLAG[other].load() != 0 {
                pause();
            }
            FLAG[me].store(1);
            after_flag();
        }
        pause();
    }
}

#[inline(always)]
fn unlock(me: usize, before_unlock: impl Fn()) {
    before_unlock();
    TURN.store(1 - me as u32);
    FLAG[me].store(0);
}
