//! seqlock: reading without a lock, and a number that says whether it worked
//!
//! The writer makes a sequence number odd, changes the data and makes the number even again.
//! A reader takes the number, the data and the number again; if both numbers are the same and even, it believes the data.
//! That needs four stores to be seen in their order: under `pso` they are not, and the reader believes half-changed data.
//! On x86 it breaks when the data is written with MOVNTI.
//! The writer needs an SFENCE after the first and one before the last of the four stores.
//! (The reader needs its loads in order, which this machine and x86 do anyway.)
//!
//! cores: 2
//! variant broken: ordinary stores, no fence
//!   sc, tso: whole
//!   pso: whole | mixed !
//! variant sfence: SFENCE after the number is made odd and before it is made even
//!   sc, tso, pso: whole
//! variant broken-nt: the data is written with MOVNTI
//!   sc: whole
//!   tso, pso: whole | mixed !
//! variant sfence-nt: the data is written with MOVNTI, both SFENCEs
//!   sc, tso, pso: whole
#![no_std]
#![no_main]

use kit::{Core, Verdict, Word32, Xorshift, pause, region, sfence};

kit::entry!(main);

/// How many times the data is read.
const READS: u32 = 400;
/// Before each change: up to 2 * 8 instructions.
const WRITER_TURNS: u32 = 8;

static SEQUENCE: Word32 = Word32::new(0);
/// Two numbers that are always the same.
static DATA: [Word32; 2] = [Word32::new(0), Word32::new(0)];

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => share(&core, |change| {
            SEQUENCE.store(2 * change - 1);
            DATA.iter().for_each(|word| word.store(change));
            SEQUENCE.store(2 * change);
        }),
        "sfence" => share(&core, |change| {
            SEQUENCE.store(2 * change - 1);
            sfence();
            DATA.iter().for_each(|word| word.store(change));
            sfence();
            SEQUENCE.store(2 * change);
        }),
        "broken-nt" => share(&core, |change| {
            SEQUENCE.store(2 * change - 1);
            DATA.iter().for_each(|word| word.store_nt(change));
            SEQUENCE.store(2 * change);
        }),
        "sfence-nt" => share(&core, |change| {
            SEQUENCE.store(2 * change - 1);
            sfence();
            DATA.iter().for_each(|word| word.store_nt(change));
            sfence();
            SEQUENCE.store(2 * change);
        }),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn share(core: &Core, write: impl Fn(u32)) {
    match core.index {
        0 => writer(core, write),
        _ => reader(core),
    }
}

/// Writes for ever: the reader ends the run.
fn writer(core: &Core, write: impl Fn(u32)) {
    let mut random = Xorshift::new(core);
    for change in 1..=core.times(u32::MAX) {
        random.delay(WRITER_TURNS);
        region::begin();
        write(change);
        region::end();
        // A rest, but no fence: the stores take their time.
        pause();
    }
}

fn reader(core: &Core) -> ! {
    let reads = core.times(READS);
    for read in 1..=reads {
        region::begin();
        let (sequence, data) = believed();
        region::end();
        if data[0] != data[1] {
            kit::report(
                "mixed",
                Verdict::Hazard,
                format_args!("Read {read}: the number was {sequence} before and after, but the data is {data:?}."),
            );
        }
        pause();
    }
    kit::report("whole", Verdict::Held, format_args!("{reads} reads, each of one change's data."))
}

/// Reads until the number is even and did not change meanwhile.
fn believed() -> (u32, [u32; 2]) {
    loop {
        let before = SEQUENCE.load();
        if before.is_multiple_of(2) {
            let data = [DATA[0].load(), DATA[1].load()];
            if SEQUENCE.load() == before {
                return (before, data);
            }
        }
        pause();
    }
}
