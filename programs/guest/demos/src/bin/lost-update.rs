//! lost-update: one instruction is not one step
//!
//! Both cores add 1 to the same counter, again and again, with `add [counter], 1`.
//! It is one instruction, but a load and a store all the same, and another core can come between them: its additions are
//! then overwritten, under every memory model.
//! The LOCK prefix makes the two one step; so does a loop around CMPXCHG, and a spinlock keeps everybody else out.
//! The spinlock's unlock is an ordinary store: enough on real x86, but under `pso` the lock is seen free before the counter
//! it guards is in memory, unless an SFENCE stands between them.
//!
//! cores: 2
//! variant broken: ADD without LOCK
//!   sc, tso, pso: exact | lost !
//! variant lock-add: LOCK ADD
//!   sc, tso, pso: exact
//! variant cas-loop: load, add, LOCK CMPXCHG, and again if the counter has changed
//!   sc, tso, pso: exact
//! variant spinlock: a spinlock, SFENCE before the store that frees it
//!   sc, tso, pso: exact
//! variant spinlock-plain: a spinlock freed by nothing but a store
//!   sc, tso: exact
//!   pso: exact | lost !
#![no_std]
#![no_main]

use kit::{Barrier, Core, Spinlock, Verdict, Word32, Xorshift, pause, region};

kit::entry!(main);

/// Between two looks at the counter.
const ADDITIONS: u32 = 40;
/// How often the counter is looked at.
const ROUNDS: u32 = 6;
/// Before each addition: up to 2 * 8 instructions.
const PAUSE_TURNS: u32 = 8;

static BARRIER: Barrier = Barrier::new();
static COUNTER: Word32 = Word32::new(0);
static LOCK: Spinlock = Spinlock::new();

fn main(core: Core) {
    match core.variant("broken") {
        "broken" => count(&core, || COUNTER.add(1)),
        "lock-add" => count(&core, || COUNTER.lock_add(1)),
        "cas-loop" => count(&core, || {
            let mut seen = COUNTER.load();
            while let Err(now) = COUNTER.lock_cmpxchg(seen, seen + 1) {
                seen = now;
            }
        }),
        "spinlock" => count(&core, || {
            LOCK.lock();
            COUNTER.add(1);
            LOCK.unlock();
        }),
        "spinlock-plain" => count(&core, || {
            LOCK.lock();
            COUNTER.add(1);
            LOCK.unlock_plain();
        }),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn count(core: &Core, add: impl Fn()) {
    let mut random = Xorshift::new(core);
    let additions = core.times(ADDITIONS);
    for round in 1..=core.times(ROUNDS) {
        region::begin();
        for _ in 0..additions {
            random.delay(PAUSE_TURNS);
            add();
            pause();
        }
        region::end();
        BARRIER.wait(core);
        let (counted, expected) = (COUNTER.load(), round * additions * core.count as u32);
        if counted != expected {
            core.report("lost", Verdict::Hazard, format_args!("{expected} additions, but the counter says {counted}."));
        }
        // Nobody adds before everybody has looked.
        BARRIER.wait(core);
    }
    core.report("exact", Verdict::Held, format_args!("{} additions, none lost.", COUNTER.load()));
}
