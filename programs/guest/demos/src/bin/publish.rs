//! publish: a pointer to an object that is not finished yet
//!
//! Core 0 fills in an object and stores its address where core 1 looks for it.
//! Core 1 follows the pointer as soon as there is one and expects a finished object.
//! On x86 that works, because stores become visible in order; under `pso` the pointer can be visible before the fields.
//! On x86 it breaks when the fields are written with MOVNTI, as fast copy routines do.
//! The cure is an SFENCE between the last field and the pointer (a "release" in the words of C++ and Rust).
//!
//! cores: 2
//! variant broken: ordinary stores, nothing between the fields and the pointer
//!   sc, tso: finished
//!   pso: finished | unfinished !
//! variant sfence: SFENCE before the pointer is stored
//!   sc, tso, pso: finished
//! variant broken-nt: the fields are written with MOVNTI
//!   sc: finished
//!   tso, pso: finished | unfinished !
//! variant sfence-nt: the fields are written with MOVNTI, then SFENCE
//!   sc, tso, pso: finished
#![no_std]
#![no_main]

use kit::{Core, Verdict, Word64, pause, region, sfence};

kit::entry!(main);

/// How many objects are published; each is used once, so nothing ever has to be cleaned up.
const OBJECTS: usize = 80;
const FIELDS: usize = 3;

/// What is published: finished when no field is zero.
struct Object([Word64; FIELDS]);

impl Object {
    const fn unfinished() -> Self {
        Self([const { Word64::new(0) }; FIELDS])
    }
}

static POOL: [Object; OBJECTS] = [const { Object::unfinished() }; OBJECTS];
/// The number of the object published last, plus one: as good as its address.
static POINTER: Word64 = Word64::new(0);
static TAKEN: Word64 = Word64::new(0);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => exchange(&core, |number| {
            POOL[number].0.iter().for_each(|field| field.store(1));
            POINTER.store(number as u64 + 1);
        }),
        "sfence" => exchange(&core, |number| {
            POOL[number].0.iter().for_each(|field| field.store(1));
            sfence();
            POINTER.store(number as u64 + 1);
        }),
        "broken-nt" => exchange(&core, |number| {
            POOL[number].0.iter().for_each(|field| field.store_nt(1));
            POINTER.store(number as u64 + 1);
        }),
        "sfence-nt" => exchange(&core, |number| {
            POOL[number].0.iter().for_each(|field| field.store_nt(1));
            sfence();
            POINTER.store(number as u64 + 1);
        }),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn exchange(core: &Core, publish: impl Fn(usize)) {
    let objects = core.times(OBJECTS as u32) as usize;
    match core.index {
        0 => publisher(objects, publish),
        _ => reader(objects),
    }
}

fn publisher(objects: usize, publish: impl Fn(usize)) {
    for number in 0..objects {
        region::begin();
        publish(number);
        region::end();
        while TAKEN.load() != number as u64 + 1 {
            pause();
        }
    }
}

fn reader(objects: usize) -> ! {
    for (number, object) in POOL.iter().take(objects).enumerate() {
        region::begin();
        while POINTER.load() != number as u64 + 1 {
            pause();
        }
        let finished = object.0.each_ref().map(|field| field.load() != 0);
        region::end();
        if finished.contains(&false) {
            kit::report(
                "unfinished",
                Verdict::Hazard,
                format_args!(
                    "Object {number}: its address is known, but a field is missing (fields there: {finished:?})."
                ),
            );
        }
        // Locked, so that it does not linger in this core's buffer.
        TAKEN.xchg(number as u64 + 1);
    }
    kit::report("finished", Verdict::Held, format_args!("{objects} objects, all finished when they were found."))
}
