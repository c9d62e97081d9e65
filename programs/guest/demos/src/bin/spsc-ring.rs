//! spsc-ring: a ring for one producer and one consumer, without a lock and without LOCK
//!
//! The producer waits for room, writes a slot and raises the tail; the consumer waits for the tail, reads the slot and raises
//! the head (Lamport, 1977).
//! Each index has one writer, and that is enough where stores keep their order.
//! Under `pso` the tail overtakes the slot, and the consumer reads what was there before; on x86 it does so when the slot is
//! written with MOVNTI.
//! An SFENCE before the tail is raised cures it; the consumer needs none, for its load is done before its store.
//!
//! cores: 2
//! variant broken: ordinary stores, nothing between slot and tail
//!   sc, tso: in-order
//!   pso: in-order | stale !
//! variant sfence: SFENCE between slot and tail
//!   sc, tso, pso: in-order
//! variant broken-nt: the slot is written with MOVNTI
//!   sc: in-order
//!   tso, pso: in-order | stale !
//! variant sfence-nt: the slot is written with MOVNTI, then SFENCE
//!   sc, tso, pso: in-order
#![no_std]
#![no_main]

use kit::{Core, Hazard, Verdict, Word32, pause, race, sfence};

kit::entry!(main);

/// Fewer slots than messages, so that they are used again.
const SLOTS: u32 = 2;
const MESSAGES: u32 = 3;

static SLOT: [Word32; SLOTS as usize] = [const { Word32::new(0) }; SLOTS as usize];
/// How many messages were written, and how many read.
static TAIL: Word32 = Word32::new(0);
static HEAD: Word32 = Word32::new(0);
/// How many messages were not those expected.
static STALE: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => exchange(&core, |slot, message| slot.store(message), || {}),
        "sfence" => exchange(&core, |slot, message| slot.store(message), sfence),
        "broken-nt" => exchange(&core, |slot, message| slot.store_nt(message), || {}),
        "sfence-nt" => exchange(&core, |slot, message| slot.store_nt(message), sfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn exchange(core: &Core, write: impl Fn(&Word32, u32), before_tail: impl Fn()) {
    let prepare = || [&TAIL, &HEAD].into_iter().chain(&SLOT).for_each(|word| word.store(0));
    let run = || match core.index {
        0 => produce(&write, &before_tail),
        _ => consume(),
    };
    let rounds = race(core, prepare, run, judge);
    core.report(
        "in-order",
        Verdict::Held,
        format_args!("{rounds} rounds of {MESSAGES} messages, all as they were sent."),
    );
}

#[inline(always)]
fn produce(write: impl Fn(&Word32, u32), before_tail: impl Fn()) {
    for sent in 0..MESSAGES {
        while HEAD.load() + SLOTS == sent {
            pause();
        }
        write(&SLOT[(sent % SLOTS) as usize], sent + 1);
        before_tail();
        TAIL.store(sent + 1);
        pause();
    }
}

#[inline(always)]
fn consume() {
    let mut stale = 0;
    for received in 0..MESSAGES {
        while TAIL.load() == received {
            pause();
        }
        stale += u32::from(SLOT[(received % SLOTS) as usize].load() != received + 1);
        HEAD.store(received + 1);
    }
    STALE.store(stale);
}

fn judge() -> Result<(), Hazard> {
    match STALE.load() {
        0 => Ok(()),
        _ => Err(Hazard { outcome: "stale", story: "the tail was raised, but the slot held what was there before." }),
    }
}
