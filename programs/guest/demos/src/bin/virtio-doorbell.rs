//! virtio-doorbell: a bell that nobody rings, because two look away at the same time
//!
//! A driver gives a device work by counting up an index in memory, and rings a bell, a register of the device, only if the
//! device wants it: while the device is at work it sets a flag that says it will look by itself.
//! When it has nothing more to do the device clears the flag, and then looks at the index once more, for what may have come
//! in between.
//! So each stores and then loads what the other stores: store buffering, with a device as the other core.
//! The driver's store still waits in the store buffer while it loads the flag, which says that no bell is needed; the device
//! clears the flag, looks at the index, finds the old one in memory and rests. Nobody will ever ring.
//! MFENCE between the driver's store and its load cures it (Virtio 1.2, 2.7.13.4.1).
//! The device here is the network card, and the work a frame to send.
//!
//! cores: 1
//! variant broken: nothing between the store and the load
//!   sc: served
//!   tso, pso: served | lost-doorbell !
//! variant mfence: MFENCE between the store and the load
//!   sc, tso, pso: served
#![no_std]
#![no_main]

use kit::virtio::{Buffer, Direction, ENTRIES, NETWORK_CARD, Queue};
use kit::{Core, Verdict, mfence, pause};

kit::entry!(main);

/// How many frames are sent, each as soon as the device is done with the last one.
const FRAMES: u16 = 12;
/// Without a bell the device is at work, and done within this many turns of a loop of four instructions and more: it takes
/// 100 for a frame, and 10 to rest.
const TURNS: u32 = 200;
/// The number of the card's queue of frames to send.
const TRANSMIT: u32 = 1;
/// A header of 12 bytes, and a frame of zeroes, from nobody to nobody.
const BUFFER_BYTES: usize = 12 + 60;

static QUEUE: Queue = Queue::new();
static FRAME: Buffer<BUFFER_BYTES> = Buffer::new();

fn main(core: Core) {
    core.require_count(1);
    NETWORK_CARD.begin();
    QUEUE.describe(0, &FRAME, Direction::ToDevice);
    QUEUE.want_no_interrupt();
    NETWORK_CARD.set_queue(TRANSMIT, &QUEUE);
    // Every entry of the ring is this one frame.
    (0..ENTRIES as u16).for_each(|index| QUEUE.put(index, 0));
    NETWORK_CARD.go();
    match core.variant("broken") {
        "broken" => send_all(&core, || ()),
        "mfence" => send_all(&core, mfence),
        name => core.unknown_variant(name),
    }
}

#[inline(never)]
fn send_all(core: &Core, fence: impl Fn()) {
    let frames = core.times(FRAMES.into()) as u16 + 1;
    QUEUE.make_available(1);
    NETWORK_CARD.notify(TRANSMIT);
    for number in 2..=frames {
        // From here to the load of the flag there are a few instructions: about as long as the device takes to rest.
        while QUEUE.used() != number - 1 {
            pause();
        }
        QUEUE.make_available(number);
        fence();
        if QUEUE.wants_notification() {
            NETWORK_CARD.notify(TRANSMIT);
        } else if !is_served(number) {
            ring(core, number);
        }
    }
    core.report("served", Verdict::Held, format_args!("{frames} frames, and none was left lying about."));
}

/// Whether the device, which said that it needs no bell, takes the frame.
fn is_served(number: u16) -> bool {
    (0..TURNS).any(|_| {
        pause();
        QUEUE.used() == number
    })
}

/// The device has not taken the frame. If it does now, a bell was all it was waiting for.
fn ring(core: &Core, number: u16) {
    NETWORK_CARD.notify(TRANSMIT);
    while QUEUE.used() != number {
        pause();
    }
    core.report(
        "lost-doorbell",
        Verdict::Hazard,
        format_args!(
            "Frame {number} lay there until the bell was rung: the device had rested, and wanted to be called."
        ),
    );
}
