//! chase-lev: a deque from which thieves steal without a lock
//!
//! In the deque of Chase and Lev (2005) the owner pushes and pops at the bottom, thieves steal at the top.
//! Who takes the last item raises the top by a compare-and-swap, so that only one gets it; without LOCK both do.
//! The owner takes any other item without one, for a thief cannot come so far: unless he has not seen the bottom lowered yet.
//! So there must be an MFENCE in the owner's pop, between the store to the bottom and the load of the top (Lê, Pop, Cohen and
//! Zappa Nardelli, 2013).
//! Under `pso` an item must be seen before the bottom is raised over it, too: an SFENCE in push.
//!
//! cores: 2
//! variant broken: no fence at all
//!   sc: once
//!   tso: once | twice !
//!   pso: once | twice ! | unwritten !
//! variant no-lock: MFENCE in pop and SFENCE in push, but CMPXCHG without LOCK
//!   sc, tso, pso: once | twice !
//! variant mfence: MFENCE in pop, LOCK CMPXCHG
//!   sc, tso: once
//!   pso: once | unwritten !
//! variant sfence: SFENCE in push, LOCK CMPXCHG
//!   sc: once
//!   tso, pso: once | twice !
//! variant pso-right: MFENCE in pop, SFENCE in push, LOCK CMPXCHG
//!   sc, tso, pso: once
#![no_std]
#![no_main]

use kit::{Core, Hazard, Verdict, Word32, mfence, pause, race, sfence};

kit::entry!(main);

/// Items are numbered from 1; 0 is none.
const NOTHING: u32 = 0;
const ITEMS: usize = 2;

static TOP: Word32 = Word32::new(0);
static BOTTOM: Word32 = Word32::new(0);
static SLOT: [Word32; ITEMS] = [const { Word32::new(NOTHING) }; ITEMS];
/// What was taken: by the owner's one pop and by the thief's two attempts. Beyond the last item: an empty slot.
static TAKEN: [Word32; 3] = [const { Word32::new(NOTHING) }; 3];
const UNWRITTEN: u32 = ITEMS as u32 + 1;

fn main(core: Core) {
    core.require_count(2);
    let nothing = || {};
    let lock = |top| TOP.lock_cmpxchg(top, top + 1).is_ok();
    match core.variant("broken") {
        "broken" => contend(&core, nothing, nothing, lock),
        "no-lock" => contend(&core, sfence, mfence, |top| TOP.cmpxchg(top, top + 1).is_ok()),
        "mfence" => contend(&core, nothing, mfence, lock),
        "sfence" => contend(&core, sfence, nothing, lock),
        "pso-right" => contend(&core, sfence, mfence, lock),
        other => core.unknown_variant(other),
    }
}

/// The fences are in push and in pop; `raise` is the compare-and-swap.
#[inline(never)]
fn contend(core: &Core, in_push: impl Fn(), in_pop: impl Fn(), raise: impl Fn(u32) -> bool) {
    let prepare = || {
        [&TOP, &BOTTOM].into_iter().chain(&SLOT).chain(&TAKEN).for_each(|word| word.store(0));
        push(1, &in_push);
    };
    let run = || match core.index {
        0 => {
            push(2, &in_push);
            pause();
            TAKEN[0].store(pop(&in_pop, &raise));
        }
        _ => {
            TAKEN[1].store(steal(&raise));
            TAKEN[2].store(steal(&raise));
        }
    };
    let rounds = race(core, prepare, run, judge);
    core.report("once", Verdict::Held, format_args!("{rounds} rounds, and no item was taken twice."));
}

#[inline(always)]
fn push(item: u32, in_push: impl Fn()) {
    let bottom = BOTTOM.load();
    SLOT[bottom as usize].store(item);
    in_push();
    BOTTOM.store(bottom + 1);
}

#[inline(always)]
fn pop(in_pop: impl Fn(), raise: impl Fn(u32) -> bool) -> u32 {
    let bottom = BOTTOM.load() - 1;
    BOTTOM.store(bottom);
    in_pop();
    let top = TOP.load();
    // Signed, for the thief may have taken all.
    if (bottom as i32) < top as i32 {
        BOTTOM.store(bottom + 1);
        return NOTHING;
    }
    let item = item(bottom);
    if top == bottom {
        let is_ours = raise(top);
        BOTTOM.store(bottom + 1);
        return if is_ours { item } else { NOTHING };
    }
    item
}

#[inline(always)]
fn steal(raise: impl Fn(u32) -> bool) -> u32 {
    let top = TOP.load();
    if top as i32 >= BOTTOM.load() as i32 {
        return NOTHING;
    }
    let item = item(top);
    // The owner may come now.
    pause();
    if raise(top) { item } else { NOTHING }
}

#[inline(always)]
fn item(at: u32) -> u32 {
    match SLOT[at as usize].load() {
        NOTHING => UNWRITTEN,
        item => item,
    }
}

fn judge() -> Result<(), Hazard> {
    let mut taken = [0; UNWRITTEN as usize + 1];
    TAKEN.iter().for_each(|item| taken[item.load() as usize] += 1);
    if taken[UNWRITTEN as usize] > 0 {
        Err(Hazard { outcome: "unwritten", story: "a slot was taken before its item was in it." })
    } else if taken[1..].iter().any(|&times| times > 1) {
        Err(Hazard { outcome: "twice", story: "the owner and the thief took the same item." })
    } else {
        Ok(())
    }
}
