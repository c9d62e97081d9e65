//! clh: a queue of cores, each waiting at the word of the one before
//!
//! In the lock of Craig (1993) and of Landin and Hagersten (1994) who wants to enter swaps his node for the tail of a queue
//! and waits until the node that was there says its owner has left.
//! Who leaves says so in his own node and takes the one before him as his next.
//! The swap must be indivisible, or two cores wait for the same one.
//! XCHG is locked by itself, so without LOCK means a load and a store here.
//! On x86 it needs no fence, for leaving is an ordinary store; under `pso` an SFENCE must stand before it.
//!
//! cores: 2
//! variant broken: the tail is swapped by a load and a store
//!   sc, tso, pso: apart | together !
//! variant lock: by XCHG
//!   sc, tso: apart
//!   pso: apart | together !
//! variant sfence: by XCHG, and SFENCE before leaving
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Core, Word32, exclusion, pause, sfence};

kit::entry!(main);

/// Nodes: one for each core, and one that lies in the queue when nobody else does.
const NODES: usize = 3;

/// Indexed by node: 1 while its owner is inside or waits.
static BUSY: [Word32; NODES] = [const { Word32::new(0) }; NODES];
/// The node at the end of the queue.
static TAIL: Word32 = Word32::new(2);
/// Indexed by core: the node that it puts into the queue next.
static OWN: [Word32; 2] = [Word32::new(0), Word32::new(1)];

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => contend(&core, swap_by_two, || {}),
        "lock" => contend(&core, |node| TAIL.xchg(node), || {}),
        "sfence" => contend(&core, |node| TAIL.xchg(node), sfence),
        other => core.unknown_variant(other),
    }
}

fn swap_by_two(node: u32) -> u32 {
    let before = TAIL.load();
    TAIL.store(node);
    before
}

#[inline(never)]
fn contend(core: &Core, swap: impl Fn(u32) -> u32, before_unlock: impl Fn()) {
    let own = &OWN[core.index];
    let free = || {
        BUSY.iter().for_each(|node| node.store(0));
        [&OWN[0], &OWN[1], &TAIL].into_iter().zip(0..).for_each(|(word, node)| word.store(node));
    };
    let lock = || {
        BUSY[own.load() as usize].store(1);
        let before = swap(own.load());
        while BUSY[before as usize].load() != 0 {
            pause();
        }
        before
    };
    let unlock = |before| {
        before_unlock();
        BUSY[own.load() as usize].store(0);
        own.store(before);
    };
    exclusion::contend(core, free, lock, unlock);
}
