//! peterson: one fence is enough on x86, and not one store may be out of order
//!
//! Peterson's algorithm (1981) keeps two cores apart with two flags and a turn: raise your flag, give the turn away, and
//! wait while the other's flag is up and the turn is the other's.
//! On x86 it needs one MFENCE, between these stores and the loads that follow.
//! Under `pso` that is not enough, for two reasons: the turn can reach memory before the flag, so that the other core,
//! finding the turn given and no flag, goes in; and the flag can be lowered in memory before what was stored inside is there.
//! An SFENCE between flag and turn cures the first, an SFENCE before lowering the flag the second.
//! Inside, each core adds 1 to a counter by a load and a store: if an addition is missing, both were inside.
//!
//! cores: 2
//! variant broken: no fence at all
//!   sc: apart
//!   tso, pso: apart | together !
//! variant one-mfence: MFENCE between the stores and the loads
//!   sc, tso: apart
//!   pso: apart | together !
//! variant flag-before-turn: as one-mfence, and SFENCE between flag and turn
//!   sc, tso: apart
//!   pso: apart | together !
//! variant inside-before-unlock: as one-mfence, and SFENCE before lowering the flag
//!   sc, tso: apart
//!   pso: apart | together !
//! variant pso-right: SFENCE between flag and turn, MFENCE, and SFENCE before lowering the flag
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Barrier, Core, Verdict, Word32, Xorshift, mfence, pause, region, sfence};

kit::entry!(main);

/// How often the counter is looked at.
const ROUNDS: u32 = 10;
/// How often each core enters in a round.
const ENTRIES: u32 = 8;
/// Between giving the turn away and looking at the other's flag: up to 2 * 16 instructions.
const DOORWAY_TURNS: u32 = 16;

static BARRIER: Barrier = Barrier::new();
static FLAG: [Word32; 2] = [Word32::new(0), Word32::new(0)];
static TURN: Word32 = Word32::new(0);
static COUNTER: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    let nothing = || {};
    // The fences before the turn is given away, after that, and before the flag is lowered.
    match core.variant("broken") {
        "broken" => contend(&core, nothing, nothing, nothing),
        "one-mfence" => contend(&core, nothing, mfence, nothing),
        "flag-before-turn" => contend(&core, sfence, mfence, nothing),
        "inside-before-unlock" => contend(&core, nothing, mfence, sfence),
        "pso-right" => contend(&core, sfence, mfence, sfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(core: &Core, before_turn: impl Fn(), after_turn: impl Fn(), before_unlock: impl Fn()) {
    let mut random = Xorshift::new(core);
    let entries = core.times(ENTRIES);
    for round in 1..=core.times(ROUNDS) {
        region::begin();
        for _ in 0..entries {
            lock(core.index, &mut random, &before_turn, &after_turn);
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
fn lock(me: usize, random: &mut Xorshift, before_turn: impl Fn(), after_turn: impl Fn()) {
    let other = 1 - me;
    FLAG[me].store(1);
    before_turn();
    TURN.store(other as u32);
    random.delay(DOORWAY_TURNS);
    after_turn();
    while FLAG[other].load() != 0 && TURN.load() == other as u32 {
        pause();
    }
}

#[inline(always)]
fn unlock(me: usize, before_unlock: impl Fn()) {
    before_unlock();
    FLAG[me].store(0);
}
