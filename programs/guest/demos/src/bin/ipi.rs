//! ipi: cores that call each other
//!
//! A core interrupts another by a message from its local APIC to the other's: an interprocessor interrupt.
//! Here each core calls its neighbour, whose handler calls back; both count.
//! A call is not a parcel: the local APIC remembers only *that* a vector was asked for, not how often.
//! Who waits for the answer before calling again is heard every time. Who calls again at once may call a core that still has
//! the last call before it, and two become one.
//!
//! cores: 3
//! variant answered: waits for the answer before it calls again
//!   sc, tso, pso: calls=60 answers=60
//! variant hurried: calls again at once
//!   sc, tso, pso: calls=60 answers=60 | merged !
#![no_std]
#![no_main]

use kit::interrupts::{self, Frame};
use kit::{Barrier, Core, Verdict, Word32, local_apic, pause};

kit::entry!(main);

const CORES: usize = 3;
/// How often each core calls its neighbour.
const CALLS: u32 = 20;
/// The vector of a call, and of the answer, which is more urgent.
const CALL: u8 = 0x40;
const ANSWER: u8 = 0x50;

static BARRIER: Barrier = Barrier::new();
/// What each core's handler has counted; nobody else writes there.
static CALLED: [Word32; CORES] = [const { Word32::new(0) }; CORES];
static ANSWERED: [Word32; CORES] = [const { Word32::new(0) }; CORES];

fn main(core: Core) {
    core.require_count(CORES);
    if core.index == 0 {
        interrupts::handle_with(handle);
    }
    BARRIER.wait(&core);
    interrupts::load();
    local_apic::enable();
    BARRIER.wait(&core);
    // Interrupts are off but for where they are waited for: a call is two writes to the local APIC, and the handler, which
    // calls back, must not come between them.
    let neighbour = (core.index + 1) % CORES;
    match core.variant("answered") {
        "answered" => {
            for call in 1..=CALLS {
                local_apic::interrupt(neighbour, CALL);
                sleep_until_answer(core.index, call);
            }
        }
        "hurried" => {
            for _ in 0..CALLS {
                local_apic::interrupt(neighbour, CALL);
                // An open window, which STI's delay of one instruction would else be all of.
                interrupts::enable();
                pause();
                interrupts::disable();
            }
        }
        name => core.unknown_variant(name),
    }
    interrupts::enable();
    settle(&core);
    let total = |counts: &[Word32; CORES]| counts.iter().map(Word32::load).sum::<u32>();
    let (called, answered, sent) = (total(&CALLED), total(&ANSWERED), CALLS * CORES as u32);
    if (called, answered) == (sent, sent) {
        core.report("calls=60 answers=60", Verdict::Held, format_args!("{sent} calls, all of them answered."));
    }
    core.report(
        "merged",
        Verdict::Hazard,
        format_args!("{sent} calls, of which {called} were heard, and {answered} answers."),
    );
}

/// Sleeps until that many answers have come.
fn sleep_until_answer(me: usize, number: u32) {
    while ANSWERED[me].load() < number {
        interrupts::enable_and_halt();
        interrupts::disable();
    }
}

/// Returns when no call or answer is on its way to any core.
fn settle(core: &Core) {
    // A call leaves at once, so after this every call has been sent; an answer, when its call's handler has run.
    for vector in [CALL, ANSWER] {
        BARRIER.wait(core);
        while local_apic::is_requested(vector) {
            pause();
        }
    }
    BARRIER.wait(core);
}

fn handle(frame: &mut Frame) {
    let me = local_apic::number();
    match frame.vector as u8 {
        CALL => {
            CALLED[me].store(CALLED[me].load() + 1);
            local_apic::interrupt((me + CORES - 1) % CORES, ANSWER);
        }
        ANSWER => ANSWERED[me].store(ANSWERED[me].load() + 1),
        _ => panic!("nobody expected {frame:x?}"),
    }
    local_apic::end_of_interrupt();
}
