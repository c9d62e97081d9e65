//! cilk-the: a worker and a thief who both take the last piece of work
//!
//! In Cilk's THE protocol (Frigo, Leiserson and Randall, 1998) work lies between a head H and a tail T.
//! The worker takes from the tail without a lock: lower T, and look whether H is beyond it.
//! The thief takes from the head under a lock: raise H, and look whether it is beyond T.
//! Only when one sees the other do they meet at the lock; each must store before he loads, as in `store-buffering`, or both
//! take the same piece.
//! It needs an MFENCE on both sides.
//!
//! cores: 2
//! variant broken: no fence at all
//!   sc: once
//!   tso, pso: once | twice !
//! variant only-worker: MFENCE after T is lowered
//!   sc: once
//!   tso, pso: once | twice !
//! variant only-thief: MFENCE after H is raised
//!   sc: once
//!   tso, pso: once | twice !
//! variant mfences: both of them
//!   sc, tso, pso: once
#![no_std]
#![no_main]

use kit::{Core, Hazard, Spinlock, Verdict, Word32, mfence, race};

kit::entry!(main);

/// The one piece of work lies at 0: from there to below T.
static H: Word32 = Word32::new(0);
static T: Word32 = Word32::new(1);
static LOCK: Spinlock = Spinlock::new();
/// Indexed by core, worker and thief: how many pieces it got.
static GOT: [Word32; 2] = [Word32::new(0), Word32::new(0)];

fn main(core: Core) {
    core.require_count(2);
    let nothing = || {};
    match core.variant("broken") {
        "broken" => contend(&core, nothing, nothing),
        "only-worker" => contend(&core, mfence, nothing),
        "only-thief" => contend(&core, nothing, mfence),
        "mfences" => contend(&core, mfence, mfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(core: &Core, after_lowering: impl Fn(), after_raising: impl Fn()) {
    let prepare = || {
        H.store(0);
        T.store(1);
    };
    let run = || {
        let got = match core.index {
            0 => pop(&after_lowering),
            _ => steal(&after_raising),
        };
        GOT[core.index].store(u32::from(got));
    };
    let rounds = race(core, prepare, run, judge);
    core.report("once", Verdict::Held, format_args!("{rounds} pieces of work, each taken once."));
}

/// The worker's: whether it got the piece at the tail.
#[inline(always)]
fn pop(after_lowering: impl Fn()) -> bool {
    let tail = T.load() - 1;
    T.store(tail);
    after_lowering();
    if H.load() <= tail {
        return true;
    }
    T.store(tail + 1);
    LOCK.lock();
    let got = H.load() <= tail;
    if got {
        T.store(tail);
    }
    LOCK.unlock();
    got
}

/// The thief's: whether it got the piece at the head.
#[inline(always)]
fn steal(after_raising: impl Fn()) -> bool {
    LOCK.lock();
    let head = H.load() + 1;
    H.store(head);
    after_raising();
    let got = head <= T.load();
    if !got {
        H.store(head - 1);
    }
    LOCK.unlock();
    got
}

fn judge() -> Result<(), Hazard> {
    match GOT[0].load() + GOT[1].load() {
        1 => Ok(()),
        0 => Err(Hazard { outcome: "lost", story: "neither the worker nor the thief got the piece." }),
        _ => Err(Hazard { outcome: "twice", story: "the worker and the thief both got the piece." }),
    }
}
