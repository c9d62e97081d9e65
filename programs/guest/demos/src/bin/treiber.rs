//! treiber: a stack without a lock, which stands and falls with LOCK
//!
//! In Treiber's stack (1986) a node is pushed by pointing it to the head and swapping the head for it, if the head is still the
//! same, and popped the same way.
//! The compare-and-swap must be indivisible: CMPXCHG without LOCK is a load and a store, and what another core does between
//! them is overwritten. A comparison and an ordinary store are no better.
//! No fence is needed, not even under `pso`: LOCK is one.
//! (A node that comes back while somebody holds its successor is another story: `aba`.)
//!
//! cores: 2
//! variant broken: a load, a comparison and a store
//!   sc, tso, pso: intact | corrupt !
//! variant no-lock: CMPXCHG without LOCK
//!   sc, tso, pso: intact | corrupt !
//! variant lock: LOCK CMPXCHG
//!   sc, tso, pso: intact
#![no_std]
#![no_main]

use kit::{Core, Hazard, Verdict, Word32, pause, race};

kit::entry!(main);

/// Each core pushes the node with its number plus 1; 0 is none.
const NOTHING: u32 = 0;
const NODES: usize = 2;

static HEAD: Word32 = Word32::new(NOTHING);
/// Indexed by node: the one below.
static BELOW: [Word32; NODES + 1] = [const { Word32::new(NOTHING) }; NODES + 1];
/// Indexed by core: the node it has popped.
static POPPED: [Word32; NODES] = [const { Word32::new(NOTHING) }; NODES];

fn main(core: Core) {
    core.require_count(NODES);
    match core.variant("broken") {
        "broken" => work(&core, |old, new| {
            let is_same = HEAD.load() == old;
            if is_same {
                HEAD.store(new);
            }
            is_same
        }),
        "no-lock" => work(&core, |old, new| HEAD.cmpxchg(old, new).is_ok()),
        "lock" => work(&core, |old, new| HEAD.lock_cmpxchg(old, new).is_ok()),
        other => core.unknown_variant(other),
    }
}

/// Each core pushes a node and pops one; `swap` changes the head if it is still the old one.
#[inline(never)]
fn work(core: &Core, swap: impl Fn(u32, u32) -> bool) {
    let run = || {
        push(core.index as u32 + 1, &swap);
        pause();
        POPPED[core.index].store(pop(&swap));
    };
    let rounds = race(core, || HEAD.store(NOTHING), run, judge);
    core.report("intact", Verdict::Held, format_args!("{rounds} rounds, and each node pushed was popped."));
}

#[inline(always)]
fn push(node: u32, swap: impl Fn(u32, u32) -> bool) {
    loop {
        let head = HEAD.load();
        BELOW[node as usize].store(head);
        if swap(head, node) {
            return;
        }
        pause();
    }
}

#[inline(always)]
fn pop(swap: impl Fn(u32, u32) -> bool) -> u32 {
    loop {
        let head = HEAD.load();
        if head == NOTHING || swap(head, BELOW[head as usize].load()) {
            return head;
        }
        pause();
    }
}

fn judge() -> Result<(), Hazard> {
    match POPPED.each_ref().map(Word32::load) {
        [1, 2] | [2, 1] => Ok(()),
        _ => Err(Hazard { outcome: "corrupt", story: "two nodes were pushed, but not both were popped." }),
    }
}
