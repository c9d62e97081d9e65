//! mcs: a queue of cores, each waiting at a word of its own
//!
//! The lock of Mellor-Crummey and Scott (1991) is the tail of a queue: who wants to enter swaps his node for the tail and
//! tells the one before him, who opens for him when he leaves.
//! Who leaves with nobody behind him swaps the tail for nothing, if it is his own node still.
//! Both swaps must be indivisible: when the first is not, two cores think they are the first, or one comes behind another who
//! has left; when the second is not, it can delete a core that has just come, which then is stuck.
//! XCHG is locked by itself, so without LOCK means a load and a store here, with the fences that XCHG is besides.
//! On x86 it needs no fence, for opening is an ordinary store; under `pso` an SFENCE must stand before it.
//!
//! cores: 2
//! variant broken: the tail is swapped by a load and a store, between MFENCEs
//!   sc, tso, pso: apart | together ! | stuck !
//! variant cmpxchg: the tail is given back by CMPXCHG without LOCK
//!   sc, tso: apart | stuck !
//!   pso: apart | together ! | stuck !
//! variant lock: XCHG and LOCK CMPXCHG
//!   sc, tso: apart
//!   pso: apart | together !
//! variant sfence: XCHG and LOCK CMPXCHG, and SFENCE before opening
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Core, Word32, exclusion, mfence, sfence};

kit::entry!(main);

/// The node at the end of the queue. A core's node is its number plus 1, and 0 is none.
static TAIL: Word32 = Word32::new(0);
/// Indexed by core: the node behind its own.
static NEXT: [Word32; 2] = [Word32::new(0), Word32::new(0)];
/// Indexed by core: 1 while it must wait.
static BARRED: [Word32; 2] = [Word32::new(0), Word32::new(0)];

fn main(core: Core) {
    core.require_count(2);
    let lock = |node| TAIL.xchg(node);
    let unlock = |node| TAIL.lock_cmpxchg(node, 0).is_ok();
    match core.variant("broken") {
        "broken" => contend(&core, swap_by_two, unlock, || {}),
        "cmpxchg" => contend(&core, lock, |node| TAIL.cmpxchg(node, 0).is_ok(), || {}),
        "lock" => contend(&core, lock, unlock, || {}),
        "sfence" => contend(&core, lock, unlock, sfence),
        other => core.unknown_variant(other),
    }
}

fn swap_by_two(node: u32) -> u32 {
    mfence();
    let before = TAIL.load();
    TAIL.store(node);
    mfence();
    before
}

/// `swap` puts a node at the tail; `give_back` empties the queue if the node is still there, and says whether it was.
#[inline(never)]
fn contend(core: &Core, swap: impl Fn(u32) -> u32, give_back: impl Fn(u32) -> bool, before_open: impl Fn()) {
    let (me, node) = (core.index, core.index as u32 + 1);
    let lock = || {
        NEXT[me].store(0);
        BARRED[me].store(1);
        let before = swap(node);
        if before != 0 {
            NEXT[before as usize - 1].store(node);
            exclusion::wait_while(core, || BARRED[me].load() != 0);
        }
    };
    let unlock = |()| {
        if NEXT[me].load() == 0 {
            if give_back(node) {
                return;
            }
            exclusion::wait_while(core, || NEXT[me].load() == 0);
        }
        let next = NEXT[me].load();
        if next != 0 {
            before_open();
            BARRED[next as usize - 1].store(0);
        }
    };
    exclusion::contend(core, || TAIL.store(0), lock, unlock);
}
