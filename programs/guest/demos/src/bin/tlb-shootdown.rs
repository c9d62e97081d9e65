//! tlb-shootdown: a page that is taken away, and a core that has not heard of it
//!
//! A processor keeps translations of addresses that it has used, in its translation lookaside buffer (TLB).
//! A change of a page table entry in memory does not change what is kept; INVLPG makes the processor forget it, and only
//! the one that executes it.
//! Here core 0 lets a page that both cores use be another frame of memory, and core 1 then stores to that page: with the
//! translation from before it writes into a frame that may belong to somebody else by now.
//! The cure is a shootdown: core 0 interrupts core 1, whose handler executes INVLPG and says so, and core 0 waits for it.
//!
//! cores: 2
//! variant forgotten: nobody executes INVLPG
//!   sc, tso, pso: new-frame | old-frame !
//! variant invlpg-alone: core 0 executes INVLPG
//!   sc, tso, pso: new-frame | old-frame !
//! variant shootdown: core 0 executes INVLPG, and core 1 too, when it is interrupted
//!   sc, tso, pso: new-frame
#![no_std]
#![no_main]

use kit::interrupts::{self, Frame};
use kit::{Barrier, Core, Verdict, Word32, Xorshift, local_apic, mfence, paging, pause};

kit::entry!(main);

/// How often the page is moved from one frame to the other and back.
const ROUNDS: u32 = 20;
/// Core 1 uses the page up to 2 * 8 instructions more before it stores.
const TURNS: u32 = 8;
/// What core 1 stores.
const WRITTEN: u32 = 0x5a5a;
/// The vector of a shootdown.
const SHOOTDOWN: u8 = 0x40;

/// 4 KiB of memory, of which only the first word is used.
#[repr(C, align(4096))]
struct Whole {
    word: Word32,
    rest: [u8; 4096 - 64],
}

static FRAMES: [Whole; 2] = [const { Whole { word: Word32::new(0), rest: [0; 4096 - 64] } }; 2];

static BARRIER: Barrier = Barrier::new();
/// The round whose page core 1 has used, the one in which it was moved, and the one in which core 1 has forgotten it.
static USED: Word32 = Word32::new(0);
static MOVED: Word32 = Word32::new(0);
static FORGOTTEN: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    if core.index == 0 {
        interrupts::handle_with(handle);
        paging::set_up();
        map(0);
    }
    BARRIER.wait(&core);
    interrupts::load();
    local_apic::enable();
    match core.variant("forgotten") {
        "forgotten" => share(&core, |_| ()),
        "invlpg-alone" => share(&core, |_| paging::invalidate()),
        "shootdown" => share(&core, |round| {
            paging::invalidate();
            local_apic::interrupt(1, SHOOTDOWN);
            while FORGOTTEN.load() != round {
                pause();
            }
        }),
        name => core.unknown_variant(name),
    }
}

#[inline(never)]
fn share(core: &Core, invalidate: impl Fn(u32)) {
    match core.index {
        0 => owner(core, invalidate),
        _ => user(core),
    }
}

/// Moves the page while core 1 uses it, and looks where core 1 has stored.
fn owner(core: &Core, invalidate: impl Fn(u32)) {
    for round in 1..=ROUNDS {
        // Used here too, so that this core has a translation as well.
        paging::load();
        while USED.load() != round {
            pause();
        }
        map(round);
        mfence();
        invalidate(round);
        MOVED.xchg(round);
        BARRIER.wait(core);
        let [old, new] = [round - 1, round].map(|at| FRAMES[at as usize % 2].word.load());
        if (old, new) != (0, WRITTEN) {
            core.report(
                "old-frame",
                Verdict::Hazard,
                format_args!("Round {round}: core 1 has stored to the frame that is not its page any more."),
            );
        }
        FRAMES[round as usize % 2].word.store(0);
        BARRIER.wait(core);
    }
    core.report(
        "new-frame",
        Verdict::Held,
        format_args!("{ROUNDS} times the page was moved, and core 1 always found it."),
    );
}

/// Uses the page until it was moved, and stores to it.
fn user(core: &Core) {
    let mut random = Xorshift::new(core);
    interrupts::enable();
    for round in 1..=ROUNDS {
        while MOVED.load() != round {
            paging::load();
            USED.store(round);
            pause();
        }
        random.delay(TURNS);
        paging::store(WRITTEN);
        BARRIER.wait(core);
        BARRIER.wait(core);
    }
}

/// In this round the page is this frame.
fn map(round: u32) {
    paging::map(&raw const FRAMES[round as usize % 2] as u64);
}

/// The shootdown, on core 1.
fn handle(frame: &mut Frame) {
    assert_eq!(frame.vector, u64::from(SHOOTDOWN), "nobody expected {frame:x?}");
    paging::invalidate();
    FORGOTTEN.store(USED.load());
    local_apic::end_of_interrupt();
}
