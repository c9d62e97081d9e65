//! michael-scott: a queue without a lock, and each of its swaps needs LOCK
//!
//! In the queue of Michael and Scott (1996) a node is linked behind the last one by a compare-and-swap, and the tail is then
//! swung to it by another, by whoever comes first; a third moves the head.
//! The node at the head is a dummy: its successor holds the value that comes next.
//! If the link is made by CMPXCHG without LOCK, two cores link behind the same node and one value is lost; if the head is moved
//! so, a value comes out twice.
//! No fence is needed, not even under `pso`: LOCK is one, so the value is in memory before the link to its node.
//!
//! cores: 2
//! variant broken: CMPXCHG without LOCK everywhere
//!   sc, tso, pso: intact | corrupt !
//! variant link: CMPXCHG without LOCK links, the others have it
//!   sc, tso, pso: intact | corrupt !
//! variant head: CMPXCHG without LOCK moves the head, the others have it
//!   sc, tso, pso: intact | corrupt !
//! variant lock: LOCK CMPXCHG everywhere
//!   sc, tso, pso: intact
#![no_std]
#![no_main]

use kit::{Core, Hazard, Verdict, Word32, pause, race};

kit::entry!(main);

/// Each core puts the node with its number plus 1 into the queue. 0 is none.
const NOTHING: u32 = 0;
const DUMMY: u32 = 3;
const NODES: usize = 4;

static HEAD: Word32 = Word32::new(DUMMY);
static TAIL: Word32 = Word32::new(DUMMY);
/// Indexed by node: its successor and its value.
static NEXT: [Word32; NODES] = [const { Word32::new(NOTHING) }; NODES];
static VALUE: [Word32; NODES] = [const { Word32::new(0) }; NODES];
/// Indexed by core: the value it took out.
static TAKEN: [Word32; 2] = [Word32::new(0), Word32::new(0)];

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => work(&core, no_lock, no_lock, no_lock),
        "link" => work(&core, no_lock, lock, lock),
        "head" => work(&core, lock, lock, no_lock),
        "lock" => work(&core, lock, lock, lock),
        other => core.unknown_variant(other),
    }
}

fn lock(word: &Word32, old: u32, new: u32) -> bool {
    word.lock_cmpxchg(old, new).is_ok()
}

fn no_lock(word: &Word32, old: u32, new: u32) -> bool {
    word.cmpxchg(old, new).is_ok()
}

/// A compare-and-swap.
trait Swap: Fn(&Word32, u32, u32) -> bool {}
impl<F: Fn(&Word32, u32, u32) -> bool> Swap for F {}

/// Each core puts a value into the queue and takes one out.
#[inline(never)]
fn work(core: &Core, link: impl Swap, swing: impl Swap, advance: impl Swap) {
    let prepare = || {
        NEXT.iter().chain(&VALUE).for_each(|word| word.store(0));
        [&HEAD, &TAIL].into_iter().for_each(|word| word.store(DUMMY));
    };
    let run = || {
        let mine = core.index as u32 + 1;
        VALUE[mine as usize].store(mine);
        enqueue(mine, &link, &swing);
        pause();
        TAKEN[core.index].store(dequeue(&swing, &advance));
    };
    let rounds = race(core, prepare, run, judge);
    core.report("intact", Verdict::Held, format_args!("{rounds} rounds, and each value came out once."));
}

#[inline(always)]
fn enqueue(node: u32, link: impl Swap, swing: impl Swap) {
    loop {
        let tail = TAIL.load();
        let next = NEXT[tail as usize].load();
        if next != NOTHING {
            swing(&TAIL, tail, next);
        } else if link(&NEXT[tail as usize], NOTHING, node) {
            swing(&TAIL, tail, node);
            return;
        }
        pause();
    }
}

/// The value that comes next, or 0 if there is none.
#[inline(always)]
fn dequeue(swing: impl Swap, advance: impl Swap) -> u32 {
    loop {
        let head = HEAD.load();
        let tail = TAIL.load();
        let next = NEXT[head as usize].load();
        if next == NOTHING {
            return 0;
        }
        if head == tail {
            swing(&TAIL, tail, next);
        } else {
            let value = VALUE[next as usize].load();
            if advance(&HEAD, head, next) {
                return value;
            }
        }
        pause();
    }
}

fn judge() -> Result<(), Hazard> {
    match TAKEN.each_ref().map(Word32::load) {
        [1, 2] | [2, 1] => Ok(()),
        _ => Err(Hazard { outcome: "corrupt", story: "two values were put in, but not both came out." }),
    }
}
