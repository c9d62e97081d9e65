//! network: a frame that comes back, and the interrupt that says so
//!
//! The network card is a virtio device: it and its driver share queues in memory, one of frames to send, and one of empty
//! buffers for those that arrive. The driver rings a bell, a register of the card, when there is something to send; the card
//! interrupts when it has filled a buffer.
//! The cable leads back to the card, so that each frame sent arrives a little later. Meanwhile the core sleeps.
//! The card holds its interrupt line until it is told that the interrupt has been seen. That is a write to a device in
//! memory, and such writes are posted: a handler that ends the interrupt before the write has arrived is called again, by a
//! line that is still high, and finds nothing to do. Reading any register back makes sure that it has arrived.
//!
//! cores: 1
//! variant posted: the handler ends the interrupt right after the write
//!   sc, tso, pso: frames=8 spurious=0 | frames=8 spurious !
//! variant read-back: the handler reads a register back before it ends the interrupt
//!   sc, tso, pso: frames=8 spurious=0
#![no_std]
#![no_main]

use kit::interrupts::{self, Frame};
use kit::io_apic::Pin;
use kit::virtio::{Buffer, Direction, NETWORK_CARD, Queue};
use kit::{Core, Verdict, Word32, local_apic, println, sfence};

kit::entry!(main);

/// How many frames are sent, one after another.
const FRAMES: u16 = 8;
/// The card's line, which is high as long as it wants an interrupt.
const VECTOR: u8 = 0x40;
const PIN: Pin = Pin::level(11, VECTOR);
/// The numbers of the card's queues (Virtio 1.2, 5.1.2).
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;

/// What precedes each frame in memory (5.1.6): nothing is asked for.
const HEADER_BYTES: usize = 12;
/// The least that an Ethernet frame has, without its checksum.
const FRAME_BYTES: usize = 60;
const BUFFER_BYTES: usize = HEADER_BYTES + FRAME_BYTES;
/// In place of a protocol: IEEE's number for local experiments.
const PROTOCOL: [u8; 2] = [0x88, 0xb5];

static RECEIVE_QUEUE: Queue = Queue::new();
static TRANSMIT_QUEUE: Queue = Queue::new();
static ARRIVING: Buffer<BUFFER_BYTES> = Buffer::new();
static LEAVING: Buffer<BUFFER_BYTES> = Buffer::new();

/// How many frames have arrived, and how often the handler found nothing to do.
static ARRIVED: Word32 = Word32::new(0);
static SPURIOUS: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(1);
    match core.variant("posted") {
        "posted" => interrupts::handle_with(|frame| handle(frame, || ())),
        "read-back" => interrupts::handle_with(|frame| handle(frame, || _ = NETWORK_CARD.interrupt_status())),
        name => core.unknown_variant(name),
    }
    let address = set_up();
    println!("The card's address is {address:02x?}.");
    for number in 1..=FRAMES {
        let frame = frame(address, number);
        LEAVING.set(frame);
        // A buffer for what will come back, and then the frame.
        offer(&RECEIVE_QUEUE, number);
        offer(&TRANSMIT_QUEUE, number);
        NETWORK_CARD.notify(TRANSMIT);
        sleep_until_arrival(number);
        let (_, length) = RECEIVE_QUEUE.used_element(number - 1);
        let arrived = ARRIVING.get();
        if length != BUFFER_BYTES as u32 || arrived[HEADER_BYTES..] != frame[HEADER_BYTES..] {
            core.report("unexpected", Verdict::Hazard, format_args!("Frame {number} came back as {arrived:02x?}."));
        }
    }
    match SPURIOUS.load() {
        0 => core.report(
            "frames=8 spurious=0",
            Verdict::Held,
            format_args!("{FRAMES} frames sent, {FRAMES} arrived, one interrupt each."),
        ),
        spurious => core.report(
            "frames=8 spurious",
            Verdict::Hazard,
            format_args!("{FRAMES} frames arrived, and {spurious} interrupts more than that."),
        ),
    }
}

/// Starts the card and lets it interrupt; returns its address.
fn set_up() -> [u8; 6] {
    NETWORK_CARD.begin();
    RECEIVE_QUEUE.describe(0, &ARRIVING, Direction::FromDevice);
    TRANSMIT_QUEUE.describe(0, &LEAVING, Direction::ToDevice);
    // What is sent is not asked for again: only an arrival is worth an interrupt.
    TRANSMIT_QUEUE.want_no_interrupt();
    NETWORK_CARD.set_queue(RECEIVE, &RECEIVE_QUEUE);
    NETWORK_CARD.set_queue(TRANSMIT, &TRANSMIT_QUEUE);
    NETWORK_CARD.go();
    local_apic::enable();
    PIN.unmask();
    let ([a, b, c, d], [e, f, ..]) = (NETWORK_CARD.config(0), NETWORK_CARD.config(4));
    [a, b, c, d, e, f]
}

/// A frame from this card to itself.
fn frame(address: [u8; 6], number: u16) -> [u8; BUFFER_BYTES] {
    let mut bytes = [0; BUFFER_BYTES];
    let (_, frame) = bytes.split_at_mut(HEADER_BYTES);
    frame[..6].copy_from_slice(&address);
    frame[6..12].copy_from_slice(&address);
    frame[12..14].copy_from_slice(&PROTOCOL);
    frame[14..16].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Makes descriptor 0 available for the `number`th time.
fn offer(queue: &Queue, number: u16) {
    queue.put(number - 1, 0);
    // The entry, and what it describes, before the index that announces it.
    sfence();
    queue.make_available(number);
}

/// Sleeps until so many frames have arrived.
fn sleep_until_arrival(number: u16) {
    interrupts::disable();
    while ARRIVED.load() < u32::from(number) {
        interrupts::enable_and_halt();
        interrupts::disable();
    }
    interrupts::enable();
}

/// The card's interrupt; `make_sure` comes between the acknowledgement and the end.
fn handle(frame: &mut Frame, make_sure: impl Fn()) {
    assert_eq!(frame.vector, u64::from(VECTOR), "nobody expected {frame:x?}");
    match NETWORK_CARD.interrupt_status() {
        0 => SPURIOUS.store(SPURIOUS.load() + 1),
        reasons => {
            NETWORK_CARD.acknowledge(reasons);
            ARRIVED.store(RECEIVE_QUEUE.used().into());
        }
    }
    make_sure();
    local_apic::end_of_interrupt();
}
