//! double-checked: initialised once, by whoever comes first
//!
//! Whoever needs an object looks at a flag; only if it is down does he take a lock, look again, fill in the object and
//! raise the flag.
//! Those who come later see the flag and never touch the lock, which is the point, and the trap: nothing but the order of
//! the first one's stores says that the object is filled in when the flag is up.
//! On x86 the order holds for ordinary stores; under `pso` it does not, and with MOVNTI it does not on x86 either.
//! An SFENCE before the flag is raised cures it.
//!
//! cores: 2
//! variant broken: ordinary stores, nothing between the object and the flag
//!   sc, tso: filled
//!   pso: filled | empty !
//! variant sfence: SFENCE before the flag is raised
//!   sc, tso, pso: filled
//! variant broken-nt: the object is written with MOVNTI
//!   sc: filled
//!   tso, pso: filled | empty !
//! variant sfence-nt: the object is written with MOVNTI, then SFENCE
//!   sc, tso, pso: filled
#![no_std]
#![no_main]

use kit::{Barrier, Core, Spinlock, Verdict, Word32, Xorshift, pause, region, sfence};

kit::entry!(main);

/// How many objects there are; each is initialised once.
const OBJECTS: usize = 100;
/// Start of the race: up to 2 * 4 instructions apart.
const START_TURNS: u32 = 4;

struct Lazy {
    ready: Word32,
    lock: Spinlock,
    value: [Word32; 2],
}

impl Lazy {
    const fn empty() -> Self {
        Self { ready: Word32::new(0), lock: Spinlock::new(), value: [const { Word32::new(0) }; 2] }
    }

    /// The object; filled in by `fill` if nobody has done so.
    #[inline(always)]
    fn get(&self, fill: impl Fn(&Self)) -> [u32; 2] {
        if self.ready.load() == 0 {
            self.lock.lock();
            if self.ready.load() == 0 {
                fill(self);
            }
            self.lock.unlock();
        }
        [self.value[0].load(), self.value[1].load()]
    }
}

static BARRIER: Barrier = Barrier::new();
static OBJECT: [Lazy; OBJECTS] = [const { Lazy::empty() }; OBJECTS];

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => contend(&core, |object| {
            object.value.iter().for_each(|word| word.store(1));
            object.ready.store(1);
        }),
        "sfence" => contend(&core, |object| {
            object.value.iter().for_each(|word| word.store(1));
            sfence();
            object.ready.store(1);
        }),
        "broken-nt" => contend(&core, |object| {
            object.value.iter().for_each(|word| word.store_nt(1));
            object.ready.store(1);
        }),
        "sfence-nt" => contend(&core, |object| {
            object.value.iter().for_each(|word| word.store_nt(1));
            sfence();
            object.ready.store(1);
        }),
        other => core.unknown_variant(other),
    }
}

#[inline(never)]
fn contend(core: &Core, fill: impl Fn(&Lazy)) {
    let mut random = Xorshift::new(core);
    let objects = core.times(OBJECTS as u32);
    for (number, object) in OBJECT.iter().take(objects as usize).enumerate() {
        BARRIER.wait(core);
        random.delay(START_TURNS);
        region::begin();
        let value = object.get(&fill);
        region::end();
        if value != [1, 1] {
            kit::report(
                "empty",
                Verdict::Hazard,
                format_args!("Object {number}: its flag was up, but it was not filled in yet."),
            );
        }
        // No fence here: the stores take their time while the other core runs.
        pause();
    }
    BARRIER.wait(core);
    core.report("filled", Verdict::Held, format_args!("{objects} objects, each filled in before its flag was up."));
}
