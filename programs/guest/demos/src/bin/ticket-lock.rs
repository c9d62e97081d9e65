//! ticket-lock: first come, first served
//!
//! Who wants to enter takes a ticket and waits until its number is called; who leaves calls the next.
//! Tickets must be taken by one indivisible step: without LOCK two cores get the same, and are inside together, or one of
//! them gets a number that was called long ago, and is stuck.
//! Calling the next number is an ordinary store, which needs no fence on x86.
//! Under `pso` it overtakes what was stored inside, unless an SFENCE holds it back.
//!
//! cores: 2
//! variant broken: the ticket is taken by XADD without LOCK
//!   sc, tso, pso: apart | together ! | stuck !
//! variant lock-xadd: by LOCK XADD
//!   sc, tso: apart
//!   pso: apart | together !
//! variant sfence: by LOCK XADD, and SFENCE before the next number is called
//!   sc, tso, pso: apart
#![no_std]
#![no_main]

use kit::{Core, Word32, exclusion, sfence};

kit::entry!(main);

/// The ticket that is taken next.
static NEXT: Word32 = Word32::new(0);
/// The number that is called.
static SERVING: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => contend(&core, || NEXT.xadd(1), || {}),
        "lock-xadd" => contend(&core, || NEXT.lock_xadd(1), || {}),
        "sfence" => contend(&core, || NEXT.lock_xadd(1), sfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(core: &Core, take: impl Fn() -> u32, before_unlock: impl Fn()) {
    let free = || {
        NEXT.store(0);
        SERVING.store(0);
    };
    let lock = || {
        let ticket = take();
        exclusion::wait_while(core, || SERVING.load() != ticket);
        ticket
    };
    let unlock = |ticket| {
        before_unlock();
        SERVING.store(ticket + 1);
    };
    exclusion::contend(core, free, lock, unlock);
}
