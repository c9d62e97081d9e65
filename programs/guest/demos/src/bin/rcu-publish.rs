//! rcu-publish: readers without a lock, and a writer who waits for them
//!
//! The writer fills in a new version, publishes its address, waits until no reader can hold the old version any more, and
//! clears it (McKenney and Slingwine, read-copy update, 1998; here with a word in which the reader says that it reads).
//! The new version must be seen before its address: an SFENCE under `pso`, and on x86 when it is written with MOVNTI.
//! And the reader must say that it reads before it loads the address, as the writer must publish before it looks for readers:
//! `store-buffering`, an MFENCE on both sides.
//!
//! cores: 2
//! variant broken: MFENCEs, but nothing between the new version and its address
//!   sc, tso: intact
//!   pso: intact | unfinished !
//! variant movnti: the same, and the new version is written with MOVNTI
//!   sc: intact
//!   tso, pso: intact | unfinished !
//! variant only-writer: SFENCE, MFENCE only in the writer
//!   sc: intact
//!   tso, pso: intact | cleared !
//! variant only-reader: SFENCE, MFENCE only in the reader
//!   sc: intact
//!   tso, pso: intact | cleared !
//! variant no-grace: all fences, but the writer does not wait
//!   sc, tso, pso: intact | cleared !
//! variant sfence: SFENCE between version and address, both MFENCEs
//!   sc, tso, pso: intact
//! variant sfence-nt: the same, and the new version is written with MOVNTI
//!   sc, tso, pso: intact
#![no_std]
#![no_main]

use kit::{Core, Hazard, Verdict, Word32, mfence, pause, race, sfence};

kit::entry!(main);

/// What a version holds: nothing yet, its number plus 1, nothing any more.
const UNFINISHED: u32 = 0;
const CLEARED: u32 = 3;

/// Version 0 is the old one, version 1 the new one.
static VERSION: [Word32; 2] = [Word32::new(1), Word32::new(UNFINISHED)];
/// The number of the version to read: as good as its address.
static ADDRESS: Word32 = Word32::new(0);
/// 1 while the reader reads.
static READS: Word32 = Word32::new(0);
/// What the reader found.
static FOUND: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    let nothing = || {};
    let (fill, fill_nt) = (|| VERSION[1].store(2), || VERSION[1].store_nt(2));
    let wait = || {
        while READS.load() != 0 {
            pause();
        }
    };
    // The writer: what fills, the fences before and after publishing, what waits. The reader: the fence after saying so.
    match core.variant("broken") {
        "broken" => share(&core, || update(fill, nothing, mfence, wait), mfence),
        "movnti" => share(&core, || update(fill_nt, nothing, mfence, wait), mfence),
        "only-writer" => share(&core, || update(fill, sfence, mfence, wait), nothing),
        "only-reader" => share(&core, || update(fill, sfence, nothing, wait), mfence),
        "no-grace" => share(&core, || update(fill, sfence, mfence, nothing), mfence),
        "sfence" => share(&core, || update(fill, sfence, mfence, wait), mfence),
        "sfence-nt" => share(&core, || update(fill_nt, sfence, mfence, wait), mfence),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn share(core: &Core, update: impl Fn(), before_address: impl Fn()) {
    let prepare = || {
        VERSION[0].store(1);
        VERSION[1].store(UNFINISHED);
        ADDRESS.store(0);
    };
    let run = || match core.index {
        0 => update(),
        _ => read(&before_address),
    };
    let rounds = race(core, prepare, run, judge);
    core.report("intact", Verdict::Held, format_args!("{rounds} updates, and the reader found a version each time."));
}

#[inline(always)]
fn update(fill: impl Fn(), before_publishing: impl Fn(), after_publishing: impl Fn(), wait: impl Fn()) {
    fill();
    before_publishing();
    ADDRESS.store(1);
    // The reader may look now.
    pause();
    after_publishing();
    wait();
    VERSION[0].store(CLEARED);
}

#[inline(always)]
fn read(before_address: impl Fn()) {
    READS.store(1);
    before_address();
    let version = ADDRESS.load();
    // Reading takes its time: the writer may come now, and has to wait.
    pause();
    FOUND.store(VERSION[version as usize].load());
    READS.store(0);
}

fn judge() -> Result<(), Hazard> {
    match FOUND.load() {
        UNFINISHED => {
            Err(Hazard { outcome: "unfinished", story: "the new version's address came before its content." })
        }
        CLEARED => Err(Hazard { outcome: "cleared", story: "the old version was cleared while it was read." }),
        _ => Ok(()),
    }
}
