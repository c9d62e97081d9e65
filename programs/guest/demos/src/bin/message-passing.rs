//! message-passing: a flag that arrives before the data it announces
//!
//! Core 0 stores the data and then the flag; core 1 waits for the flag and loads the data.
//! On x86 a core's ordinary stores reach memory in their order, so seeing the flag means seeing the data.
//! A processor that lets stores pass each other (`pso`, or ARM) breaks this, and so does x86 itself when the data is
//! written with MOVNTI: non-temporal stores take another way to memory, and ordinary stores overtake them.
//! An SFENCE between data and flag keeps them apart, and so does a flag raised by XCHG, which empties the buffer first.
//!
//! cores: 2
//! variant broken: two ordinary stores, nothing between them
//!   sc, tso: flag=1 data=1
//!   pso: flag=1 data=1 | flag=1 data=0 !
//! variant sfence: SFENCE between the data and the flag
//!   sc, tso, pso: flag=1 data=1
//! variant xchg: the flag is raised by XCHG
//!   sc, tso, pso: flag=1 data=1
//! variant movnti: the data is written by MOVNTI
//!   sc: flag=1 data=1
//!   tso, pso: flag=1 data=1 | flag=1 data=0 !
//! variant movnti-sfence: the data is written by MOVNTI, then SFENCE
//!   sc, tso, pso: flag=1 data=1
//! variant movnti-xchg: the data is written by MOVNTI, the flag is raised by XCHG
//!   sc, tso, pso: flag=1 data=1
#![no_std]
#![no_main]

use kit::{Core, Verdict, Word32, pause, region, sfence};

kit::entry!(main);

/// How many messages are passed.
const MESSAGES: u32 = 80;

static DATA: Word32 = Word32::new(0);
static FLAG: Word32 = Word32::new(0);
static RECEIVED: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => pass(&core, || {
            DATA.store(1);
            FLAG.store(1);
        }),
        "sfence" => pass(&core, || {
            DATA.store(1);
            sfence();
            FLAG.store(1);
        }),
        "xchg" => pass(&core, || {
            DATA.store(1);
            FLAG.xchg(1);
        }),
        "movnti" => pass(&core, || {
            DATA.store_nt(1);
            FLAG.store(1);
        }),
        "movnti-sfence" => pass(&core, || {
            DATA.store_nt(1);
            sfence();
            FLAG.store(1);
        }),
        "movnti-xchg" => pass(&core, || {
            DATA.store_nt(1);
            FLAG.xchg(1);
        }),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn pass(core: &Core, send: impl Fn()) {
    match core.index {
        0 => sender(core, send),
        _ => receiver(core),
    }
}

fn sender(core: &Core, send: impl Fn()) {
    for message in 1..=core.times(MESSAGES) {
        region::begin();
        send();
        region::end();
        // No fence here: the stores take their time while this core waits.
        while RECEIVED.load() != message {
            pause();
        }
    }
}

fn receiver(core: &Core) -> ! {
    let messages = core.times(MESSAGES);
    for message in 1..=messages {
        region::begin();
        while FLAG.load() == 0 {
            pause();
        }
        let data = DATA.load();
        region::end();
        if data == 0 {
            kit::report(
                "flag=1 data=0",
                Verdict::Hazard,
                format_args!("Message {message}: the flag is up, but the data is still the old one."),
            );
        }
        FLAG.store(0);
        DATA.store(0);
        // Locked: both are in memory before the sender may go on.
        RECEIVED.xchg(message);
    }
    kit::report("flag=1 data=1", Verdict::Held, format_args!("{messages} messages, each there when its flag was."))
}
