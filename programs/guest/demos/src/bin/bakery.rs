//! bakery: the first lock that needs no indivisible access, and two fences on x86
//!
//! In Lamport's bakery (CACM 1974) who wants to enter takes a number greater than all he sees and waits for those with lower
//! ones; of two with the same number the lower core goes first.
//! While he looks for a number he says so, and others wait until he has it.
//! On x86 it needs two MFENCEs: one so that the others know he is choosing before he looks, one so that they know his number
//! before he looks for theirs.
//! Under `pso` two stores more must keep their order: the number before the end of choosing, and what was stored inside
//! before the number is given back.
//!
//! cores: 2
//! variant broken: no fence at all
//!   sc: apart
//!   tso, pso: apart | together !
//! variant only-choosing: MFENCE after the start of choosing
//!   sc: apart
//!   tso, pso: apart | together !
//! variant only-number: MFENCE after the number is taken
//!   sc: apart
//!   tso, pso: apart | together !
//! variant mfences: both of them
//!   sc, tso: apart
//!   pso: apart | together !
//! variant number-first: as mfences, and SFENCE between the number and the end of choosing
//!   sc, tso: apart
//!   pso: apart | together !
//! variant inside-first: as mfences, and SFENCE before the number is given back
//!   sc, tso: apart
//!   pso: apart | together !
//! variant pso-right: as mfences, and both SFENCEs
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Core, Word32, Xorshift, exclusion, mfence, pause, sfence};

kit::entry!(main);

/// Between the choice and the look at the other's: up to 2 * 32 instructions.
const DOORWAY_TURNS: u32 = 16;

static CHOOSING: [Word32; 2] = [Word32::new(0), Word32::new(0)];
static NUMBER: [Word32; 2] = [Word32::new(0), Word32::new(0)];

fn main(core: Core) {
    core.require_count(2);
    let nothing = || {};
    // The fences after the start of choosing, after the number, after the end of choosing, and before giving it back.
    match core.variant("broken") {
        "broken" => contend(&core, nothing, nothing, nothing, nothing),
        "only-choosing" => contend(&core, mfence, nothing, nothing, nothing),
        "only-number" => contend(&core, nothing, nothing, mfence, nothing),
        "mfences" => contend(&core, mfence, nothing, mfence, nothing),
        "number-first" => contend(&core, mfence, sfence, mfence, nothing),
        "inside-first" => contend(&core, mfence, nothing, mfence, sfence),
        "pso-right" => contend(&core, mfence, sfence, mfence, sfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(
    core: &Core,
    after_choosing: impl Fn(),
    after_number: impl Fn(),
    after_choice: impl Fn(),
    before_unlock: impl Fn(),
) {
    let (me, other) = (core.index, 1 - core.index);
    let lock = || {
        CHOOSING[me].store(1);
        after_choosing();
        let number = NUMBER[other].load() + 1;
        NUMBER[me].store(number);
        after_number();
        CHOOSING[me].store(0);
        Xorshift::new(core).delay(DOORWAY_TURNS);
        after_choice();
        while CHOOSING[other].load() != 0 {
            pause();
        }
        while is_first(NUMBER[other].load(), other, number, me) {
            pause();
        }
    };
    let unlock = |()| {
        before_unlock();
        NUMBER[me].store(0);
    };
    exclusion::contend(core, || {}, lock, unlock);
}

/// Whether the core `other` with number `theirs`, or none if that is 0, goes before `me` with `mine`.
#[inline(always)]
fn is_first(theirs: u32, other: usize, mine: u32, me: usize) -> bool {
    theirs != 0 && (theirs, other) < (mine, me)
}
