//! aba: a compare-and-swap that succeeds although everything has changed
//!
//! A free list is a stack of nodes: to take one, load the head, load its successor, and swap the head for the successor if
//! the head is still the same.
//! But the same head does not mean the same list: meanwhile the other core may have taken that node and the next one, and
//! given only the first back. The swap succeeds and hands out a node that is in use.
//! No fence helps, for every step is already locked; it happens under every model.
//! The cure is a tag beside the head that changes with every swap, so that an old head never looks new again: either
//! packed into one word with it, or in a second word that CMPXCHG16B swaps along.
//!
//! cores: 2
//! variant broken: the head alone is compared
//!   sc, tso, pso: intact | corrupt !
//! variant tag: head and tag in one word of 64 bits
//!   sc, tso, pso: intact
//! variant cmpxchg16b: head and tag in two words
//!   sc, tso, pso: intact
#![no_std]
#![no_main]

use kit::{Core, Pair64, Verdict, Word64, Xorshift, pause, region};

kit::entry!(main);

/// How often each core takes two nodes and gives them back.
const TURNS: u32 = 150;
/// Between loading the successor and the swap: up to 2 * 8 instructions.
const SWAP_TURNS: u32 = 8;
/// Two for each core: a core that finds the list empty has found it corrupt.
const NODES: usize = 4;
/// The successor of the last node. Nodes are numbered from 1.
const NOTHING: u64 = 0;

static NEXT: [Word64; NODES + 1] =
    [Word64::new(NOTHING), Word64::new(2), Word64::new(3), Word64::new(4), Word64::new(NOTHING)];
/// 1 while a node is in use.
static IN_USE: [Word64; NODES + 1] = [const { Word64::new(0) }; NODES + 1];
/// The head of each variant: node 1 is the first. Packed, the tag is in the upper half; wide, it is the second word.
static PLAIN_HEAD: Word64 = Word64::new(1);
static PACKED_HEAD: Word64 = Word64::new(1);
static WIDE_HEAD: Pair64 = Pair64::new(1, 0);
static DONE: Word64 = Word64::new(0);

/// A head with its tag, which is always 0 in the broken variant.
type Tagged = (u64, u64);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => work(&core, Plain),
        "tag" => work(&core, Packed),
        "cmpxchg16b" => work(&core, Wide),
        other => core.unknown_variant(other),
    }
}

/// What the variants differ in.
trait Head: Copy {
    /// The head as it is now.
    fn load(self) -> Tagged;
    /// Puts `new` in its place if it is still `old`.
    fn swap(self, old: Tagged, new: u64) -> bool;
}

#[derive(Clone, Copy)]
struct Plain;

impl Head for Plain {
    #[inline(always)]
    fn load(self) -> Tagged {
        (PLAIN_HEAD.load(), 0)
    }

    #[inline(always)]
    fn swap(self, (old, _): Tagged, new: u64) -> bool {
        PLAIN_HEAD.lock_cmpxchg(old, new).is_ok()
    }
}

#[derive(Clone, Copy)]
struct Packed;

impl Head for Packed {
    #[inline(always)]
    fn load(self) -> Tagged {
        let word = PACKED_HEAD.load();
        (word & 0xffff_ffff, word >> 32)
    }

    #[inline(always)]
    fn swap(self, (old, tag): Tagged, new: u64) -> bool {
        PACKED_HEAD.lock_cmpxchg(old | tag << 32, new | (tag + 1) << 32).is_ok()
    }
}

#[derive(Clone, Copy)]
struct Wide;

impl Head for Wide {
    #[inline(always)]
    fn load(self) -> Tagged {
        WIDE_HEAD.load()
    }

    #[inline(always)]
    fn swap(self, (old, tag): Tagged, new: u64) -> bool {
        WIDE_HEAD.lock_cmpxchg16b((old, tag), (new, tag + 1))
    }
}

#[inline(never)]
fn work(core: &Core, head: impl Head) {
    let mut random = Xorshift::new(core);
    let turns = core.times(TURNS);
    for _ in 0..turns {
        region::begin();
        let found = turn(head, &mut random);
        region::end();
        if let Err(Corrupt(what)) = found {
            kit::report("corrupt", Verdict::Hazard, format_args!("{what}"));
        }
        pause();
    }
    DONE.lock_add(1);
    while DONE.load() != core.count as u64 {
        pause();
    }
    core.report(
        "intact",
        Verdict::Held,
        format_args!("Each core took {turns} times two nodes; none was ever handed out twice."),
    );
}

/// The list is not what it should be, and how that shows.
struct Corrupt(&'static str);

/// Takes two nodes and gives them back.
#[inline(always)]
fn turn(head: impl Head, random: &mut Xorshift) -> Result<(), Corrupt> {
    let first = take(head, random)?;
    let second = take(head, random)?;
    give_back(head, first);
    // Whoever uses a node takes his time: the other core may come in here.
    pause();
    give_back(head, second);
    Ok(())
}

fn take(head: impl Head, random: &mut Xorshift) -> Result<u64, Corrupt> {
    loop {
        let old = head.load();
        if old.0 == NOTHING {
            return Err(Corrupt("the list is empty, although each core has at most two of its four nodes"));
        }
        let next = NEXT[old.0 as usize].load();
        random.delay(SWAP_TURNS);
        if head.swap(old, next) {
            if IN_USE[old.0 as usize].xchg(1) != 0 {
                return Err(Corrupt("a node was handed out while it was in use"));
            }
            return Ok(old.0);
        }
        pause();
    }
}

fn give_back(head: impl Head, node: u64) {
    IN_USE[node as usize].xchg(0);
    loop {
        let old = head.load();
        NEXT[node as usize].store(old.0);
        if head.swap(old, node) {
            return;
        }
        pause();
    }
}
