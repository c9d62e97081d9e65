//! timer: a clock that interrupts, while the program computes or sleeps
//!
//! A timer counts down by itself and interrupts when it comes to the end: once, or again and again.
//! The processor leaves the program wherever it stands, calls the handler, and goes on as if nothing had happened: the sum
//! that is computed meanwhile is right, because the handler puts every register back.
//! Who has nothing to compute executes HLT: the core sleeps until the next interrupt.
//! Each core has a timer in its local APIC; the 8254 is the timer that the first PC had, and interrupts through the 8259A.
//!
//! cores: 1
//! variant one-shot: the local APIC's timer, set to interrupt once
//!   sc, tso, pso: ticks=1 sum=499500
//! variant periodic: the local APIC's timer, again and again
//!   sc, tso, pso: ticks=10 sum=499500
//! variant pit: the 8254, through the 8259A
//!   sc, tso, pso: ticks=10 sum=499500
#![no_std]
#![no_main]

use kit::interrupts::{self, Frame};
use kit::local_apic::{self, Timer};
use kit::{Core, Verdict, Word32, pic8259, pit8254, println};

kit::entry!(main);

/// The local APIC's timer interrupts with this vector.
const APIC_TIMER: u8 = 0x40;
/// The first vector of the 8259A: line 0, the 8254.
const PIT: u8 = 0x20;
/// What a periodic timer is stopped after.
const MOST_TICKS: u32 = 10;
/// 2 us: a few times while the sum is computed.
const APIC_CYCLES: u32 = 200;
/// About 5 us.
const PIT_COUNTS: u16 = 6;
/// The sum is over the numbers below.
const NUMBERS: u32 = 1000;

/// How often a timer has interrupted.
static TICKS: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(1);
    interrupts::handle_with(handle);
    local_apic::enable();
    let expected = match core.variant("one-shot") {
        "one-shot" => {
            local_apic::start_timer(Timer::OneShot, APIC_TIMER, APIC_CYCLES);
            1
        }
        "periodic" => {
            local_apic::start_timer(Timer::Periodic, APIC_TIMER, APIC_CYCLES);
            MOST_TICKS
        }
        "pit" => {
            pic8259::set_up(PIT);
            pic8259::unmask(0);
            pit8254::start(PIT_COUNTS);
            MOST_TICKS
        }
        name => core.unknown_variant(name),
    };
    interrupts::enable();
    let sum = sum();
    println!("The sum is {sum}, and the timer has interrupted {} times meanwhile.", TICKS.load());
    sleep_until(expected);
    report(&core, expected, sum)
}

/// Something to compute; slow, as nothing is known about it beforehand.
#[inline(never)]
fn sum() -> u32 {
    let mut sum = 0;
    for number in 0..NUMBERS {
        sum += core::hint::black_box(number);
    }
    sum
}

/// Sleeps until so many ticks have come. Interrupts are off while the number is looked at: a tick between that and HLT would
/// not wake it.
fn sleep_until(ticks: u32) {
    interrupts::disable();
    while TICKS.load() < ticks {
        interrupts::enable_and_halt();
        interrupts::disable();
    }
    // A one-shot timer would interrupt again by now if it were not one.
    interrupts::enable();
    core::hint::black_box(sum());
}

fn report(core: &Core, expected: u32, sum: u32) -> ! {
    let ticks = TICKS.load();
    let outcome = match expected {
        1 => "ticks=1 sum=499500",
        _ => "ticks=10 sum=499500",
    };
    if (ticks, sum) == (expected, NUMBERS * (NUMBERS - 1) / 2) {
        core.report(outcome, Verdict::Held, format_args!("{ticks} ticks, and the sum is right."));
    }
    core.report(
        "unexpected",
        Verdict::Hazard,
        format_args!("{ticks} ticks instead of {expected}, and the sum is {sum}."),
    )
}

fn handle(frame: &mut Frame) {
    let ticks = TICKS.load() + 1;
    TICKS.store(ticks);
    match frame.vector as u8 {
        APIC_TIMER => {
            if ticks == MOST_TICKS {
                local_apic::stop_timer();
            }
            local_apic::end_of_interrupt();
        }
        PIT => {
            if ticks == MOST_TICKS {
                pic8259::mask(0);
            }
            pic8259::end_of_interrupt();
        }
        _ => panic!("nobody expected {frame:x?}"),
    }
}
