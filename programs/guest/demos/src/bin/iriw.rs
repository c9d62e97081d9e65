//! iriw: two onlookers never disagree about the order of two stores
//!
//! Core 0 stores to X and core 1 to Y; core 2 loads X and then Y, core 3 loads Y and then X (independent reads of
//! independent writes).
//! Can core 2 see only X's store and core 3 only Y's, so that each swears the store it saw was the first?
//! Not here, under no model: a store leaves its core's buffer for the one memory that all cores share, so it reaches all
//! other cores at the same moment.
//! That is called multi-copy atomic; IBM's POWER is not, and there the onlookers do disagree.
//!
//! cores: 4
//! variant plain: nothing but loads and stores
//!   sc, tso, pso: agree
#![no_std]
#![no_main]

use kit::{Barrier, Core, Verdict, Word32, Xorshift, region};

kit::entry!(main);

/// How often the four cores meet.
const ROUNDS: u32 = 32;
/// Start of each core's part: up to 2 * 32 instructions apart.
const START_TURNS: u32 = 32;
/// How long a store may stay buffered before the next barrier flushes it out.
const LINGER_TURNS: u32 = 16;

static BARRIER: Barrier = Barrier::new();
static X: Word32 = Word32::new(0);
static Y: Word32 = Word32::new(0);
/// What core 2 and core 3 saw: the first load in bit 0, the second in bit 1.
static SEEN: [Word32; 2] = [Word32::new(0), Word32::new(0)];
/// The first load found the new value, the second the old one.
const FIRST_ONLY: u32 = 0b01;

fn main(core: Core) {
    core.require_count(4);
    match core.index {
        0 => meet(&core, || X.store(1)),
        1 => meet(&core, || Y.store(1)),
        2 => meet(&core, || SEEN[0].store(X.load() | Y.load() << 1)),
        _ => meet(&core, || SEEN[1].store(Y.load() | X.load() << 1)),
    }
}

#[inline(never)]
fn meet(core: &Core, part: impl Fn()) {
    let mut random = Xorshift::new(core);
    let mut lonely = 0;
    let rounds = core.times(ROUNDS);
    for round in 0..rounds {
        if core.index == 0 {
            X.store(0);
            Y.store(0);
        }
        BARRIER.wait(core);
        random.delay(START_TURNS);
        region::begin();
        part();
        region::end();
        random.delay(LINGER_TURNS);
        BARRIER.wait(core);
        let (third, fourth) = (SEEN[0].load(), SEEN[1].load());
        if third == FIRST_ONLY && fourth == FIRST_ONLY {
            core.report(
                "disagree",
                Verdict::Hazard,
                format_args!("Round {round}: core 2 saw only X, core 3 saw only Y."),
            );
        }
        lonely += u32::from(third == FIRST_ONLY || fourth == FIRST_ONLY);
    }
    core.report(
        "agree",
        Verdict::Held,
        format_args!(
            "{rounds} rounds; in {lonely} one onlooker saw only one of the stores, and the other never objected."
        ),
    );
}
