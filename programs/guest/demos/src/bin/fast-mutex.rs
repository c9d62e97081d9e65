//! fast-mutex: seven accesses when nobody else is there, and two fences on x86
//!
//! Lamport's fast mutual exclusion (1987, algorithm 2): sign X, see that Y is free, sign Y, and enter if X still has your
//! name.
//! Who finds Y taken waits for it to be free; who finds another name in X waits until everybody else is out of the doorway,
//! and may enter if Y has his name still.
//! Each signature must be seen before the next look: two MFENCEs on x86.
//! Under `pso` an SFENCE more, so that what was stored inside is seen before Y is free.
//! (The flag that says "in the doorway" may reach memory after X: the MFENCE after X lets nobody go on before both are there.)
//!
//! cores: 2
//! variant broken: no fence at all
//!   sc: apart
//!   tso, pso: apart | together !
//! variant only-x: MFENCE after signing X
//!   sc: apart
//!   tso, pso: apart | together !
//! variant only-y: MFENCE after signing Y
//!   sc: apart
//!   tso, pso: apart | together !
//! variant mfences: both of them
//!   sc, tso: apart
//!   pso: apart | together !
//! variant pso-right: as mfences, and SFENCE before Y is freed
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Core, Word32, exclusion, mfence, pause, sfence};

kit::entry!(main);

/// Who is in the doorway.
static FLAG: [Word32; 2] = [Word32::new(0), Word32::new(0)];
/// Signed by a core with its number plus 1.
static X: Word32 = Word32::new(0);
/// The same; 0 when it is free.
static Y: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    let nothing = || {};
    // The fences after X, after Y, and before Y is freed.
    match core.variant("broken") {
        "broken" => contend(&core, nothing, nothing, nothing),
        "only-x" => contend(&core, mfence, nothing, nothing),
        "only-y" => contend(&core, nothing, mfence, nothing),
        "mfences" => contend(&core, mfence, mfence, nothing),
        "pso-right" => contend(&core, mfence, mfence, sfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(core: &Core, after_x: impl Fn(), after_y: impl Fn(), before_unlock: impl Fn()) {
    let (me, other, name) = (core.index, 1 - core.index, core.index as u32 + 1);
    let lock = || {
        loop {
            FLAG[me].store(1);
            X.store(name);
            after_x();
            if Y.load() != 0 {
                FLAG[me].store(0);
                wait_while(|| Y.load() != 0);
                continue;
            }
            Y.store(name);
            after_y();
            if X.load() == name {
                return;
            }
            FLAG[me].store(0);
            wait_while(|| FLAG[other].load() != 0);
            if Y.load() == name {
                return;
            }
            wait_while(|| Y.load() != 0);
        }
    };
    let unlock = |()| {
        before_unlock();
        Y.store(0);
        FLAG[me].store(0);
    };
    exclusion::contend(core, || {}, lock, unlock);
}

#[inline(always)]
fn wait_while(is_barred: impl Fn() -> bool) {
    while is_barred() {
        pause();
    }
}
