//! interrupts: a handler and a program that share a counter and a device
//!
//! An interrupt handler comes between any two instructions. If the program adds to a counter by a load and a store, what the
//! handler adds between the two is lost; if it selects a register of a device and then reads it, a handler that selects
//! another one makes it read that.
//! So the program has to keep the handler out for so long: all interrupts of its core by CLI and STI, or this one alone where
//! it comes from, by masking it.
//! A mask is a write to the interrupt controller, a device in memory, and such writes are posted: the program goes on before
//! they have arrived, and the interrupt that it believes to be masked comes.
//! To be sure it reads the mask back, which takes until the write has arrived. That is still not enough: the interrupt may
//! have left the controller before, and wait at the core. The program must let it in first.
//! Here the interrupt is let in for a moment and kept out again before the counter and the device, the CMOS memory, are used.
//!
//! cores: 1
//! variant broken: the handler is not kept out
//!   sc, tso, pso: right | lost ! | wrong-register !
//! variant posted: masked, by a write that has perhaps not arrived
//!   sc, tso, pso: right | lost ! | wrong-register !
//! variant read-back: masked, and read back
//!   sc, tso, pso: right | lost ! | wrong-register !
//! variant settled: masked, read back, and whatever was on its way has been let in
//!   sc, tso, pso: right
//! variant cli: CLI before and STI after
//!   sc, tso, pso: right
#![no_std]
#![no_main]

use core::arch::naked_asm;
use kit::interrupts::{self, Frame};
use kit::io_apic::Pin;
use kit::{Core, Verdict, Word32, Xorshift, in8, local_apic, out8, pause, region};

kit::entry!(main);

/// How often the interrupt comes.
const ROUNDS: u32 = 60;
/// Whatever has been posted has some time to arrive: up to 2 * 8 instructions.
const TURNS: u32 = 8;
/// The line that the program itself drives, through the test device's port for it.
const LINE: u8 = 9;
const LINE_PORT: u16 = 0x2000 + LINE as u16;
const VECTOR: u8 = 0x40;
/// The line's pin: it interrupts as long as the line is high.
const PIN: Pin = Pin::level(LINE, VECTOR);

/// The CMOS memory: a register selects, another is what was selected.
const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;
/// The byte that the program reads, and the one that the handler reads; each contains its own number.
const PROGRAMS_BYTE: u8 = 0x50;
const HANDLERS_BYTE: u8 = 0x51;

/// Handler and program each add 1 a round, by a load and a store.
static COUNTER: Word32 = Word32::new(0);
/// How often the handler has run.
static HANDLED: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(1);
    interrupts::handle_with(unexpected);
    // SAFETY: it is naked, changes no register and ends with IRETQ.
    unsafe { interrupts::enter_directly(VECTOR, handler) };
    local_apic::enable();
    for byte in [PROGRAMS_BYTE, HANDLERS_BYTE] {
        out8(CMOS_INDEX, byte);
        out8(CMOS_DATA, byte);
    }
    interrupts::enable();
    let nothing = || {};
    match core.variant("broken") {
        "broken" => run(&core, nothing, nothing),
        "posted" => run(&core, || PIN.mask(), nothing),
        "read-back" => run(&core, mask_and_read_back, nothing),
        "settled" => run(&core, mask_and_settle, nothing),
        "cli" => run(&core, interrupts::disable, interrupts::enable),
        name => core.unknown_variant(name),
    }
}

#[inline(always)]
fn mask_and_read_back() {
    PIN.mask();
    PIN.read_back();
}

/// Interrupts are on: one that has left the controller comes while this waits.
#[inline(always)]
fn mask_and_settle() {
    mask_and_read_back();
    while local_apic::is_requested(VECTOR) {
        pause();
    }
}

#[inline(never)]
fn run(core: &Core, keep_out: impl Fn(), let_in: impl Fn()) {
    let mut random = Xorshift::new(core);
    let rounds = core.times(ROUNDS);
    for round in 1..=rounds {
        // The line is high, and masked; the port write takes the mask along.
        PIN.mask();
        out8(LINE_PORT, 1);
        random.delay(TURNS);

        region::begin();
        PIN.unmask();
        keep_out();
        let counted = COUNTER.load();
        // A long stay.
        pause();
        COUNTER.store(counted + 1);
        out8(CMOS_INDEX, PROGRAMS_BYTE);
        let read = in8(CMOS_DATA);
        let_in();
        region::end();

        PIN.unmask();
        while HANDLED.load() != round {
            pause();
        }
        judge(core, round, read);
    }
    core.report("right", Verdict::Held, format_args!("{rounds} interrupts, and none at the wrong time."));
}

fn judge(core: &Core, round: u32, read: u8) {
    let (counted, expected) = (COUNTER.load(), 2 * round);
    if counted != expected {
        core.report(
            "lost",
            Verdict::Hazard,
            format_args!("Round {round}: {expected} additions, but the counter says {counted}."),
        );
    }
    if read != PROGRAMS_BYTE {
        core.report(
            "wrong-register",
            Verdict::Hazard,
            format_args!("Round {round}: selected was {PROGRAMS_BYTE:#x}, and read {read:#x}."),
        );
    }
}

/// Adds to the counter, reads its own byte of the CMOS memory, and lowers the line.
#[unsafe(naked)]
extern "C" fn handler() {
    naked_asm!(
        "push rax",
        "push rdx",
        "mov eax, dword ptr [{counter}]",
        "inc eax",
        "mov dword ptr [{counter}], eax",
        "mov al, {byte}",
        "out {index}, al",
        "in al, {data}",
        "mov edx, {line}",
        "xor eax, eax",
        "out dx, al",
        "mov eax, {eoi}",
        "mov dword ptr [rax], 0",
        "mov eax, dword ptr [{handled}]",
        "inc eax",
        "mov dword ptr [{handled}], eax",
        "pop rdx",
        "pop rax",
        "iretq",
        counter = sym COUNTER,
        handled = sym HANDLED,
        byte = const HANDLERS_BYTE,
        index = const CMOS_INDEX,
        data = const CMOS_DATA,
        line = const LINE_PORT,
        eoi = const local_apic::EOI,
    )
}

fn unexpected(frame: &mut Frame) {
    panic!("nobody expected {frame:x?}");
}
