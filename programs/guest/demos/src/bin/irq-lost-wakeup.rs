//! irq-lost-wakeup: asleep, because the alarm rang just before
//!
//! Core 0 wants to sleep until something has happened; core 1 interrupts it when it has, once, and the handler sets a flag.
//! Core 0 looks at the flag, and executes HLT if it is not set. If the interrupt comes between the two, the flag is set, but
//! HLT waits for the next interrupt, which never comes.
//! So interrupts have to be off while the flag is looked at, and on as soon as the core sleeps. STI is made for this: it takes
//! effect one instruction later, so that no interrupt comes between STI and a HLT right behind it. One more instruction
//! between the two, and there is the gap again.
//! When core 1 has rung it sets an alarm clock of its own, far enough away for core 0 to have done all that it has to do; if
//! core 0 is still asleep by then, it has slept through.
//!
//! cores: 2
//! variant sti-check-hlt: interrupts are on while the flag is looked at
//!   sc, tso, pso: awake | asleep !
//! variant sti-nop-hlt: interrupts are off while the flag is looked at, and a NOP stands between STI and HLT
//!   sc, tso, pso: awake | asleep !
//! variant sti-hlt: interrupts are off while the flag is looked at, and HLT follows STI
//!   sc, tso, pso: awake
#![no_std]
#![no_main]

use core::arch::naked_asm;
use kit::interrupts::{self, Frame};
use kit::local_apic::{self, Timer};
use kit::{Barrier, Core, Verdict, Word32, Xorshift, nop, region};

kit::entry!(main);

/// How often core 0 goes to sleep.
const ROUNDS: u32 = 8;
/// Either core begins up to 2 * 8 instructions late.
const START_TURNS: u32 = 8;
/// The vector of what core 0 waits for.
const WAKE: u8 = 0x40;
/// Those of what core 1 waits for: core 0 is up, or the alarm clock has rung.
const GOOD_MORNING: u8 = 0x50;
const ALARM: u8 = 0x60;
/// 1 ms: a hundred thousand instructions, where core 0 needs a few dozen.
const ALARM_CYCLES: u32 = 100_000;

static BARRIER: Barrier = Barrier::new();
/// What core 0 waits for has happened. Only the handler on core 0 sets it.
static HAPPENED: Word32 = Word32::new(0);
/// The round in which core 0 has got up.
static UP: Word32 = Word32::new(0);
/// The alarm clock has rung.
static RUNG: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    if core.index == 0 {
        interrupts::handle_with(handle);
        // SAFETY: it is naked, changes no register and ends with IRETQ.
        unsafe { interrupts::enter_directly(WAKE, wake) };
    }
    BARRIER.wait(&core);
    interrupts::load();
    local_apic::enable();
    let rounds = core.times(ROUNDS);
    match core.variant("sti-check-hlt") {
        "sti-check-hlt" => run(&core, rounds, || {
            interrupts::enable();
            while HAPPENED.load() == 0 {
                interrupts::halt();
            }
            interrupts::disable();
        }),
        "sti-nop-hlt" => run(&core, rounds, || {
            while HAPPENED.load() == 0 {
                interrupts::enable();
                nop();
                interrupts::halt();
                interrupts::disable();
            }
        }),
        "sti-hlt" => run(&core, rounds, || {
            while HAPPENED.load() == 0 {
                interrupts::enable_and_halt();
                interrupts::disable();
            }
        }),
        name => core.unknown_variant(name),
    }
    core.report("awake", Verdict::Held, format_args!("{rounds} times asleep, and woken each time."));
}

/// Core 0 sleeps, with interrupts off before and after; core 1 wakes it.
#[inline(never)]
fn run(core: &Core, rounds: u32, sleep: impl Fn()) {
    let mut random = Xorshift::new(core);
    for round in 1..=rounds {
        BARRIER.wait(core);
        random.delay(START_TURNS);
        region::begin();
        match core.index {
            0 => sleep(),
            _ => local_apic::interrupt(0, WAKE),
        }
        region::end();
        if core.index == 0 {
            HAPPENED.store(0);
            UP.xchg(round);
            local_apic::interrupt(1, GOOD_MORNING);
        } else {
            watch(round);
        }
    }
}

/// Sleeps until core 0 is up, or the alarm clock rings. A core that waited busily here would let time pass while core 0 gets
/// no turn.
fn watch(round: u32) {
    RUNG.store(0);
    local_apic::start_timer(Timer::OneShot, ALARM, ALARM_CYCLES);
    while UP.load() != round {
        if RUNG.load() != 0 {
            kit::report(
                "asleep",
                Verdict::Hazard,
                format_args!("Round {round}: the handler has run, and core 0 is asleep: nothing will ever wake it."),
            );
        }
        interrupts::enable_and_halt();
        interrupts::disable();
    }
    local_apic::stop_timer();
    // The clock can have rung just now: not in the next round.
    while local_apic::is_requested(ALARM) {
        interrupts::enable();
        nop();
        interrupts::disable();
    }
}

/// What core 0 waits for.
#[unsafe(naked)]
extern "C" fn wake() {
    naked_asm!(
        "mov dword ptr [{happened}], 1",
        "push rax",
        "mov eax, {eoi}",
        "mov dword ptr [rax], 0",
        "pop rax",
        "iretq",
        happened = sym HAPPENED,
        eoi = const local_apic::EOI,
    )
}

/// On core 1.
fn handle(frame: &mut Frame) {
    match frame.vector as u8 {
        GOOD_MORNING => (),
        ALARM => RUNG.store(1),
        _ => panic!("nobody expected {frame:x?}"),
    }
    local_apic::end_of_interrupt();
}
